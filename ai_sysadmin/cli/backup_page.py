"""What `backup` and `restore` answer."""

from typing import Final

from ai_sysadmin.cli.layout import fact, wrapped
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.records import Record
from ai_sysadmin.stores.backup import Manifest

_CONFIDENTIAL: Final = "It holds this host's API keys: keep it as secret as them (its mode is 0600)."


class BackedUp(Record):
    """What a backup holds. ``bytes`` is the file's size, 0 where none was written; ``files`` are bytes by path."""

    file: str
    bytes: int
    files: dict[str, int]
    left_out: tuple[str, ...]
    dry_run: bool


class Restored(Record):
    """What was restored, or would be. ``replaced`` are files that were put into the directories ``aside``."""

    file: str
    manifest: Manifest
    replaced: tuple[str, ...]
    aside: tuple[str, ...]
    left_out: tuple[str, ...]
    dry_run: bool


def backed_up_page(done: BackedUp) -> str:
    """Render what was backed up, or would be."""
    lines = wrapped(f"{done.file} would hold:" if done.dry_run else f"{done.file} holds:")
    lines += [f"  {path}  {_size(size)}" for path, size in done.files.items()]
    for each in done.left_out:
        lines += fact("not in it", each)
    if any(path.endswith("-key") for path in done.files):
        lines += wrapped(_CONFIDENTIAL)
    if done.bytes:
        lines.append(f"{_size(done.bytes)} in all.")
    return "\n".join(lines)


def restored_page(done: Restored) -> str:
    """Render what was restored, or would be."""
    of = f"{done.manifest.host}'s state of {local(done.manifest.at)} (version {done.manifest.suite_version})"
    lines = wrapped(f"{'Would restore' if done.dry_run else 'Restored'} {of}:")
    lines += [f"  {member.path}  {_size(member.size)}" for member in done.manifest.members]
    if done.replaced:
        lines += wrapped("These would be put aside:" if done.dry_run else "These were put aside:")
        lines += [f"  {path}" for path in done.replaced]
    for each in done.aside:
        lines += fact("earlier", each)
    for each in done.left_out:
        lines += fact("not in it", each)
    if not done.dry_run:
        lines += wrapped("Start the services; once all is well, the earlier state may be deleted.")
    return "\n".join(lines)


def _size(size: int) -> str:
    for unit, bytes_ in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"
