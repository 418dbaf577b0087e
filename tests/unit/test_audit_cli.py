"""`ai-sysadmin audit` against an executor on real sockets: list, show, verify, export, and what tampering shows."""

import asyncio
import json
import logging
import os
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ai_sysadmin.actions.audit_chain import START, line_after
from ai_sysadmin.cli.audit import app
from ai_sysadmin.core.errors import AiSysadminError, ExecutorUnavailable, NotFound
from ai_sysadmin.core.settings import Autonomy, Executor, Settings
from tests.builders import HOST, NOW, UNIT, request
from tests.executing import Running, failed_unit, serving

ANSWERS = 'if [ -e "$0.wait" ]; then : > "$0.asked"; while [ -e "$0.wait" ]; do sleep 0.02; done; fi\n'


@pytest.fixture(autouse=True)
def journalctl(tmp_path, monkeypatch):
    """A system journal of the test's own: what `journalctl` is asked for stands in the file that this returns."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program, said = programs / "journalctl", tmp_path / "journal"
    said.touch()
    program.write_text(f"#!/bin/sh\n{ANSWERS}cat {said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return said


@dataclass
class Audited:
    """An executor whose audit is looked at, and where that is."""

    running: Running
    file: Path
    settings_file: Path

    async def cli(self, *arguments):
        wanted = [*arguments, "--settings", str(self.settings_file)]
        return await asyncio.to_thread(CliRunner().invoke, app, wanted)

    async def fault(self, *arguments):
        """Return what `verify` found wrong; empty: nothing."""
        done = await self.cli("verify", *arguments)
        if done.exception is None:
            return ""
        assert isinstance(done.exception, AiSysadminError), done.exception
        return str(done.exception)

    def lines(self):
        return self.file.read_bytes().splitlines(keepends=True)


@asynccontextmanager
async def audited(directory, *, stories=1, **limits):
    """Run an executor that has carried out so many approved actions."""
    state = directory / "executor"
    executor = Executor(post_check_seconds=0.02, state_dir=state, **limits)
    settings = Settings(
        host_name=HOST, autonomy_level=Autonomy.SUGGEST, runtime_dir=directory / "run", executor=executor
    )
    file = directory / "settings.json"
    file.write_text(settings.model_dump_json())
    systemd = failed_unit()
    async with serving(settings, systemd) as running:
        for number in range(stories):
            systemd.add(UNIT, active="failed", result="exit-code")
            wanted = request(f"case{number}")
            await running.asking.propose(wanted)
            await running.asking.approve(wanted.id, 1000, "ada")
            await running.ended(wanted.id)
            async with asyncio.timeout(5):
                while running.audit.head.number < 5 * (number + 1):  # the last line follows the end
                    await asyncio.sleep(0.01)
        yield Audited(running, state / "audit.jsonl", file)


def journal_of(caplog, unit="ai-sysadmin-executor.service"):
    """Return what journald would hold of the heads that were logged."""
    heads = [each for each in caplog.records if getattr(each, "event", "") == "audit_written"]
    return "".join(
        json.dumps(
            {
                "_SYSTEMD_UNIT": unit,
                "AI_AUDIT_CHAIN": each.audit_chain,
                "AI_AUDIT_NUMBER": str(each.audit_number),
                "AI_AUDIT_HASH": each.audit_hash,
            }
        )
        + "\n"
        for each in heads
    )


async def test_the_story_of_an_action_is_listed_and_each_line_is_shown_whole(tmp_path):
    async with audited(tmp_path) as it:
        page, newest = await it.cli(), await it.cli("list", "--last", "2", "--json")
        shown, document = await it.cli("show", "2"), await it.cli("show", "2", "--json")
        beyond = await it.cli("show", "6")
    rows = page.stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["LINE", "1", "2", "3", "4", "5"]
    assert [row.split()[4] for row in rows[1:]] == ["asked", "approved", "started", "ran", "finished"]
    assert "restart_unit unit=web.service" in rows[1]
    assert [each["kind"] for each in json.loads(newest.stdout)] == ["ran", "finished"]
    fields = json.loads(document.stdout)
    assert fields == json.loads(it.lines()[1])
    assert (fields["approval"]["by"], fields["approval"]["uid"]) == ("ada", 1000)
    assert all(name in shown.stdout for name in fields)
    assert isinstance(beyond.exception, NotFound)
    assert str(beyond.exception) == "the audit has 5 lines"


async def test_what_people_wrote_does_not_reach_the_terminal_as_it_is(tmp_path):
    async with audited(tmp_path, stories=0) as it:
        await it.running.asking.propose(wanted := request())
        await it.running.asking.reject(wanted.id, "ada", "no\x1b[2J\u202e\nLINE 99 approved")
        pages = [(await it.cli(*words)).stdout for words in ([], ["show", "2"])]
    for page in pages:
        assert not {"\x1b", "\u202e"} & set(page)
    assert len(pages[0].splitlines()) == 3


async def test_an_empty_audit_is_whole(tmp_path):
    async with audited(tmp_path, stories=0) as it:
        assert (await it.cli()).stdout == "Nothing was asked yet.\n"
        assert (await it.cli("verify")).stdout.startswith("The audit is whole: 0 lines")


async def test_what_is_whole_is_said_to_be_and_who_else_knows_its_end(tmp_path, journalctl, caplog):
    caplog.set_level(logging.INFO)
    async with audited(tmp_path) as it:
        alone = await it.cli("verify")
        journalctl.write_text(journal_of(caplog))
        anchored = await it.cli("verify")
        document = json.loads((await it.cli("verify", "--json")).stdout)
    assert "Nothing else knows its head: lines cut off at its end would not be noticed." in alone.stdout
    assert "The audit is whole: 5 lines" in anchored.stdout
    assert "Its end is known elsewhere too: the system journal." in anchored.stdout
    assert document == {
        "lines": 5,
        "head": it.running.audit.head.hash,
        "known_by": ["the system journal"],
        "fault": "",
        "others": [],
    }


def edited(lines):
    return [*lines[:2], lines[2].replace(b"web.service", b"wab.service"), *lines[3:]]


def forged(lines):
    """Change a line, and make all hashes after it anew: what root can do to the file."""
    bodies = [json.loads(line) for line in lines]
    bodies[1]["approval"]["by"] = "eve"
    kept = [{key: body[key] for key in body if key not in {"number", "previous", "hash"}} for body in bodies]
    made = accumulate(kept, lambda last, body: line_after(last[1], body), initial=(b"", START))
    return [line for line, _ in made][1:]


TAMPERED = [
    (edited, "line 3 was changed: its hash is another"),
    (lambda lines: [*lines[:1], *lines[2:]], "line 2 is missing: number 3 stands there"),
    (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2 is missing: number 3 stands there"),
    (lambda lines: [*lines, lines[-1]], "line 6 is missing: number 5 stands there"),
    (lambda lines: lines[:3], "lines 4 to 5 are missing: they are known elsewhere"),
    (lambda lines: [], "the journal knows another one, of 5 lines"),
    (forged, "line 2 is another than the one that was known elsewhere"),
    (lambda lines: forged([lines[0].replace(b"restart", b"started"), *lines[1:]]), "the journal knows another one"),
]


@pytest.mark.parametrize(("tamper", "fault"), TAMPERED)
async def test_what_was_done_to_the_file_is_found_against_the_journal(tmp_path, journalctl, caplog, tamper, fault):
    caplog.set_level(logging.INFO)
    async with audited(tmp_path) as it:
        journalctl.write_text(journal_of(caplog))
        assert await it.fault() == ""
        it.file.write_bytes(b"".join(tamper(it.lines())))
        assert (await it.fault()).startswith(f"the audit is not whole: {fault}")
        document = await it.cli("verify", "--json")
    assert document.exit_code == 1
    assert json.loads(document.stdout)["fault"].startswith(fault)


async def test_a_cut_that_was_written_over_since_is_found(tmp_path, journalctl, caplog):
    caplog.set_level(logging.INFO)
    async with audited(tmp_path) as it:
        await it.running.audit.note("halted", NOW, {"by": "eve"})
    whole = it.lines()
    it.file.write_bytes(b"".join(whole[:3]))
    async with audited(tmp_path, stories=0) as it:  # started again, it writes the events anew that have no line
        assert it.lines() == whole[:5]
        for _ in range(4):
            await it.running.audit.note("halted", NOW, {"by": "ada"})
        journalctl.write_text(journal_of(caplog))
        assert "line 6 is another than the one that was known elsewhere" in await it.fault()


async def test_an_audit_that_was_taken_away_and_begun_anew_is_told(tmp_path, journalctl, caplog):
    caplog.set_level(logging.INFO)
    async with audited(tmp_path) as it:
        begun = json.loads(it.lines()[0])["hash"]
    for each in it.file.parent.iterdir():
        each.unlink()
    async with audited(tmp_path) as it:
        journalctl.write_text(journal_of(caplog))
        verified = await it.cli("verify")
    assert verified.exit_code == 0
    assert f"knows another audit, too: 5 lines begun by {begun[:12]}. Was it archived?" in verified.stdout


async def test_the_file_of_another_host_is_not_held_against_what_this_one_knows(tmp_path, journalctl, caplog):
    caplog.set_level(logging.INFO)
    copy, foreign = tmp_path / "copy.jsonl", tmp_path / "foreign.jsonl"
    foreign.write_bytes(line_after(START, {"kind": "noted"})[0])
    async with audited(tmp_path, audit_copy=copy) as it:
        journalctl.write_text(journal_of(caplog))
        copy.write_bytes(it.file.read_bytes())
        verified = await it.cli("verify", "--file", str(foreign))
        assert "is whole: 1 lines" in verified.stdout
        assert "Nothing else knows its head" in verified.stdout


async def test_without_an_anchor_a_cut_and_a_forgery_go_unseen_and_that_is_said(tmp_path):
    async with audited(tmp_path) as it:
        for tamper in (lambda lines: lines[:3], forged):
            whole = it.file.read_bytes()
            it.file.write_bytes(b"".join(tamper(it.lines())))
            assert "would not be noticed" in (await it.cli("verify")).stdout
            it.file.write_bytes(whole)


async def test_a_second_file_is_an_anchor_too(tmp_path):
    copy = tmp_path / "copy.jsonl"
    async with audited(tmp_path, audit_copy=copy) as it:
        copy.write_bytes(it.file.read_bytes())
        assert f"known elsewhere too: {copy}." in "".join((await it.cli("verify")).stdout.split("\n"))
        it.file.write_bytes(b"".join(it.lines()[:3]))
        assert "lines 4 to 5 are missing" in await it.fault()
        it.file.write_bytes(b"".join(forged(copy.read_bytes().splitlines(keepends=True))))
        assert "line 2 is another" in await it.fault()


@pytest.mark.parametrize(
    "said",
    ["", "no JSON\n", "{}\n", '{"AI_AUDIT_CHAIN": null}\n', '{"AI_AUDIT_CHAIN":"a","AI_AUDIT_NUMBER":"x"}\n', "[1]\n"],
)
async def test_a_journal_that_knows_no_head_is_none(tmp_path, journalctl, said):
    async with audited(tmp_path) as it:
        journalctl.write_text(said)
        assert "Nothing else knows its head" in (await it.cli("verify")).stdout


async def test_without_a_journal_the_rest_is_checked_all_the_same(tmp_path, monkeypatch):
    async with audited(tmp_path) as it:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        assert await it.fault() == ""
        it.file.write_bytes(b"".join(edited(it.lines())))
        assert "line 3 was changed" in await it.fault()


async def test_a_line_that_comes_while_it_is_verified_is_no_fault(tmp_path, journalctl, caplog):
    caplog.set_level(logging.INFO)
    waits = tmp_path / "bin" / "journalctl.wait"
    async with audited(tmp_path) as it:
        waits.touch()
        verifying = asyncio.create_task(it.cli("verify"))
        async with asyncio.timeout(10):
            while not (tmp_path / "bin" / "journalctl.asked").exists():
                await asyncio.sleep(0.01)
        await it.running.audit.note("halted", NOW, {"by": "ada"})
        journalctl.write_text(journal_of(caplog))
        waits.unlink()
        assert "The audit is whole: 6 lines" in (await verifying).stdout


async def test_what_is_exported_is_verified_elsewhere(tmp_path, journalctl, caplog):
    caplog.set_level(logging.INFO)
    exported = tmp_path / "exported.jsonl"
    async with audited(tmp_path) as it:
        done, again = await it.cli("export", str(exported)), await it.cli("export", str(exported))
        nowhere = await it.cli("export", str(tmp_path / "no" / "such.jsonl"))
    assert done.stdout == f"5 lines written to {exported}; the head is {it.running.audit.head.hash}\n"
    assert str(again.exception) == f"{exported} cannot be written: File exists"
    assert "cannot be written: No such file or directory" in str(nowhere.exception)
    assert exported.read_bytes() == it.file.read_bytes()
    # no executor answers any more: a file is looked at without one
    assert await it.fault("--file", str(exported)) == ""
    assert [json.loads(each)["kind"] for each in it.lines()][-1] in (
        await it.cli("list", "--file", str(exported))
    ).stdout
    journalctl.write_text(journal_of(caplog))
    exported.write_bytes(b"".join(it.lines()[:4]))
    assert "lines 5 to 5 are missing" in await it.fault("--file", str(exported))
    assert isinstance((await it.cli("verify", "--file", str(tmp_path / "none"))).exception, NotFound)
    assert isinstance((await it.cli("verify")).exception, ExecutorUnavailable)


async def test_a_long_audit_comes_page_by_page(tmp_path):
    made = accumulate(range(1203), lambda last, n: line_after(last[1], {"kind": "noted", "n": n}), initial=(b"", START))
    (tmp_path / "executor").mkdir()
    (tmp_path / "executor" / "audit.jsonl").write_bytes(b"".join(line for line, _ in made))
    async with audited(tmp_path, stories=0) as it:
        assert "The audit is whole: 1203 lines" in (await it.cli("verify")).stdout
        newest = json.loads((await it.cli("list", "--json")).stdout)
    assert [each["number"] for each in newest] == list(range(1164, 1204))


def sha256sum(data):
    return subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.split()[0].decode()


async def test_the_hash_can_be_made_without_the_suite(tmp_path):
    """What docs/audit.md gives as the way to check a line by hand."""
    async with audited(tmp_path) as it:
        raw = it.lines()[2]
    fields = json.loads(raw)
    without = raw.rstrip(b"\n").replace(f'"hash":"{fields["hash"]}",'.encode(), b"")
    assert await asyncio.to_thread(sha256sum, without) == fields["hash"]
    assert fields["previous"] == json.loads(it.lines()[1])["hash"]
