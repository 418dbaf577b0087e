-- The figures themselves stand in the prototype's table public.system_metrics, which stores/relational/history.py takes
-- over or makes. Here is what that table has no room for. Names sort as they do there: one list is made of both.

-- The series that this suite writes, and since when: only their figures are rolled up.
CREATE TABLE metric_names (
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    about TEXT NOT NULL,
    unit TEXT NOT NULL,
    began TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (host, name, about)
);

-- One row for each bucket of "width" seconds: the mean, the least and the most of so many figures.
CREATE TABLE metric_rollups (
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    about TEXT NOT NULL,
    width BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    least DOUBLE PRECISION NOT NULL,
    most DOUBLE PRECISION NOT NULL,
    figures BIGINT NOT NULL,
    PRIMARY KEY (host, name, about, at, width)
);

CREATE INDEX metric_rollups_by_time ON metric_rollups (host, at);
