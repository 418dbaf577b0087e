"""The statements of ``postgres_metrics``: raw figures in the prototype's table, rolled-up ones in ours."""

from typing import Final

from ai_sysadmin.stores.relational.history import ABOUT, METRICS

_OURS: Final = "(metadata IS NULL OR metadata ->> 'about' IS NOT NULL)"
_FINITE: Final = "value > '-Infinity' AND value < 'Infinity'"  # NaN is greater than either, NULL neither
_SLOT: Final = "date_bin(make_interval(secs => ?::float8), at, TIMESTAMPTZ 'epoch')"

COPY: Final = f"COPY public.{METRICS} (time, hostname, metric_name, value, unit, metadata) FROM STDIN (FORMAT BINARY)"
TYPES: Final = ("timestamptz", "text", "text", "float8", "text", "jsonb")

_FIGURES: Final = f"""
SELECT time AS at, value, value AS least, value AS most, 0 AS width FROM public.{METRICS}
WHERE hostname = ? AND metric_name = ? AND {ABOUT} = ? AND time >= ? AND {_FINITE}
UNION ALL
SELECT at, value, least, most, width FROM metric_rollups WHERE host = ? AND name = ? AND about = ? AND at >= ?
"""  # noqa: S608

POINTS: Final = f"SELECT DISTINCT ON (at) at, value, least, most FROM ({_FIGURES}) AS figures ORDER BY at, width"  # noqa: S608

BUCKETS: Final = f"""
SELECT {_SLOT} AS slot, avg(value) AS value, min(least) AS least, max(most) AS most
FROM ({_FIGURES}) AS figures GROUP BY 1 ORDER BY 1
"""  # noqa: S608

# Every series that there is, the prototype's too: from one to the next by the index, not by reading the rows.
LIST: Final = f"""
WITH RECURSIVE found (name, about) AS (
    (SELECT metric_name, {ABOUT} FROM public.{METRICS} WHERE hostname = ? ORDER BY metric_name, {ABOUT} LIMIT 1)
    UNION ALL
    SELECT later.name, later.about FROM found CROSS JOIN LATERAL (
        SELECT metric_name AS name, {ABOUT} AS about FROM public.{METRICS}
        WHERE hostname = ? AND (metric_name, {ABOUT}) > (found.name, found.about)
        ORDER BY metric_name, {ABOUT} LIMIT 1
    ) AS later
), series (name, about) AS (SELECT name, about FROM found UNION SELECT name, about FROM metric_names WHERE host = ?)
SELECT series.name, series.about, newest.at, newest.value,
    coalesce(newest.unit, (SELECT unit FROM metric_names WHERE host = ?
        AND metric_names.name = series.name AND metric_names.about = series.about), '') AS unit
FROM series CROSS JOIN LATERAL (
    (SELECT time AS at, value, unit FROM public.{METRICS}
    WHERE hostname = ? AND metric_name = series.name AND {ABOUT} = series.about AND {_FINITE}
    ORDER BY time DESC LIMIT 1)
    UNION ALL
    (SELECT at, value, NULL FROM metric_rollups
    WHERE host = ? AND metric_rollups.name = series.name AND metric_rollups.about = series.about
    ORDER BY at DESC LIMIT 1)
    ORDER BY at DESC LIMIT 1
) AS newest
"""  # noqa: S608

BEGIN: Final = """
INSERT INTO metric_names (host, name, about, unit, began) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (host, name, about) DO UPDATE
SET unit = excluded.unit, began = least(metric_names.began, excluded.began)
"""

FORGET_SAME: Final = f"""
DELETE FROM public.{METRICS} WHERE hostname = ? AND time = ? AND {_OURS}
AND (metric_name, {ABOUT}) IN (SELECT name, about FROM unnest(?::text[], ?::text[]) AS same (name, about))
"""  # noqa: S608

_ADD_ROLLUPS: Final = f"""
INSERT INTO metric_rollups (host, name, about, width, at, value, least, most, figures)
SELECT ?, name, about, ?, {_SLOT}, avg(value), min(least), max(most), sum(figures) FROM moved
WHERE {_FINITE} GROUP BY 2, 3, 5
ON CONFLICT (host, name, about, at, width) DO UPDATE SET
    value = (metric_rollups.value * metric_rollups.figures + excluded.value * excluded.figures)
        / (metric_rollups.figures + excluded.figures),
    least = least(metric_rollups.least, excluded.least),
    most = greatest(metric_rollups.most, excluded.most),
    figures = metric_rollups.figures + excluded.figures
"""  # noqa: S608

ROLL_UP: Final = f"""
WITH moved AS (
    DELETE FROM public.{METRICS} USING metric_names
    WHERE hostname = ? AND time >= ? AND time < ? AND {_OURS}
    AND host = ? AND name = metric_name AND about = {ABOUT} AND time >= began
    RETURNING name, about, time AS at, value, value AS least, value AS most, 1 AS figures
) {_ADD_ROLLUPS}
"""  # noqa: S608

WIDEN: Final = f"""
WITH moved AS (
    DELETE FROM metric_rollups WHERE host = ? AND at >= ? AND at < ? AND width < ?
    RETURNING name, about, at, value, least, most, figures
) {_ADD_ROLLUPS}
"""  # noqa: S608

FORGET_EMPTY: Final = f"""
DELETE FROM metric_names WHERE host = ?
AND NOT EXISTS (SELECT 1 FROM metric_rollups AS kept
    WHERE kept.host = metric_names.host AND kept.name = metric_names.name AND kept.about = metric_names.about)
AND NOT EXISTS (SELECT 1 FROM public.{METRICS}
    WHERE hostname = host AND metric_name = name AND {ABOUT} = about)
"""  # noqa: S608
