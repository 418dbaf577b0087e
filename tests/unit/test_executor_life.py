"""One action from proposal to outcome, stopped at every step and taken up again: it never runs twice."""

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from ai_sysadmin.actions.protocol import ApprovalKey, DecideByKey
from ai_sysadmin.core.acting import Approval, OutcomeKind
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.settings import Autonomy
from ai_sysadmin.executor.asking import Me
from ai_sysadmin.executor.journal import Journal
from ai_sysadmin.openai_api_server.gate.keys import hash_of
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests import executing
from tests.builders import UNIT, request
from tests.executing import ROOT, Killed, failed_unit, settings_for


@asynccontextmanager
async def executor(tmp_path, systemd, autonomy=Autonomy.SUGGEST, me=ROOT, journal_type=Journal, **timing):
    settings = settings_for(autonomy, **timing)
    async with executing.executor(tmp_path, systemd, settings, me=me, journal_type=journal_type) as it:
        yield it.asking, it.journal


async def ended(journal, action_id):
    async with asyncio.timeout(5):
        while not (entry := await journal.find(action_id)).state.ended:
            await asyncio.sleep(0.01)
    return entry


async def test_a_failed_unit_is_restarted_after_a_persons_yes(tmp_path):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd) as (asking, journal):
        entry = await asking.propose(wanted)
        assert (entry.state, systemd.starts) == ("pending", [])
        await asking.approve(wanted.id[:4], 0, "root")
        entry = await ended(journal, wanted.id)
        assert (entry.state, entry.outcome.kind) == ("succeeded", OutcomeKind.SUCCEEDED)
        assert systemd.starts == [f"reset-failed {UNIT}", f"restart {UNIT}"]
        story = await journal.events("", 0, 100, 0)
        assert [event.kind for event in story] == ["asked", "approved", "started", "ran", "finished"]
        assert [event.sequence for event in story] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("autonomy", "state", "runs"),
    [
        (Autonomy.OBSERVE, "recorded", False),
        (Autonomy.SUGGEST, "pending", False),
        (Autonomy.AUTO_SAFE, "succeeded", True),
        (Autonomy.AUTO_FULL, "succeeded", True),
    ],
)
async def test_each_level_of_autonomy(tmp_path, autonomy, state, runs):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd, autonomy) as (asking, journal):
        entry = await asking.propose(wanted)
        if runs:
            entry = await ended(journal, wanted.id)
        assert entry.state == state
        assert bool(systemd.starts) is runs


async def test_a_forged_proposal_for_a_healthy_unit_does_not_run_alone(tmp_path):
    systemd = FakeSystemd()
    systemd.add(UNIT)
    async with executor(tmp_path, systemd, Autonomy.AUTO_SAFE) as (asking, _journal):
        assert (await asking.propose(request())).state == "pending"
        assert (await asking.propose(request(name="reset_failed_unit"))).state == "refused"
        assert systemd.starts == []


async def test_the_same_request_again_changes_nothing(tmp_path):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd) as (asking, journal):
        for _ in range(3):
            await asking.propose(wanted)
        assert len(await journal.events("", 0, 100, 0)) == 1


@pytest.mark.parametrize(
    "forged",
    [
        {"arguments": {"unit": "sshd.service"}},  # the id carries the digest of other arguments
        {"host": "elsewhere"},
        {"name": "run_shell"},
    ],
)
async def test_a_request_that_does_not_hold_together_is_refused(tmp_path, forged):
    async with executor(tmp_path, failed_unit()) as (asking, journal):
        with pytest.raises(Refused):
            await asking.propose(request().model_copy(update=forged))
        assert await journal.entries() == ()


async def test_an_approval_is_single_use_and_a_rejection_ends_it(tmp_path):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd) as (asking, journal):
        await asking.propose(wanted)
        await asking.reject(wanted.id, "root", "not now")
        with pytest.raises(Refused, match="rejected"):
            await asking.approve(wanted.id, 0, "root")
        with pytest.raises(NotFound):
            await asking.approve("zzzzzz", 0, "root")
        assert systemd.starts == []
        assert (await journal.find(wanted.id)).text == "rejected by root: not now"


async def test_what_is_mended_meanwhile_is_not_done_any_more(tmp_path):
    systemd, wanted = failed_unit(), request(name="reset_failed_unit")
    async with executor(tmp_path, systemd) as (asking, _journal):
        await asking.propose(wanted)
        systemd.add(UNIT)
        with pytest.raises(Refused, match="not failed"):
            await asking.approve(wanted.id, 0, "root")
        assert systemd.starts == []


async def test_an_approval_covers_no_more_than_the_person_saw(tmp_path):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd) as (asking, journal):
        await asking.propose(wanted)
        entry = await journal.find(wanted.id)
        assert entry.ruling.risk == "reversible"
        systemd.add(UNIT)  # it runs again: a restart would now disrupt it
        await asking.approve(wanted.id, 0, "root")
        entry = await ended(journal, wanted.id)
        assert (entry.state, systemd.starts) == ("refused", [])
        assert "has become disruptive" in entry.text


async def test_a_restart_that_does_not_hold_is_a_failure(tmp_path):
    systemd, wanted = failed_unit(stubborn={UNIT}), request()
    async with executor(tmp_path, systemd) as (asking, journal):
        await asking.propose(wanted)
        await asking.approve(wanted.id, 0, "root")
        entry = await ended(journal, wanted.id)
        assert entry.state == "failed"
        assert entry.outcome.post_check_passed is False


async def test_a_unit_that_dies_within_the_check_is_a_failure(tmp_path):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd, post_check_seconds=1.0) as (asking, journal):
        await asking.propose(wanted)
        await asking.approve(wanted.id, 0, "root")
        while (await journal.find(wanted.id)).state != "ran":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        systemd.add(UNIT)  # systemd's Restart= brought it back under a new invocation
        entry = await ended(journal, wanted.id)
        assert entry.state == "failed"
        assert "died" in entry.text


async def test_nobody_decides_in_time(tmp_path):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd, approval_expires_seconds=0.01) as (asking, journal):
        await asking.propose(wanted)
        assert (await ended(journal, wanted.id)).state == "expired"
        with pytest.raises(Refused):
            await asking.approve(wanted.id, 0, "root")


class SlowSystemd(FakeSystemd):
    """A systemd that takes its time to say how a unit is."""

    async def status(self, unit):
        await asyncio.sleep(0.05)
        return await super().status(unit)


async def test_a_yes_and_a_no_at_the_same_moment_are_one_decision(tmp_path):
    systemd, wanted = SlowSystemd(), request()
    systemd.add(UNIT, active="failed", result="exit-code")
    async with executor(tmp_path, systemd) as (asking, journal):
        await asyncio.gather(asking.propose(wanted), asking.propose(wanted))
        assert len(await journal.events("", 0, 100, 0)) == 1
        decided = await asyncio.gather(
            asking.approve(wanted.id, 0, "root"),
            asking.reject(wanted.id, "root", "no"),
            asking.approve(wanted.id, 0, "root"),
            return_exceptions=True,
        )
        is_yes, is_no, is_second_yes = (not isinstance(each, Refused) for each in decided)
        assert (is_yes, is_second_yes) == (True, False)
        entry = await ended(journal, wanted.id)
        # a no that came before it began takes the yes back; one that came after is refused
        assert (entry.state == "rejected") is is_no
        assert systemd.starts.count(f"restart {UNIT}") == (0 if is_no else 1)


async def test_an_action_that_falls_due_twice_is_lived_once(tmp_path):
    systemd, wanted = failed_unit(), request()
    settings = settings_for(Autonomy.AUTO_SAFE)
    async with executing.executor(tmp_path, systemd, settings, begins=False) as it:
        await it.asking.propose(wanted)  # before the loop takes up what is under way: it is told of this one twice
        it.begin()
        assert (await it.ended(wanted.id)).state == "succeeded"
        await asyncio.sleep(0.3)
        assert systemd.starts.count(f"restart {UNIT}") == 1
        assert [event.kind for event in await it.journal.events("", 0, 100, 0)].count("started") == 1


async def test_what_nobody_needs_any_more_is_taken_back_while_it_waits(tmp_path):
    systemd, wanted, other = failed_unit(), request(), request("other1")
    async with executor(tmp_path, systemd) as (asking, journal):
        await asking.propose(wanted)
        assert (await asking.withdraw(wanted.id, "it runs again")).state == "withdrawn"
        with pytest.raises(Refused, match="not needed any more: it runs again"):
            await asking.approve(wanted.id, 0, "root")
        await asking.propose(other)
        await asking.approve(other.id, 0, "root")
        assert (await asking.withdraw(other.id, "too late")).state != "withdrawn"
        assert (await ended(journal, other.id)).state == "succeeded"
        with pytest.raises(NotFound):
            await asking.withdraw("aaaaaa-000000", "never was")


async def test_without_root_it_says_the_line_that_could(tmp_path):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd, me=Me(1000, "ada", "boot1")) as (asking, journal):
        await asking.propose(wanted)
        with pytest.raises(Refused, match=f"runs as ada.*sudo systemctl restart -- {UNIT}"):
            await asking.approve(wanted.id, 1000, "ada")
        assert (await journal.find(wanted.id)).state == "pending"


# --- with a key


KEY = ApprovalKey(id="keyabc22", name="phone", hash=hash_of("sk-1"), by="root", at=datetime(2026, 1, 1, tzinfo=UTC))


def by_key(asked, do="approve_by_key"):
    return DecideByKey(do=do, id=asked.id, digest=asked.digest, key="sk-1")


@asynccontextmanager
async def approved_by_key(tmp_path, systemd):
    """Have an action approved with a key by an executor that does not run yet; give its journal and its asking."""
    wanted = request()
    async with executing.executor(tmp_path, systemd, begins=False) as it:
        await it.journal.register(KEY)
        await it.asking.propose(wanted)
        await it.asking.decide_by_key(by_key(wanted), 990)
        yield it.journal, it.asking, wanted
        it.begin()
        await it.ended(wanted.id)


async def test_a_key_revoked_before_the_action_begins_has_approved_nothing(tmp_path):
    systemd = failed_unit()
    async with approved_by_key(tmp_path, systemd) as (journal, _asking, wanted):
        await journal.revoke(KEY.id, "root", datetime.now(UTC))
    assert systemd.starts == []
    async with executor(tmp_path, systemd) as (_again, journal):
        entry = await journal.find(wanted.id)
        assert (entry.state, entry.text) == ("refused", "refused: key phone was revoked")


async def test_a_keys_yes_covers_no_more_than_was_seen(tmp_path):
    systemd = failed_unit()
    async with approved_by_key(tmp_path, systemd):
        systemd.add(UNIT)
    assert systemd.starts == []


async def test_a_yes_by_key_is_remembered_with_the_key_and_who_brought_it(tmp_path):
    async with approved_by_key(tmp_path, failed_unit()) as (journal, asking, wanted):
        approval = (await journal.find(wanted.id)).approval
        assert Approval.model_validate(approval.model_dump(exclude={"key_id"})).key_id == ""  # as it was once written
        assert (approval.by, approval.uid, approval.key_id) == ("key phone", 990, KEY.id)
        with pytest.raises(Refused, match="does not wait"):
            await asking.decide_by_key(by_key(wanted), 990)
        entry = await asking.decide_by_key(by_key(wanted, "reject_by_key"), 990)  # it has not begun
        assert (entry.state, entry.approval, entry.text) == ("rejected", None, "rejected by key phone")


async def test_a_key_decides_nothing_too_late(tmp_path):
    wanted = request()
    async with executor(tmp_path, failed_unit(), approval_expires_seconds=0.01) as (asking, journal):
        await journal.register(KEY)
        await asking.propose(wanted)
        await asyncio.sleep(0.02)
        with pytest.raises(Refused, match="expired"):
            await asking.decide_by_key(by_key(wanted), 990)


async def test_a_yes_and_a_no_by_key_at_the_same_moment_are_one_decision(tmp_path):
    systemd, wanted = SlowSystemd(), request()
    systemd.add(UNIT, active="failed", result="exit-code")
    async with executor(tmp_path, systemd) as (asking, journal):
        await journal.register(KEY)
        await asking.propose(wanted)
        decided = await asyncio.gather(
            *(asking.decide_by_key(by_key(wanted, f"{word}_by_key"), 990) for word in ("approve", "reject", "approve")),
            asking.approve(wanted.id, 0, "root"),
            return_exceptions=True,
        )
        is_yes, is_no, *others = (not isinstance(each, Refused) for each in decided)
        assert (is_yes, others) == (True, [False, False])
        assert ((await ended(journal, wanted.id)).state == "rejected") is is_no
        assert systemd.starts.count(f"restart {UNIT}") == (0 if is_no else 1)


# --- stopped at every step


class DyingJournal(Journal):
    """A journal whose process is killed before or after its n-th write."""

    dies_at: tuple[int, str] = (0, "")
    writes = 0

    async def record(self, entry, kind, at):
        DyingJournal.writes += 1
        if (DyingJournal.writes, "before") == DyingJournal.dies_at:
            raise Killed
        entry = await super().record(entry, kind, at)
        if (DyingJournal.writes, "after") == DyingJournal.dies_at:
            raise Killed
        return entry


class DyingSystemd(FakeSystemd):
    """A systemd whose caller is killed right after the action's unit has started."""

    dies = False

    async def start(self, unit_id, stage, about, calls=()):
        await super().start(unit_id, stage, about, calls)
        if self.dies:
            self.dies = False
            raise Killed


POINTS = [(write, when) for write in range(1, 6) for when in ("before", "after")]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point[1]}-write-{point[0]}")
@pytest.mark.parametrize("rebooted", [False, True], ids=["restart", "reboot"])
async def test_killed_at_every_write_it_ends_once(tmp_path, point, rebooted):
    systemd, wanted = failed_unit(), request()
    DyingJournal.dies_at, DyingJournal.writes = point, 0
    with suppress(Killed, BaseExceptionGroup, TimeoutError):
        async with executor(tmp_path, systemd, journal_type=DyingJournal) as (asking, journal):
            await asking.propose(wanted)
            await asking.approve(wanted.id, 0, "root")
            async with asyncio.timeout(0.5):
                await ended(journal, wanted.id)
    if rebooted:
        systemd.reboot()
    async with executor(tmp_path, systemd) as (asking, journal):
        entry = await asking.propose(wanted)
        if entry.state == "pending":
            with suppress(Refused):
                await asking.approve(wanted.id, 0, "root")
        entry = await ended(journal, wanted.id)
        assert systemd.starts.count(f"restart {UNIT}") <= 1
        assert entry.state in {"succeeded", "unknown"}
        if entry.state == "unknown":
            assert entry.outcome.post_check_passed == (systemd.units[UNIT].active_state == "active")
        numbers = [event.sequence for event in await journal.events("", 0, 100, 0)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert [event.kind for event in await journal.events("", 0, 100, 0)].count("finished") == 1


async def test_killed_after_the_start_it_re_adopts_what_runs(tmp_path):
    systemd, wanted = DyingSystemd(), request()
    systemd.add(UNIT, active="failed", result="exit-code")
    systemd.dies = True
    with suppress(Killed, BaseExceptionGroup, TimeoutError):
        async with executor(tmp_path, systemd) as (asking, journal):
            await asking.propose(wanted)
            await asking.approve(wanted.id, 0, "root")
            async with asyncio.timeout(0.5):
                await ended(journal, wanted.id)
    async with executor(tmp_path, systemd) as (_asking, journal):
        entry = await ended(journal, wanted.id)
        async with asyncio.timeout(5):  # it is released once the outcome is on record
            while systemd.actions:
                await asyncio.sleep(0.01)
    assert entry.state == "succeeded"
    assert systemd.starts.count(f"restart {UNIT}") == 1
    assert systemd.actions == {}  # released once the outcome was on record
