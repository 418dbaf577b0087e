-- Knowledge: canonical text. "name" is what a document is known by within its kind (a runbook's file, a
-- configuration's path and lines, an incident's id); its content's hash says whether an index is up to date. "facts"
-- are the values alone, so that a search finds a runbook by its tags and units.
CREATE TABLE documents (
    sequence INTEGER PRIMARY KEY,
    host TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    facts TEXT NOT NULL,
    hash TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (host, id),
    UNIQUE (host, kind, name)
);

CREATE VIRTUAL TABLE documents_text USING fts5 (
    title, text, facts, content = 'documents', content_rowid = 'sequence', tokenize = 'porter unicode61'
);

-- The full text follows the table within the same transaction. (The runner splits scripts at a semicolon that ends a
-- line, so a trigger's body must not have one.)
CREATE TRIGGER documents_added AFTER INSERT ON documents
BEGIN INSERT INTO documents_text (rowid, title, text, facts)
    VALUES (new.sequence, new.title, new.text, new.facts); END;

CREATE TRIGGER documents_removed AFTER DELETE ON documents
BEGIN INSERT INTO documents_text (documents_text, rowid, title, text, facts)
    VALUES ('delete', old.sequence, old.title, old.text, old.facts); END;

CREATE TRIGGER documents_changed AFTER UPDATE OF title, text, facts ON documents
BEGIN INSERT INTO documents_text (documents_text, rowid, title, text, facts)
    VALUES ('delete', old.sequence, old.title, old.text, old.facts); INSERT INTO documents_text (rowid, title, text, facts)
    VALUES (new.sequence, new.title, new.text, new.facts); END;
