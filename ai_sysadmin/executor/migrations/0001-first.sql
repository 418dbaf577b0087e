-- The executor's own journal, on its own disk space, written with fsync at every step.

CREATE TABLE journal (
    epoch TEXT NOT NULL
);

INSERT INTO journal (epoch) VALUES (lower(hex(randomblob(8))));

CREATE TABLE actions (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    unit TEXT NOT NULL,
    state TEXT NOT NULL,
    body TEXT NOT NULL
);

CREATE INDEX actions_by_state ON actions (state);

-- Numbers are consecutive: a courier that has applied N asks for what comes after it.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    action_id TEXT NOT NULL REFERENCES actions (id),
    body TEXT NOT NULL
);
