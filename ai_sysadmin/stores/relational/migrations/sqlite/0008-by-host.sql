-- Whatever is kept knows its host, so that several can share one database. What these two take the place of
-- (service_notes, chat_leases) stays a release longer, for a suite that is taken back.
CREATE TABLE conditions (
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (host, service)
) WITHOUT ROWID;

CREATE TABLE turns (
    host TEXT NOT NULL,
    backend TEXT NOT NULL,
    until TEXT NOT NULL,
    PRIMARY KEY (host, backend)
) WITHOUT ROWID;

DROP INDEX symptoms_waiting;

CREATE UNIQUE INDEX symptoms_waiting ON symptoms (host, fingerprint) WHERE incident_id IS NULL;
