"""Which log lines are alike: templates, mined line by line, in bounded memory and time whatever is written.

A line is looked up by three forms, each dearer than the last: without its digits (one dictionary), with what varies
masked (another), and by likeness to the templates of as many words and the same first word (a leaf of the tree). Only
a line that no form knows makes a template; how many a source may make, and how often it may have the tree searched,
is budgeted by the time of its entries. What it writes beyond that is one template, ``OTHER_LINES``.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from operator import eq
from typing import Final

from ai_sysadmin.context.redact import Redactor, shortened
from ai_sysadmin.core.records import Judgement, Label, Template
from ai_sysadmin.trigger_monitor.lines.masks import (
    DIGITS_AWAY,
    HEX_WORD,
    LOOKED_AT,
    WILDCARD,
    is_count,
    masked_words,
    with_zeros,
)
from ai_sysadmin.trigger_monitor.lines.mined import OTHER_LINES, OTHER_SOURCES, Bucket, Grade, Mined, Source

MOST_TEMPLATES: Final = 6000
MOST_OF_A_SOURCE: Final = 2000
MOST_SOURCES: Final = 1000
MOST_KEYS: Final = 20_000
"""So many cheap and masked forms are remembered over all sources; beyond it they are found again the dear way."""

_REDACTED: Final = 4 * LOOKED_AT
"""So much of a line has its secrets taken out, so that none is cut in two where a template's text ends."""

_LEAF: Final = 32
_NAMES: Final = 4
_PUNCTUATION: Final = "\"'()[]{},.:;!?"
_BEFORE_A_NAME: Final = frozenset(
    ("user", "by", "for", "from", "to", "on", "at", "host", "device", "interface", "process", "group", "of", "in")
)
_ALIKE: Final = 0.5
_CHANGED_AT_ONCE: Final = 300
_COUNTS_EVERY: Final = timedelta(minutes=1)


Grader = Callable[["Source", str], Grade]
"""Grades a line that is like no other of its source; called once a template, never once a line."""


class Miner:
    """All sources' templates."""

    def __init__(self, grader: Grader, redactor: Redactor | None = None) -> None:
        self._grader = grader
        self._redactor = redactor or Redactor()
        self._sources: dict[str, Source] = {}
        self._fresh_sources = Bucket(MOST_SOURCES, 1)
        self._count = 0
        self._keys = 0
        self._changed: list[Mined] = []

    def __len__(self) -> int:
        return self._count

    def templates(self) -> Iterable[Mined]:
        for source in self._sources.values():
            yield from source.templates.values()

    def source(self, name: str, at: datetime) -> Source:
        """Return a source by its name; one of too many is one of the ``OTHER_SOURCES``."""
        found = self._sources.get(name)
        if found is None:
            if not self._fresh_sources.take(at):
                name = OTHER_SOURCES
            elif len(self._sources) >= MOST_SOURCES:
                self._drop_idle_sources()
            found = self._sources.setdefault(name, Source(name))
        return found

    def find(self, source: Source, message: str, cheap: str, at: datetime) -> Mined:
        """Return the template of a line, a fresh one if it is like no other.

        Args:
            cheap: the line's ``cheap_form``, which ``source.seen`` does not hold.
        """
        head = message[:LOOKED_AT]
        shape = cheap.count(" "), cheap[: cheap.find(" ") + 1]
        bare = HEX_WORD.sub("", head).translate(DIGITS_AWAY)
        if bare != cheap:
            if (known := source.seen.get(bare)) is not None:
                return known
            cheap = bare
        if not source.searches.has(at) and (shape not in source.shapes or not source.tries.take(at)):
            return self.other(source, at)
        shown = self._redactor.redact(message[:_REDACTED]).text
        head = shortened(shown, LOOKED_AT)
        words = masked_words(head)
        text = " ".join(words)
        counts = is_count(text)
        if counts:
            words = with_zeros(head, words)
            text = " ".join(words)
        found = source.masked.get(text) or self._search(source, words, text, message, shown, at)
        if found is not source.other:
            if found.count:
                source.shapes.add(shape)
            if not counts:
                self._remember(source.seen, cheap, found)
        return found

    def touch(self, mined: Mined) -> None:
        """Note that a template has changed since it was last told; whoever counts a line of it calls this once."""
        mined.is_changed = True
        self._changed.append(mined)

    def changed(self, now: datetime) -> tuple[Template, ...]:
        """Return the templates that changed, to be kept: those told before at most once a minute each."""
        told: list[Template] = []
        waiting: list[Mined] = []
        for each in self._changed:
            if len(told) < _CHANGED_AT_ONCE and abs(now - each.reported_at) >= _COUNTS_EVERY:
                each.reported_at = now
                each.is_changed = False
                told.append(each.record())
            else:
                waiting.append(each)
        self._changed = waiting[-MOST_TEMPLATES:]
        return tuple(told)

    def seed(self, templates: Iterable[Template]) -> None:
        """Take up what was known before a restart, the latest seen first."""
        for each in templates:
            if self._count >= MOST_TEMPLATES:
                return
            source = self.source(each.source, each.last_at)
            if len(source.templates) < MOST_OF_A_SOURCE and each.id not in source.templates:
                self._add(source, self._revived(source, each))

    def hear(self, opinions: Mapping[str, tuple[Label | None, Judgement | None]]) -> None:
        """Take over labels and judgements by template id; a template that is not named has none."""
        for each in self.templates():
            heard = opinions.get(each.id, (None, None))
            if heard != (each.label, each.judgement):
                each.label, each.judgement = heard
                each.is_quiet = False

    # --- making and finding

    def _search(self, source: Source, words: list[str], text: str, message: str, shown: str, at: datetime) -> Mined:
        """Return the template of a line that is not known by its masked text; ``shown``: it, without secrets."""
        if not source.searches.take(at):
            return self.other(source, at)
        grade = self._grader(source, message)
        leaf = source.leaves.get(_place(words, grade), [])
        found = _likeliest(leaf, words)
        if found is not None:
            if found.words != words:
                found.widen(words)
        elif source.births.take(at):
            found = Mined(source.name, words, shown, grade, at)
            self._add(source, found)
        else:
            return self.other(source, at)
        self._remember(source.masked, text, found)
        return found

    def other(self, source: Source, at: datetime) -> Mined:
        """Return the template of a source's too many different lines."""
        if source.other is None:
            source.other = Mined(source.name, [OTHER_LINES], "", Grade(), at)
            self._count += source.other.id not in source.templates
            source.templates[source.other.id] = source.other
        return source.other

    def _add(self, source: Source, mined: Mined) -> None:
        if len(source.templates) >= MOST_OF_A_SOURCE:
            self._evict([source], MOST_OF_A_SOURCE // 10)
        elif self._count >= MOST_TEMPLATES:
            self._evict(self._sources.values(), MOST_TEMPLATES // 10)
        leaf = source.leaves.setdefault(_place(mined.words, mined.grade), [])
        if len(leaf) >= _LEAF:
            self._drop([source], [min(leaf, key=_worth)])
            leaf = source.leaves.setdefault(_place(mined.words, mined.grade), [])
        self._count += mined.id not in source.templates
        source.templates[mined.id] = mined
        leaf.append(mined)

    def _revived(self, source: Source, kept: Template) -> Mined:
        example, found = self._redactor.redact(kept.example)
        text = self._redactor.redact(kept.text).text if found else kept.text
        words = text.split(" ")
        mined = Mined(source.name, words, example, self._grader(source, kept.example), kept.first_at, kept.id)
        mined.priority, mined.count, mined.last_at, mined.known = kept.priority, kept.count, kept.last_at, kept.known
        mined.label, mined.judgement, mined.judged_by = kept.label, kept.judgement, kept.judged_by
        mined.reported_at = mined.shown_at = kept.last_at
        mined.shown = 1
        if WILDCARD not in words:
            self._remember(source.masked, text, mined)
        if kept.text == OTHER_LINES:
            source.other = mined
        if found:
            self.touch(mined)  # it was kept before there was the rule
        return mined

    def _remember(self, forms: dict[str, Mined], form: str, mined: Mined) -> None:
        if self._keys >= MOST_KEYS:
            for source in self._sources.values():
                source.seen.clear()
                source.masked.clear()
                source.shapes.clear()
            self._keys = 0
        forms[form] = mined
        self._keys += 1

    # --- forgetting

    def _evict(self, sources: Iterable[Source], number: int) -> None:
        """Forget templates: what was seen once first, then what was not seen for longest; judged ones last."""
        sources = tuple(sources)
        every = [each for source in sources for each in source.templates.values() if each is not source.other]
        self._drop(sources, sorted(every, key=_worth)[:number])

    def _drop(self, sources: Iterable[Source], gone: Iterable[Mined]) -> None:
        dropped = {each.source: set[str]() for each in gone}
        for each in gone:
            dropped[each.source].add(each.id)
        for source in sources:
            if source.name in dropped:
                before = len(source.templates)
                source.forget(dropped[source.name])
                self._count -= before - len(source.templates)

    def _drop_idle_sources(self) -> None:
        """Forget the tenth of all sources that have the fewest lines."""
        lines = {name: sum(each.count for each in source.templates.values()) for name, source in self._sources.items()}
        for name in sorted(lines, key=lines.__getitem__)[: MOST_SOURCES // 10]:
            self._count -= len(self._sources.pop(name).templates)


def _worth(mined: Mined) -> tuple[bool, bool, datetime]:
    return mined.judgement is not None, mined.count > 1 or mined.known, mined.last_at


def _place(words: list[str], grade: Grade) -> tuple[object, ...]:
    """Return the leaf of the tree where templates of so many words, begun so and graded so, stand."""
    first = words[0] if words else ""
    return len(words), WILDCARD if "<" in first else first, grade.family


def _likeliest(leaf: Iterable[Mined], words: list[str]) -> Mined | None:
    """Return the template that shares most words with a line, if it is enough; wildcards share none.

    Where a plain word stands against another one, they are only alike once several such templates are there: it is
    then a name that varies, and not one of a few things that may happen.
    """
    found, most, loose = None, 0, []
    for each in leaf:
        shared = sum(map(eq, each.words, words))
        if shared < _ALIKE * len(words):
            continue
        if _says_otherwise(each.words, words):
            loose.append((shared, each))
        elif shared > most or found is None:
            found, most = each, shared
    if found is None and len(loose) >= _NAMES:
        found = max(loose, key=lambda each: each[0])[1]
    return found


def _says_otherwise(template: list[str], words: list[str]) -> bool:
    before = ""
    for one, other in zip(template, words, strict=True):
        if one != other and one != WILDCARD and _plain(one) and _plain(other) and before not in _BEFORE_A_NAME:
            return True
        before = other.lower()
    return False


def _plain(word: str) -> bool:
    return word.strip(_PUNCTUATION).isalpha()
