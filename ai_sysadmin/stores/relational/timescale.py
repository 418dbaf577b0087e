"""TimescaleDB: whether it can be used here, and every statement that only it understands (2.18 to 2.28).

Its own retention policies are not used: they know no hosts, and the Apache edition refuses them. Old chunks go by
``drop_chunks``, which both editions have. Compression (the column store) needs the edition under Timescale's licence.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.relational import Transaction

COMPRESSED_AFTER_DAYS: Final = 7
_FIRST_WITH_RANGES: Final = (2, 13)
_FIRST_WITH_COLUMN_STORE: Final = (2, 18)

INSTALL: Final = "CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public"

# Only a server that has preloaded it knows its settings, and one that has not ends the session that would install it.
_CAN_INSTALL: Final = """
SELECT count(*) AS ways FROM pg_available_extensions AS extension
JOIN pg_available_extension_versions AS version
    ON version.name = extension.name AND version.version = extension.default_version
WHERE extension.name = 'timescaledb' AND extension.installed_version IS NULL
AND current_setting('timescaledb.disable_load', true) IS NOT NULL
AND (
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    OR (version.trusted AND has_database_privilege(current_database(), 'CREATE'))
)
"""

_INSTALLED: Final = """
SELECT extversion AS version, quote_ident(nspname) AS schema,
    coalesce(current_setting('timescaledb.license', true), '') AS license
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'timescaledb'
"""

_HYPERTABLES: Final = """
SELECT hypertable_name AS name, compression_enabled AS is_compressed FROM timescaledb_information.hypertables
WHERE hypertable_schema = 'public'
"""

_CHUNKS: Final = """
SELECT range_start AS begins, range_end AS ends FROM timescaledb_information.chunks
WHERE hypertable_schema = 'public' AND hypertable_name = ? AND range_end <= ? ORDER BY range_end
"""

# A change to compressed rows unpacks them, and refuses above a limit that is meant for statements without a bound.
_UNPACK_ANY_NUMBER: Final = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name = 'timescaledb.max_tuples_decompressed_per_dml_transaction'
"""


class Edition(StrEnum):
    APACHE = "apache"
    TSL = "tsl"


class Timescale(Record):
    """The extension as this database has it; ``schema`` holds its functions, quoted."""

    version: str
    edition: Edition
    schema_name: str

    @property
    def release(self) -> tuple[int, int]:
        """The first two numbers of the version; ``2.28.0-dev`` is (2, 28)."""
        major, minor, *_ = (*self.version.split("."), "0")
        return int(major), int(minor)

    @property
    def can_compress(self) -> bool:
        return self.edition is Edition.TSL and self.release >= _FIRST_WITH_COLUMN_STORE

    @property
    def is_usable(self) -> bool:
        """Whether it makes hypertables as they are asked for here."""
        return self.release >= _FIRST_WITH_RANGES


class Chunk(NamedTuple):
    begins: datetime
    ends: datetime


async def installed(tx: Transaction) -> Timescale | None:
    """Return the extension, if this database has it."""
    row = await tx.one(_INSTALLED)
    if row is None:
        return None
    edition = Edition.TSL if row["license"] == "timescale" else Edition.APACHE
    return Timescale(version=row["version"], edition=edition, schema_name=row["schema"])


async def can_install(tx: Transaction) -> bool:
    """Say whether the server offers it and lets us have it."""
    return bool(await tx.value(_CAN_INSTALL))


async def hypertables(tx: Transaction) -> dict[str, bool]:
    """Return the hypertables in ``public``, and whether each is compressed when it is old."""
    return {row["name"]: bool(row["is_compressed"]) for row in await tx.all(_HYPERTABLES)}


async def make_hypertable(tx: Transaction, timescale: Timescale, table: str) -> None:
    """Turn an empty table of ``public`` into a hypertable with a chunk a day."""
    schema = timescale.schema_name
    await tx.all(
        f"SELECT {schema}.create_hypertable('public.{table}'::regclass,"
        f" {schema}.by_range('time', INTERVAL '1 day'), create_default_indexes => FALSE, if_not_exists => TRUE)"
    )


async def compress_when_old(tx: Transaction, timescale: Timescale, table: str, segment_by: str) -> None:
    """Have a hypertable's chunks compressed a week after. Only where ``can_compress``."""
    await tx.run(
        f"ALTER TABLE public.{table} SET (timescaledb.enable_columnstore = true,"
        f" timescaledb.segmentby = '{segment_by}', timescaledb.orderby = 'time DESC')"
    )
    await tx.run(
        f"CALL {timescale.schema_name}.add_columnstore_policy('public.{table}'::regclass,"
        f" after => INTERVAL '{COMPRESSED_AFTER_DAYS} days', if_not_exists => TRUE)"
    )


async def chunks(tx: Transaction, table: str, until: datetime) -> tuple[Chunk, ...]:
    """Return a hypertable's chunks that end by a moment, the oldest first."""
    return tuple(Chunk(row["begins"], row["ends"]) for row in await tx.all(_CHUNKS, (table, until)))


async def drop_chunk(tx: Transaction, timescale: Timescale, table: str, chunk: Chunk) -> None:
    await tx.all(
        f"SELECT {timescale.schema_name}.drop_chunks('public.{table}'::regclass,"
        " older_than => ?::timestamptz, newer_than => ?::timestamptz)",
        (chunk.ends, chunk.begins),
    )


async def unpack_any_number(tx: Transaction) -> None:
    """Lift, for this transaction, the limit on how many compressed rows a statement may change."""
    await tx.all(_UNPACK_ANY_NUMBER)
