"""sources/host: memory, load, pressure, processors and the kernel's limits."""

from pathlib import Path

import pytest

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources import host
from ai_sysadmin.sources.host import HostUnreadable, OomKills, ProcessorUse

MEMINFO = """\
MemTotal:        8000000 kB
MemFree:          100000 kB
MemAvailable:    2000000 kB
SwapTotal:       1000000 kB
SwapFree:         250000 kB
HugePages_Total:       0
"""


def _written(proc: Path, **files: str) -> Path:
    for name, text in files.items():
        path = proc / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc


def _value(samples: list[Sample]) -> float:
    assert len(samples) == 1
    return samples[0].value


def test_this_host_has_memory_and_load() -> None:
    memory, load = host.memory(), host.load()
    assert 0 < memory.available_bytes <= memory.total_bytes
    assert 0 <= memory.used_percent <= 100
    assert load.processors >= 1
    assert 0 < _value(host.process_samples()) < 100
    assert 0 <= _value(host.open_file_samples()) < 100


def test_memory(tmp_path: Path) -> None:
    samples = host.memory_samples(_written(tmp_path, meminfo=MEMINFO))
    assert {(each.name, each.value, each.unit) for each in samples} == {
        ("memory_available_percent", 25.0, "percent"),
        ("memory_available_bytes", 2_000_000 * 1024, "bytes"),
        ("swap_used_percent", 75.0, "percent"),
    }


def test_a_host_without_swap_has_no_swap_to_use(tmp_path: Path) -> None:
    _written(tmp_path, meminfo=MEMINFO.replace("1000000 kB", "0 kB").replace("250000 kB", "0 kB"))
    assert "swap_used_percent" not in {each.name for each in host.memory_samples(tmp_path)}


def test_a_kernel_that_does_not_say_what_is_available(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="does not give MemAvailable"):
        host.memory_samples(_written(tmp_path, meminfo="MemTotal: 8 kB\n"))


def test_pressure(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="does not report pressure"):
        host.pressure(tmp_path)
    (tmp_path / "cpu").write_text("some avg10=1.50 avg60=2.00 avg300=0.00 total=5\n")
    (tmp_path / "memory").write_text(
        "some avg10=9.00 avg60=1.00 avg300=0.00 total=5\nfull avg10=8.00 avg60=0.50 total=1\n"
    )
    cpu, memory = host.pressure(tmp_path)
    assert (cpu.resource, cpu.some_10, cpu.full_10) == ("cpu", 1.5, 0.0)
    assert (memory.some_10, memory.full_60) == (9.0, 0.5)


def test_pressure_samples_are_of_the_last_minute_and_invent_nothing(tmp_path: Path) -> None:
    _written(
        tmp_path,
        pressure__cpu="some avg10=1.50 avg60=2.00 avg300=0.00 total=5\n",
        pressure__io="some avg10=9.00 avg60=1.00 avg300=0.00 total=5\nfull avg10=8.00 avg60=0.50 total=1\n",
    )
    assert host.pressure_samples(tmp_path) == [
        Sample("pressure_some_percent", 2.0, "cpu", "percent"),
        Sample("pressure_some_percent", 1.0, "io", "percent"),
        Sample("pressure_full_percent", 0.5, "io", "percent"),
    ]


def test_load_is_per_processor(tmp_path: Path) -> None:
    _written(tmp_path, loadavg="9.00 6.00 3.00 2/150 4711\n")
    assert host.load_samples(tmp_path, processors=4) == [Sample("load_per_processor", 1.5, "", "ratio")]


@pytest.mark.parametrize(("pid_max", "threads_max", "expected"), [("1000", "300", 50.0), ("200", "300", 75.0)])
def test_tasks_count_against_the_tighter_limit(tmp_path: Path, pid_max: str, threads_max: str, expected: float) -> None:
    _written(tmp_path, loadavg="0 0 0 2/150 4711\n", sys__kernel__pid_max=pid_max)
    _written(tmp_path / "sys/kernel", **{"threads-max": threads_max})
    assert _value(host.process_samples(tmp_path)) == expected


def test_open_files_that_are_allocated_but_unused_do_not_count(tmp_path: Path) -> None:
    _written(tmp_path / "sys/fs", **{"file-nr": "500\t100\t1000\n"})
    assert _value(host.open_file_samples(tmp_path)) == 40.0


def test_tracked_connections(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="tracks no connections"):
        host.conntrack_samples(tmp_path)
    _written(tmp_path / "sys/net/netfilter", nf_conntrack_count="64\n", nf_conntrack_max="256\n")
    assert _value(host.conntrack_samples(tmp_path)) == 25.0


def test_processors_are_measured_between_two_readings(tmp_path: Path) -> None:
    use = ProcessorUse(tmp_path)
    #                                 user nice system idle iowait irq softirq steal guest guest_nice
    _written(tmp_path, stat="cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n")
    assert use.sample() == []
    _written(tmp_path, stat="cpu  130 0 120 730 110 0 10 0 80 0\ncpu0 1 1 1 1\n")
    assert _value(use.sample()) == pytest.approx(60.0)
    assert use.sample() == [], "no time passed"
    _written(tmp_path, stat="cpu  3 0 1 4 0 0 0 0 0 0\n")
    assert use.sample() == [], "the counters began anew"
    _written(tmp_path, stat="cpu  7 0 1 4 0 0 0 0 0 0\n")
    assert _value(use.sample()) == 100.0


def test_kills_for_want_of_memory_are_counted_since_the_last_reading(tmp_path: Path) -> None:
    kills = OomKills(tmp_path)
    seen = []
    for total in (5, 5, 8, 2):
        _written(tmp_path, vmstat=f"nr_free 1\noom_kill {total}\nworkingset_oom_kill 99\n")
        seen.append([sample.value for sample in kills.sample()])
    assert seen == [[], [0.0], [3.0], [2.0]]


def test_a_kernel_that_does_not_count_its_kills(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="does not count"):
        OomKills(_written(tmp_path, vmstat="nr_free 1\n")).sample()


@pytest.mark.parametrize(
    "look_up",
    [
        host.memory_samples,
        host.pressure_samples,
        host.load_samples,
        host.open_file_samples,
        host.process_samples,
        host.conntrack_samples,
        lambda proc: ProcessorUse(proc).sample(),
        lambda proc: OomKills(proc).sample(),
    ],
)
def test_a_host_that_says_nothing(look_up, tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match=r"^[a-z].*[a-z]"):
        look_up(tmp_path)
