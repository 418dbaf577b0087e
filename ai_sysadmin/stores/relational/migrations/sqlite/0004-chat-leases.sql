-- While a person waits for an answer of a model server, background work keeps off it.
CREATE TABLE chat_leases (
    backend TEXT PRIMARY KEY,
    until TEXT NOT NULL
) WITHOUT ROWID;
