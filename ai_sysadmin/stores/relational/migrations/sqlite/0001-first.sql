-- Times are ISO 8601 in UTC. Records that only Python reads stand as JSON in "body"; what a query
-- looks at stands in a column of its own beside it.

CREATE TABLE journal_position (
    host TEXT PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE incidents (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    unit TEXT NOT NULL,
    state TEXT NOT NULL,
    opened_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    evidence_at TEXT NOT NULL,
    review_due INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    lease_token TEXT NOT NULL DEFAULT '',
    lease_ends TEXT NOT NULL DEFAULT '',
    model_calls INTEGER NOT NULL DEFAULT 0,
    body TEXT NOT NULL
);

CREATE INDEX incidents_by_unit ON incidents (host, unit, opened_at);

CREATE INDEX incidents_by_state ON incidents (state, opened_at);

-- A symptom without an incident waits for one that may open later.
CREATE TABLE symptoms (
    fingerprint TEXT NOT NULL,
    incident_id TEXT REFERENCES incidents (id),
    host TEXT NOT NULL,
    unit TEXT NOT NULL,
    last_at TEXT NOT NULL,
    invocation TEXT NOT NULL DEFAULT '',
    body TEXT NOT NULL
);

CREATE UNIQUE INDEX symptoms_of_incident ON symptoms (incident_id, fingerprint) WHERE incident_id IS NOT NULL;

CREATE UNIQUE INDEX symptoms_waiting ON symptoms (fingerprint) WHERE incident_id IS NULL;

CREATE INDEX symptoms_by_invocation ON symptoms (unit, invocation) WHERE invocation <> '';

CREATE TABLE timeline (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    body TEXT NOT NULL
);

CREATE INDEX timeline_of_incident ON timeline (incident_id, sequence);

CREATE TABLE evidence (
    incident_id TEXT PRIMARY KEY REFERENCES incidents (id),
    body TEXT NOT NULL
);

CREATE TABLE reviews (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    body TEXT NOT NULL
);

CREATE TABLE investigations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    body TEXT NOT NULL
);

-- The outbox: a request is proposed here in the transaction of its judgement; the courier carries it on.
CREATE TABLE actions (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    state TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE INDEX actions_by_state ON actions (state, updated_at);

CREATE INDEX actions_of_incident ON actions (incident_id);

CREATE TABLE executor_position (
    host TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    sequence INTEGER NOT NULL
);

CREATE TABLE service_notes (
    service TEXT PRIMARY KEY,
    body TEXT NOT NULL
);
