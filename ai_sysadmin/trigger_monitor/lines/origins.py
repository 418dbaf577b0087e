"""Who speaks in an entry: the subject that its lines are about, and what is believed of them. Pure."""

from dataclasses import dataclass

from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.lines.log_rule import Rule
from ai_sysadmin.trigger_monitor.lines.masks import source_of
from ai_sysadmin.trigger_monitor.lines.mined import Source

KERNEL = "kernel"
UNKNOWN = "unknown"
"""How ``journalctl`` calls a program that gave no name."""


@dataclass(frozen=True)
class Speaker:
    """A writer of lines.

    ``unit`` and ``about`` are the subject of what it says; both empty: nothing comes of it. ``names`` are what globs in
    settings may call it. ``may_open``: its lines can open incidents; otherwise they only support one.
    """

    source: str
    unit: str = ""
    about: str = ""
    names: tuple[str, ...] = ()
    may_open: bool = True
    is_own: bool = False
    is_kernel: bool = False
    is_manager: bool = False
    is_nameless: bool = False

    @property
    def is_watched(self) -> bool:
        return bool(self.unit or self.about)


@dataclass(frozen=True, slots=True)
class Origin:
    """A speaker, its templates, and the operator's rules that must see each of its lines."""

    speaker: Speaker
    source: Source
    is_own: bool
    is_manager: bool
    line_rules: tuple[Rule, ...]


def speaker_of(entry: JournalEntry, nameless: str = "") -> Speaker:
    """Return who speaks in an entry.

    Args:
        nameless: what lines are about that name no unit and no program; empty: nothing.
    """
    fields, unit, program = entry.fields, entry.unit, entry.identifier
    if rules.is_own(entry):
        return Speaker("", is_own=True)
    if entry.transport == KERNEL:
        return Speaker(KERNEL, about=KERNEL, names=(KERNEL,), is_kernel=True)
    if container := fields.get("CONTAINER_NAME", ""):
        about = f"container {container}"
        return Speaker(about, about=about, names=(about, container))
    users = fields.get("_SYSTEMD_USER_UNIT") or fields.get("USER_UNIT") or ""
    if users and users != unit:
        manager = unit if rules.is_watched(unit) else ""
        return Speaker(f"user {source_of(users)}", manager, names=(users, program), may_open=False)
    if unit:
        watched = unit if rules.is_watched(unit) else ""
        return Speaker(source_of(unit), watched, names=(unit, program), is_manager=rules.spoken_by_manager(entry))
    if program or entry.transport:  # journald knows of every entry how it came, if not from whom
        name = program or UNKNOWN
        about = f"file {name}" if name.startswith("/") else f"program {name}"
        return Speaker(name, about=about, names=(name,), may_open=bool(program))
    return Speaker("", about=nameless, names=(nameless,), is_nameless=bool(nameless))
