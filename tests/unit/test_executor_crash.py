"""The executor killed between any two writes: of its journal, of the audit, to systemd. In memory; see tests/system."""

import asyncio

import pytest

from ai_sysadmin.core.errors import Refused, StoreUnavailable
from ai_sysadmin.core.settings import Autonomy
from ai_sysadmin.executor import life, room
from ai_sysadmin.executor.audit import Audit
from ai_sysadmin.executor.holds import Hold, HoldKind
from ai_sysadmin.executor.journal import Journal
from tests.dying import (
    DONE,
    ENDS,
    REBOOTED,
    SAID,
    STAGES,
    WHAT,
    Point,
    Systemd,
    begun,
    deeds,
    events_of,
    killed_at,
    lines_of,
    lived,
    running,
    tear,
    told,
    turn,
    until,
)

POINTS = [
    *((what, kind, when) for what in WHAT for kind in SAID[what] for when in ("unwritten", "untold", "torn", "told")),
    *(("built", "kept", when) for when in ("unwritten", "told")),
    *((what, stage, when) for what in WHAT for stage in STAGES[what] for when in ("unbegun", "begun")),
]


@pytest.fixture
def systemd():
    return Systemd(
        programs={
            "turn": lambda argv: (0, f"turned {argv[1]}\n"),
            "probe": lambda argv: (1 if argv[1] == "broken" else 0, ""),
            "make": lambda argv: (0, f"made {argv[1]}\n"),
        }
    )


def is_unproved(at):
    return at in {("started", "untold"), ("started", "torn"), ("started", "told"), ("run", "unbegun")}


@pytest.mark.parametrize("at", POINTS, ids="-".join)
async def test_killed_anywhere_it_goes_on_as_if_nothing_had_been(tmp_path, systemd, at):
    what, wanted = at[0], turn(at[0])
    await killed_at(tmp_path, systemd, wanted, Point(*at[1:]))
    async with running(tmp_path, systemd) as it:
        entry = await lived(it, wanted, systemd)
        said = await events_of(it)
    if is_unproved(at[1:]):
        assert (entry.state, deeds(systemd)) == ("unknown", [])
        assert said == [*SAID[what][: SAID[what].index("ran")], "finished"]
    else:
        assert (entry.state, deeds(systemd)) == (ENDS[what], DONE[what])
        assert said == SAID[what]
    assert told(tmp_path) == said


@pytest.mark.parametrize("at", [at for at in POINTS if at[2] not in {"untold", "torn"}], ids="-".join)
async def test_killed_anywhere_and_rebooted_nothing_is_done_twice(tmp_path, systemd, at):
    what, wanted = at[0], turn(at[0])
    await killed_at(tmp_path, systemd, wanted, Point(*at[1:]))
    systemd.reboot()
    done = deeds(systemd)
    async with running(tmp_path, systemd, me=REBOOTED) as it:
        entry = await lived(it, wanted, systemd)
        said = await events_of(it)
    # what a person approved before the reboot is not done after it: nobody knows how long ago that was
    begun = "started" in told(tmp_path)
    assert entry.state in {"expired", "unknown", "failed", ENDS[what]}
    assert not begun or entry.state != "expired"
    if at[1] in {"asked", "approved"} and at[2] != "unwritten":
        assert (entry.state, deeds(systemd)) == ("expired", [])
    elif begun and done:
        assert deeds(systemd) == done
    assert len(deeds(systemd)) == len(set(deeds(systemd)))
    assert sum(each in {"finished", "refused", "expired"} for each in said) == 1
    assert told(tmp_path) == said


@pytest.mark.parametrize(
    ("what", "started"), [("plain", "turn on"), ("built", "make 0"), ("kept", "probe kept"), ("broken", "turn back")]
)
async def test_a_unit_that_runs_when_the_executor_is_killed_is_waited_for(tmp_path, systemd, what, started):
    systemd.delay = 0.15
    point, wanted = Point(), turn(what)
    async with running(tmp_path, systemd, point) as it:
        proposing = asyncio.create_task(begun(it, wanted))
        await until(lambda: started in systemd.starts)
        point.dead = True
        proposing.cancel()
    assert any([(await systemd.look(unit)).running for unit in systemd.actions])
    async with running(tmp_path, systemd) as it:
        assert (await lived(it, wanted, systemd)).state == ENDS[what]
        assert await events_of(it) == SAID[what] == told(tmp_path)
    assert deeds(systemd) == DONE[what]
    assert systemd.starts.count("make 0") <= 1


async def test_killed_while_a_switch_holds_it_up_it_still_waits_for_that(tmp_path, systemd):
    switch = Hold(kind=HoldKind.PASSES, why="the NixOS configuration is being switched")
    point, wanted = Point(), turn("plain")
    async with running(tmp_path, systemd, point) as it:
        it.holds.hold = switch
        await begun(it, wanted)
        await asyncio.sleep(0.02)
        point.dead = True
    async with running(tmp_path, systemd, begins=False) as it:
        it.holds.hold = switch
        it.begin()
        await asyncio.sleep(0.1)
        assert (await it.journal.find(wanted.id)).state == "approved"
        assert systemd.starts == []
        it.holds.hold = None
        assert (await lived(it, wanted, systemd)).state == "succeeded"
        assert await events_of(it) == SAID["plain"] == told(tmp_path)
    assert deeds(systemd) == DONE["plain"]


async def test_killed_while_it_mends_the_audit_it_mends_that_as_well(tmp_path, systemd):
    wanted = turn("plain")
    await killed_at(tmp_path, systemd, wanted, Point("ran", "torn"))
    journal = Journal(tmp_path, it_audit := Audit(tmp_path))
    await journal.open()
    await journal.close()
    assert it_audit.head.number == 5
    tear(it_audit.path)  # the line of the event
    lines = lines_of(tmp_path)[:-1]
    it_audit.path.write_bytes(b"".join([*lines[:-1], lines[-1][:50]]))  # and of the repair itself
    async with running(tmp_path, systemd) as it:
        assert (await lived(it, wanted, systemd)).state == "succeeded"
        assert await events_of(it) == SAID["plain"] == told(tmp_path)


# --- what a crash leaves that was approved, or could not be written down


async def test_an_approval_that_lay_too_long_while_the_executor_was_away_is_not_used(tmp_path, systemd):
    wanted = turn("plain")
    async with running(tmp_path, systemd, begins=False, approval_expires_seconds=0.2) as it:
        await it.asking.propose(wanted)
        await it.asking.approve(wanted.id, 0, "root")
    await asyncio.sleep(0.2)
    async with running(tmp_path, systemd) as it:
        entry = await lived(it, wanted, systemd)
        assert (entry.state, entry.text) == ("expired", "its approval has expired: ask again")
    assert systemd.starts == []


async def test_what_was_to_run_alone_before_a_reboot_can_still_be_approved_after_it(tmp_path, systemd):
    wanted = turn("plain")
    async with running(tmp_path, systemd, begins=False, autonomy=Autonomy.AUTO_FULL) as it:
        await it.asking.propose(wanted)
    async with running(tmp_path, systemd, begins=False, autonomy=Autonomy.AUTO_FULL, me=REBOOTED) as it:
        it.holds.hold = Hold(kind=HoldKind.PERSON, why="somebody is at it")
        it.begin()
        async with asyncio.timeout(5):
            while (entry := await it.journal.find(wanted.id)).state != "pending":
                await asyncio.sleep(0.005)
        assert not it.asking.has_expired(entry)
        assert (await lived(it, wanted, systemd)).state == "succeeded"


async def test_as_many_as_may_be_under_way_are_all_taken_up(tmp_path, systemd, monkeypatch):
    monkeypatch.setattr(room, "MOST_UNDER_WAY", 3)
    every = [turn(f"plain{number}") for number in range(3)]
    async with running(tmp_path, systemd, begins=False, autonomy=Autonomy.AUTO_FULL) as it:
        for wanted in every:
            await it.asking.propose(wanted)
        with pytest.raises(Refused, match="3 actions wait or are under way"):
            await it.asking.propose(turn("plain9"))
    async with running(tmp_path, systemd, autonomy=Autonomy.AUTO_FULL) as it:
        for wanted in every:
            assert (await it.ended(wanted.id)).state == "succeeded"


@pytest.fixture
def unwritable(tmp_path, monkeypatch):
    """Return two functions: one has no line be written to the audit, one has them be written again."""
    monkeypatch.setattr(life, "RETRY_SECONDS", 0.02)
    audit, aside = tmp_path / "audit.jsonl", tmp_path / "aside"

    def away():
        if audit.exists():
            audit.rename(aside)
        audit.mkdir()

    def back():
        audit.rmdir()
        if aside.exists():
            aside.rename(audit)

    return away, back


async def test_while_the_audit_cannot_be_written_nothing_is_said_twice(tmp_path, systemd, unwritable):
    away, back = unwritable
    wanted = turn("kept")
    async with running(tmp_path, systemd, post_check_seconds=0.2) as it:
        await begun(it, wanted)
        await until(lambda: "probe kept" in systemd.starts)
        away()
        await asyncio.sleep(0.4)  # longer than the post-check
        assert (await events_of(it))[-1] == "confirming"
        assert "turn for-good" not in systemd.starts
        back()
        assert (await lived(it, wanted, systemd)).state == "succeeded"
        assert await events_of(it) == SAID["kept"] == told(tmp_path)
    assert deeds(systemd) == DONE["kept"]


async def test_what_was_approved_without_its_line_goes_on_once_that_is_written(tmp_path, systemd, unwritable):
    away, back = unwritable
    wanted = turn("plain")
    async with running(tmp_path, systemd) as it:
        await it.asking.propose(wanted)
        away()
        with pytest.raises(StoreUnavailable, match="audit"):
            await it.asking.approve(wanted.id, 0, "root")
        await asyncio.sleep(0.1)
        assert systemd.starts == []
        back()
        entry = await it.ended(wanted.id)
        # whether it was begun cannot be told from what was written
        assert (entry.state, deeds(systemd)) in [("succeeded", DONE["plain"]), ("unknown", [])]
        await until(lambda: told(tmp_path)[-1:] == ["finished"])
        assert await events_of(it) == told(tmp_path)


async def test_what_was_to_run_alone_without_its_line_goes_on_when_it_is_proposed_again(tmp_path, systemd, unwritable):
    away, back = unwritable
    wanted = turn("plain")
    async with running(tmp_path, systemd, autonomy=Autonomy.AUTO_FULL) as it:
        away()
        with pytest.raises(StoreUnavailable, match="audit"):
            await it.asking.propose(wanted)
        back()
        await it.asking.propose(wanted)
        assert (await it.ended(wanted.id)).state == "succeeded"
        assert systemd.starts == ["turn on"]
