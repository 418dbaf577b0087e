-- An incident and a symptom are about a subject: a unit, or what else the host has (a mount point, a probe).
ALTER TABLE incidents RENAME COLUMN unit TO subject;

ALTER TABLE symptoms RENAME COLUMN unit TO subject;

ALTER TABLE symptoms ADD COLUMN opens INTEGER NOT NULL DEFAULT 1;

CREATE INDEX symptoms_by_subject ON symptoms (host, subject);

-- What the parts of the trigger monitor keep for their next start.
CREATE TABLE monitor_memory (
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (host, name)
) WITHOUT ROWID;

-- "body" is the monitor's; label and judgement are written by others and survive it.
CREATE TABLE templates (
    host TEXT NOT NULL,
    id TEXT NOT NULL,
    last_at TEXT NOT NULL,
    priority INTEGER NOT NULL,
    body TEXT NOT NULL,
    label TEXT,
    prompt_version TEXT NOT NULL DEFAULT '',
    judgement TEXT,
    judged_by TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (host, id)
) WITHOUT ROWID;

CREATE INDEX templates_by_time ON templates (host, last_at);

CREATE TABLE mutes (
    host TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    until TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (host, fingerprint)
) WITHOUT ROWID;

CREATE TABLE alerts (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    host TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE metric_series (
    id INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    about TEXT NOT NULL,
    unit TEXT NOT NULL,
    UNIQUE (host, name, about)
);

-- Seconds since 1970. "bucket" is 0 for a figure as it was read, else the width that it stands for.
CREATE TABLE metric_points (
    series INTEGER NOT NULL REFERENCES metric_series (id),
    at REAL NOT NULL,
    bucket INTEGER NOT NULL DEFAULT 0,
    value REAL NOT NULL,
    least REAL NOT NULL,
    most REAL NOT NULL,
    PRIMARY KEY (series, at)
) WITHOUT ROWID;
