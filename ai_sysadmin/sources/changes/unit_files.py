"""A unit's own files: its unit file, drop-ins, links that enable or mask it, and what of them was removed."""

from collections.abc import Iterator
from pathlib import Path

from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.runtime.bus import MANAGER, MANAGER_PATH, SystemBus
from ai_sysadmin.sources.changes import Change
from ai_sysadmin.sources.changes.rooted import STORE, inside, resolved, target_of
from ai_sysadmin.sources.changes.subject import LOAD_PATH, Subject, drop_in_directories
from ai_sysadmin.sources.changes.window import TOGETHER, Look, Touch, Window, moment_of, touch_of

_UNIT = "org.freedesktop.systemd1.Unit"
_ENABLING = ("/etc/systemd/system", "/run/systemd/system")
_GENERATED = "/run/systemd/generator"  # made anew by every daemon-reload
_RELOAD_DUE = "systemd has not read it yet: a daemon-reload is outstanding"


def look_at_unit_files(root: Path, window: Window, subject: Subject) -> Look:
    """Return which of a unit's files were changed, added, linked or removed within a time."""
    if not subject.unit:
        return Look()
    changes = [change for file in subject.files if (change := _file_change(root, file, window))]
    changes += _removed_drop_ins(root, window, subject)
    changes += _enabling(root, window, subject)
    changes += _gone(root, window, subject)
    return Look(tuple(changes))


def _file_change(root: Path, file: str, window: Window) -> Change | None:
    place = resolved(root, file)
    if file.startswith(_GENERATED) or place.startswith(STORE):  # what the store holds never changes: the generation did
        return None
    if not (touch := _touched(root, file, place, window)):
        return None
    kind = "drop-in" if file.endswith(".conf") else "unit file"
    if place == "/dev/null":
        return _change(f"{file.rpartition('/')[2]} was masked", file, touch)
    if not inside(root, place).exists():
        return _change(f"{kind} {file} points to {place}, which is not there", file, touch)
    how = "had its metadata changed, or was moved or installed there" if touch.is_weak else "was changed"
    return _change(f"{kind} {file} {how}", file, touch)


def _touched(root: Path, file: str, place: str, window: Window) -> Touch | None:
    """Return how a file, or the link to it, was touched; the later counts."""
    found: list[Touch] = []
    for path in {file, place} - {"/dev/null"}:
        try:
            touch = touch_of(inside(root, path).lstat(), window)
        except OSError:
            continue
        if touch:
            found.append(touch)
    return max(found, key=lambda each: each.at, default=None)


def _change(what: str, about: str, touch: Touch) -> Change:
    return Change(at=touch.at, kind="unit_file", what=what, about=about, details=touch.details, unit_related=True)


def _removed_drop_ins(root: Path, window: Window, subject: Subject) -> Iterator[Change]:
    """Tell of directories of drop-ins that lost one."""
    for load in LOAD_PATH:
        for directory in drop_in_directories(load, subject.unit):
            if touch := _lost_something(root, directory, window):
                yield _change(f"a drop-in was removed from {directory}, or renamed in it", directory, touch)


def _lost_something(root: Path, directory: str, window: Window) -> Touch | None:
    """Return when a directory changed without any of what is in it; none: it did not."""
    place = resolved(root, directory)
    if place.startswith((STORE, _GENERATED)):
        return None
    try:
        touch = touch_of(inside(root, place).lstat(), window)
        newest = max((path.lstat().st_ctime for path in inside(root, place).iterdir()), default=0.0)
    except OSError:
        return None
    return touch if touch and not touch.is_weak and touch.at - moment_of(newest) > TOGETHER else None


def _enabling(root: Path, window: Window, subject: Subject) -> Iterator[Change]:
    """Tell of links that were made for other units to pull this one in: ``systemctl enable``."""
    for load in _ENABLING:
        base = inside(root, resolved(root, load))
        for how in ("wants", "requires"):
            for path in _globbed(base, f"*.{how}/{subject.unit}"):
                link = f"{load}/{path.parent.name}/{path.name}"
                if target_of(root, link).startswith(STORE) or resolved(root, load).startswith(STORE):
                    continue
                try:
                    touch = touch_of(path.lstat(), window)
                except OSError:
                    continue
                if touch:
                    yield _change(
                        f"{subject.unit} was enabled for {path.parent.name.removesuffix(f'.{how}')}", link, touch
                    )


def _globbed(base: Path, pattern: str) -> list[Path]:
    try:
        return sorted(base.glob(pattern))
    except OSError:
        return []


def _gone(root: Path, window: Window, subject: Subject) -> Iterator[Change]:
    """Tell of a unit without any unit file where a directory of unit files lost one."""
    if any(not file.endswith(".conf") for file in subject.files):
        return
    for load in _ENABLING:
        if touch := _lost_something(root, load, window):
            what = f"{subject.unit} has no unit file, and something was removed from {load}"
            yield _change(what, load, touch)


async def with_reload_due(look: Look, unit: str, bus: SystemBus) -> Look:
    """Add to the newest change of a unit's files whether systemd has read it; where that is not known, a gap."""
    try:
        (path,) = await bus.call(MANAGER_PATH, MANAGER, "LoadUnit", "s", (unit,))
        is_due = bool(await bus.property(str(path), _UNIT, "NeedDaemonReload"))
    except AiSysadminError as error:
        return Look(look.changes, (*look.gaps, f"whether systemd has read {unit}'s files is not known: {error}"))
    if not is_due:
        return look
    if not look.changes:
        gap = (
            f"systemd has read another version of {unit}'s files than there are (a daemon-reload is outstanding); when"
        )
        return Look((), (*look.gaps, f"{gap} they changed is not known"))
    newest = max(look.changes, key=lambda each: each.at)
    noted = newest.model_copy(update={"details": (*newest.details, _RELOAD_DUE)})
    return Look(tuple(noted if each is newest else each for each in look.changes), look.gaps)
