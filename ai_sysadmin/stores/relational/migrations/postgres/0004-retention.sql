-- What hangs on an incident is found by it, also when it is forgotten.
CREATE INDEX reviews_of_incident ON reviews (incident_id, sequence);

CREATE INDEX investigations_of_incident ON investigations (incident_id, sequence);
