-- Times are ISO 8601 in UTC, as the records that stand as JSON in "body" have them; what a query looks at stands in a
-- column of its own beside it. Text sorts byte by byte. "rowid" is what SQLite gives a row by itself: the order in which
-- rows came.

CREATE TABLE journal_position (
    host TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE monitor_memory (
    host TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (host, name)
);

CREATE TABLE incidents (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    id TEXT COLLATE "C" PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    opened_at TEXT COLLATE "C" NOT NULL,
    changed_at TEXT COLLATE "C" NOT NULL,
    evidence_at TEXT COLLATE "C" NOT NULL,
    review_due BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    lease_token TEXT COLLATE "C" NOT NULL DEFAULT '',
    lease_ends TEXT COLLATE "C" NOT NULL DEFAULT '',
    model_calls BIGINT NOT NULL DEFAULT 0,
    body TEXT NOT NULL,
    model_tokens BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE symptoms (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    fingerprint TEXT COLLATE "C" NOT NULL,
    incident_id TEXT COLLATE "C" REFERENCES incidents (id),
    host TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    last_at TEXT COLLATE "C" NOT NULL,
    invocation TEXT COLLATE "C" NOT NULL DEFAULT '',
    body TEXT NOT NULL,
    opens BIGINT NOT NULL DEFAULT 1
);

CREATE TABLE timeline (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id TEXT COLLATE "C" NOT NULL REFERENCES incidents (id),
    body TEXT NOT NULL
);

CREATE TABLE evidence (
    incident_id TEXT COLLATE "C" PRIMARY KEY REFERENCES incidents (id),
    body TEXT NOT NULL
);

CREATE TABLE reviews (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id TEXT COLLATE "C" NOT NULL REFERENCES incidents (id),
    body TEXT NOT NULL
);

CREATE TABLE investigations (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id TEXT COLLATE "C" NOT NULL REFERENCES incidents (id),
    body TEXT NOT NULL
);

CREATE TABLE actions (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    id TEXT COLLATE "C" PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    incident_id TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE incident_actions (
    action_id TEXT COLLATE "C" NOT NULL,
    incident_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (action_id, incident_id)
);

CREATE TABLE executor_position (
    host TEXT COLLATE "C" PRIMARY KEY,
    epoch TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL
);

CREATE TABLE outcomes (
    host TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    tried BIGINT NOT NULL,
    helped BIGINT NOT NULL,
    reverted BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    last_at TEXT COLLATE "C" NOT NULL,
    last_text TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (host, fingerprint, action, subject)
);

CREATE TABLE notifications (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    occasion TEXT COLLATE "C" NOT NULL,
    incident_id TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    reopened BIGINT NOT NULL,
    unit TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    at TEXT COLLATE "C" NOT NULL,
    retry_at TEXT COLLATE "C" NOT NULL DEFAULT '',
    attempts BIGINT NOT NULL DEFAULT 0,
    superseded BIGINT NOT NULL DEFAULT 0,
    delivered_at TEXT COLLATE "C" NOT NULL DEFAULT '',
    message BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE troubles (
    host TEXT COLLATE "C" NOT NULL,
    service TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (host, service)
);

CREATE TABLE templates (
    host TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    last_at TEXT COLLATE "C" NOT NULL,
    priority BIGINT NOT NULL,
    body TEXT NOT NULL,
    label TEXT COLLATE "C",
    prompt_version TEXT COLLATE "C" NOT NULL DEFAULT '',
    judgement TEXT COLLATE "C",
    judged_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (host, id)
);

CREATE TABLE mutes (
    host TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    until TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (host, fingerprint)
);

CREATE TABLE alerts (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE model_use (
    host TEXT COLLATE "C" NOT NULL,
    at TEXT COLLATE "C" NOT NULL,
    calls BIGINT NOT NULL,
    tokens BIGINT NOT NULL
);

CREATE TABLE health_reports (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    at TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE checks (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    id TEXT COLLATE "C" PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    asked_at TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE api_keys (
    rowid BIGINT GENERATED ALWAYS AS IDENTITY,
    id TEXT COLLATE "C" PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL UNIQUE,
    body TEXT NOT NULL
);

CREATE TABLE documents (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    facts TEXT NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (host, id),
    UNIQUE (host, kind, name)
);

CREATE INDEX incidents_by_subject ON incidents (host, subject, opened_at);

CREATE INDEX incidents_by_state ON incidents (host, state, opened_at);

CREATE UNIQUE INDEX symptoms_of_incident ON symptoms (incident_id, fingerprint) WHERE incident_id IS NOT NULL;

CREATE UNIQUE INDEX symptoms_waiting ON symptoms (host, fingerprint) WHERE incident_id IS NULL;

CREATE INDEX symptoms_by_invocation ON symptoms (host, subject, invocation) WHERE invocation <> '';

CREATE INDEX timeline_of_incident ON timeline (incident_id, sequence);

CREATE INDEX symptoms_by_subject ON symptoms (host, subject);

CREATE INDEX templates_by_time ON templates (host, last_at);

CREATE INDEX model_use_by_time ON model_use (host, at);

CREATE INDEX api_keys_by_host ON api_keys (host);

CREATE INDEX actions_by_state ON actions (host, state, updated_at);

CREATE INDEX actions_of_incident ON actions (incident_id);

CREATE INDEX incident_actions_of_incident ON incident_actions (incident_id);

CREATE INDEX outcomes_by_time ON outcomes (host, last_at);

CREATE UNIQUE INDEX notifications_of_incident ON notifications (incident_id, occasion, state, reopened)
    WHERE incident_id <> '';

CREATE INDEX notifications_due ON notifications (host, delivered_at, superseded);

CREATE TABLE conditions (
    host TEXT COLLATE "C" NOT NULL,
    service TEXT COLLATE "C" NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (host, service)
);

CREATE TABLE turns (
    host TEXT COLLATE "C" NOT NULL,
    backend TEXT COLLATE "C" NOT NULL,
    until TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (host, backend)
);

-- SQLite's own function, for what one SQL text asks of a body. PostgreSQL has no NUL in its text.
CREATE FUNCTION json_extract(body TEXT, path TEXT) RETURNS TEXT LANGUAGE SQL IMMUTABLE PARALLEL SAFE
    RETURN replace(body, '\u0000', '\ufffd')::json #>> string_to_array(substr(path, 3), '.');
