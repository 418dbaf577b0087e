"""tools/logs.py: what a model is told of logs and crashes, from made-up and from real journal files."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import JournalUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.sources.coredumps import CoreDump, SystemCoreDumps, dump_of, frames_in
from ai_sysadmin.sources.journal import KERNEL, Sought, SystemJournal
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.testing.tools import FixedCoreDumps, FixedJournal, FixedUnitLists
from ai_sysadmin.tools.log_lines import lines_of, runs_of
from ai_sysadmin.tools.logs import log_tools
from ai_sysadmin.tools.tool import ToolResult
from ai_sysadmin.tools.toolbox import Toolbox
from tests.builders import NOW
from tests.journals import REMOTE, USEC, stored, text, write_file

needs_files = pytest.mark.skipif(
    not (REMOTE.exists() and shutil.which("journalctl")), reason="needs journalctl and systemd-journal-remote"
)
CRASH = """Process 812 (web) of user 33 dumped core.

Stack trace of thread 812:
#0  0x00007f n/a (web + 0x1139)
#1  0x00007e main (web + 0x1150)

Stack trace of thread 813:
#0  0x00007d poll (libc.so.6 + 0xe)
"""


def entry(message: str, seconds: float = 0, unit: str = "web.service", **fields: object) -> JournalEntry:
    values = {"cursor": "", "at": NOW + timedelta(seconds=seconds), "message": message, "unit": unit}
    return JournalEntry(**{"identifier": unit.partition(".")[0], **values, **fields})  # type: ignore[arg-type]


async def ask(
    entries: Sequence[JournalEntry],
    name: str,
    most: int = 8000,
    *,
    dumps: FixedCoreDumps | None = None,
    **given: object,
) -> ToolResult:
    lists = FixedUnitLists(files={"web.service", "idle.service", "sync.timer"})
    tools = log_tools(FixedJournal(entries), lists, FakeClock(NOW), dumps or FixedCoreDumps())
    looks = Toolbox(tools, Redactor(), Tools()).open()
    return await looks.look(looks.call(name, given), most)


def test_arguments_can_be_constrained_at_the_decoder() -> None:
    for tool in log_tools(FixedJournal(), FixedUnitLists(), FakeClock(NOW), FixedCoreDumps()):
        assert schema_of(tool.arguments)["additionalProperties"] is False
        assert len(tool.arguments.model_fields) <= 4


async def test_a_unit_s_log_is_shown_the_newest_last() -> None:
    entries = [
        entry("yesterday", -90_000),
        entry("started", -30, priority=5),
        entry("of another", -20, unit="db.service"),
        entry("Traceback:\n  line 1", -10, priority=3),
    ]
    result = await ask(entries, "unit_log", unit="web")
    assert result.text == (
        "2026-11-20T02:59:30Z notice web: started\n02:59:50Z err web: Traceback:\n      line 1\n"
        "(it is now 2026-11-20T03:00:00Z; the newest of these lines came 10 s ago)"
    )
    assert result.title == "log of web"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"contains": "TIMED   out"}, ["it timed out", "it timed out again"]),
        ({"priority": "err"}, ["it timed out again"]),
        ({"minutes": 1}, ["it timed out again"]),
        ({}, ["it timed out", "served", "it timed out again"]),
    ],
)
async def test_a_unit_s_log_is_narrowed(given: dict[str, object], shown: list[str]) -> None:
    entries = [entry("it timed out", -300), entry("served", -200), entry("it timed out again", -10, priority=3)]
    result = await ask(entries, "unit_log", unit="web.service", **given)
    assert [line.partition("web: ")[2] for line in result.text.splitlines()[:-1]] == shown


async def test_the_kernel_s_log_is_had_by_its_name() -> None:
    entries = [entry("eth0: link down", -5, unit="", transport="kernel", identifier="kernel"), entry("other", -5)]
    text = (await ask(entries, "unit_log", unit="Kernel")).text
    assert text.splitlines()[:-1] == ["2026-11-20T02:59:55Z info kernel: eth0: link down"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"unit": "web", "minutes": 60}, "no lines since 2026-11-20T02:00:00Z; its newest line is of "),
        ({"unit": "web", "minutes": 60}, "(25 h ago): give minutes=1560"),
        ({"unit": "web", "minutes": 2000, "contains": "evil.example"}, "no such lines since "),
        ({"unit": "idle"}, "this unit has logged nothing at all"),
    ],
)
async def test_silence_is_explained(given: dict[str, object], said: str) -> None:
    result = await ask([entry("yesterday", -90_000)], "unit_log", **given)
    assert said in result.text
    assert not result.failed
    assert "evil" not in result.text, "what was asked for is not repeated as if it were found"


async def test_a_unit_that_there_is_not() -> None:
    result = await ask([], "unit_log", unit="webb")
    assert result.failed
    assert result.text == "there is no unit webb.service; there are: web.service"


async def test_a_long_log_says_that_there_is_more() -> None:
    entries = [entry(f"{chr(97 + n % 26)}{chr(97 + n % 7)}{chr(97 + n % 11)}", n - 6000) for n in range(5500)]
    result = await ask(entries, "unit_log", 500, unit="web")
    assert "lines before " in result.left_out
    assert "to see less: give fewer `minutes`" in result.left_out
    assert result.text.splitlines()[-2].endswith(entries[-1].message)


async def test_a_search_goes_over_all_units_and_the_kernel_but_our_own() -> None:
    entries = [
        entry("Out of memory: killed 12", -9, unit="", transport="kernel", priority=3),
        entry("out of MEMORY", -8, unit="db.service", identifier="postgres"),
        entry("looked for 'out of memory'", -7, unit="ai-sysadmin-api.service"),
        entry("fine", -6),
    ]
    result = await ask(entries, "journal_search", contains="out of memory")
    assert result.text.splitlines() == [
        "2026-11-20T02:59:51Z err kernel: Out of memory: killed 12",
        "02:59:52Z info db.service postgres: out of MEMORY",
        "found in: kernel 1, db.service 1",
        "(it is now 2026-11-20T03:00:00Z; the newest of these lines came 8 s ago)",
    ]
    none = await ask(entries, "journal_search", contains="evil.example")
    assert none.text == "no line since 2026-11-19T03:00:00Z contains that text"


async def test_crashes_are_told_with_their_place() -> None:
    dump = CoreDump(NOW - timedelta(hours=3), "/bin/web", "812", "33", "web.service", "SIGSEGV", ("#0 main",), "/var/c")
    result = await ask([], "coredumps", dumps=FixedCoreDumps([dump], "nothing is recorded"))
    assert result.text == (
        "2026-11-20T00:00:00Z (3 h ago): /bin/web ended by SIGSEGV (unit web.service, process 812, user 33); "
        "its memory is kept in /var/c\n    #0 main\nnothing is recorded"
    )
    assert (await ask([], "coredumps")).text == "no crash was recorded since 2026-11-13T03:00:00Z"


def test_equal_lines_are_told_once() -> None:
    lines = lines_of([entry(f"retry {n} in {n * 7} s", n) for n in range(38)], with_unit=False)
    assert lines == ["2026-11-20T03:00:37Z info web: retry 37 in 259 s (×38 since 03:00:00Z)"]


def test_a_block_that_repeats_itself_is_told_once() -> None:
    loop = ["Started web.", "cannot bind to port 80", "exited with 1", "Scheduled restart job, counter is at {}."]
    entries = [entry(loop[n % 4].format(n), n) for n in range(40)]
    lines = lines_of([entry("before", -1), *entries, entry("after", 41)], with_unit=False)
    assert [line.partition("Z ")[2] or line for line in lines] == [
        "info web: before",
        "(the next 4 lines came ×10 since 03:00:00Z; these are the last:)",
        "info web: Started web.",
        "info web: cannot bind to port 80",
        "info web: exited with 1",
        "info web: Scheduled restart job, counter is at 39.",
        "info web: after",
    ]


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_no_entry_is_lost_by_folding(messages: list[str]) -> None:
    entries = [entry(message, number) for number, message in enumerate(messages)]
    unfolded = [each.message for run in runs_of(entries) for each in run.entries * run.times]
    assert unfolded == messages


def test_the_first_thread_s_frames() -> None:
    assert frames_in(CRASH) == ("#0  0x00007f n/a (web + 0x1139)", "#1  0x00007e main (web + 0x1150)")
    assert frames_in("Process 1 (x) dumped core.") == ()


def test_a_crash_of_which_little_is_known() -> None:
    assert dump_of({"COREDUMP_COMM": "web", "COREDUMP_SIGNAL": "11", "__REALTIME_TIMESTAMP": "x"}) == CoreDump(
        datetime.fromtimestamp(0, UTC), "web", signal="signal 11"
    )


def crash(**fields: str) -> bytes:
    message = CRASH.encode()
    said = b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n"
    return said + b"".join(text(f"COREDUMP_{name}", value) for name, value in fields.items())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory with a real journal file: 200 lines of a unit, one of the kernel, a crash."""
    lines = b"".join(
        stored(
            USEC + number * 1_000_000,
            text("MESSAGE", f"Line {number} (a.b) 100% [x] {'ERROR' if number % 50 == 0 else 'fine'}"),
            text("_SYSTEMD_UNIT", "web.service"),
            text("SYSLOG_IDENTIFIER", "web"),
            *([text("PRIORITY", "3" if number % 50 == 0 else "6")] if number != 7 else []),
        )
        for number in range(200)
    )
    kernel = stored(
        USEC + 300_000_000, text("MESSAGE", "eth0: error"), text("_TRANSPORT", "kernel"), text("PRIORITY", "4")
    )
    dump = stored(
        USEC + 400_000_000,
        text("MESSAGE_ID", "fc2e22bc6ee647b6b90729ab34a250b1"),
        text("PRIORITY", "2"),
        crash(EXE="/bin/web", PID="812", UID="33", UNIT="web.service", SIGNAL="11", SIGNAL_NAME="SIGSEGV"),
    )
    write_file(tmp_path / "system.journal", lines + kernel + dump)
    return tmp_path


BEGAN = datetime.fromtimestamp(USEC / 1e6, UTC) - timedelta(seconds=5)


async def messages(directory: Path, **sought: object) -> tuple[list[str], bool]:
    found = await SystemJournal(directory).search(Sought(**{"since": BEGAN, "most": 500, **sought}))  # type: ignore[arg-type]
    return [each.message.splitlines()[0] for each in found.entries], found.more


@needs_files
@pytest.mark.parametrize(
    ("sought", "count"),
    [
        ({}, 202),
        ({"unit": "web.service"}, 200),
        ({"unit": KERNEL}, 1),
        ({"contains": "error"}, 5),
        ({"contains": "error", "unit": "web.service"}, 4),
        ({"contains": "(A.B) 100% [X]"}, 200),
        ({"contains": "line 1.9"}, 0),
        ({"contains": "^Line"}, 0),
        ({"contains": r"\E\w+"}, 0),
        ({"priority": 4}, 6),
        ({"unit": "web.service", "priority": 6}, 199),
        ({"contains": "--help"}, 0),
    ],
)
async def test_a_real_journal_is_searched_for_a_fixed_text(
    directory: Path, sought: dict[str, object], count: int
) -> None:
    found, more = await messages(directory, **sought)
    assert (len(found), more) == (count, False)


@needs_files
async def test_a_real_search_finds_the_newest_and_says_that_there_are_more(directory: Path) -> None:
    found, more = await messages(directory, contains="fine", most=2)
    assert ([each.partition(" (")[0] for each in found], more) == (["Line 198", "Line 199"], True)


@needs_files
async def test_journalctl_without_patterns_is_filtered(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("journalctl")
    bare = tmp_path / "bin/journalctl"
    bare.parent.mkdir()
    bare.write_text(
        f'#!/bin/sh\ncase "$*" in *--grep*) echo "Compiled without pattern matching support" >&2; exit 1;; esac\n'
        f'exec {real} "$@"\n'
    )
    bare.chmod(0o755)
    monkeypatch.setenv("PATH", str(bare.parent), prepend=":")
    found, _ = await messages(directory, contains="error")
    assert len(found) == 5


@needs_files
async def test_a_search_that_takes_too_long_says_so(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin/journalctl"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=":")
    with pytest.raises(JournalUnavailable, match=r"searched for 0.2 s.*ask for less time"):
        await SystemJournal(directory).search(Sought(BEGAN, 5, "x", seconds=0.2))


@needs_files
async def test_real_crashes_are_found(directory: Path, tmp_path: Path) -> None:
    pattern = tmp_path / "proc/sys/kernel/core_pattern"
    pattern.parent.mkdir(parents=True)
    pattern.write_text("|/usr/lib/systemd/systemd-coredump %P\n")
    seen = await SystemCoreDumps(directory, tmp_path).since(BEGAN, 5)
    (dump,) = seen.dumps
    assert (dump.program, dump.pid, dump.unit, dump.signal) == ("/bin/web", "812", "web.service", "SIGSEGV")
    assert len(dump.frames) == 2
    assert not seen.missing
    pattern.write_text("core\n")
    assert "core_pattern is 'core'" in (await SystemCoreDumps(directory, tmp_path).since(BEGAN, 5)).missing
