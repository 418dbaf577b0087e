"""tools/memory, sources/strain and unit_usage: memory, pressure and units, from made-up trees."""

from pathlib import Path

import pytest

from ai_sysadmin.sources import strain
from ai_sysadmin.sources.host import HostUnreadable
from ai_sysadmin.sources.unit_usage import UnitMemory, unit_memory, unit_traffic
from ai_sysadmin.tools.memory import memory_tools
from tests.looking import looked, tree

PROC = {
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 2000000 kB\nCached: 500000 kB\nSwapTotal: 1000000 kB\n"
    "SwapFree: 250000 kB\nZswap: 1000 kB\nZswapped: 3000 kB\nHugePages_Total: 0\n",
    "proc/loadavg": "4.00 2.00 1.00 3/400 9\n",
    "proc/uptime": "7200.0 1.0\n",
    "proc/vmstat": "nr_free_pages 1\noom_kill_disable 9\noom_kill 3\n",
    "proc/swaps": "Filename Type Size Used Priority\n/dev/dm-1 partition 1000000 750000 -2\n",
    "proc/pressure/cpu": "some avg10=1.50 avg60=2.00 avg300=3.00 total=5\n",
    "proc/pressure/memory": "some avg10=9.00 avg60=8.00 avg300=7.00 total=5\n"
    "full avg10=6.00 avg60=5.00 avg300=4.00 total=1\n",
    "sys/devices/system/cpu/online": "0-2,6\n",
    "sys/module/zswap/parameters/enabled": "Y\n",
    "sys/block/zram0/mm_stat": "4096000 1000000 2048000 0 2048000 0 0 0 0\n",
    "sys/block/zram1/mm_stat": "0 0 0 0 0 0 0 0 0\n",
}
GROUPS = {
    "sys/fs/cgroup/cgroup.controllers": "cpu io memory\n",
    "sys/fs/cgroup/system.slice/memory.current": "999999999\n",
    "sys/fs/cgroup/system.slice/db.service/memory.current": "600000000\n",
    "sys/fs/cgroup/system.slice/db.service/memory.max": "800000000\n",
    "sys/fs/cgroup/system.slice/db.service/memory.high": "max\n",
    "sys/fs/cgroup/system.slice/db.service/memory.events": "low 0\noom 4\noom_kill 2\n",
    "sys/fs/cgroup/system.slice/db.service/inner.service/memory.current": "1\n",
    "sys/fs/cgroup/system.slice/db.service/io.stat": "8:0 rbytes=100 wbytes=20 rios=7\n8:16 rbytes=1 wbytes=2\n",
    "sys/fs/cgroup/user.slice/user-1.slice/session-2.scope/memory.current": "700000000\n",
    "sys/fs/cgroup/user.slice/user-1.slice/session-2.scope/memory.max": "max\n",
}


async def test_everything_in_words(tmp_path: Path) -> None:
    lines = (await looked(memory_tools(tree(tmp_path, PROC | GROUPS)))).text.splitlines()
    assert lines[0].startswith(
        "memory: 2.05 GB available of 8.19 GB (75 % used); page cache, given back on demand, 512 MB"
    )
    assert lines[1] == "swap: 768 MB used of 1.02 GB (/dev/dm-1 768 MB of 1.02 GB)"
    assert lines[2] == "zswap: on: holds 3.07 MB in 1.02 MB"
    assert lines[3] == "zram0: holds 4.1 MB in 2.05 MB of memory"
    assert lines[4] == "load: 4.00, 2.00, 1.00 (1, 5, 15 min) on 4 processors: 0.50 a processor over 5 min"
    assert lines[5] == "OOM kills by the kernel: 3 in the 2 h since the host started"
    table = [line.split() for line in lines[7:]]
    assert table[0] == ["resource", "10", "s", "60", "s", "300", "s"]
    assert table[1] == ["cpu", "some", "1.5", "%", "2.0", "%", "3.0", "%"]
    assert table[3] == ["memory", "full", "6.0", "%", "5.0", "%", "4.0", "%"]
    assert table[-2] == ["session-2.scope", "700", "MB", "-", "0"]
    assert table[-1] == ["db.service", "600", "MB", "800", "MB", "(75", "%", "used)", "2"]


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("proc/meminfo", "memory: not known, memory use cannot be read"),
        ("proc/vmstat", "this kernel does not count them"),
        ("proc/loadavg", "load: not known, the load average cannot be read"),
        ("proc/pressure/cpu", "memory some"),
    ],
)
async def test_what_is_not_known_is_said_and_the_rest_is_told(tmp_path: Path, without: str, said: str) -> None:
    tree(tmp_path, PROC | GROUPS)
    (tmp_path / without).unlink()
    text = (await looked(memory_tools(tmp_path))).text
    assert said in text
    assert "db.service" in text


async def test_a_host_without_swap_pressure_and_accounting(tmp_path: Path) -> None:
    tree(tmp_path, {"proc/meminfo": "MemTotal: 8 kB\nMemAvailable: 8 kB\n"})
    text = (await looked(memory_tools(tmp_path))).text
    assert "swap: none" in text
    assert "this kernel does not report pressure" in text
    assert "memory is not accounted for by unit" in text


async def test_a_unit_that_was_killed_is_told_of_however_little_it_uses(tmp_path: Path) -> None:
    many = {f"sys/fs/cgroup/a.slice/u{n}.service/memory.current": f"{n}000000\n" for n in range(10, 40)}
    killed = {"sys/fs/cgroup/a.slice/u10.service/memory.events": "oom_kill 1\n"}
    text = (await looked(memory_tools(tree(tmp_path, PROC | GROUPS | many | killed)))).text
    assert "u10.service" in text
    assert "u11.service" not in text


def test_memory_of_units_in_either_hierarchy(tmp_path: Path) -> None:
    assert unit_memory(tree(tmp_path / "2", GROUPS)) == [
        UnitMemory("session-2.scope", 700_000_000, None, 0),
        UnitMemory("db.service", 600_000_000, 800_000_000, 2),
    ]
    old = {
        "sys/fs/cgroup/memory/system.slice/db.service/memory.usage_in_bytes": "5\n",
        "sys/fs/cgroup/memory/system.slice/db.service/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/system.slice/db.service/memory.oom_control": "under_oom 0\noom_kill 1\n",
    }
    assert unit_memory(tree(tmp_path / "1", old)) == [UnitMemory("db.service", 5, None, 1)]
    with pytest.raises(HostUnreadable, match="not accounted for"):
        unit_memory(tmp_path)


def test_traffic_of_units(tmp_path: Path) -> None:
    assert unit_traffic(tree(tmp_path, GROUPS)) == {"db.service": 123}


def test_swaps_without_any(tmp_path: Path) -> None:
    assert strain.swaps(tree(tmp_path, {"swaps": "Filename Type Size Used Priority\n"})) == []
    assert strain.processors(tree(tmp_path, {"devices/system/cpu/online": "nonsense-\n"})) is None
