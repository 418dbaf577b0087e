"""What is asked of the executor: proposals, decisions over them, what would happen, to stop and to go on.

Nothing is done here. What may run is handed to ``life`` by its id; all else is written to the journal.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ai_sysadmin.actions.catalogue import AnyAction
from ai_sysadmin.actions.policy import Question, levels, rule
from ai_sysadmin.actions.protocol import DecideByKey, Explain, Explained
from ai_sysadmin.core.acting import (
    ActionRequest,
    ActionState,
    Approval,
    Decision,
    ExecutorEventKind,
    Outcome,
    Ruling,
    state_after,
)
from ai_sysadmin.core.errors import NotFound, Refused, Unavailable
from ai_sysadmin.executor.approvers import Approvers
from ai_sysadmin.executor.decide import Sight, check_by_key, check_by_operator, decide, forbidden_here
from ai_sysadmin.executor.entry import boottime as boottime
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.executor.locks import Locks
from ai_sysadmin.executor.looking import Looking, is_due
from ai_sysadmin.executor.room import Room

log = logging.getLogger(__name__)
CHANGED = "what it would run has changed since it was shown"
_SAID = {
    Decision.REFUSE: (ExecutorEventKind.REFUSED, "refused"),
    Decision.RECORD: (ExecutorEventKind.RECORDED, "only recorded"),
    Decision.ASK: (ExecutorEventKind.ASKED, "waits for a person"),
    Decision.RUN: (ExecutorEventKind.APPROVED, "runs alone"),
}


@dataclass(frozen=True)
class Me:
    """Who the executor runs as, and in which boot."""

    uid: int
    user: str
    boot_id: str


class Asking:
    """Takes proposals and decisions. ``due`` is called with the id of what may go on by itself."""

    def __init__(self, journal: Journal, looking: Looking, me: Me, due: Callable[[str], None]) -> None:
        self._journal = journal
        self._looking = looking
        self._settings = looking.host.settings
        self._clock = looking.host.clock
        self._me = me
        self._due = due
        self._approvers = Approvers(self._settings.policy)
        self._deciding = Locks()
        self._room = Room(journal)

    async def propose(self, request: ActionRequest) -> Entry:
        """Rule on a request; the same request again changes nothing. Raises: Refused, Unavailable."""
        async with self.only(request.id):
            known = await self._journal.get(request.id)
            if known is None:
                return await self._propose(request)
            if known.request.digest != request.digest:
                raise Refused(f"action {request.id} is known with other arguments")
            if is_due(known):
                self._due(request.id)
            return known

    def only(self, action_id: str) -> asyncio.Lock:
        """Return one action's lock. Decisions over it count one after the other, and what begins does so between them.

        One for each action: while a proposal is looked at, people go on deciding over the others.
        """
        return self._deciding.of(action_id)

    async def rule(self, entry: Entry) -> Entry:
        """Rule on an action whose preparation is over. Raises: Unavailable."""
        async with self.only(entry.request.id):
            return await self._ruled(entry, self._looking.action(entry))

    def forecast(self, action: AnyAction) -> Ruling:
        """Return what the policy says before anything is built, of the least risk that it may have."""
        return rule(self._question(action), self._settings.autonomy_level, self._settings.policy)

    async def ask(self, entry: Entry, ruling: Ruling, sight: Sight) -> Entry:
        """Let an action wait for a person that was to run alone, or that is not any more what was approved."""
        expires = boottime() + self._settings.executor.approval_expires_seconds
        waits = {"approval": None, "expires_boottime": expires, "boot_id": self._me.boot_id, "fault": ""}
        seen = {"ruling": ruling, **waits, **_shown(sight)}
        kind, said = _SAID[Decision.ASK]
        return await self.write(entry.model_copy(update=seen), kind, f"{said}: {ruling.reason}")

    async def approve(self, id_or_prefix: str, uid: int, user: str, digest: str = "") -> Entry:
        """Take an operator's yes to what has a digest that begins so. Raises: NotFound, Refused, Unavailable."""
        action_id = (await self._journal.find(id_or_prefix)).request.id
        async with self.only(action_id):
            entry = await self._journal.find(action_id)
            self._check_waits(entry)
            check_by_operator(entry.request, entry.digest, digest)
            return await self._approve(entry, uid, user)

    async def reject(self, id_or_prefix: str, user: str, why: str) -> Entry:
        """Take an operator's no, also to what may run and has not begun. Raises: NotFound, Refused."""
        action_id = (await self._journal.find(id_or_prefix)).request.id
        async with self.only(action_id):
            return await self._reject(await self._journal.find(action_id), user, why)

    async def decide_by_key(self, asked: DecideByKey, uid: int) -> Entry:
        """Take a yes or no that came with an API key. Raises: NotFound, Refused, Unavailable."""
        async with self.only(asked.id):
            keys, now = await self._journal.keys(), self._clock.now()
            by, key_id = self._approvers.identify(keys, asked.key, asked.identity, now)
            entry = await self._journal.get(asked.id)
            if entry is None:
                raise NotFound(f"there is no action {asked.id!r}; `ai-sysadmin actions` lists them")
            approves = asked.do == "approve_by_key"
            if approves:
                self._check_waits(entry)
            check_by_key(entry.request, entry.ruling, entry.digest, asked.digest, approves=approves)
            if not approves:
                return await self._reject(entry, by, asked.why)
            return await self._approve(entry, uid, by, key_id)

    async def withdraw(self, action_id: str, why: str) -> Entry:
        """Take a proposal back that still waits; anything else stays as it is. Raises: NotFound."""
        async with self.only(action_id):
            entry = await self._journal.get(action_id)
            if entry is None:
                raise NotFound(f"there is no action {action_id!r}")
            if entry.state is not ActionState.PENDING:
                return entry
            return await self.write(entry, ExecutorEventKind.WITHDRAWN, f"not needed any more: {why}")

    async def explain(self, asked: Explain) -> Explained:
        """Say what would happen to an action. Raises: Refused: the catalogue does not take it, Unavailable."""
        action = self._looking.checked(asked.name, asked.arguments)
        if action.preparation(()) is not None:
            asks = self._question(action)
            built = self.forecast(action)
            return Explained(
                name=action.name,
                arguments=asked.arguments,
                subject=action.subject,
                autonomy=self._settings.autonomy_level.value,
                ruling=built,
                levels=levels(asks, self._settings.policy),
                built_first=True,
            )
        sight = await self._looking.sight(action)
        rulings = {
            level.value: decide(sight, self._settings, asked.origin, autonomy=level)
            for level in type(self._settings.autonomy_level)
        }
        return Explained(
            name=action.name,
            arguments=asked.arguments,
            subject=action.subject,
            autonomy=self._settings.autonomy_level.value,
            ruling=rulings[self._settings.autonomy_level.value],
            levels=rulings,
            obstacle=sight.obstacle or "",
            warrant=sight.warrant or "",
            hold=sight.hold.why if sight.hold else sight.rest or "",
            breaker=sight.breaker or "",
            plan=sight.plan,
        )

    async def expire(self) -> None:
        """Once a second, end the proposals that have waited too long."""
        while True:
            try:
                for entry in await self._journal.waiting():
                    if self.has_expired(entry):
                        await self._expire(entry.request.id)
            except Unavailable as error:  # whoever decides now is told that it has expired all the same
                log.warning("nothing can expire: %s", error, extra={"event": "expiry_waits"})
            await asyncio.sleep(1)

    async def _expire(self, action_id: str) -> None:
        async with self.only(action_id):
            entry = await self._journal.find(action_id)
            if entry.state is ActionState.PENDING and self.has_expired(entry):
                await self.write(entry, ExecutorEventKind.EXPIRED, "nobody decided in time")

    def has_expired(self, entry: Entry) -> bool:
        return entry.boot_id != self._me.boot_id or boottime() >= entry.expires_boottime

    async def write(self, entry: Entry, kind: ExecutorEventKind, text: str, outcome: Outcome | None = None) -> Entry:
        """Write what has become of an action, and tell it."""
        at: datetime = self._clock.now()
        state = state_after(kind, outcome)
        changed = {"text": text, "outcome": outcome, "state": state}
        try:
            entry = await self._journal.record(entry.model_copy(update=changed), kind, at)
        finally:
            # what was prepared for it is let go; what may run is looked after, even where its line is not written yet
            if kind is ExecutorEventKind.APPROVED or (entry.told and state.ended):
                self._due(entry.request.id)
        said = {"event": f"action_{kind.value}", "action": entry.request.name, **ids(entry)}
        log.info("%s %s %s: %s", entry.request.name, entry.subject, kind.value, text, extra=said)
        return entry

    # --- what becomes of a proposal

    async def _propose(self, request: ActionRequest) -> Entry:
        self._check(request)
        action = self._looking.bound(request)
        await self._room.check(action.lane)
        entry = Entry(
            request=request,
            state=ActionState.PENDING,
            text="",
            ruling=Ruling(decision=Decision.ASK, risk=action.risks[0], reason="nothing was ruled yet"),
            boot_id=self._me.boot_id,
            expires_boottime=boottime() + self._settings.executor.approval_expires_seconds,
            subject=action.lane,
        )
        if action.preparation(()) is None:
            return await self._ruled(entry, action)
        ruling = self.forecast(action)  # what would never run is not built either
        if ruling.decision in {Decision.REFUSE, Decision.RECORD}:
            kind, said = _SAID[ruling.decision]
            return await self.write(entry.model_copy(update={"ruling": ruling}), kind, f"{said}: {ruling.reason}")
        entry = await self.write(entry, ExecutorEventKind.PREPARING, "what it comes to is being built")
        self._due(request.id)
        return entry

    async def _ruled(self, entry: Entry, action: AnyAction) -> Entry:
        sight = await self._looking.sight(action)
        ruling = decide(sight, self._settings, entry.request.origin, entry.request.ask)
        kind, said = _SAID[ruling.decision]
        expires = boottime() + self._settings.executor.approval_expires_seconds
        if ruling.decision is Decision.RUN and (line := self._forbidden(sight, ruling)):
            ruling = ruling.model_copy(update={"decision": Decision.REFUSE, "reason": line, "line": "executor.rights"})
            kind, said = _SAID[Decision.REFUSE]
        seen = {"ruling": ruling, "expires_boottime": expires, "boot_id": self._me.boot_id, **_shown(sight)}
        return await self.write(entry.model_copy(update=seen), kind, f"{said}: {ruling.reason}")

    async def _approve(self, entry: Entry, uid: int, by: str, key_id: str = "") -> Entry:
        sight = await self._looking.sight(self._looking.action(entry))
        if sight.obstacle is not None:
            await self.write(entry, ExecutorEventKind.REFUSED, f"refused: {sight.obstacle}")
            raise Refused(sight.obstacle)
        now = decide(sight, self._settings, entry.request.origin, entry.request.ask)
        if now.decision in {Decision.REFUSE, Decision.RECORD}:  # the policy has changed since it was asked
            raise Refused(f"no yes helps: {now.reason} ({now.line})")
        if (line := self._forbidden(sight, entry.ruling)) is not None:
            raise Refused(line)
        if has_changed(entry, sight):
            await self.ask(entry, entry.ruling.model_copy(update={"reason": CHANGED}), sight)
            raise Refused(f"{CHANGED}: look at it again before you decide")
        approval = Approval(
            action_id=entry.request.id, digest=entry.digest, by=by, uid=uid, at=self._clock.now(), key_id=key_id
        )
        # a yes stands as long as a question does: the wait for a switch does not use up what was left of that
        expires = boottime() + self._settings.executor.approval_expires_seconds
        entry = entry.model_copy(update={"approval": approval, "expires_boottime": expires})
        return await self.write(entry, ExecutorEventKind.APPROVED, f"approved by {by}")

    async def _reject(self, entry: Entry, by: str, why: str) -> Entry:
        if entry.state is not ActionState.APPROVED:
            self._check_waits(entry)
        said = f"rejected by {by}{f': {why}' if why else ''}"
        return await self.write(entry.model_copy(update={"approval": None}), ExecutorEventKind.REJECTED, said)

    def _forbidden(self, sight: Sight, ruling: Ruling) -> str | None:
        if sight.plan is None:
            return None
        by_polkit = self._settings.executor.rights == "polkit"
        return forbidden_here(self._me.uid, self._me.user, sight.plan, ruling.risk, by_polkit=by_polkit)

    def _question(self, action: AnyAction) -> Question:
        """Return what the policy is asked before anything is built: the least risk that it may have."""
        return Question(
            action=action.name,
            units=action.units,
            host=self._settings.host_name,
            risk=action.risks[0],
            warranted=True,
            at=self._clock.now(),
        )

    def _check_waits(self, entry: Entry) -> None:
        if entry.state is not ActionState.PENDING:
            raise Refused(f"action {entry.request.id} does not wait for anybody: it is {entry.state} ({entry.text})")
        if self.has_expired(entry):
            raise Refused(f"action {entry.request.id} has expired")

    def _check(self, request: ActionRequest) -> None:
        if not request.id.endswith(f"-{request.digest[:6]}"):
            raise Refused(f"action {request.id} does not carry the digest of its own arguments")
        if request.host != self._settings.host_name:
            raise Refused(f"action {request.id} is for {request.host}; this is {self._settings.host_name}")


def has_changed(entry: Entry, sight: Sight) -> bool:
    """Tell whether an action would run other commands than those that an approval holds for."""
    return bool(entry.bound) and _shown(sight)["bound"] != entry.bound


def _shown(sight: Sight) -> dict[str, object]:
    """Return what of a sight people see and approve."""
    binds = sight.plan is not None and sight.action.binds_commands
    return {"plan": sight.plan, "bound": sight.plan.run.commands if sight.plan and binds else ()}


def ids(entry: Entry) -> dict[str, str]:
    """Return what a log entry about an action is about."""
    return {"incident_id": entry.request.incident_id, "action_id": entry.request.id}
