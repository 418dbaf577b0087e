"""Whether the clock is kept right, and how far it is off: by the kernel's word, or else by chrony's."""

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources.host.asking import Tool
from ai_sysadmin.sources.host.reading import HostUnreadable

_STA_UNSYNC = 0x0040
_STA_NANO = 0x2000


@dataclass(frozen=True)
class KernelClock:
    """What the kernel knows of its clock. ``offset_seconds`` is what is still to be corrected."""

    is_synchronised: bool
    offset_seconds: float


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), and room for what a later kernel may add."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kernel_clock() -> KernelClock:
    """Ask the kernel, changing nothing. Raises: HostUnreadable: a sandbox may forbid it."""
    timex = _Timex()
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        raise HostUnreadable(f"the kernel does not tell of its clock: {os.strerror(ctypes.get_errno())}")
    per_second = 1e9 if timex.status & _STA_NANO else 1e6
    return KernelClock(not timex.status & _STA_UNSYNC, timex.offset / per_second)


class ClockState:
    """Samples the clock.

    chrony tells the kernel only where it is set up to (``rtcsync``), so where it runs and the kernel knows of no
    synchronisation, chrony is asked.
    """

    def __init__(
        self, ask_kernel: Callable[[], KernelClock] = kernel_clock, run: Path = Path("/run"), program: str = "chronyc"
    ) -> None:
        self._ask_kernel = ask_kernel
        self._run = run
        self._tool = Tool(program, timeout_seconds=5.0)

    async def sample(self) -> list[Sample]:
        """Return ``clock_synchronised``, and ``clock_offset_seconds`` if it is known. Raises: HostUnreadable."""
        kernel = self._ask_kernel()
        if not kernel.is_synchronised and self._chrony_runs():
            return await self._by_chrony()
        return _samples(kernel.is_synchronised, kernel.offset_seconds)

    def _chrony_runs(self) -> bool:
        # Its directory is closed to others, so that to look into it would fail.
        return any((self._run / name).exists() for name in ("chrony", "chronyd.pid"))

    async def _by_chrony(self) -> list[Sample]:
        answer = await self._tool.ask("-n", "-c", "tracking")
        fields = answer.stdout.decode(errors="replace").strip().split(",")
        if answer.exit_status != 0 or len(fields) < 14:
            raise HostUnreadable("chrony runs but does not say whether the clock is synchronised")
        try:
            return _samples(fields[13] != "Not synchronised", float(fields[4]))
        except ValueError as error:
            raise HostUnreadable("chrony says how far the clock is off in another form") from error


def _samples(is_synchronised: bool, offset_seconds: float) -> list[Sample]:
    samples = [Sample("clock_synchronised", float(is_synchronised), unit="bool")]
    if is_synchronised:
        samples.append(Sample("clock_offset_seconds", offset_seconds, unit="seconds"))
    return samples
