"""Fit evidence into so many tokens: what matters most gets room first, what is stable stands first.

What matters: the unit's own state, what could not be looked up, what was noticed, what changed before, the log's newest
lines. These are measured, and of this incident. What follows explains them: dependencies, figures, what helped in the
past, what a runbook says, what host it is. A piece of less value gets room only once all those of more value stand
in the window, cut where they must be; of a log the oldest lines go first, of all else the last.

The order of the text is another: host, runbooks and the like come first, because they are the same from prompt to
prompt and a server's cache serves them.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from ai_sysadmin.context.defuse import fenced, for_model, one_line
from ai_sysadmin.core.records import Evidence, EvidenceKind, EvidencePack
from ai_sysadmin.llm_backend import TokenCount

Count = Callable[[str], Awaitable[TokenCount]]
"""Counts a text's tokens, as ``ModelServer.count_tokens`` does."""

MOST_COUNTS: Final = 12
"""So often a text is counted for one window at most; once where everything fits."""

_VALUE: Final[dict[EvidenceKind, float]] = {
    "unit_status": 3,
    "unavailable": 1,
    "symptoms": 3,
    "changes": 2,
    "unit_log": 6,
    "looked_up": 2,
    "dependencies": 1,
    "metrics": 1,
    "outcomes": 1,
    "past_incidents": 1,
    "runbooks": 1,
    "host": 0.5,
}
"""The kinds of evidence, the most valuable first, each with its share of a window that is too small."""

_ORDER: Final[tuple[EvidenceKind, ...]] = (
    "host",
    "runbooks",
    "past_incidents",
    "dependencies",
    "changes",
    "metrics",
    "outcomes",
    "unit_status",
    "unavailable",
    "symptoms",
    "unit_log",
    "looked_up",
)
_NEWEST_LAST: Final = frozenset({"unit_log"})

_BYTES_A_TOKEN: Final = 8
"""A text of more bytes than so many times the budget counts as too long, unasked: cutting more is always safe."""

_LOOKED_AT: Final = 32
"""So many characters of a piece are looked at for each token of the budget."""

_STEPS: Final = 24
_SIZES: Final = tuple(round(2 ** (step / _STEPS)) for step in range(31 * _STEPS))
_SHARED: Final = 0.75
_NOTE_SHARE: Final = 4
_MOST_OF_NOTE: Final = 600
_LEAST: Final = 40
_LEAST_OF_BACKGROUND: Final = 200
"""A runbook's first few words help nobody: of what only explains, so many bytes are kept, or none."""

_BACKGROUND: Final = frozenset({"dependencies", "metrics", "past_incidents", "runbooks", "host"})
_BETWEEN: Final = "\n\n"
_CUT: Final = " …"


@dataclass(frozen=True)
class LeftOut:
    """What of a piece is not in the window, in words."""

    id: str
    title: str
    what: str


@dataclass(frozen=True)
class Window:
    """The evidence as it goes into a prompt. ``kept`` are the pieces in it, also those in part, in its order."""

    text: str
    tokens: int
    exact: bool
    kept: tuple[str, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def unread(self) -> tuple[str, ...]:
        """Say what the model does not get to read."""
        return tuple(f"the model did not see all of {each.id} ({each.title}): {each.what}" for each in self.left_out)


async def fit(pack: EvidencePack, budget: int, count: Count) -> Window:
    """Return the window of at most so many tokens, as they are counted; empty where not even one piece fits.

    The same pack, budget and counts give the same window; a larger budget never keeps fewer pieces.
    """
    asked = _Asked(count, budget)
    pieces = _pieces(pack, budget * _LOOKED_AT)
    everything = _everything(pieces)
    if everything is not None and everything.size <= budget * _BYTES_A_TOKEN and await asked.fits(everything):
        return asked.window(everything)
    low, high = 0, len(_SIZES)
    while high - low > 1:  # always the same halving, whatever the budget, so that more room never comes to less
        middle = (low + high) // 2
        if await _is_within(pieces, _SIZES[middle], pack, asked):
            low = middle
        else:
            high = middle
    for room in (_SIZES[low], _SIZES[low] // 4):
        draft = _draft(pieces, room, pack.incident_id)
        if draft.kept and await asked.fits(draft):
            return asked.window(draft)
    return Window("", 0, True, (), tuple(LeftOut(each.id, each.title, each.all) for each in pieces))


async def _is_within(pieces: "Sequence[_Piece]", room: int, pack: EvidencePack, asked: "_Asked") -> bool:
    """Tell whether what so many bytes hold is within the budget: no token is shorter than a byte, few longer than 8."""
    if room <= asked.budget:
        return True
    return room <= asked.budget * _BYTES_A_TOKEN and await asked.fits(_draft(pieces, room, pack.incident_id))


@dataclass(frozen=True)
class _Draft:
    """A window that was not counted yet."""

    text: str
    kept: tuple[str, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def unread(self) -> tuple[str, ...]:
        """Say what the model does not get to read."""
        return tuple(f"the model did not see all of {each.id} ({each.title}): {each.what}" for each in self.left_out)

    @property
    def size(self) -> int:
        return len(self.text.encode())


@dataclass
class _Asked:
    """What was counted so far."""

    count: Count
    budget: int
    known: dict[str, TokenCount] = field(default_factory=dict)

    async def fits(self, draft: _Draft) -> bool:
        if draft.text and draft.text not in self.known:
            self.known[draft.text] = await self.count(draft.text)
        return not draft.text or self.known[draft.text].tokens <= self.budget

    def window(self, draft: _Draft) -> Window:
        counted = self.known.get(draft.text, TokenCount(0, exact=True))
        return Window(draft.text, counted.tokens, counted.exact, draft.kept, draft.left_out)


# --- pieces


@dataclass(frozen=True)
class _Piece:
    """A piece of evidence as it would stand in a prompt.

    ``ends`` are the sizes of its first (of a log: its last) one, two, … lines, in bytes; ``beyond`` is how many lines
    there are that were not looked at. ``share`` is its part of a window that is too small.
    """

    id: str
    title: str
    kind: EvidenceKind
    label: str
    lines: tuple[str, ...]
    ends: tuple[int, ...]
    beyond: int
    is_cut: bool
    share: float

    @property
    def frame(self) -> int:
        return len(fenced(self.label, "").encode()) + len(_BETWEEN)

    @property
    def full(self) -> int:
        return self.frame + self.ends[-1]

    @property
    def least(self) -> int:
        return self.frame + min(self.ends[-1], _LEAST_OF_BACKGROUND if self.kind in _BACKGROUND else _LEAST)

    @property
    def is_whole(self) -> bool:
        return not self.beyond and not self.is_cut

    @property
    def count(self) -> int:
        return len(self.lines) + self.beyond

    @property
    def all(self) -> str:
        return f"all {self.count:,} lines" if self.count > 1 else "its only line"

    def fenced(self, room: int) -> tuple[str, str]:
        """Return what stands of it in so many bytes, fenced, and what is then missing, in words."""
        number = bisect_right(self.ends, room - self.frame)
        if number == len(self.lines) and self.is_whole:
            return fenced(self.label, "\n".join(self.lines)), ""
        if not number:
            line = self.lines[-1] if self.kind in _NEWEST_LAST else self.lines[0]
            return fenced(self.label, _cut(line, room - self.frame)), self._missing(1, is_cut=True)
        kept = self.lines[-number:] if self.kind in _NEWEST_LAST else self.lines[:number]
        return fenced(self.label, "\n".join(kept)), self._missing(number, is_cut=self.is_cut and number == 1)

    def _missing(self, kept: int, *, is_cut: bool) -> str:
        which, end = ("oldest", "newest") if self.kind in _NEWEST_LAST else ("last", "first")
        gone = f"the {which} {self.count - kept:,} of {self.count:,} lines" if self.count > kept else ""
        cut = (f"the end of the {end} one" if gone else "the end of its only line") if is_cut else ""
        return " and ".join(filter(None, (gone, cut)))


def _pieces(pack: EvidencePack, most: int) -> list[_Piece]:
    """Return a pack's pieces, the most valuable first."""
    kinds = list(_VALUE)
    ranked = sorted(pack.pieces, key=lambda piece: kinds.index(piece.kind))
    total = sum(_VALUE[piece.kind] for piece in ranked)
    return [_piece(piece, most, _SHARED * _VALUE[piece.kind] / total) for piece in ranked]


def _piece(evidence: Evidence, most: int, share: float) -> _Piece:
    backwards = evidence.kind in _NEWEST_LAST
    looked_at, is_cut = _bounded(evidence.text, most, backwards=backwards)
    lines = [for_model(line) for line in looked_at.split("\n")]  # each alone: an escape sequence ends with its line
    sizes = [len(line.encode()) for line in (reversed(lines) if backwards else lines)]
    return _Piece(
        id=evidence.id,
        title=evidence.title,
        kind=evidence.kind,
        label=one_line(f"{one_line(evidence.id, 12)} {evidence.kind}: {evidence.title}", 100),
        lines=tuple(lines),
        ends=tuple(accumulate(sizes, lambda sofar, size: sofar + 1 + size)),
        beyond=evidence.text.count("\n") + 1 - len(lines),
        is_cut=is_cut,
        share=share,
    )


def _bounded(text: str, most: int, *, backwards: bool) -> tuple[str, bool]:
    """Return the whole lines of a text's end (or beginning), or the beginning of one; tell whether one was cut."""
    if len(text) <= most:
        return text, False
    if backwards:
        last = text.rfind("\n") + 1
        start = text.find("\n", len(text) - most) + 1
        return (text[start:], False) if 0 < start <= last else (text[last : last + most], len(text) - last > most)
    end = text.rfind("\n", 0, most + 1)
    return (text[:end], False) if end >= 0 else (text[:most], True)


def _cut(line: str, most: int) -> str:
    """Return a line of at most so many bytes; what is missing at its end is marked."""
    return line.encode()[: max(0, most - len(_CUT.encode()))].decode(errors="ignore") + _CUT if most >= 4 else ""


# --- put together


def _everything(pieces: Sequence[_Piece]) -> _Draft | None:
    """Return all pieces whole; none: there is more of one than was looked at."""
    if not all(piece.is_whole for piece in pieces):
        return None
    return _together([(piece, piece.full) for piece in pieces], (), 0, "")


def _draft(pieces: Sequence[_Piece], room: int, incident_id: str) -> _Draft:
    """Return the best window of so many bytes: every piece its share, the most valuable first, and then what is left.

    Pieces are given up from the least valuable on, and more room never gives up more of them.
    """
    if sum(piece.full for piece in pieces) <= room and (everything := _everything(pieces)) is not None:
        return everything
    for_note = min(_MOST_OF_NOTE, room // _NOTE_SHARE)
    left = room - for_note
    given: list[tuple[_Piece, int]] = []
    for piece in pieces:
        share = min(piece.full, max(piece.least, int(piece.share * room)))
        if piece.least > left:
            break
        given.append((piece, min(share, left)))
        left -= share
    left = room - for_note - sum(share for _, share in given)
    for index, (piece, share) in enumerate(given):
        more = min(max(0, left), piece.full - share)
        given[index] = piece, share + more
        left -= more
    return _together(given, pieces[len(given) :], for_note, incident_id)


def _together(given: Sequence[tuple[_Piece, int]], gone: Sequence[_Piece], for_note: int, incident_id: str) -> _Draft:
    texts: list[tuple[_Piece, str]] = []
    left_out: list[LeftOut] = []
    for piece, room in given:
        text, missing = piece.fenced(room)
        texts.append((piece, text))
        if missing:
            left_out.append(LeftOut(piece.id, piece.title, missing))
    left_out += (LeftOut(piece.id, piece.title, piece.all) for piece in gone)
    texts.sort(key=lambda each: _ORDER.index(each[0].kind))
    parts = [text for _, text in texts]
    if parts and left_out:
        parts.append(_note(left_out, for_note - len(_BETWEEN), incident_id))
    return _Draft(_BETWEEN.join(filter(None, parts)), tuple(piece.id for piece, _ in texts), tuple(left_out))


def _note(left_out: Sequence[LeftOut], most: int, incident_id: str) -> str:
    """Say in so many bytes what was left out, and where a person reads it (of an incident)."""
    handle = f"ai-sysadmin incidents show {incident_id} --evidence" if incident_id else ""
    said = "; ".join(f"{each.id}: {each.what}" for each in left_out)
    ids = ", ".join(each.id for each in left_out)
    whole = f"Left out for length: {said}." + (f" People read it with: {handle}" if handle else "")
    for note in (whole, f"Left out: {ids}" + (f" ({handle})" if handle else "")):
        safe = for_model(one_line(note, _MOST_OF_NOTE))
        if len(safe.encode()) <= most:
            return safe
    return _cut(for_model(one_line(f"Left out: {ids}", _MOST_OF_NOTE)), most)
