-- The executor's own copy of the API keys that may approve: hashes, put here by operators over operate.sock.

CREATE TABLE approval_keys (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
);
