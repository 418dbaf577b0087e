-- Who may call the API: only hashes of keys are kept. Proposals made in a conversation belong to no incident.

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
);
CREATE INDEX api_keys_by_host ON api_keys (host);

-- An action knows its host itself; '' as its incident: a person asked for it in a conversation.
CREATE TABLE actions_of_hosts (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    digest TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    state TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    body TEXT NOT NULL
);
INSERT INTO actions_of_hosts (id, host, digest, incident_id, state, updated_at, body)
SELECT actions.id, incidents.host, actions.digest, actions.incident_id, actions.state, actions.updated_at, actions.body
FROM actions JOIN incidents ON incidents.id = actions.incident_id;
DROP TABLE actions;
ALTER TABLE actions_of_hosts RENAME TO actions;
CREATE INDEX actions_by_state ON actions (state, updated_at);
CREATE INDEX actions_of_incident ON actions (incident_id);
