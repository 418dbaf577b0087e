"""Judge batches of journal entries: no I/O, from entries to triggers.

    entries → triggers (log lines), what the manager said, candidates (units it calls failed)

Each line finds its template; a template's words are weighed and the rules matched when it is first seen. Rules and
bursts may open an incident; error lines and unheard-of bad ones support one. A candidate is confirmed later, when it
has stayed failed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, NamedTuple

from ai_sysadmin.context.redact import Redactor, shortened
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import JournalEntry, Judgement, Label, Symptom, Template, Trigger
from ai_sysadmin.trigger_monitor import rules
from ai_sysadmin.trigger_monitor.lines.bursts import Burst, Recent, add_line, bursts_in, seeded
from ai_sysadmin.trigger_monitor.lines.heard import Heard
from ai_sysadmin.trigger_monitor.lines.hits import victim_of
from ai_sysadmin.trigger_monitor.lines.masks import DIGITS_AWAY, LOOKED_AT
from ai_sysadmin.trigger_monitor.lines.mined import Grade, Mined, Source
from ai_sysadmin.trigger_monitor.lines.miner import Miner
from ai_sysadmin.trigger_monitor.lines.origins import Origin, Speaker, speaker_of
from ai_sysadmin.trigger_monitor.lines.rule_book import RuleBook
from ai_sysadmin.trigger_monitor.lines.scores import FORWARDED, Known, Scored, is_forgotten, score, weigh
from ai_sysadmin.trigger_monitor.quiet import in_maintenance, is_silenced
from ai_sysadmin.trigger_monitor.rules import SEVERE_PRIORITY, Said
from ai_sysadmin.trigger_monitor.units.failures import Candidate

NOVEL_SIGHTINGS: Final = 3
"""So often a line counts as unheard of."""

_MOST_ORIGINS = 4096
_MOST_TEXT = 500
_QUIET = Scored(0, ())
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Decided:
    """What a batch came to. ``candidates`` are the units that it leaves failed, ``said`` all that was said of units."""

    triggers: tuple[Trigger, ...]
    candidates: tuple[Candidate, ...]
    suppressed: int
    said: tuple[Said, ...] = ()


class Told(NamedTuple):
    """What one line came to, for those who ask line by line; no template: the manager or the suite itself spoke."""

    template: Mined | None
    scored: Scored


class Noticer:
    """Judges batch after batch, and keeps the templates."""

    MEMORY: ClassVar[str] = "noticer"

    def __init__(
        self,
        host: str,
        settings: Settings,
        *,
        now: datetime,
        templates: Iterable[Template] = (),
        waiting: Iterable[Symptom] = (),
        memory: str = "",
        nameless: str = "",
        has_learned: bool = False,
        redactor: Redactor | None = None,
    ) -> None:
        """Take up what was known before a restart.

        Args:
            now: without ``memory`` this is the first start: lines from before it make known templates.
            waiting: the symptoms without an incident, for bursts that are under way.
            nameless: what lines are about that name no writer (a log file that a person vouches for).
            has_learned: what is unheard of counts at once, whenever it was written.
            redactor: takes the secrets out of templates and triggers.
        """
        self._host = host
        self._settings = settings
        self._since = _EVER if has_learned else _since(memory) or now
        self._learned_at = _EVER if has_learned else self._since + timedelta(days=settings.learning_days)
        self._nameless = nameless
        self._book = RuleBook(settings.rules)
        self._burst = Burst(settings.burst_count, settings.burst_window_seconds)
        self._recent: Mapping[str, Recent] = seeded(waiting, self._burst)
        self._at_limit: set[str] = set()
        self._victims: dict[str, tuple[str, str]] = {}
        self._origins: dict[tuple[object, ...], Origin] = {}
        self._speakers: dict[str, Speaker] = {}
        self._redactor = redactor or Redactor()
        self._miner = Miner(self._graded, self._redactor)
        self._miner.seed(templates)

    def memory(self) -> str:
        """Return what the next start needs beside templates and waiting symptoms."""
        return json.dumps({"since": self._since.isoformat()})

    def hear(self, opinions: Mapping[str, tuple[Label | None, Judgement | None]]) -> None:
        """Take over labels and judgements by template id."""
        self._miner.hear(opinions)

    def changed(self, now: datetime) -> tuple[Template, ...]:
        """Return the templates to be kept with the next commit."""
        return self._miner.changed(now)

    def decide(self, batch: Sequence[JournalEntry], now: datetime, told: list[Told] | None = None) -> Decided:
        """Judge a batch; the counts of its ``severe_log`` triggers add up to the severe lines of watched subjects.

        Args:
            told: takes what each line came to, in order.
        """
        heard = Heard(self._at_limit)
        origins: dict[tuple[object, ...], Origin] = {}
        find, touch = self._miner.find, self._miner.touch
        for entry in batch:
            message = entry.message
            key = (id(entry.fields), entry.unit, entry.identifier, entry.transport)
            origin = origins.get(key)
            if origin is None:
                origin = origins[key] = self._origin(entry)
            if origin.is_own or ((entry.message_id or origin.is_manager) and heard.takes(entry, self._host)):
                if told is not None:
                    told.append(Told(None, _QUIET))
                continue
            cheap = message[:LOOKED_AT].translate(DIGITS_AWAY)
            mined = origin.source.seen.get(cheap)
            if mined is None:
                mined = find(origin.source, message, cheap, entry.at)
            mined.count += 1
            mined.last_at = entry.at
            if not mined.is_changed:
                touch(mined)
            if mined.is_quiet and entry.priority > SEVERE_PRIORITY and not origin.line_rules:
                scored = _QUIET
            else:
                scored = self._judge(entry, origin, mined, heard)
            if told is not None:
                told.append(Told(mined, scored))
        return self._decided(heard, now)

    # --- one line

    def _judge(self, entry: JournalEntry, origin: Origin, mined: Mined, heard: Heard) -> Scored:
        speaker, grade = origin.speaker, mined.grade
        priority = min(entry.priority, grade.level)
        if priority < mined.priority:
            mined.priority = priority
        if mined.count == 1 and entry.at < self._since:
            mined.known = True
        rule = grade.rule or self._rule_of(origin, mined, entry.message)
        if mined.judgement is Judgement.BENIGN or self._is_silenced(speaker, entry, rule):
            mined.is_quiet = mined.judgement is Judgement.BENIGN
            return _QUIET
        scored, is_news = self._scored(mined, entry, priority, rule)
        severe = priority <= SEVERE_PRIORITY
        own = not rule or self._hit(heard, rule, entry, speaker, priority, scored)
        if severe and own and speaker.is_watched:
            lines = add_line(heard.lines, mined, speaker.unit, speaker.about, entry.message, entry.at, priority)
            lines.may_open = speaker.may_open
        elif scored.forwarded and is_news and not rule and speaker.is_watched:
            heard.hits.add_news(mined, entry, speaker, priority, scored)
        if scored.forwarded:
            mined.shown += 1
            mined.shown_at = entry.at
        if speaker.is_kernel and mined is origin.source.other:
            mined.is_quiet = False
        return scored

    def _rule_of(self, origin: Origin, mined: Mined, message: str) -> str:
        """Return the rule that a line hits though its template was not made with it.

        The kernel's every line counts, also while there are too many different ones.
        """
        if mined is origin.source.other and origin.speaker.is_kernel:
            rule = self._book.match(message, origin.speaker.names, is_kernel=True)
            return rule.name if rule else ""
        return next((each.name for each in origin.line_rules if each.pattern.search(message)), "")

    def _scored(self, mined: Mined, entry: JournalEntry, priority: int, rule: str) -> tuple[Scored, bool]:
        """Return a line's score, and whether it is news: unheard of, or judged to matter."""
        is_novel = not mined.known and mined.count <= NOVEL_SIGHTINGS and entry.at >= self._learned_at
        known = Known(
            priority=priority,
            points=mined.grade.weight,
            words=mined.grade.words,
            rule=rule,
            severity=self._book[rule].severity if rule else 0,
            label=mined.label,
            judgement=mined.judgement,
            is_novel=is_novel,
            is_heard=mined.shown > 0 and not is_forgotten(entry.at - mined.shown_at, _usual_gap(mined)),
        )
        scored = score(known)
        if not (is_novel or rule or mined.shown or priority <= SEVERE_PRIORITY) and scored.score < FORWARDED:
            mined.is_quiet = True
        return scored, is_novel or mined.judgement is Judgement.MATTERS

    def _hit(
        self, heard: Heard, name: str, entry: JournalEntry, speaker: Speaker, priority: int, scored: Scored
    ) -> bool:
        """Count a rule's hit; return whether it is about its writer."""
        rule = self._book[name]
        subject = victim_of(rule, entry.message, self._victims) or (speaker.unit, speaker.about)
        own = subject == (speaker.unit, speaker.about)
        if any(subject):
            opens = rule.opens and speaker.may_open and entry.at >= self._since
            heard.hits.add(rule, subject, entry, priority, scored, opens=opens)
        return own

    def _is_silenced(self, speaker: Speaker, entry: JournalEntry, rule: str) -> bool:
        silences = self._settings.silences
        return bool(silences) and any(
            is_silenced(silences, name, entry.message, rule) for name in (*speaker.names, speaker.about) if name
        )

    # --- who speaks, and what a template says at first sight

    def _origin(self, entry: JournalEntry) -> Origin:
        fields = entry.fields
        key = (
            entry.unit,
            entry.identifier,
            entry.transport,
            fields.get("CONTAINER_NAME"),
            fields.get("_SYSTEMD_USER_UNIT"),
            fields.get("USER_UNIT"),
            fields.get("_SYSTEMD_SLICE") == rules.OWN_SLICE,
            "UNIT" in fields,
        )
        found = self._origins.get(key)
        if found is None:
            if len(self._origins) >= _MOST_ORIGINS:
                self._origins.clear()
                self._speakers.clear()
            speaker = speaker_of(entry, self._nameless)
            self._speakers.setdefault(speaker.source, speaker)
            source = self._miner.source(speaker.source, entry.at)
            line_rules = self._book.by_line(speaker.names)
            found = Origin(speaker, source, speaker.is_own, speaker.is_manager, line_rules)
            self._origins[key] = found
        return found

    def _graded(self, source: Source, message: str) -> Grade:
        speaker = self._speakers.get(source.name) or Speaker(source.name, names=(source.name,))
        weight = weigh(message)
        rule = self._book.match(
            message, speaker.names, is_kernel=speaker.is_kernel, is_anyone=speaker.is_nameless
        )  # fmt: skip
        return Grade(weight.points, weight.words, rule.name if rule else "", weight.level)

    # --- the batch

    def _decided(self, heard: Heard, now: datetime) -> Decided:
        opened, logged, self._recent = bursts_in(heard.lines, self._recent, self._host, self._burst, now)
        opened += heard.hits.triggers(self._host)
        return Decided(
            triggers=tuple(map(self._shown, (*(self._in_time(each, now) for each in opened), *logged, *heard.dropped))),
            candidates=tuple(heard.failed.values()),
            suppressed=heard.suppressed,
            said=tuple(heard.said),
        )

    def _shown(self, trigger: Trigger) -> Trigger:
        """Return a trigger with its line as it may be kept: without secrets, and then cut."""
        text = shortened(self._redactor.redact(trigger.text).text, _MOST_TEXT)
        return trigger if text == trigger.text else trigger.model_copy(update={"text": text})

    def _in_time(self, trigger: Trigger, now: datetime) -> Trigger:
        """Return a trigger as it counts now: in a maintenance window it opens nothing."""
        windows = self._settings.maintenance
        if (
            trigger.opens
            and windows
            and any(in_maintenance(windows, name, now) for name in {trigger.unit, trigger.about} - {""})
        ):
            return trigger.model_copy(update={"opens": False})
        return trigger


def _usual_gap(mined: Mined) -> timedelta:
    return (mined.last_at - mined.first_at) / max(1, mined.count)


def _since(memory: str) -> datetime | None:
    """Return the first start's moment; none: this is the first start, or the note cannot be read."""
    try:
        since = datetime.fromisoformat(json.loads(memory)["since"])
    except (ValueError, TypeError, KeyError):
        return None
    return since if since.tzinfo else since.replace(tzinfo=UTC)
