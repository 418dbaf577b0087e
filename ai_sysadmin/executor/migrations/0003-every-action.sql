-- An action is done to a subject, which need not be a unit; when it began counts for the breakers.

ALTER TABLE actions RENAME COLUMN unit TO subject;
ALTER TABLE actions ADD COLUMN started_at TEXT NOT NULL DEFAULT '';
CREATE INDEX actions_by_start ON actions (started_at);
