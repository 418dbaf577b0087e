"""The options of NixOS as its documentation lists them (options.json): parsed once, the essentials kept."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ai_sysadmin.core.errors import NotFound, Refused

CURRENT: Final = Path("/run/current-system/sw/share/doc/nixos/options.json")
MOST_BYTES: Final = 128 << 20
_SETTING: Final = "tools.options_file"
_DESCRIPTION: Final = 700
_VALUE: Final = 200
_TYPE: Final = 160
_DECLARATIONS: Final = 3
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_ATTRIBUTE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([^."]+)')


class Option(NamedTuple):
    """One option. What is long is cut; ``declared`` are the modules that declare it."""

    name: str
    type: str
    default: str
    example: str
    description: str
    declared: tuple[str, ...]
    is_read_only: bool = False


class NixosOptions:
    """Searches a file of options, which is read when it is first asked for, and again when it is another.

    Args:
        file: options.json or a directory in which it lies; none: the running system's.
    """

    def __init__(self, file: Path | None = None, root: Path = Path("/")) -> None:
        self._file = file
        self._root = root
        self._stamp: tuple[int, ...] = ()
        self._options: dict[str, Option] = {}

    def options(self) -> Mapping[str, Option]:
        """Return all options by name.

        Raises:
            Refused: there is no such file here, or it cannot be used.
        """
        path = Path(self._file or CURRENT)
        try:
            path = self._found()
            status = path.stat()
            stamp = status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
            if stamp == self._stamp:
                return self._options
            if status.st_size > MOST_BYTES:
                raise Refused(f"{path} has over {MOST_BYTES >> 20} MiB, which is no options.json: set {_SETTING}")
            text = path.read_text(errors="replace")
        except OSError as error:
            raise Refused(f"NixOS's options cannot be read: {path}: {error.strerror}") from error
        try:
            self._options = {name: _option(name, node) for name, node in _members(text)}
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise Refused(f"{path} is not NixOS's options.json ({error}): set {_SETTING}") from error
        self._stamp = stamp
        return self._options

    def _found(self) -> Path:
        if self._file is None:
            path = self._root / CURRENT.relative_to("/")
        else:
            path = self._file / "options.json" if self._file.is_dir() else self._file
            deeper = self._file / "share/doc/nixos/options.json"
            path = deeper if not path.exists() and deeper.exists() else path
        if path.exists() and path.suffix != ".br":
            return path
        packed = path if path.suffix == ".br" else path.with_suffix(".json.br")
        if packed.exists():
            raise Refused(f"{packed} is compressed with brotli, which is not read here: set {_SETTING} to options.json")
        raise Refused(
            f"there is no {path}: set {_SETTING} to NixOS's options.json (config.system.build.manual.optionsJSON)"
        )


def _members(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the members of a JSON object one by one: the whole of it parsed would take many times its size."""
    decoder = json.JSONDecoder()
    at = _past(text, 0)
    if text[at] != "{":
        raise ValueError("it is no JSON object")
    at = _past(text, at + 1)
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        at = _past(text, at)
        if text[at] != ":":
            raise ValueError(f"no value at character {at}")
        node, at = decoder.raw_decode(text, _past(text, at + 1))
        yield name, node
        at = _past(text, at)
        if text[at] == ",":
            at = _past(text, at + 1)


def _past(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _option(name: str, node: Mapping[str, Any]) -> Option:
    declared = tuple(_declaration(each) for each in node.get("declarations", ())[:_DECLARATIONS])
    return Option(
        name=name,
        type=_cut(_said(node.get("type", "")), _TYPE),
        default=_cut(_said(node.get("default", "")), _VALUE),
        example=_cut(_said(node.get("example", "")), _VALUE),
        description=_cut(" ".join(_said(node.get("description", "")).split()), _DESCRIPTION),
        declared=declared,
        is_read_only=bool(node.get("readOnly", False)),
    )


def _said(value: object) -> str:
    """Return a text as options.json holds it: plain, or with what kind of text it is."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("text"), str):
        return str(value["text"])
    return "" if value is None else json.dumps(value)


def _declaration(value: object) -> str:
    if isinstance(value, Mapping):
        value = value.get("name") or value.get("url") or ""
    said = str(value)
    return re.sub(r"^/nix/store/[^/]+/(?:nixpkgs/)?|^<nixpkgs/|>$", "", said)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 2]} …"


def found(options: Mapping[str, Option], query: str) -> Sequence[Option]:
    """Return the options that are meant, the best first: of that name, with it in theirs, with all words of it."""
    query = query.strip().removeprefix("config.").removeprefix("options.")
    if exact := options.get(query):
        return (exact, *_below(options, query))
    names = _attributes(query)
    if meant := [each for each in options.values() if len(names) > 1 and _is_meant(_attributes(each.name), names)]:
        return meant
    words = query.lower().split()
    scored = [(score, each) for each in options.values() if (score := _score(each, words))]
    if not scored:
        raise NotFound(f"no option of NixOS has all of {query!r} in its name or description: ask with fewer words")
    return [each for _, each in sorted(scored, key=lambda pair: (-pair[0], len(pair[1].name), pair[1].name))]


def _below(options: Mapping[str, Option], name: str) -> Iterator[Option]:
    return (each for each in options.values() if each.name.startswith(f"{name}."))


def _attributes(name: str) -> tuple[str, ...]:
    return tuple(match[1] if match[1] is not None else match[2] for match in _ATTRIBUTE.finditer(name))


def _is_meant(option: Sequence[str], names: Sequence[str]) -> bool:
    """Tell whether an attribute path is an option's, whose ``<name>`` and ``*`` stand for any attribute."""
    return len(option) == len(names) and all(
        mine == given or mine == "*" or (mine.startswith("<") and mine.endswith(">"))
        for mine, given in zip(option, names, strict=True)
    )


def _score(option: Option, words: Sequence[str]) -> int:
    """Return how well an option fits all of some words; 0: not."""
    name = option.name.lower()
    parts = set(name.split("."))
    description = ""
    score = 0
    for word in words:
        if word in parts:
            score += 6
        elif word in name:
            score += 4
        else:
            description = description or option.description.lower()
            if word not in description:
                return 0
            score += 1
    return 10 * score + (5 if words and name.endswith((f".{words[-1]}", ".enable")) else 0)
