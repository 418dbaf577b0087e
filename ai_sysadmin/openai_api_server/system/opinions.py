"""What people say: what a template is to them, and which fingerprints are to be still for a while."""

import fnmatch
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Judgement, Record, Symptom, Template
from ai_sysadmin.openai_api_server.system.views import Mutes, MuteView, Templates
from ai_sysadmin.stores import IncidentDetail, ReadStore, TemplateStore
from ai_sysadmin.stores.opinion_store import Mute, MuteStore

LONGEST_MUTE_SECONDS: Final = 30 * 86400
MOST_TEMPLATES: Final = 1000


class Judged(Record):
    """What a person finds a template to be; none takes an earlier judgement back."""

    judgement: Judgement | None


class Muting(Record):
    """A wish for silence. ``name`` is a fingerprint or an incident's id, or the beginning of one."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    seconds: Annotated[int, Field(ge=1, le=LONGEST_MUTE_SECONDS)]
    reason: Annotated[str, Field(max_length=200)] = ""


class Opinions:
    """The look-ups and changes behind ``/v1/system/templates`` and ``/v1/system/mutes``."""

    def __init__(self, reader: ReadStore, templates: TemplateStore, mutes: MuteStore, clock: Clock) -> None:
        self._reader = reader
        self._templates = templates
        self._mutes = mutes
        self._clock = clock

    # --- templates

    async def templates(self, source: str, unlabelled: bool, limit: int) -> Templates:
        """Return templates of a source (a glob), the latest seen first; ``known`` is how many there are in all."""
        every = await self._templates.templates()
        wanted = [
            template
            for template in every
            if fnmatch.fnmatchcase(template.source, source or "*") and not (unlabelled and template.label)
        ]
        return Templates(templates=tuple(wanted[: max(1, min(limit, MOST_TEMPLATES))]), found=len(wanted))

    async def template(self, template_id: str) -> Template:
        return await self._templates.template(template_id)

    async def judge(self, template_id: str, judged: Judged, by: str) -> Template:
        return await self._templates.judge(template_id, judged.judgement, by)

    # --- mutes

    async def mutes(self) -> Mutes:
        found = await self._mutes.mutes(self._clock.now())
        return Mutes(mutes=tuple([await self._view(mute) for mute in found]))

    async def mute(self, asked: Muting, by: str) -> Mutes:
        """Mute a fingerprint, or all those by which an incident opened. Raises: NotFound."""
        now = self._clock.now()
        made = []
        for symptom in await self._meant(asked.name):
            until = now + timedelta(seconds=asked.seconds)
            mute = Mute(fingerprint=symptom.fingerprint, until=until, by=by, reason=asked.reason, at=now)
            await self._mutes.mute(mute)
            made.append(MuteView.of(mute, symptom))
        return Mutes(mutes=tuple(made))

    async def unmute(self, name: str) -> Mutes:
        """End the mutes of a fingerprint, or of an incident's. Raises: NotFound."""
        now = self._clock.now()
        active = {mute.fingerprint: mute for mute in await self._mutes.mutes(now)}
        ended = [mute for fingerprint, mute in active.items() if fingerprint.startswith(name)]
        if len(ended) > 1 and name not in active:
            raise NotFound(f"more than one muted fingerprint begins with {name!r}: give more of it")
        if not ended and (incident := await self._incident(name)) is not None:
            ended = [active[each.fingerprint] for each in _opening(incident) if each.fingerprint in active]
        if not ended:
            raise NotFound(f"nothing that is muted goes by {name!r}: `ai-sysadmin mute --list` shows what is")
        for mute in ended:
            await self._mutes.mute(mute.model_copy(update={"until": now, "at": now}))
        return Mutes(mutes=tuple([await self._view(mute) for mute in ended]))

    async def _view(self, mute: Mute) -> MuteView:
        return MuteView.of(mute, next(iter(await self._mutes.held(mute.fingerprint)), None))

    async def _meant(self, name: str) -> Sequence[Symptom]:
        """Return the symptoms that a name means: one fingerprint, or all by which an incident opened."""
        held = await self._mutes.held(name)
        exact = [symptom for symptom in held if symptom.fingerprint == name]
        incident = None if exact else await self._incident(name)
        if incident is not None and (incident.incident.id == name or not held):
            return _opening(incident)
        if len(exact or held) == 1 and incident is None:
            return exact or held
        if held:
            raise NotFound(f"more than one fingerprint or incident begins with {name!r}: give more of it")
        text = f"no incident and no fingerprint begins with {name!r}: `ai-sysadmin incidents show ID` prints them"
        raise NotFound(text)

    async def _incident(self, name: str) -> IncidentDetail | None:
        try:
            return await self._reader.incident(name)
        except NotFound:
            return None


def _opening(detail: IncidentDetail) -> Sequence[Symptom]:
    """Return the symptoms that opened an incident. Raises: NotFound, it is part of another or holds none."""
    if detail.incident.merged_into:
        raise NotFound(f"{detail.incident.id} became part of {detail.incident.merged_into}: name that one")
    opening = [symptom for symptom in detail.symptoms if symptom.opens]
    if not opening:
        raise NotFound(f"incident {detail.incident.id} holds no fingerprint that opens anything")
    return opening
