"""What a person reads: names and ids, and what to do. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

from ai_sysadmin.core.clock import local
from ai_sysadmin.core.notification_settings import Occasion
from ai_sysadmin.core.records import Record
from ai_sysadmin.notifications import TEST, Notice
from ai_sysadmin.notifications.pacing import by_urgency

MOST_LISTED: Final = 12
_MOST_OWED_LISTED: Final = 30
_MOST_NAME: Final = 100
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9 _.:@/\\+-]+")
_LINK: Final = re.compile(r":/{2,}")

Tone = Literal["info", "success", "warning", "failure"]

_SAID: Final[dict[Occasion, str]] = {
    "needs_person": "needs you",
    "acted": "was mended by an action",
    "reverted": "an action did not help and was taken back",
    "resolved": "is well again",
    "suite_trouble": "ai-sysadmin itself is in trouble",
}
_TONES: Final[dict[Occasion, Tone]] = {
    "needs_person": "warning",
    "acted": "success",
    "reverted": "warning",
    "resolved": "success",
    "suite_trouble": "failure",
}


class Message(Record):
    """One message, the same for every address."""

    title: str
    body: str
    tone: Tone = "info"


def message_of(notices: Sequence[Notice], link: str = "") -> Message:
    """Return the message about these notices: one in full, several as a summary."""
    return _one(notices[0], link) if len(notices) == 1 else _summary(notices, link)


def catching_up(messages: Sequence[Message]) -> Message:
    """Return one message in place of several that an address is owed; a single one stays as it is."""
    if len(messages) == 1:
        return messages[0]
    lines = [f"{len(messages)} messages did not reach you:"]
    lines += [f"- {message.title}" for message in messages[-_MOST_OWED_LISTED:]]
    lines += _beyond(len(messages) - _MOST_OWED_LISTED)
    tone: Tone = "warning" if any(message.tone in {"warning", "failure"} for message in messages) else "info"
    return Message(title=f"{len(messages)} messages of ai-sysadmin", body="\n".join(lines), tone=tone)


def name(text: str) -> str:
    """Return a name as it may stand in a message: short, plain letters, nothing that is a link or markup."""
    plain = _LINK.sub(":", _NOT_IN_NAME.sub("?", text)).strip()
    return plain if len(plain) <= _MOST_NAME else plain[: _MOST_NAME - 3] + "..."


def _one(notice: Notice, link: str) -> Message:
    host, unit = name(notice.host), name(notice.unit)
    if notice.unit == TEST:
        return Message(title=f"[{host}] a test of ai-sysadmin", body=f"host: {host}\nNothing is wrong: this is a test.")
    what = "look: ai-sysadmin doctor"
    if notice.incident_id:
        what = f"look: ai-sysadmin incidents show {name(notice.incident_id)}"
    lines = [f"host: {host}", f"unit: {unit}", f"kind: {name(notice.kind)}"]
    lines += [f"incident: {name(notice.incident_id)}"] if notice.incident_id else []
    lines += [f"at: {local(notice.at)}", what, *([link] if link else [])]
    return Message(title=_title(notice), body="\n".join(lines), tone=_TONES[notice.occasion])


def _title(notice: Notice) -> str:
    host, unit, said = name(notice.host), name(notice.unit), _SAID[notice.occasion]
    about = f" ({name(notice.incident_id)})" if notice.incident_id else ""
    if notice.occasion in {"suite_trouble", "reverted"}:
        return f"[{host}] {said}: {unit}{about}"
    return f"[{host}] {unit} {said}{about}"


def _summary(notices: Sequence[Notice], link: str) -> Message:
    ordered = by_urgency(notices)
    counts = Counter(notice.occasion for notice in ordered)
    lines = [f"{_SAID[occasion]}: {count}" for occasion, count in counts.items()]
    lines.append("")
    lines += [f"- {_title(notice)} {name(notice.kind)}" for notice in ordered[:MOST_LISTED]]
    lines += [*_beyond(len(ordered) - MOST_LISTED), "look: ai-sysadmin incidents", *([link] if link else [])]
    title = f"[{name(ordered[0].host)}] {len(ordered)} notices were held back"
    return Message(title=title, body="\n".join(lines), tone=_TONES[ordered[0].occasion])


def _beyond(more: int) -> list[str]:
    return [f"and {more} more"] if more > 0 else []
