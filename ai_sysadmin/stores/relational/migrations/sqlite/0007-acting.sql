-- An action belongs to every incident that it was proposed for; "actions.incident_id" is the first of them.
CREATE TABLE incident_actions (
    action_id TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    PRIMARY KEY (action_id, incident_id)
) WITHOUT ROWID;

CREATE INDEX incident_actions_of_incident ON incident_actions (incident_id);

INSERT INTO incident_actions (action_id, incident_id)
SELECT actions.id, incidents.id FROM actions JOIN incidents ON incidents.id = actions.incident_id;

-- What an action came to, by the symptom that it was to mend.
CREATE TABLE outcomes (
    host TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    tried INTEGER NOT NULL,
    helped INTEGER NOT NULL,
    reverted INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    last_at TEXT NOT NULL,
    last_text TEXT NOT NULL,
    PRIMARY KEY (host, fingerprint, action, subject)
) WITHOUT ROWID;

CREATE INDEX outcomes_by_time ON outcomes (host, last_at);

-- What a person is to be told. "message" is the same for what was told in one message; "state" tells apart what is told
-- of one incident on one occasion.
CREATE TABLE notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host TEXT NOT NULL,
    occasion TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    state TEXT NOT NULL,
    reopened INTEGER NOT NULL,
    unit TEXT NOT NULL,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    retry_at TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    superseded INTEGER NOT NULL DEFAULT 0,
    delivered_at TEXT NOT NULL DEFAULT '',
    message INTEGER NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX notifications_of_incident ON notifications (incident_id, occasion, state, reopened)
    WHERE incident_id <> '';

CREATE INDEX notifications_due ON notifications (host, delivered_at, superseded);

CREATE TABLE troubles (
    host TEXT NOT NULL,
    service TEXT NOT NULL,
    PRIMARY KEY (host, service)
) WITHOUT ROWID;
