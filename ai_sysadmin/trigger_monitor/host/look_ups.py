"""What is looked up on this host, and how often: quick ones at every tick, slow ones each in a time of their own."""

import glob
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, NamedTuple

from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.noticing_settings import Backup
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources import certificates, host
from ai_sysadmin.sources.host import Aside, HostUnreadable

_ANSWERS_WITHIN_SECONDS: Final = 20.0
_MOST_CERTIFICATES: Final = 500
_FILES_EVERY_SECONDS: Final = 60.0


class Quick(NamedTuple):
    """A look-up that costs a fraction of a millisecond and never waits."""

    name: str
    look: Callable[[], list[Sample]]


class Slow(NamedTuple):
    """A look-up that may take its time, or hang: it is waited for apart from all others.

    ``is_declared``: the operator wants it watched, so that not being able to is a trouble of its own.
    """

    name: str
    every_seconds: float
    look: Callable[[], Awaitable[list[Sample]]]
    is_declared: bool = False


LookUp = Quick | Slow


def of_this_host(settings: Settings, clock: Clock) -> tuple[LookUp, ...]:
    """Return all look-ups of the machine that this runs on."""
    return (*_quick(), *_hardware(), *_software(), *_declared(settings, clock))


def _quick() -> tuple[Quick, ...]:
    rates, links = host.NetworkRates(), host.Links()
    processor, kills, space = host.ProcessorUse(), host.OomKills(), host.LocalFileSystems()
    return (
        Quick("memory", host.memory_samples),
        Quick("pressure", host.pressure_samples),
        Quick("load", host.load_samples),
        Quick("processors", processor.sample),
        Quick("open files", host.open_file_samples),
        Quick("processes", host.process_samples),
        Quick("connection tracking", host.conntrack_samples),
        Quick("kills for want of memory", kills.sample),
        Quick("network rates", lambda: rates.sample(time.monotonic())),
        Quick("network links", links.sample),
        Quick("file systems", space.sample),
    )


def _hardware() -> tuple[Slow, ...]:
    zfs, smart = host.ZfsPools(), host.SmartHealth()
    return (
        Slow("temperatures", 30, _aside("temperatures", host.temperature_samples)),
        Slow("RAID", 300, _aside("RAID", host.raid_samples)),
        Slow("ZFS", 300, zfs.sample),
        Slow("btrfs", 300, _aside("btrfs", host.btrfs_samples)),
        Slow("SMART", 3600, smart.sample),
    )


def _software() -> tuple[Slow, ...]:
    remote, clock_state = host.RemoteFileSystems(Aside()), host.ClockState()
    return (
        Slow("network file systems", 30, remote.sample),
        Slow("clock", 60, clock_state.sample),
        Slow("NixOS generation", 60, _aside("the NixOS generation", host.generation_samples)),
        Slow("pending reboot", 60, _aside("a pending reboot", host.reboot_samples)),
    )


def _aside(what: str, work: Callable[[], list[Sample]]) -> Callable[[], Awaitable[list[Sample]]]:
    """Return a look-up that runs in a thread of its own, of which there is at most one."""
    thread = Aside()
    return lambda: thread.ask(what, work, _ANSWERS_WITHIN_SECONDS)


# --- what the operator declared


def _declared(settings: Settings, clock: Clock) -> list[Slow]:
    backups, thread = host.Backups(Aside()), Aside()
    often = min(_FILES_EVERY_SECONDS, 4 * settings.sample_seconds)
    files = [each for each in settings.certificates if each.startswith("/")]
    served = [each for each in settings.certificates if not each.startswith("/")]
    return [
        *(Slow(f"backup {each.name}", 600, partial(_backup, backups, each, clock), True) for each in settings.backups),
        *(
            (Slow("certificate files", often, partial(_certificate_files, thread, files, clock), True),)
            if files
            else ()
        ),
        *(Slow(f"certificate of {each}", 3600, partial(_endpoint, each, clock), True) for each in served),
    ]


async def _backup(backups: host.Backups, backup: Backup, clock: Clock) -> list[Sample]:
    return await backups.sample(backup.name, backup.path, backup.max_age_hours, clock.now())


async def _certificate_files(thread: Aside, globs: Sequence[str], clock: Clock) -> list[Sample]:
    """Return the days left per file. Raises: HostUnreadable: none matches, or one cannot be read and none can."""
    expiries = await thread.ask("certificate files", lambda: _expiries(globs), _ANSWERS_WITHIN_SECONDS)
    samples = [
        sample
        for path, expiry in expiries
        if isinstance(expiry, certificates.Expiry)
        for sample in certificates.samples_of(expiry, path, clock.now())
    ]
    if not samples:
        errors = [str(expiry) for _, expiry in expiries]
        raise HostUnreadable(errors[0] if errors else f"no file matches {', '.join(globs)}")
    return samples


def _expiries(globs: Sequence[str]) -> list[tuple[str, certificates.Expiry | certificates.CertificateUnreadable]]:
    paths = sorted({path for each in globs for path in glob.iglob(each, recursive=True)})  # noqa: PTH207
    found: list[tuple[str, certificates.Expiry | certificates.CertificateUnreadable]] = []
    for path in paths[:_MOST_CERTIFICATES]:
        try:
            found.append((path, _of_file(path, _version(path))))
        except certificates.CertificateUnreadable as error:
            found.append((path, error))
    return found


def _version(path: str) -> tuple[int, int]:
    try:
        state = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise certificates.CertificateUnreadable(f"{path} cannot be read: {error.strerror}") from error
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=_MOST_CERTIFICATES)
def _of_file(path: str, version: tuple[int, int]) -> certificates.Expiry:
    """Return a file's expiry; a file that was not written since is not read again."""
    del version
    return certificates.of_file(Path(path))


async def _endpoint(address: str, clock: Clock) -> list[Sample]:
    """Return the days left of what a server shows, and whether it verifies. Raises: HostUnreadable."""
    name, _, port = address.rpartition(":")
    now = clock.now()
    try:
        expiry = await certificates.of_endpoint(
            name.strip("[]"), int(port), now, timeout_seconds=_ANSWERS_WITHIN_SECONDS
        )
    except certificates.CertificateUnreadable as error:
        raise HostUnreadable(str(error)) from error
    return certificates.samples_of(expiry, address, now, verified=True)
