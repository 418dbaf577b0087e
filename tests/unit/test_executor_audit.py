"""The audit as a file: a line for every event, whatever happens in between, and what it says."""

import json

import pytest

from ai_sysadmin.actions.audit_chain import verify
from ai_sysadmin.core.acting import ActionState, Decision, ExecutorEventKind, Risk, Ruling
from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.settings import Autonomy
from ai_sysadmin.executor.audit import Audit
from ai_sysadmin.executor.journal import Entry, Journal
from tests.builders import NOW, request
from tests.executing import executor, failed_unit, settings_for


def lines_of(path):
    return (path / "audit.jsonl").read_bytes().splitlines(keepends=True)


async def test_the_whole_life_of_an_action_is_told(tmp_path):
    wanted = request()
    async with executor(tmp_path, failed_unit()) as it:
        await it.asking.propose(wanted)
        await it.asking.approve(wanted.id, 1000, "ada")
        await it.ended(wanted.id)
    lines = lines_of(tmp_path)
    assert verify(lines).fault == ""
    said = [json.loads(line) for line in lines]
    assert [each["kind"] for each in said] == ["asked", "approved", "started", "ran", "finished"]
    assert said[0]["ruling"]["decision"] == "ask"
    assert said[1]["approval"]["by"] == "ada"
    assert said[1]["approval"]["uid"] == 1000
    assert said[2]["argv"][1] == ["systemctl", "restart", "--", "web.service"]
    assert said[4]["outcome"]["kind"] == "succeeded"
    assert len(said[4]["output_sha256"]) == 64
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


async def test_it_goes_on_where_it_was(tmp_path):
    for _ in range(3):
        async with executor(tmp_path, failed_unit(), settings_for(Autonomy.OBSERVE)) as it:
            await it.asking.propose(request())
    assert len(lines_of(tmp_path)) == 3
    assert verify(lines_of(tmp_path)).fault == ""


def _entry(wanted):
    ruling = Ruling(decision=Decision.ASK, risk=Risk.REVERSIBLE, reason="it is asked")
    return Entry(
        request=wanted, state=ActionState.PENDING, text="", ruling=ruling, boot_id="boot1", expires_boottime=1e9
    )


class Forgetful(Audit):
    """An audit whose process is killed between the event and its line."""

    async def event(self, event, request):
        raise KeyboardInterrupt


async def test_an_event_that_a_crash_left_without_a_line_gets_it_at_the_next_start(tmp_path):
    journal = Journal(tmp_path, Forgetful(tmp_path))
    await journal.open()
    wanted = request()
    with pytest.raises(KeyboardInterrupt):
        await journal.record(_entry(wanted), ExecutorEventKind.ASKED, NOW)
    await journal.close()
    again = Journal(tmp_path, Audit(tmp_path))
    await again.open()
    await again.close()
    assert [json.loads(line)["action_id"] for line in lines_of(tmp_path)] == [wanted.id]


async def test_a_line_half_written_is_taken_away_and_that_is_told(tmp_path):
    async with executor(tmp_path, failed_unit()) as it:
        await it.asking.propose(request())
        await it.asking.propose(request("other2", name="start_unit"))
    whole = (tmp_path / "audit.jsonl").read_bytes()
    for torn in (whole[:-1], whole[:-40], whole + b'{"kind":"forged"'):
        (tmp_path / "audit.jsonl").write_bytes(torn)
        journal = Journal(tmp_path, Audit(tmp_path))
        await journal.open()
        await journal.close()
        said = [json.loads(line) for line in lines_of(tmp_path)]
        assert verify(lines_of(tmp_path)).fault == ""
        assert [each["kind"] for each in said].count("repaired") == 1
        assert sorted(each["sequence"] for each in said if "sequence" in each) == [1, 2]


async def test_an_executor_that_lost_its_journal_tells_its_events_all_the_same(tmp_path):
    async with executor(tmp_path, failed_unit()) as it:
        await it.asking.propose(request())
    for each in tmp_path.glob("executor.db*"):
        each.unlink()
    async with executor(tmp_path, failed_unit()) as it:
        await it.asking.propose(request())
    said = [json.loads(line) for line in lines_of(tmp_path)]
    assert [each["sequence"] for each in said] == [1, 1]
    assert said[0]["epoch"] != said[1]["epoch"]


async def test_nothing_is_done_that_cannot_be_written_down(tmp_path):
    systemd, wanted = failed_unit(), request()
    async with executor(tmp_path, systemd) as it:
        await it.asking.propose(wanted)
        (tmp_path / "audit.jsonl").unlink()
        (tmp_path / "audit.jsonl").mkdir()
        with pytest.raises(StoreUnavailable, match="audit"):
            await it.asking.approve(wanted.id, 0, "root")
        assert systemd.starts == []


async def test_a_second_file_is_kept_and_caught_up_with(tmp_path):
    copy = tmp_path / "elsewhere" / "audit.jsonl"
    audit = Audit(tmp_path, copy)
    await audit.open()
    await audit.note("halt", NOW, {"by": "ada"})
    assert copy.read_bytes() == (tmp_path / "audit.jsonl").read_bytes()
    copy.unlink()
    copy.mkdir()
    await audit.note("resume", NOW, {"by": "ada"})  # away: acting goes on
    copy.rmdir()
    await audit.note("halt", NOW, {"by": "bob"})
    assert copy.read_bytes() == (tmp_path / "audit.jsonl").read_bytes()
    copy.write_bytes(b"forged\n" * 90)
    await audit.note("resume", NOW, {"by": "bob"})
    assert copy.read_bytes() == b"forged\n" * 90  # not ours to overwrite: `verify` says what is wrong


async def test_lines_are_read_as_they_are(tmp_path):
    audit = Audit(tmp_path)
    await audit.open()
    assert await audit.read(0, 10) == []
    for _ in range(5):
        await audit.note("halt", NOW, {"by": "ada"})
    assert [json.loads(line)["number"] for line in await audit.read(2, 2)] == [3, 4]
