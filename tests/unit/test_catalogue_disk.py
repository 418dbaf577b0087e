"""Making room: what goes, what stays whoever asks, and what a hostile directory cannot bring about."""

import os
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ai_sysadmin.actions.catalogue.disk_space import DiskSeen, FreeDiskSpace, steps_taken
from ai_sysadmin.actions.catalogue.fullness import Room
from ai_sysadmin.actions.catalogue.journal_space import JournalFile, JournalSeen, VacuumJournal, given_up
from ai_sysadmin.actions.catalogue.nix_garbage import GarbageSeen
from ai_sysadmin.actions.catalogue.temporary_paths import CleanTemporaryPath, Directory, TemporarySeen, cleaning
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.sources.nix_profiles import NumberedSystem, SystemProfile
from tests.acting import NOW, host_at

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
MACHINE = "0123456789abcdef0123456789abcdef"
JOURNAL = f"var/log/journal/{MACHINE}"
MIB = 1 << 20


def archived(number: int) -> str:
    return f"system@{'ab' * 16}-{number:016x}-{number:016x}.journal"


def journal_file(root: Path, name: str, last: datetime, mtime: datetime | None = None, size: int = MIB) -> None:
    place = root / JOURNAL / name
    place.parent.mkdir(parents=True, exist_ok=True)
    head = bytearray(256)
    head[:8] = b"LPKSHHRH"
    struct.pack_into("<Q", head, 192, int(last.timestamp() * 1e6))
    place.write_bytes(bytes(head) + b"x" * (size - 256))
    at = (mtime or last).timestamp()
    os.utime(place, (at, at))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Four archived files of 1 MiB whose last entries are 9, 7, 5 and 1 days old, and the active one."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text(MACHINE + "\n")
    for number, days in enumerate((9, 7, 5, 1), 1):
        journal_file(tmp_path, archived(number), NOW - timedelta(days=days))
    journal_file(tmp_path, "system.journal", NOW)
    return tmp_path


def deleted(plan) -> list[str]:
    (argv,) = plan.run.commands
    assert argv[:3] == ("rm", "-f", "--")
    return [Path(each).name for each in argv[3:]]


@pytest.mark.parametrize(
    ("keep_days", "keep_since", "gone"),
    [
        (2, None, [1, 2, 3]),
        (6, None, [1, 2]),
        (2, NOW - timedelta(days=8), [1]),
        (2, NOW + timedelta(days=900), [1, 2, 3]),  # an argument cannot undercut the days of the settings
        (8, NOW - timedelta(days=1), [1]),
    ],
)
async def test_only_archived_files_that_end_before_what_stays_are_given_up(journal, keep_days, keep_since, gone):
    host = host_at(journal, {"journal_keep_megabytes": 1, "journal_keep_days": keep_days})
    action = VacuumJournal.model_validate({"keep_since": keep_since.isoformat()} if keep_since else {})
    seen = await action.observe(host)
    assert action.obstacle(seen) is None
    assert action.risk(seen) is Risk.DESTRUCTIVE
    plan = action.plan(seen)
    assert deleted(plan) == [archived(number) for number in gone]
    assert plan.run.sandbox.writable == (f"/{JOURNAL}",)
    assert plan.run.sandbox.capabilities == ()


async def test_the_journal_is_not_made_smaller_than_what_is_kept(journal):
    action = VacuumJournal()
    roomy = await action.observe(host_at(journal, {"journal_keep_megabytes": 100}))
    assert "keeps 100.0 MiB" in (action.obstacle(roomy) or "")
    seen = await action.observe(host_at(journal, {"journal_keep_megabytes": 4}))
    assert len(deleted(action.plan(seen))) == seen.total_bytes // MIB - 4 + bool(seen.total_bytes % MIB)


async def test_of_both_times_of_a_file_the_one_that_keeps_more_holds(journal):
    journal_file(journal, archived(1), last=NOW, mtime=NOW - timedelta(days=50))
    journal_file(journal, archived(2), last=NOW - timedelta(days=50), mtime=NOW)
    (journal / JOURNAL / archived(3)).write_bytes(b"not a journal")
    seen = await VacuumJournal().observe(host_at(journal, {"journal_keep_megabytes": 1}))
    assert VacuumJournal().obstacle(seen) is not None


async def test_names_that_journald_does_not_give_are_never_deleted(journal):
    for name in ("x.journal", f"system@{'a' * 32}.journal", "$(reboot)@.journal", "user-1000.journal"):
        journal_file(journal, name, NOW - timedelta(days=100))
    seen = await VacuumJournal().observe(host_at(journal, {"journal_keep_megabytes": 1}))
    assert deleted(VacuumJournal().plan(seen)) == [archived(number) for number in (1, 2, 3)]


async def test_files_that_are_still_there_fail_the_check(journal):
    host = host_at(journal, {"journal_keep_megabytes": 1})
    action = VacuumJournal()
    before = await action.observe(host)
    assert archived(1) in (action.shortfall(before, await action.observe(host)) or "")
    for name in deleted(action.plan(before)):
        (journal / JOURNAL / name).unlink()
    assert action.shortfall(before, await action.observe(host)) is None


async def test_a_journal_in_memory_only_is_an_obstacle(journal):
    (journal / "run/log").mkdir(parents=True)
    (journal / "var/log/journal").rename(journal / "run/log/journal")
    action = VacuumJournal()
    assert "keeps no journal" in (action.obstacle(await action.observe(host_at(journal))) or "")


async def test_what_was_observed_can_be_kept_and_read(journal):
    action = VacuumJournal()
    seen = await action.observe(host_at(journal))
    assert action.read(seen.model_dump(mode="json")) == seen


FILES = st.lists(
    st.builds(
        JournalFile,
        name=st.integers(0, 10**6).map(archived),
        bytes=st.integers(0, 10**9),
        newest=MOMENTS,
        is_archived=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda each: each.name,
)


@given(
    FILES,
    st.integers(0, 10**10),
    MOMENTS,
    st.none() | st.integers(0, 10**10),
)
def test_nothing_young_or_active_goes_and_never_one_file_more_than_needed(files, keep, line, enough):
    gone = given_up(files, keep, line, enough)
    assert all(each.is_archived and each.newest < line for each in gone)
    if gone:
        without_last = sum(each.bytes for each in gone[:-1])
        assert sum(each.bytes for each in files) - without_last > keep
        assert enough is None or without_last < enough


@pytest.mark.parametrize(
    "keep_since", ["yesterday", "2026-11-22", "2026-11-22T12:00:00", "", "--all", "1d", "2026-11-22T12:00:00Z; reboot"]
)
def test_a_time_without_an_offset_or_none_at_all_is_refused(keep_since):
    with pytest.raises(ValidationError):
        VacuumJournal.model_validate({"keep_since": keep_since})


@pytest.mark.parametrize(
    "path",
    [
        "tmp",
        "",
        "/tmp/../etc",
        "/tmp/",
        "//tmp",
        "/tmp/*",
        "/tmp/%b",
        "/tmp/a b",
        "/tmp\n",
        "/tmp/\n/etc",
        "/tmp/./x",
        "-",
    ],
)
@pytest.mark.parametrize("entry", [CleanTemporaryPath, FreeDiskSpace])
def test_a_path_is_nothing_but_a_path(entry, path):
    with pytest.raises(ValidationError):
        entry.model_validate({"path": path})


@pytest.mark.parametrize(("at_percent", "is_warranted"), [(1, True), (100, False)])
def test_it_is_warranted_by_a_full_file_system_alone(at_percent, is_warranted):
    room = Room(path="/", at_percent=at_percent, until_percent=0, total_bytes=1000, free_bytes=500)
    seen = JournalSeen(directory="", files=(), keep_bytes=1, line=NOW, room=room)
    assert (VacuumJournal().warrant(seen) is not None) is is_warranted
    assert VacuumJournal().warrant(seen.model_copy(update={"room": room.model_copy(update={"unknown": "x"})})) is None


# --- several steps -------------------------------------------------------------------------------------------


def room(used: int, total: int = 100 * MIB) -> Room:
    return Room(
        path="/",
        mount_point="/",
        total_bytes=total,
        free_bytes=total - used,
        at_percent=90,
        until_percent=80,
        device="1:1",
    )


def disk(used: int, steps: tuple[str, ...], old_bytes: int = 0) -> DiskSeen:
    files = tuple(
        JournalFile(name=archived(number), bytes=4 * MIB, newest=NOW - timedelta(days=10 - number), is_archived=True)
        for number in range(5)
    )
    there = Directory(identity="1:2", mode=0o1777, uid=0, gid=0)
    system = "/nix/store/aaa-nixos-system"
    generations = tuple(NumberedSystem(number=number, system=f"{system}-{number}") for number in range(1, 9))
    profile = SystemProfile(
        generations=generations,
        default=8,
        current=f"{system}-8",
        booted=f"{system}-8",
        pinned=(f"{system}-8",),
        rooted=(),
    )
    return DiskSeen(
        room=room(used),
        steps=steps,
        temporary=(TemporarySeen(path="/tmp", days=10, room=room(used), directory=there, old_bytes=old_bytes),),
        journal=JournalSeen(
            directory=f"/{JOURNAL}", files=files, keep_bytes=MIB, line=NOW - timedelta(days=2), room=room(used)
        ),
        garbage=GarbageSeen(profiles="/nix/var/nix/profiles", profile=profile, keep=2, room=room(used)),
    )


ALL = ("temporary_paths", "journal", "nix_garbage")


@pytest.mark.parametrize(
    ("used", "steps", "old_bytes", "taken"),
    [
        (79 * MIB, ALL, 0, []),
        (95 * MIB, ALL, 20 * MIB, ["temporary_paths"]),
        (95 * MIB, ALL, 10 * MIB, ["temporary_paths", "journal"]),
        (95 * MIB, ("journal", "temporary_paths"), 0, ["journal"]),
        (99 * MIB, ("journal",), 0, ["journal"]),
        (99 * MIB, ALL, 0, ["temporary_paths", "journal"]),
        (99 * MIB, ("nix_garbage", "journal"), 0, ["nix_garbage", "journal"]),
        (99 * MIB, (), 0, []),
    ],
)
def test_steps_are_taken_in_order_until_there_is_enough(used, steps, old_bytes, taken):
    assert [step.name for step in steps_taken(disk(used, steps, old_bytes), None)] == taken


def test_the_journal_gives_up_no_more_than_is_lacking():
    action = FreeDiskSpace(path="/")
    plan = action.plan(disk(95 * MIB, ALL, 10 * MIB))
    clean, vacuum = plan.run.commands
    assert clean[0] == "systemd-tmpfiles"
    assert len(vacuum) == 3 + 2  # 5 MiB of 4 MiB each
    assert set(plan.run.sandbox.writable) == {"/tmp", f"/{JOURNAL}"}
    assert plan.run.input == cleaning(disk(0, ALL).temporary).input
    assert [check.name for check in plan.checks] == ["readable"]


def test_garbage_is_collected_up_to_what_is_lacking():
    plan = FreeDiskSpace(path="/").plan(disk(95 * MIB, ("nix_garbage",)))
    assert plan.run.commands[-1] == ("nix-store", "--gc", "--max-freed", str(15 * MIB))
    assert plan.run.sandbox.environment[0] == "NIX_REMOTE=daemon"


def test_what_an_incident_cites_stays_here_too():
    action = FreeDiskSpace.model_validate({"path": "/", "keep_since": (NOW - timedelta(days=20)).isoformat()})
    assert "nothing on / may be given up" in (action.obstacle(disk(95 * MIB, ("journal",))) or "")


def test_a_disk_that_is_still_full_is_a_failure_and_so_is_a_file_that_had_to_go():
    action = FreeDiskSpace(path="/")
    before = disk(95 * MIB, ("journal",))
    assert "not enough" in (action.shortfall(before, before) or "")
    roomier = before.model_copy(update={"room": room(79 * MIB)})
    assert "still there" in (action.shortfall(before, roomier) or "")
    left = before.journal.model_copy(update={"files": ()})
    assert action.shortfall(before, roomier.model_copy(update={"journal": left})) is None


async def test_only_what_lies_on_that_file_system_is_looked_at(journal):
    host = host_at(journal, mounts="30 21 0:50 / /var/log rw - tmpfs tmpfs rw\n")
    (journal / "tmp").mkdir(mode=0o1777)
    seen = await FreeDiskSpace(path="/").observe(host)
    assert seen.journal is None
    assert [each.path for each in seen.temporary] == ["/tmp"]
    assert (await FreeDiskSpace(path="/").observe(host_at(journal))).journal is not None


@pytest.mark.parametrize("entry", [VacuumJournal, CleanTemporaryPath, FreeDiskSpace])
def test_the_page_has_an_example(entry):
    action, seen = entry.example()
    assert action.obstacle(seen) is None
    assert action.plan(seen).run.commands
