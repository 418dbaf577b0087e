"""The unit that is asked about: its files, and how to tell that a name or a path belongs to it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ai_sysadmin.sources.changes.rooted import entry_of, inside, resolved

LOAD_PATH: Final = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
"""Where systemd looks for a unit's files, the strongest first."""

_FILE_BYTES = 64 << 10
_FILES_MOST = 40
_PATHS_MOST = 100
_SPEAKING = re.compile(
    r"^\s*(Exec\w+|Environment\w*|LoadCredential\w*|BindPaths|BindReadOnlyPaths|Condition\w+|Assert\w+|SourcePath"
    r"|WorkingDirectory|RootDirectory|RootImage|ConfigurationDirectory)\s*=(.*)$"
)
_PATH = re.compile(r"(?<![\w./])/[^\s\"';,:=|&<>()\[\]{}$]+")
_SPECIFIER = re.compile(r"%([inNpIj%])")
_WORD_END = re.compile(r"[-_.@:+ ]+")
_STORE_NAME = re.compile(r"^[0-9a-z]{32}-(.+?)(?:-\d.*)?$")
_NAME_LEAST = 3
_TOOL_NAMES = """
    sh bash dash zsh env true false sleep echo cat cp mv rm mkdir chown chmod install kill killall test touch sed awk
    grep ln nice ionice su sudo runuser setpriv timeout flock systemctl
"""
_COMMON_NAMES = """
    python python3 perl ruby node java php systemd coreutils findutils gnugrep gnused util linux system service server
    default main daemon start stop run unit conf config local etc bin lib app
"""
_WIDE_DIRECTORIES = """
    /etc/ssl /etc/ssl/certs /etc/systemd /etc/default /etc/sysconfig /etc/static /etc/pki /usr/bin /usr/sbin /usr/lib
    /usr/libexec /usr/share /usr/local /var/lib /var/log /var/cache /var/run /nix/store
"""
_TOOLS = frozenset(_TOOL_NAMES.split())
_GENERIC = _TOOLS | frozenset(_COMMON_NAMES.split())
_WIDE = frozenset(_WIDE_DIRECTORIES.split())
_NOT_FILES = ("/dev/", "/proc/", "/sys/", "/run/", "/tmp/", "/nix/store/")  # noqa: S108 — told apart, never opened


@dataclass(frozen=True)
class Subject:
    """A unit as the host's files describe it; with an empty name: none, and nothing belongs to it.

    Attributes:
        files: its unit files and drop-ins, strongest directory first, as paths of the host.
        names: what else it goes by: its template, its programs, the packages in the store that these come from.
        programs: the programs that it starts, by path, but for the tools of every script.
        paths: files and directories that its unit files name, the programs included.
    """

    unit: str = ""
    files: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    programs: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def is_named(self, name: str) -> bool:
        """Tell whether a package, a file or a directory of that name belongs to the unit."""
        words = _words(name)
        return bool(words) and any(_akin(words, _words(own)) for own in self.names)

    def owns(self, path: str) -> bool:
        """Tell whether a path of the host belongs to the unit: named in its files, or after it."""
        if any(path == own or path.startswith(f"{own}/") for own in self.paths) or path in self.files:
            return True
        return any(self.is_named(part) for part in path.split("/")[1:] if part)


def subject_of(root: Path, unit: str) -> Subject:
    """Return what the host's files say of a unit; one that has no files is known by its name alone."""
    if not unit:
        return Subject()
    files = tuple(_with_aliases(root, unit))[:_FILES_MOST]
    said = [line for file in files for line in _speaking_lines(root, file, unit)]
    programs = tuple(dict.fromkeys(value.lstrip("-@:+!|").partition(" ")[0] for value in _started(said)))
    names = (*(path.rpartition("/")[2] for path in programs), *_store_names(said))
    telling = own_names(unit) | {name for name in names if _is_telling(name)}
    own = tuple(path for path in programs if path.rpartition("/")[2] not in _TOOLS)
    return Subject(unit, files, telling, own, tuple(_named_paths(said))[:_PATHS_MOST])


def _with_aliases(root: Path, unit: str) -> Iterator[str]:
    """Yield a unit's files, and where one is a link to another unit's (an alias), that one's too."""
    own = list(unit_files(root, unit))
    yield from own
    stem, _, kind = unit.rpartition(".")
    known = {unit, f"{stem.partition('@')[0]}@.{kind}"}
    ends = {resolved(root, file).rpartition("/")[2] for file in own if file.endswith(f".{kind}")}
    for other in sorted(each for each in ends - known if each.endswith(f".{kind}")):
        yield from (file for file in unit_files(root, other) if file not in own)


def unit_files(root: Path, unit: str) -> Iterator[str]:
    """Yield the unit files and drop-ins that there are for a unit, its template and its kind."""
    stem, _, kind = unit.rpartition(".")
    names = list(dict.fromkeys((unit, f"{stem.partition('@')[0]}@.{kind}"))) if "@" in stem else [unit]
    for directory in LOAD_PATH:
        for name in names:
            if _is_there(inside(root, f"{directory}/{name}")):
                yield f"{directory}/{name}"
        for place in drop_in_directories(directory, unit):
            yield from _configurations(root, place)


def drop_in_directories(directory: str, unit: str) -> list[str]:
    """Return where below one directory a unit's drop-ins lie: its own, its template's, its prefixes', its kind's."""
    stem, _, kind = unit.rpartition(".")
    head, at, _ = stem.partition("@")
    prefixes = [head[: match.start() + 1] for match in re.finditer("-", head)]
    names = [stem, *([f"{head}@"] if at else []), *reversed([each + at for each in prefixes])]
    return [*(f"{directory}/{name}.{kind}.d" for name in dict.fromkeys(names)), f"{directory}/{kind}.d"]


def _configurations(root: Path, directory: str) -> list[str]:
    try:
        found = sorted(path.name for path in inside(root, resolved(root, directory)).iterdir())
    except OSError:
        return []
    return [f"{directory}/{name}" for name in found if name.endswith(".conf")]


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _speaking_lines(root: Path, file: str, unit: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a unit file that name programs and files: key and value."""
    try:
        with inside(root, resolved(root, file)).open("rb") as opened:
            text = opened.read(_FILE_BYTES).decode(errors="replace")
    except OSError:
        return
    for line in text.replace("\\\n", " ").splitlines():
        if match := _SPEAKING.match(line):
            yield match[1], _expanded(match[2].strip(), unit)


def _expanded(value: str, unit: str) -> str:
    stem = unit.rpartition(".")[0]
    head, _, instance = stem.partition("@")
    known = {"i": instance, "I": instance.replace("-", "/"), "n": unit, "N": stem, "p": head, "%": "%"}
    known["j"] = head.rpartition("-")[2]
    return _SPECIFIER.sub(lambda match: known[match[1]], value)


def own_names(unit: str) -> frozenset[str]:
    """Return what a unit goes by, from its name alone: its stem, its template, its instance."""
    stem = unit.rpartition(".")[0] or unit
    head, _, instance = stem.partition("@")
    return frozenset(name for name in (stem, head, instance, head.removeprefix("systemd-")) if _is_telling(name))


def _started(said: Iterable[tuple[str, str]]) -> Iterator[str]:
    return (value for key, value in said if key.startswith("Exec") and value)


def _store_names(said: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the names of the store's entries that what is started comes from."""
    for value in _started(said):
        for path in _PATH.findall(value):
            if match := _STORE_NAME.match(entry_of(path)):
                yield match[1]


def _named_paths(said: Iterable[tuple[str, str]]) -> Iterator[str]:
    seen = set()
    for key, value in said:
        found = _PATH.findall(value)
        if key == "ConfigurationDirectory":
            found = [f"/etc/{name}" for name in value.split() if not name.startswith("/")]
        for path in (each.rstrip("/.") for each in found):
            if path.count("/") > 1 and path not in _WIDE and not path.startswith(_NOT_FILES) and path not in seen:
                seen.add(path)
                yield path


def _is_telling(name: str) -> bool:
    return len(name) >= _NAME_LEAST and name.lower() not in _GENERIC and not name.isdecimal()


def _words(name: str) -> tuple[str, ...]:
    return tuple(word for word in _WORD_END.split(name.lower()) if word)


def _akin(words: tuple[str, ...], own: tuple[str, ...]) -> bool:
    """Tell whether one name is in the other: ``own`` anywhere in ``words``, or ``words`` at the head of ``own``."""
    if not own:
        return False
    if any(words[start : start + len(own)] == own for start in range(len(words) - len(own) + 1)):
        return True
    return own[: len(words)] == words and _is_telling("-".join(words))
