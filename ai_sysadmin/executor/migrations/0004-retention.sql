-- When an action began, by a clock that nobody sets; and what is needed to forget what is long over.

ALTER TABLE actions ADD COLUMN started_boot TEXT NOT NULL DEFAULT '';
ALTER TABLE actions ADD COLUMN started_boottime REAL NOT NULL DEFAULT 0;
CREATE INDEX actions_by_boottime ON actions (started_boot, started_boottime);
CREATE INDEX events_by_action ON events (action_id);
