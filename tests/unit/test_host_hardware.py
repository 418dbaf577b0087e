"""sources/host: temperatures, RAID, btrfs, ZFS, SMART and the clock, on made-up trees and with stand-in programs."""

import asyncio
import json
from pathlib import Path

import pytest

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources import host
from ai_sysadmin.sources.host import ClockState, HostUnreadable, SmartHealth, ZfsPools
from ai_sysadmin.sources.host.timekeeping import KernelClock, kernel_clock


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def _program(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def _of(samples: list[Sample], name: str) -> dict[str, float]:
    return {sample.about: sample.value for sample in samples if sample.name == name}


# --- temperatures --------------------------------------------------------------------------------------------


def test_temperatures_and_how_near_they_are_to_critical(tmp_path: Path) -> None:
    _tree(
        tmp_path / "class/hwmon/hwmon0",
        {
            "name": "coretemp",
            "temp1_label": "Package id 0",
            "temp1_input": "75000",
            "temp1_crit": "100000",
            "temp2_input": "40500",
            "temp2_crit": "0",
        },
    )
    samples = host.temperature_samples(tmp_path)
    assert _of(samples, "temperature_celsius") == {"coretemp Package id 0": 75.0, "coretemp temp2": 40.5}
    assert _of(samples, "temperature_of_critical_percent") == {"coretemp Package id 0": 75.0}


def test_equal_sensors_are_told_apart_by_their_device(tmp_path: Path) -> None:
    for index in (0, 1):
        chip = tmp_path / f"class/hwmon/hwmon{index}"
        _tree(chip, {"name": "nvme", "temp1_label": "Composite", "temp1_input": f"{30 + index}000"})
        (tmp_path / f"devices/nvme{index}").mkdir(parents=True)
        (chip / "device").symlink_to(tmp_path / f"devices/nvme{index}")
    found = _of(host.temperature_samples(tmp_path), "temperature_celsius")
    assert found == {"nvme0 nvme Composite": 30.0, "nvme1 nvme Composite": 31.0}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"temp1_input": "-128000"},
        {"temp1_input": "127500"},
        {"temp1_input": "rubbish"},
        {"temp1_fault": "1"},
        {"temp1_enable": "0"},
        {"device/power/runtime_status": "suspended"},
    ],
)
def test_a_sensor_that_is_none_or_sleeps(tmp_path: Path, spoilt: dict[str, str]) -> None:
    chip = _tree(tmp_path / "class/hwmon/hwmon3", {"name": "board", "temp1_input": "50000", "temp1_crit": "65261850"})
    assert [sample.value for sample in host.temperature_samples(tmp_path)] == [50.0]
    _tree(chip, spoilt)
    with pytest.raises(HostUnreadable, match="no temperature sensor"):
        host.temperature_samples(tmp_path)


def test_thermal_zones_where_there_are_no_chips(tmp_path: Path) -> None:
    _tree(
        tmp_path / "class/thermal/thermal_zone0",
        {
            "type": "cpu-thermal",
            "temp": "45000",
            "trip_point_0_type": "passive",
            "trip_point_0_temp": "60000",
            "trip_point_1_type": "critical",
            "trip_point_1_temp": "90000",
        },
    )
    samples = host.temperature_samples(tmp_path)
    assert _of(samples, "temperature_celsius") == {"cpu-thermal zone": 45.0}
    assert _of(samples, "temperature_of_critical_percent") == {"cpu-thermal zone": 50.0}


# --- disks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "degraded", "resync"),
    [
        ({"level": "raid1", "degraded": "0", "array_state": "clean", "sync_completed": "none"}, 0.0, None),
        ({"level": "raid5", "degraded": "1", "array_state": "active", "sync_completed": "250 / 1000"}, 1.0, 25.0),
        ({"level": "raid1", "degraded": "1", "array_state": "clean", "sync_completed": "delayed"}, 1.0, None),
        ({"level": "raid0", "array_state": "clean"}, None, None),
        ({"level": "raid0", "array_state": "broken"}, 1.0, None),
        ({"level": "raid1", "array_state": "inactive", "metadata_version": "1.2"}, 1.0, None),
        ({"level": "container", "array_state": "inactive", "metadata_version": "external:imsm"}, None, None),
        (
            {"level": "raid1", "array_state": "active", "degraded": "1", "metadata_version": "external:/md127/0"},
            1,
            None,
        ),
    ],
)
def test_software_raid(tmp_path: Path, array: dict[str, str], degraded: float | None, resync: float | None) -> None:
    samples = host.raid_samples(_tree(tmp_path, {f"block/md0/md/{name}": text for name, text in array.items()}))
    assert _of(samples, "raid_degraded").get("md0") == degraded
    assert _of(samples, "raid_resync_percent").get("md0") == resync


def test_btrfs_errors_are_summed_per_device(tmp_path: Path) -> None:
    uuid = "0b8a3c1e-1111-2222-3333-444455556666"
    clean = "write_errs 0\nread_errs 0\nflush_errs 0\ncorruption_errs 0\ngeneration_errs 0"
    _tree(
        tmp_path / f"fs/btrfs/{uuid}/devinfo",
        {
            "1/error_stats": clean,
            "2/error_stats": clean.replace("read_errs 0", "read_errs 4").replace("_errs 0", "_errs 1"),
        },
    )
    (tmp_path / "fs/btrfs/features").mkdir()
    assert host.btrfs_samples(tmp_path) == [
        Sample("btrfs_device_errors", 0.0, f"{uuid}/1", "count"),
        Sample("btrfs_device_errors", 8.0, f"{uuid}/2", "count"),
    ]


@pytest.mark.parametrize("look_up", [host.raid_samples, host.btrfs_samples, host.temperature_samples])
def test_a_host_without_such_hardware(look_up, tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="this host has no"):
        look_up(tmp_path)


def _disks(sys_: Path, *names: str) -> Path:
    for name in names:
        (sys_ / "block" / name).mkdir(parents=True)
    return sys_


async def test_smart(tmp_path: Path) -> None:
    for name, said in {
        "sda": {"smart_status": {"passed": True}},
        "nvme0n1": {"smart_status": {"passed": False}},
        "sdb": {"smartctl": {"messages": [{"string": "Device is in STANDBY mode", "severity": "information"}]}},
    }.items():
        (tmp_path / name).write_text(json.dumps(said))
    program = _program(
        tmp_path / "smartctl",
        f'echo "$@" >> {tmp_path}/asked',
        f'for last; do true; done; cat {tmp_path}/"${{last#/dev/}}"',
        "exit 8",
    )
    health = SmartHealth(_disks(tmp_path, "sda", "sdb", "nvme0n1", "loop0", "dm-0", "zram0", "vda", "sr0"), program)
    samples = await health.sample()
    assert _of(samples, "smart_failing") == {"sda": 0.0, "nvme0n1": 1.0}
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 3
    assert all("-n standby" in line for line in asked)


@pytest.mark.parametrize(
    ("disks", "line", "why"),
    [
        (("loop0",), "exit 0", "no disk"),
        (("sda",), "echo no json", "did not answer in JSON"),
        (("sda",), "echo '[]'", "did not answer with an object"),
        (("sda",), 'echo \'{"smartctl": {"messages": [{"string": "Permission denied"}]}}\'', "Permission denied"),
        (("sda",), "echo '{}'", "does not say why"),
    ],
)
async def test_disks_that_cannot_be_told(tmp_path: Path, disks: tuple[str, ...], line: str, why: str) -> None:
    with pytest.raises(HostUnreadable, match=why):
        await SmartHealth(_disks(tmp_path, *disks), _program(tmp_path / "smartctl", line)).sample()


async def test_a_program_that_is_not_there_or_takes_too_long(tmp_path: Path) -> None:
    _disks(tmp_path, "sda")
    with pytest.raises(HostUnreadable, match="there is no"):
        await SmartHealth(tmp_path, str(tmp_path / "none")).sample()
    slow = _program(tmp_path / "slow", "exec sleep 60")
    with pytest.raises(HostUnreadable, match="took longer"):
        await SmartHealth(tmp_path, slow, timeout_seconds=0.1).sample()


async def test_a_program_is_not_started_again_while_it_hangs(tmp_path: Path) -> None:
    _disks(tmp_path, "sda")
    health = SmartHealth(tmp_path, _program(tmp_path / "slow", f"echo x >> {tmp_path}/starts", "sleep 60"), 0.3)
    first = asyncio.create_task(health.sample())
    while not (tmp_path / "starts").exists():
        await asyncio.sleep(0.005)
    with pytest.raises(HostUnreadable, match="hangs since it was last asked"):
        await health.sample()
    with pytest.raises(HostUnreadable, match="took longer"):
        await first
    assert (tmp_path / "starts").read_text() == "x\n"


# --- ZFS -----------------------------------------------------------------------------------------------------

POOLS = "printf 'tank\\tONLINE\\t80\\nold\\tDEGRADED\\t7\\nempty\\tONLINE\\t-\\n'"


async def test_zfs_pools(tmp_path: Path) -> None:
    (tmp_path / "spl/kstat/zfs").mkdir(parents=True)
    samples = await ZfsPools(tmp_path, _program(tmp_path / "zpool", POOLS)).sample()
    assert _of(samples, "zfs_pool_unhealthy") == {"tank": 0.0, "old": 1.0, "empty": 0.0}
    assert _of(samples, "zfs_pool_used_percent") == {"tank": 80.0, "old": 7.0}


async def test_a_suspended_pool_is_seen_though_zpool_does_not_answer(tmp_path: Path) -> None:
    _tree(tmp_path, {"spl/kstat/zfs/tank/state": "SUSPENDED", "spl/kstat/zfs/arcstats": "x"})
    samples = await ZfsPools(tmp_path, _program(tmp_path / "zpool", "exec sleep 60"), timeout_seconds=0.1).sample()
    assert samples == [Sample("zfs_pool_unhealthy", 1.0, "tank", "bool")]


@pytest.mark.parametrize(
    ("lines", "why"),
    [(("echo no such thing >&2", "exit 1"), "does not list its pools: no such thing"), (("true",), "no ZFS pools")],
)
async def test_zfs_that_says_nothing(tmp_path: Path, lines: tuple[str, ...], why: str) -> None:
    (tmp_path / "spl/kstat/zfs").mkdir(parents=True)
    with pytest.raises(HostUnreadable, match=why):
        await ZfsPools(tmp_path, _program(tmp_path / "zpool", *lines)).sample()


async def test_a_host_without_zfs(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="no ZFS"):
        await ZfsPools(tmp_path).sample()


# --- the clock -----------------------------------------------------------------------------------------------

TRACKING = "C0000201,192.0.2.1,3,1700000000.0,{offset},0.0,0.0,1.0,0.0,0.1,0.01,0.001,64.0,{leap}"


def _clock(run: Path, is_synchronised: bool, *lines: str) -> ClockState:
    program = _program(run / "chronyc", *lines) if lines else str(run / "none")
    return ClockState(lambda: KernelClock(is_synchronised, -0.25), run, program)


async def test_the_kernel_says_whether_the_clock_is_right(tmp_path: Path) -> None:
    assert await _clock(tmp_path, True).sample() == [
        Sample("clock_synchronised", 1.0, "", "bool"),
        Sample("clock_offset_seconds", -0.25, "", "seconds"),
    ]
    assert await _clock(tmp_path, False).sample() == [Sample("clock_synchronised", 0.0, "", "bool")]


@pytest.mark.parametrize("sign", ["chrony", "chronyd.pid"])
@pytest.mark.parametrize(("leap", "expected"), [("Normal", 1.0), ("Insert second", 1.0), ("Not synchronised", 0.0)])
async def test_chrony_knows_what_it_did_not_tell_the_kernel(
    tmp_path: Path, leap: str, expected: float, sign: str
) -> None:
    (tmp_path / sign).mkdir()
    samples = await _clock(tmp_path, False, f"echo '{TRACKING.format(offset='0.002', leap=leap)}'").sample()
    assert _of(samples, "clock_synchronised") == {"": expected}
    assert _of(samples, "clock_offset_seconds") == ({"": 0.002} if expected else {})


@pytest.mark.parametrize("line", ["echo '506 Cannot talk to daemon'; exit 1", "echo a,b", f"echo '{TRACKING}'"])
async def test_chrony_that_does_not_say(tmp_path: Path, line: str) -> None:
    (tmp_path / "chronyd.pid").touch()
    with pytest.raises(HostUnreadable, match="chrony"):
        await _clock(tmp_path, False, line).sample()


def test_this_kernel_has_a_clock() -> None:
    assert abs(kernel_clock().offset_seconds) < 10
