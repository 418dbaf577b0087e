"""Whatever happens on a host, in whatever order: no proposal waits twice, and no incident is forgotten."""

import random
from datetime import timedelta

import pytest

from ai_sysadmin.core.acting import ActionState, ExecutorEventKind, OutcomeKind
from ai_sysadmin.core.incident import State
from ai_sysadmin.core.records import Verdict
from ai_sysadmin.stores import Noticed
from tests.builders import NOW, PLACING, UNIT, investigation, pack, request, trigger
from tests.contracts.test_acting_stores import LEASE, Story, by_chat, claimed, judged, over

NEXT = {
    ActionState.PROPOSED: ["asked", "refused", "started", "preparing"],
    ActionState.SUBMITTED: ["asked", "approved", "recorded"],
    ActionState.PREPARING: ["asked", "approved"],
    ActionState.PENDING: ["approved", "rejected", "expired", "withdrawn"],
    ActionState.APPROVED: ["started", "refused"],
    ActionState.STARTED: ["ran"],
    ActionState.RAN: ["confirming", "reverting", "finished"],
    ActionState.CONFIRMING: ["finished"],
    ActionState.REVERTING: ["finished"],
}
"""What the executor may say next of an action in a state."""


class Chance:
    """A host on which anything happens in any order."""

    def __init__(self, stores, seed):
        self.stores = stores
        self.story = Story(stores)
        self.dice = random.Random(seed)
        self.now = NOW
        self.faults = 0

    async def step(self):
        self.now += timedelta(minutes=self.dice.randint(0, 90))
        what = [self.fault, self.judge, self.look, self.chat, self.tell, self.end]
        await self.dice.choices(what, weights=[3, 4, 1, 1, 3, 0.4])[0]()

    def wanted(self, incident_id):
        return request(
            incident_id, self.dice.choice(["restart_unit", "start_unit"]), self.dice.choice(["a.service", UNIT])
        )

    async def fault(self):
        self.faults += 1
        unit = self.dice.choice(["a.service", UNIT])
        given = {
            "unit": unit,
            "at": self.now,
            "template": str(self.faults),
            "details": {"invocation": str(self.faults)},
        }
        await self.stores.notices.commit(Noticed(None, triggers=[trigger(**given)]), PLACING)

    async def judge(self):
        held = await claimed(self.stores, self.now)
        if held is not None:
            verdict = self.dice.choice([Verdict.ACT, Verdict.ACT, Verdict.ESCALATE, Verdict.WATCH])
            wanted = [self.wanted(held.incident.id)] if verdict is Verdict.ACT else []
            await judged(self.stores, *wanted, now=self.now, verdict=verdict, claim=held)

    async def look(self):
        held = await self.stores.investigations.claim_investigation("m", lease=LEASE, now=self.now)
        if held is not None:
            found = investigation(incident_id=held.incident.id, at=self.now)
            wanted = [self.wanted(held.incident.id)] if self.dice.random() < 0.7 else []
            await self.stores.investigations.finish_investigation(held, pack(held.incident.id), found, wanted)

    async def chat(self):
        live = [each.incident.id for each in await self.stores.notices.live()]
        await self.stores.proposals.propose(by_chat(self.dice.choice(["", *live])))

    async def tell(self):
        under_way = [each for each in await self.stores.reader.actions() if not each.state.ended]
        if under_way:
            action = self.dice.choice(under_way)
            kind = self.dice.choice(NEXT[action.state])
            if kind == "finished":
                await self.story.ends(action.request, self.dice.choice(list(OutcomeKind)), at=self.now)
            else:
                await self.story(action.request, ExecutorEventKind(kind), at=self.now)

    async def end(self):
        live = [each.incident.id for each in await self.stores.notices.live()]
        if live:
            await over(self.stores, self.dice.choice(live), at=self.now)

    async def check(self):
        """Nothing waits twice, nobody is asked about nothing, nothing acts without an action, nothing is forgotten."""
        actions = [each for each in await self.stores.reader.actions() if not each.state.ended]
        digests = [each.request.digest for each in actions]
        assert len(set(digests)) == len(digests)
        for live in await self.stores.notices.live():
            detail = await self.stores.reader.incident(live.incident.id)
            under_way = [each for each in detail.actions if not each.state.ended]
            states = {each.state for each in under_way}
            counts = [each for each in under_way if not each.superseded_by]
            if detail.incident.state is State.AWAITING_APPROVAL:
                assert counts
            is_judged = detail.incident.reviewed_revision >= detail.incident.evidence_revision
            if detail.incident.state is State.OPEN and is_judged and detail.reviews[-1].verdict is Verdict.ACT:
                assert counts
            if detail.incident.state is State.ACTING:
                assert states & {ActionState(kind) for kind in ("started", "ran", "confirming", "reverting")}


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_nothing_waits_twice_and_nobody_is_asked_about_nothing(stores, seed):
    chance = Chance(stores, seed)
    for _ in range(200):
        await chance.step()
        await chance.check()
