"""How much a line matters: its level, its words, a rule, what is thought of its template, whether it was heard. Pure.

The words are weighed once, when a template is first seen (``weigh``); ``score`` adds up what is known when a line
comes. A score of ``FORWARDED`` and more is worth telling.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from ai_sysadmin.core.records import Judgement, Label
from ai_sysadmin.sources.levels import NO_LEVEL, level_and_rest

FORWARDED: Final = 50
"""A line with this score, or a higher one, is forwarded."""

SEVERE_PRIORITY: Final = 3
"""``err`` and worse (``crit``, ``alert``, ``emerg``) are symptoms."""

GRAVE: Final = 45
FAILING: Final = 30
DOUBTFUL: Final = 15

FORGOTTEN_AFTER: Final = timedelta(days=1)
"""A line that was told is told again after so long a silence, if that is long for it."""

_NOVEL = 20
_HEARD = -60
_BURST = 60
_MATTERS = 60
_LABELLED = 15
_MOST_MORE_WORDS = 10
_LEVEL_POINTS: Final = (75, 75, 65, 45, 20, 5, 0, 0, 0)
_LEVEL_NAMES: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "")
_SAID_HARMLESS: Final = 12
_MENDED: Final = 25

# --- words

_GRAVE_WORDS = (
    r"panic\w*",
    r"corrupt(?:ed|ion|s)?",
    r"out of memory",
    r"oom[- ]?kill\w*",
    r"segfault\w*|segmentation (?:fault|violation)",
    r"no space left",
    r"(?:disk|filesystem|file system|device|table|queue|pool|partition) (?:is )?full",
    r"i/o error|input/output error|medium error|(?<!user )data loss",
    r"read-only file ?system",
    r"traceback|stack trace|core dumped|double free|use[- ]after[- ]free|stack smashing",
    r"fatal(?:ly)?",
    r"uncorrect(?:able|ed)|unrecoverable|irrecoverable",
    r"lock ?up|deadlock(?:ed)?|hung task",
    r"machine check|hardware error|parity error|ecc error",
    r"power (?:failure|loss|lost)|overheat\w*|over[- ]?temperature|thermal shutdown",
    r"degraded|catastroph\w+",
    r"break-in|intrusion|compromised",
    r"emergency",
)
_FAILING_WORDS = (
    r"fail(?:ed|ure|ures|s|ing)?",
    r"err(?:or|ors|oneous)?",
    r"exceptions?",
    r"faults?|faulty|faulted",
    r"den(?:y|ied|ies)|forbidden|unauthori[sz]ed|not (?:permitted|allowed)",
    r"refus(?:ed|es|ing|al)",
    r"unable|cannot|can't|can ?not|couldn't|could not|won't",
    r"abort(?:ed|ing|s)?|crash(?:ed|es|ing)?|killed|died|dying|dead",
    r"terminated (?:abnormally|unexpectedly|by signal)|abnormal(?:ly)?",
    r"(?:over|under)(?:flow|run)(?:ed|s)?",
    r"violation|violated|illegal",
    r"time[ds]? ?-?out|timing out|deadline exceeded",
    r"unreachable|not responding|no response|unresponsive|no answer",
    r"expired",
    r"stuck|hang(?:s|ing)?|hung|stall(?:ed|s)?",
    r"broken|lost|losing|leak(?:ed|ing)?|damaged|crippled",
    r"check condition|exhaust(?:ed|ion)|insufficient|too many|exceed(?:ed|s)",
    r"no such|not found|does not exist|doesn't exist|not (?:enough|available|running|connected|valid)",
    r"reset by peer|connection reset|broken pipe",
    r"mismatch(?:ed)?|inconsisten\w+|malformed|unexpected(?:ly)?",
    r"conflict(?:s|ing)?|already in use",
    r"rejected|rejecting",
    r"bad|poison(?:ed)?|rogue",
    r"oops|bug|assert(?:ion)? (?:failed|failure)",
)
_DOUBTFUL_WORDS = (
    r"warn(?:ing|ings)?",
    r"retry(?:ing)?|retries|retrying|give up|giving up|gave up",
    r"slow|delayed|late|congest\w+|throttl\w+",
    r"invalid|unknown|unrecogni[sz]ed|missing|unsupported|deprecated",
    r"disconnect(?:ed)?|dropp?(?:ed|ing)|discard(?:ed|ing)?|interrupted|unavailable|down|skipp(?:ed|ing)|ignor(?:ed|ing)",
    r"reset|abandon(?:ed)?|alarm|critical|suspicious|strange|odd|limit",
)


def _words(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w./=-])(?:{'|'.join(patterns)})(?![\w/=-]|\.\w)", re.IGNORECASE)


_WEIGHTS: Final = (
    (GRAVE, _words(_GRAVE_WORDS)),
    (FAILING, _words(_FAILING_WORDS)),
    (DOUBTFUL, _words(_DOUBTFUL_WORDS)),
)
_COUNTED = (
    r"(?:errors?|failures?|failed|faults?|warnings?|exceptions?|timeouts?|retries|dropped|lost|denied|conflicts?)"
)
_HARMLESS = re.compile(
    rf"""
    \b(?:0|no|zero|without|any)\s+(?:\w+\s+)?{_COUNTED}\b
  | {_COUNTED}\s*[=:]\s*["']?(?:0|no|none|false|null|nil|ok)\b(?!\.\d)
  | \b{_COUNTED}\s+0\b
  | \bno\s+(?:such\s+)?(?:problem|issue)s?\b
  | \bnot\s+(?:an?\s+)?(?:error|failed|failure)\b
  | \bdoes\s+not\s+(?:fail|matter)\b
  | --[\w-]{{0,20}}{_COUNTED}[\w-]*
  | \bOn(?:Failure|Success)=\S*
  | {_COUNTED}[\w-]*\.(?:log|html?|php|txt|conf|js|css|png)\b
  | \b(?:error|err)[_-]?(?:log|page|handler|reporting|rate|count|code|level|correction)s?\b(?!\s*[=:]?\s*[1-9])
  | \bif\s+(?:it|this|that|any)\s+fails\b
  | \b(?:fail|failed)[ -]?(?:over|back|safe|fast|2ban)\w*
  | \bdead[ -]?(?:line|letter|peer)\w*
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MENDED_WORDS = re.compile(
    r"\b(?:recovered|corrected|succeeded|successful(?:ly)?|success|resolved|cleared|restored|fixed|healthy|completed"
    r"|normal|ok|passed|repaired|re-?established|reconnected)\b(?!\s+(?:by|with)\s+error)",
    re.IGNORECASE,
)
_NOT_MENDED = re.compile(
    r"\b(?:un|not |never |no )\s*(?:recovered|corrected|successful|success|normal|ok)", re.IGNORECASE
)


_FAULT_CLASS = re.compile(r"(?<![\w/])(?:\w{1,60}\.){0,9}(\w{2,60}(?:Exception|Error))\b(?!\.\w)")


class Weight(NamedTuple):
    """What a line's words say: points, the words that weigh, and the level they name."""

    points: int
    words: tuple[str, ...]
    level: int


def weigh(message: str) -> Weight:
    """Weigh a message's words."""
    level, rest = level_and_rest(message)
    text = _HARMLESS.sub(" ", rest)
    found: dict[str, int] = {}
    for points, pattern in _WEIGHTS:
        for match in pattern.findall(text):
            found.setdefault(match.lower(), points)
    for match in _FAULT_CLASS.findall(text):
        found.setdefault(match, FAILING)
    if not found:
        return Weight(0, (), level)
    heaviest = max(found.values())
    most = min(_MOST_MORE_WORDS, 5 * (sum(points >= FAILING for points in found.values()) - 1)) if len(found) > 1 else 0
    points = heaviest + max(0, most)
    if _MENDED_WORDS.search(text) and not _NOT_MENDED.search(text):
        points -= _MENDED
    if 5 < level < NO_LEVEL:
        points -= _SAID_HARMLESS
    weightiest = sorted(found, key=found.__getitem__, reverse=True)
    return Weight(max(0, points), tuple(weightiest[:3]), level)


# --- together


class Known(NamedTuple):
    """What is known of a line when it comes. ``severity`` is its rule's."""

    priority: int
    points: int = 0
    words: tuple[str, ...] = ()
    rule: str = ""
    severity: int = 0
    label: Label | None = None
    judgement: Judgement | None = None
    is_novel: bool = False
    is_heard: bool = False
    is_burst: bool = False


class Scored(NamedTuple):
    """How much a line matters, 0 to 100, and why, in words."""

    score: int
    why: tuple[str, ...]

    @property
    def forwarded(self) -> bool:
        return self.score >= FORWARDED


def score(known: Known) -> Scored:
    """Add up what is known of a line."""
    if known.judgement is Judgement.BENIGN:
        return Scored(0, ("judged benign",))
    points = _LEVEL_POINTS[known.priority] + known.points
    why = [f"priority {_LEVEL_NAMES[known.priority]}"] if known.priority <= 4 else []
    if known.words and known.points:
        why.append("says " + ", ".join(f"'{word}'" for word in known.words))
    if known.rule:
        points = max(points, known.severity, FORWARDED)
        why.append(f"rule {known.rule}")
    points, thought = _with_label(known, points)
    why += thought
    if known.judgement is Judgement.MATTERS:
        return Scored(min(100, points + _MATTERS), (*why, "judged to matter"))
    if known.is_burst:
        return Scored(min(100, points + _BURST), (*why, "burst"))
    if known.is_novel:
        points += _NOVEL
        why.append("unheard of")
    if known.is_heard:
        points += _HEARD
        why.append("told before")
    return Scored(max(0, min(100, points)), tuple(why))


def _with_label(known: Known, points: int) -> tuple[int, Sequence[str]]:
    """Return the points as the trigger model's label changes them; it hides no error and no rule's hit."""
    label = known.label
    if label is None:
        return points, ()
    if label.matters:
        raised = _LABELLED if label.severity >= FORWARDED else 0
        return points + raised, (f"labelled {label.category}",) if raised else ()
    if known.rule or known.priority <= SEVERE_PRIORITY:
        return points, ()
    return points - _LABELLED, (f"labelled {label.category}, harmless",)


def is_forgotten(silence: timedelta, usual: timedelta) -> bool:
    """Tell whether a line that was told before is news again after a silence, given how often it usually comes."""
    return silence >= max(FORGOTTEN_AFTER, 10 * usual)
