"""What the 1B model is asked of new templates: what such a line means, once a template and version of the prompt.

    templates without a label → chosen → one prompt for up to eight → reply → labels by number → store

What a reply leaves out, or says in no usable way, is asked once more by itself and then passed over for good.
Nothing waits for a label: it raises or lowers how much a template weighs, and hides nothing.
"""

import asyncio
import hashlib
import json
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.defuse import fenced, one_line
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.core.records import Label, Template
from ai_sysadmin.llm_backend import Completion, Message, ModelServer, PromptTooLong
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import NoteStore, TemplateStore
from ai_sysadmin.trigger_monitor.lines.mined import OTHER_LINES, OTHER_SOURCES
from ai_sysadmin.trigger_monitor.lines.scores import weigh

log = logging.getLogger(__name__)

SERVICE: Final = "labels"
WITHOUT_MODEL: Final = "new log templates are not labelled"
AT_ONCE: Final = 8
"""So many templates share one prompt."""
MOST_A_MINUTE: Final = 40
LOOKED_AT: Final = 64
LOOK_EVERY_SECONDS: Final = 5.0
HARMLESS_EVERY: Final = timedelta(hours=1)
"""How often fewer than ``AT_ONCE`` harmless templates are worth waking a model for."""
CALL_SECONDS: Final = 90.0
MOST_PAUSE_SECONDS: Final = 600.0

_PROMPT: Final = files(__package__).joinpath("prompt.md").read_text()
_TEXT_CHARACTERS: Final = 300
_WORDS: Final = 6
_TOKENS_EACH: Final = 90
_HARMLESS_PRIORITY: Final = 6
_MOST_PUT_OFF: Final = 1000
_LEVELS: Final = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")


class Category(StrEnum):
    ROUTINE = "routine"
    ACCESS = "access"
    SECURITY = "security"
    NETWORK = "network"
    STORAGE = "storage"
    MEMORY = "memory"
    HARDWARE = "hardware"
    CRASH = "crash"
    CONFIGURATION = "configuration"
    DEPENDENCY = "dependency"
    PERFORMANCE = "performance"
    OTHER = "other"


class Said(BaseModel):
    """What a model says of one template; in this order, so that it reads before it judges."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: Annotated[int, Field(ge=1, le=AT_ONCE)]
    category: Category
    summary: Annotated[str, Field(min_length=1, max_length=60)]
    matters: bool
    severity: Annotated[int, Field(ge=0, le=100)]


def reply_model(count: int) -> type[BaseModel]:
    """Return the shape of a reply about so many templates."""
    said = create_model("Said", __base__=Said, template=(Annotated[int, Field(ge=1, le=count)], ...))
    entries: Any = Annotated[tuple[said, ...], Field(min_length=count, max_length=count)]
    return create_model("Labels", labels=(entries, ...))


def _version_of(prompt: str) -> str:
    shape = json.dumps(schema_of(reply_model(AT_ONCE)), sort_keys=True)
    return hashlib.sha256(f"{prompt}\0{shape}".encode()).hexdigest()[:12]


PROMPT_VERSION: Final = _version_of(_PROMPT)
"""Names the prompt's words and the reply's shape: a label is asked for again only when one of them changes."""


# --- what is asked, and when. Pure


def is_urgent(template: Template) -> bool:
    """Tell whether a template is worth waking a model for: it has a level, or words of failure."""
    return template.priority < _HARMLESS_PRIORITY or _weight(template.example) > 0


@lru_cache(maxsize=1024)
def _weight(example: str) -> int:
    return weigh(example).points


def can_be_labelled(template: Template) -> bool:
    """Tell whether a template is one kind of line: not the rest of a source that shows too many."""
    others = OTHER_LINES in template.text or template.source == OTHER_SOURCES
    return template.count >= 1 and not others and any(character.isalnum() for character in template.text)


def choose(waiting: Sequence[Template], idle_for: timedelta, budget: int) -> tuple[Template, ...]:
    """Return the templates of the next prompt, out of those that wait (the most urgent and newest first).

    Harmless ones alone are worth it once they fill a prompt, or when nothing was asked ``idle_for`` an hour.
    """
    urgent = [template for template in waiting if is_urgent(template)]
    harmless = [template for template in waiting if not is_urgent(template)]
    if not urgent and len(harmless) < AT_ONCE and idle_for < HARMLESS_EVERY:
        return ()
    return tuple((urgent + harmless)[: min(AT_ONCE, budget)])


def prompt(templates: Sequence[Template]) -> tuple[Message, ...]:
    """Return what is asked about templates; what is always the same comes first, so that it is cached."""
    pieces = [
        fenced(f"{number} {one_line(each.source, 60)}, {_level(each.priority)}", one_line(each.text, _TEXT_CHARACTERS))
        for number, each in enumerate(templates, 1)
    ]
    return Message(role="system", content=_PROMPT), Message(role="user", content="\n".join(pieces))


def _level(priority: int) -> str:
    return _LEVELS[min(max(priority, 0), len(_LEVELS) - 1)]


def labels_in(completion: Completion, templates: Sequence[Template], now: datetime) -> Mapping[str, Label]:
    """Return the labels that a reply holds, by template id; what it says twice or in no usable way it does not say."""
    found: dict[int, Said | None] = {}
    for entry in _entries(completion.text):
        try:
            said = Said.model_validate(entry)
        except ValidationError:
            continue
        if said.template <= len(templates):
            found[said.template] = None if said.template in found else said
    usable = ((templates[number - 1], said) for number, said in found.items() if said and one_line(said.summary, 60))
    return {template.id: _label(said, completion.model, now) for template, said in usable}


def _entries(text: str) -> Sequence[object]:
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):  # a server that ignores schemas may answer with brackets only
        return ()
    entries = reply.get("labels") if isinstance(reply, dict) else None
    return entries if isinstance(entries, list) else ()


def _label(said: Said, model: str, now: datetime) -> Label:
    return Label(
        category=said.category.value,
        severity=said.severity,
        matters=said.matters,
        summary=" ".join(one_line(said.summary, 60).split()[:_WORDS]),
        model=model[:100],
        prompt_version=PROMPT_VERSION,
        at=now,
    )


# --- asking


@dataclass
class Labeller:
    """Has templates labelled, a few at a time. ``pause_seconds`` grows while the model says nothing usable."""

    store: TemplateStore
    model: ModelServer
    condition: Condition
    clock: Clock
    heart: Heartbeat
    pause_seconds: float = LOOK_EVERY_SECONDS
    _asked_at: deque[datetime] = field(default_factory=lambda: deque(maxlen=MOST_A_MINUTE))
    _last_at: datetime | None = None
    _is_away: bool = True
    _put_off: set[str] = field(default_factory=set)

    @classmethod
    def build(
        cls, store: TemplateStore, model: ModelServer, notes: NoteStore, clock: Clock, heart: Heartbeat
    ) -> "Labeller":
        """Return a labeller that notes its own condition."""
        return cls(store, model, Condition(SERVICE, notes, clock), clock, heart)

    async def label_forever(self) -> None:
        """Label templates as they come up. Raises: BackendUnavailable, StoreUnavailable."""
        self._last_at = self._last_at or self.clock.now()
        while True:
            if not await self.label_next() or self.pause_seconds > LOOK_EVERY_SECONDS:
                await asyncio.sleep(self.pause_seconds)

    async def label_next(self) -> bool:
        """Ask about the templates whose turn it is; tell whether there were any.

        Raises:
            BackendUnavailable: the model cannot be asked; its templates are asked about again later.
            StoreUnavailable: the store cannot.
        """
        chosen = await self._chosen()
        if not chosen:
            await self._see_whether_it_is_back()
            return False
        try:
            await self._keep(chosen, await self._ask(chosen))
        except BackendUnavailable as error:
            self._is_away = True
            self._put_off |= {template.id for template in chosen}  # one of them may be what the server fails on
            await self.condition.is_degraded(f"{error}; {WITHOUT_MODEL}")
            raise
        self._is_away = False
        self._last_at = self.clock.now()
        return True

    async def _see_whether_it_is_back(self) -> None:
        if self._is_away and (await self.model.health()).may_be_asked:
            self._is_away = False
            await self.condition.is_ok(self._labels)

    @property
    def _labels(self) -> str:
        return f"{self.model.name} model at {self.model.url} labels new log templates"

    async def _chosen(self) -> Sequence[Template]:
        now = self.clock.now()
        waiting = await self.store.unlabelled(LOOKED_AT, PROMPT_VERSION)
        odd = [template.id for template in waiting if not can_be_labelled(template)]
        if odd:
            await self.store.pass_over(odd, PROMPT_VERSION)
        budget = MOST_A_MINUTE - sum(asked > now - timedelta(minutes=1) for asked in self._asked_at)
        idle_for = now - (self._last_at or now)
        fit = [template for template in waiting if template.id not in odd]
        if len(self._put_off) > _MOST_PUT_OFF or all(template.id in self._put_off for template in fit):
            self._put_off.clear()
        ready = [template for template in fit if template.id not in self._put_off]
        return choose(ready, idle_for, budget)

    async def _keep(self, chosen: Sequence[Template], labels: Mapping[str, Label]) -> None:
        """Record labels; what the reply left out is asked about once more by itself, each."""
        await self.store.label(labels)
        missing = [template for template in chosen if template.id not in labels]
        alone = 0
        for template in missing:
            label = await self._ask([template])
            alone += len(label)
            if label:
                await self.store.label(label)
            else:
                await self.store.pass_over([template.id], PROMPT_VERSION)
        await self._account(len(chosen), len(labels) + alone)

    async def _account(self, asked: int, labelled: int) -> None:
        log.info(
            "labelled %d of %d templates", labelled, asked, extra={"event": "templates_labelled", "labelled": labelled}
        )
        if labelled:
            self.pause_seconds = LOOK_EVERY_SECONDS
            await self.condition.is_ok(self._labels)
        else:
            self.pause_seconds = min(self.pause_seconds * 2, MOST_PAUSE_SECONDS)
            unusable = f"{self.model.name} model at {self.model.url} says nothing usable of templates"
            await self.condition.is_degraded(f"{unusable}; {WITHOUT_MODEL}")

    async def _ask(self, templates: Sequence[Template]) -> Mapping[str, Label]:
        """Return what one prompt about templates came to. Raises: BackendUnavailable."""
        self._asked_at.extend([self.clock.now()] * len(templates))
        try:
            with self.heart.within(CALL_SECONDS + 30, "labels"):
                async with asyncio.timeout(CALL_SECONDS):
                    completion = await self.model.complete(
                        prompt(templates),
                        max_tokens=_TOKENS_EACH * len(templates) + 40,
                        schema=schema_of(reply_model(len(templates))),
                        temperature=0.0,
                    )
        except PromptTooLong as error:
            log.info("%s", error, extra={"event": "prompt_cut"})
            return {}
        except TimeoutError as error:
            raise BackendUnavailable(
                f"{self.model.name} model at {self.model.url} took longer than {CALL_SECONDS:.0f} s"
            ) from error
        return labels_in(completion, templates, self.clock.now())
