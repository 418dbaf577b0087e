"""Graphics processors: how busy, how warm, how full their memory is, by nvidia-smi or by what sysfs says."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run
from ai_sysadmin.sources.host.reading import HostUnreadable, attribute, children, number

NVIDIA_SMI: Final = ("nvidia-smi", "/run/current-system/sw/bin/nvidia-smi", "/run/opengl-driver/bin/nvidia-smi")
_QUERY: Final = "index,name,driver_version,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw"
_APPS: Final = "pid,used_memory,process_name"
_MEBIBYTE: Final = 1 << 20
_MOST_BYTES: Final = 256 << 10
_VENDORS: Final = {"0x1002": "AMD", "0x10de": "NVIDIA", "0x8086": "Intel"}


class Gpu(NamedTuple):
    """One graphics processor; what is not known is none."""

    name: str
    driver: str
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    busy_percent: int | None = None
    celsius: float | None = None
    watts: float | None = None
    megahertz: int | None = None


class GpuProcess(NamedTuple):
    """A process that computes on an NVIDIA card."""

    pid: int
    name: str
    memory_bytes: int | None


def gpus_in_sysfs(sys_: Path = Path("/sys")) -> list[Gpu]:
    """Return the cards that the kernel's own drivers tell of, and of others that they are there."""
    cards = [each for each in children(sys_ / "class/drm", "card*") if each.name.removeprefix("card").isdigit()]
    return [_gpu(card) for card in cards if (card / "device").exists()]


def _gpu(card: Path) -> Gpu:
    device = card / "device"
    vendor, model = attribute(device / "vendor"), attribute(device / "device")
    label = attribute(device / "product_name") or f"{_VENDORS.get(vendor, vendor)} [{model.removeprefix('0x')}]"
    heat = _first(device, ("hwmon/hwmon*/temp1_input",))
    power = _first(device, ("hwmon/hwmon*/power1_average", "hwmon/hwmon*/power1_input"))
    speed = number(card / "gt_act_freq_mhz")
    return Gpu(
        name=f"{card.name}: {label}",
        driver=_driver(device),
        memory_total_bytes=number(device / "mem_info_vram_total"),
        memory_used_bytes=number(device / "mem_info_vram_used"),
        busy_percent=number(device / "gpu_busy_percent"),
        celsius=None if heat is None else heat / 1000,
        watts=None if power is None else power / 1e6,
        megahertz=speed if speed is not None else _first(card, ("device/tile*/gt*/freq0/act_freq",)),
    )


def _first(directory: Path, patterns: Sequence[str]) -> int | None:
    found = (number(file) for pattern in patterns for file in children(directory, pattern))
    return next((each for each in found if each is not None), None)


def _driver(device: Path) -> str:
    try:
        return (device / "driver").readlink().name
    except OSError:
        return ""


def nvidia_driver(root: Path = Path("/")) -> str:
    """Return which of NVIDIA's drivers is loaded, and the cards that it drives; empty: none is."""
    directory = root / "proc/driver/nvidia"
    version = attribute(directory / "version").partition("\n")[0].removeprefix("NVRM version:").strip()
    told = [attribute(each) for each in children(directory, "gpus/*/information")]
    models = [text.partition("Model:")[2].partition("\n")[0].strip() for text in told]
    return ", ".join(filter(None, (version, *models)))


def hides_nvidia(root: Path = Path("/")) -> bool:
    """Tell whether a driver is loaded whose device this process may not see: its sandbox leaves devices out."""
    return (root / "proc/driver/nvidia/version").exists() and not (root / "dev/nvidiactl").exists()


async def nvidia_gpus(programs: Sequence[str] = NVIDIA_SMI) -> list[Gpu]:
    """Return NVIDIA's cards. Raises: HostUnreadable: there is no nvidia-smi, or it says no."""
    rows = await _asked(programs, f"--query-gpu={_QUERY}")
    return [_of_row(row) for row in rows if len(row) == len(_QUERY.split(","))]


async def nvidia_processes(programs: Sequence[str] = NVIDIA_SMI) -> list[GpuProcess]:
    """Return who computes on NVIDIA's cards. Raises: HostUnreadable."""
    rows = await _asked(programs, f"--query-compute-apps={_APPS}")
    return [
        GpuProcess(int(row[0]), ", ".join(row[2:]), _mebibytes(row[1]))
        for row in rows
        if len(row) >= 3 and row[0].isdigit()
    ]


async def _asked(programs: Sequence[str], query: str) -> list[list[str]]:
    why = "nvidia-smi is not on this host, or not on this service's PATH"
    for program in programs:
        try:
            said = await run(
                (program, query, "--format=csv,noheader,nounits"),
                timeout_seconds=8.0,
                max_bytes=_MOST_BYTES,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
        except CommandMissing:
            continue
        except CommandTimedOut as error:
            raise HostUnreadable(str(error)) from error
        text = said.stdout.decode(errors="replace")
        if said.exit_status == 0:
            return [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
        told = (text.strip() or said.stderr.strip()).partition("\n")[0]
        raise HostUnreadable(f"nvidia-smi says: {told[:200] or f'exit status {said.exit_status}'}")
    raise HostUnreadable(why)


def _of_row(row: Sequence[str]) -> Gpu:
    busy, heat, power = (_number(row[at]) for at in (5, 6, 7))
    return Gpu(
        name=f"{row[0]}: {row[1]}",
        driver=f"nvidia {row[2]}",
        memory_total_bytes=_mebibytes(row[3]),
        memory_used_bytes=_mebibytes(row[4]),
        busy_percent=None if busy is None else int(busy),
        celsius=heat,
        watts=power,
    )


def _mebibytes(text: str) -> int | None:
    found = _number(text)
    return None if found is None else int(found * _MEBIBYTE)


def _number(text: str) -> float | None:
    """Return a figure; none: the card does not give it (``[N/A]``, ``[Not Supported]``)."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
