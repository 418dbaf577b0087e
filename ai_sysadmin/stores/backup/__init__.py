"""A backup of the embedded stores: one archive, and what puts its content in the place of the present state.

taking     consistent copies of what is kept, while the services run
archive    a gzipped tar, its manifest first; read within bounds, trusted in nothing
restoring  everything staged and checked, one commit, then renames that can be finished after any interruption
"""

from ai_sysadmin.stores.backup.archive import read_archive, write_archive
from ai_sysadmin.stores.backup.files import appearing, said
from ai_sysadmin.stores.backup.manifest import DATABASE, FORMAT, Manifest, Member, Part, check_fits
from ai_sysadmin.stores.backup.restoring import (
    Replaced,
    finish_restore,
    restore,
    would_replace,
)
from ai_sysadmin.stores.backup.taking import Taken, take, would_take

__all__ = [
    "DATABASE",
    "FORMAT",
    "Manifest",
    "Member",
    "Part",
    "Replaced",
    "Taken",
    "appearing",
    "check_fits",
    "finish_restore",
    "read_archive",
    "restore",
    "said",
    "take",
    "would_replace",
    "would_take",
    "write_archive",
]
