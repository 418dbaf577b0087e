"""sources/sysstat.py: records as sadf writes them become the suite's own figures; what is not there is nothing."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.commands import run
from ai_sysadmin.sources.sysstat import Sysstat, parsed

AT = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
SADC = next((path for path in map(Path, ("/usr/lib/sysstat/sadc", "/usr/lib/sa/sadc")) if path.exists()), None)


def record(at: datetime = AT, **changes: Any) -> dict[str, Any]:
    stamp = {"date": at.strftime("%Y-%m-%d"), "time": at.strftime("%H:%M:%S"), "utc": 1, "interval": 600}
    return {
        "timestamp": stamp,
        "cpu-load": [
            {"cpu": "all", "user": 10.0, "nice": 0, "system": 4.0, "iowait": 6.0, "steal": 0.0, "idle": 80.0},
            {"cpu": "0", "user": 99.0, "idle": 1.0},
        ],
        "memory": {"memfree": 1000, "avail": 2000, "memused-percent": 91.0, "swpused-percent": 12.5},
        "queue": {"runq-sz": 1, "ldavg-1": 8.0, "ldavg-5": 3.0, "ldavg-15": 1.0, "blocked": 0},
        "filesystems": [
            {"mountpoint": "/var", "MBfsfree": 400, "MBfsused": 600, "%fsused": 60.0, "%ufsused": 70.0},
            {"filesystem": "/dev/sdb1", "MBfsfree": 1, "MBfsused": 1, "%ufsused": 50.0},
        ],
    } | changes


def answer(*records: dict[str, Any]) -> bytes:
    host = {"nodename": "host1", "number-of-cpus": 2, "statistics": records, "restarts": []}
    return json.dumps({"sysstat": {"hosts": [host]}}).encode()


def test_a_record_becomes_figures_under_the_suites_own_names() -> None:
    (found,) = parsed(answer(record()))
    assert found.at == AT
    assert {(each.name, each.about): round(each.value, 2) for each in found.samples} == {
        ("cpu_used_percent", ""): 14.0,  # waiting for input is idle
        ("memory_available_bytes", ""): 2_048_000.0,
        ("swap_used_percent", ""): 12.5,
        ("load_per_processor", ""): 1.5,
        ("file_system_used_percent", "/var"): 66.67,  # as df counts: 600 used, 300 available
    }


@pytest.mark.parametrize(
    "odd",
    [
        {"cpu-load": [], "memory": None, "queue": "x", "filesystems": [1, {}]},
        {"cpu-load": [{"cpu": "all", "idle": "n/a"}], "memory": {"avail": True}, "queue": {}, "filesystems": {}},
    ],
)
def test_what_was_not_recorded_is_no_figure(odd: dict[str, Any]) -> None:
    assert parsed(answer(record(**odd))) == []


def test_a_time_whose_offset_is_not_known_is_passed_over() -> None:
    local = record()
    local["timestamp"]["utc"] = 0
    assert [each.at for each in parsed(answer(local, record(AT + timedelta(minutes=10))))] == [
        AT + timedelta(minutes=10)
    ]


@pytest.mark.parametrize(
    "output", [b"", b"{", b"[]", b'"x"', b'{"sysstat": {}}', b'{"sysstat": {"hosts": [{"statistics": 3}]}}']
)
def test_what_is_not_sadfs_answer_is_an_error(output: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parsed(output)


class Stand:
    """A directory of sysstat's files and a ``sadf`` that answers with what a file holds."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files = tmp_path / "sysstat"
        self.files.mkdir()
        self.source = Sysstat((tmp_path / "nowhere", self.files))
        programs = tmp_path / "bin"
        programs.mkdir()
        sadf = programs / "sadf"
        sadf.write_text('#!/bin/sh\nexec cat "$2"\n')
        sadf.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        self.sadf = sadf

    def write(self, name: str, content: bytes, changed: datetime = AT) -> None:
        path = self.files / name
        path.write_bytes(content)
        os.utime(path, (changed.timestamp(), changed.timestamp()))

    async def seen(self, hours: float = 24) -> tuple[list[tuple[datetime, float]], list[str]]:
        found = await self.source.between(AT - timedelta(hours=hours), AT)
        cpu = [(each.at, sample.value) for each in found.recorded for sample in each.samples if "cpu" in sample.name]
        return cpu, list(found.gaps)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(tmp_path, monkeypatch)


async def test_the_files_of_the_time_are_read_in_order_and_others_are_not(stand: Stand) -> None:
    day_before = AT - timedelta(hours=20)
    stand.write("sa20", answer(record(AT + timedelta(hours=1)), record(AT), record(AT - timedelta(hours=1))))
    stand.write("sa20261119", answer(record(day_before), record(AT - timedelta(days=2))), day_before)
    stand.write("sa21", answer(record(AT - timedelta(hours=2))), AT - timedelta(days=30))
    stand.write("sar20", b"not ours")
    cpu, gaps = await stand.seen()
    assert [at for at, _ in cpu] == [day_before, AT - timedelta(hours=1), AT]
    assert gaps == []


async def test_a_broken_file_is_a_gap_and_the_others_are_told(stand: Stand) -> None:
    stand.write("sa20", answer(record()))
    stand.write("sa19", b'{"sysstat": ', AT - timedelta(hours=3))
    cpu, gaps = await stand.seen()
    assert len(cpu) == 1
    assert len(gaps) == 1
    assert "sa19" in gaps[0]


async def test_what_sadf_says_of_a_file_is_told(stand: Stand) -> None:
    stand.sadf.write_text("#!/bin/sh\necho 'Invalid system activity file: x' >&2\nexit 2\n")
    stand.write("sa20", b"")
    cpu, gaps = await stand.seen()
    assert cpu == []
    assert "Invalid system activity file" in gaps[0]


async def test_without_sadf_or_without_files_there_is_silently_nothing(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await stand.seen() == ([], [])
    stand.write("sa20", answer(record()))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert await stand.seen() == ([], [])


@pytest.mark.skipif(SADC is None or shutil.which("sadf") is None, reason="sysstat is not installed")
async def test_the_real_sadf_is_understood(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    argv = (str(SADC), "-S", "XALL", "1", "2", str(tmp_path / "sa01"))
    assert (await run(argv, timeout_seconds=30)).exit_status == 0
    seen = await Sysstat((tmp_path,)).between(now - timedelta(minutes=5), now + timedelta(minutes=5))
    assert seen.gaps == []
    names = {sample.name for each in seen.recorded for sample in each.samples}
    assert {"cpu_used_percent", "memory_available_bytes", "load_per_processor"} <= names
    assert all(0 <= s.value <= 100 for each in seen.recorded for s in each.samples if s.unit == "percent")
    disks = [sample for each in seen.recorded for sample in each.samples if sample.about == "/"]
    if disks:
        usage = shutil.disk_usage("/")
        assert abs(disks[0].value - 100 * usage.used / (usage.used + usage.free)) < 2
    assert isinstance(seen.recorded[0].samples[0], Sample)
