ALTER TABLE incidents ADD COLUMN model_tokens INTEGER NOT NULL DEFAULT 0;

-- What the models were asked, for the budgets by the hour.
CREATE TABLE model_use (
    host TEXT NOT NULL,
    at TEXT NOT NULL,
    calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL
);

CREATE INDEX model_use_by_time ON model_use (host, at);

CREATE TABLE health_reports (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    host TEXT NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL
);

-- A person's wish for one whole cycle now, and how far it has come.
CREATE TABLE checks (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    state TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    body TEXT NOT NULL
);
