"""The prototype's entries as documents of our own knowledge. Pure."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from ai_sysadmin.core.knowledge import Document, DocumentKind
from ai_sysadmin.stores.prototype import Entry, Origin

_TITLE: Final = 200
_NAME: Final = 160
_FACT: Final = 300
_MOST_FACTS: Final = 60
_MOST_TEXT: Final = 256 << 10


class _Shape(NamedTuple):
    """What an origin's entries become. ``titles`` are the fields that name one, the best first; none: its key does.

    ``ends`` says, at the end of each document, what this is.
    """

    kind: DocumentKind
    folder: str
    titles: tuple[str, ...]
    ends: str


_ISSUE: Final = ("title", "summary", "issue", "problem", "description", "message")
_DECISION: Final = (
    "title", "summary", "overall_assessment", "assessment", "diagnosis", "analysis", "problem", "issue", "decision",
    "proposed_action", "command", "action", "description", "reasoning", "reason",
)  # fmt: skip
_ACTION: Final = ("proposed_action", "command", "action", "title", "action_type", "description", "diagnosis", "reason")

_SHAPES: Final[Mapping[Origin, _Shape]] = {
    Origin.SYSTEMS: _Shape(DocumentKind.SYSTEM, "systems", (), "A system, as the prototype knew it."),
    Origin.RELATIONSHIPS: _Shape(
        DocumentKind.DISCOVERY, "relationships", (), "How two systems depend on each other, as the prototype knew it."
    ),
    Origin.ISSUES: _Shape(DocumentKind.INCIDENT, "issues", _ISSUE, "An issue that the prototype kept."),
    Origin.DECISIONS: _Shape(DocumentKind.NOTE, "decisions", _DECISION, "What the prototype had decided."),
    # no configuration: what is of that kind is taken for what is set now, with its file and lines
    Origin.CONFIG_FILES: _Shape(
        DocumentKind.NOTE, "config-files", (), "A file of the configuration as the prototype read it: not as it is now."
    ),
    Origin.KNOWLEDGE: _Shape(
        DocumentKind.NOTE, "knowledge", ("topic", "title", "summary"), "What the prototype had learned."
    ),
    Origin.APPROVAL_QUEUE: _Shape(
        DocumentKind.NOTE,
        "proposals",
        _ACTION,
        "What the prototype had proposed. It has ended: it is no action of ours, and nothing of it ever runs.",
    ),
    Origin.ACTIONS_LOG: _Shape(DocumentKind.NOTE, "actions", _ACTION, "What the prototype's log of actions says."),
    Origin.DECISIONS_LOG: _Shape(
        DocumentKind.NOTE, "decisions-log", _DECISION, "What the prototype's log of decisions says."
    ),
    Origin.CLOSED_ISSUES: _Shape(DocumentKind.INCIDENT, "closed-issues", _ISSUE, "An issue that the prototype closed."),
}
_PREFIX: Final = {Origin.APPROVAL_QUEUE: "proposed: ", Origin.ACTIONS_LOG: "done or tried: "}


def kind_of(origin: Origin) -> DocumentKind:
    """Return what an origin's entries become."""
    return _SHAPES[origin].kind


def document_of(entry: Entry, source: str, otherwise: datetime) -> Document:
    """Return an entry as a document, always under the same name.

    Args:
        source: where documents of this import say that they come from.
        otherwise: the date of an entry that has none.
    """
    shape = _SHAPES[entry.origin]
    short = {name: value for name, value in entry.values.items() if len(value) <= _FACT and "\n" not in value}
    facts = dict(list(short.items())[:_MOST_FACTS])
    long = {name: value for name, value in entry.values.items() if name not in facts}
    return Document(
        kind=shape.kind,
        name=_name(shape.folder, entry.key),
        title=_title(entry, shape),
        text=_text(entry, long, shape.ends),
        source=source,
        facts={**facts, "prototype": entry.origin.value, "prototype_id": entry.key[:_FACT]},
        updated_at=entry.at or otherwise,
    )


def _name(folder: str, key: str) -> str:
    """Return a name of its own for every key: one that is long or not one line is cut, and told by a digest."""
    plain = " ".join(key.split())
    if plain != key or len(plain) > _NAME:
        plain = f"{plain[:_NAME]}-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"
    return f"prototype/{folder}/{plain}"


def _title(entry: Entry, shape: _Shape) -> str:
    named = _field(entry.values, shape.titles) if shape.titles else entry.key
    line = next((each.strip() for each in (named or entry.text).splitlines() if each.strip()), entry.key)
    line = " ".join(re.sub(r"^#+ ", "", line).split())
    return (_PREFIX.get(entry.origin, "") + line)[:_TITLE]


def _field(values: Mapping[str, str], names: tuple[str, ...]) -> str:
    """Return the first field of such a name, wherever it stands: the outermost first."""
    ordered = sorted(values, key=lambda each: each.count("."))
    found = (values[each] for name in names for each in ordered if each.rpartition(".")[2] == name)
    return next(found, "")


def _text(entry: Entry, long: Mapping[str, str], ends: str) -> str:
    """Return the text (without one, all fields), then the fields that are too long for facts, then what it is."""
    blocks = [entry.text.strip()] if entry.text.strip() else []
    shown = long if blocks else entry.values
    blocks += ["\n".join(f"{name}: {value}" for name, value in shown.items() if value.strip() not in entry.text)]
    body = "\n\n".join(block for block in blocks if block)
    if len(body) > _MOST_TEXT:
        body = f"{body[:_MOST_TEXT]}\n({len(body) - _MOST_TEXT} characters more are left out)"
    return f"{body}\n\n{ends}".lstrip("\n")
