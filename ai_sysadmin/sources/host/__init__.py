"""What the host says of itself: its storage, memory, load, hardware, clock, backups and NixOS generations.

Two kinds of look-ups. Those that return one frozen value (``memory``, ``file_systems``, ``generations``) are for
people's pages; those named ``…_samples`` return samples for the metric store. What remembers an earlier reading, or
may hang, is a class with ``sample``. Each raises ``HostUnreadable`` with one clear sentence where the host cannot say.

Of the files here only ``asking`` starts processes, and only ``aside`` starts threads.
"""

from ai_sysadmin.sources.host.aside import Aside, Hung
from ai_sysadmin.sources.host.backups import Backups
from ai_sysadmin.sources.host.disks import SmartHealth, btrfs_samples, raid_samples
from ai_sysadmin.sources.host.heat import temperature_samples
from ai_sysadmin.sources.host.mounts import PSEUDO, REMOTE, parse_mount
from ai_sysadmin.sources.host.network import Links, NetworkRates
from ai_sysadmin.sources.host.reading import HostUnreadable
from ai_sysadmin.sources.host.reboot import PendingReboot, pending_reboot, reboot_samples
from ai_sysadmin.sources.host.resources import (
    Load,
    Memory,
    OomKills,
    Pressure,
    ProcessorUse,
    conntrack_samples,
    load,
    load_samples,
    memory,
    memory_samples,
    open_file_samples,
    pressure,
    pressure_samples,
    process_samples,
)
from ai_sysadmin.sources.host.space import FileSystem, LocalFileSystems, RemoteFileSystems, file_systems
from ai_sysadmin.sources.host.timekeeping import ClockState
from ai_sysadmin.sources.host.versions import Generations, generation_samples, generations
from ai_sysadmin.sources.host.zfs import ZfsPools

__all__ = [
    "PSEUDO",
    "REMOTE",
    "Aside",
    "Backups",
    "ClockState",
    "FileSystem",
    "Generations",
    "HostUnreadable",
    "Hung",
    "Links",
    "Load",
    "LocalFileSystems",
    "Memory",
    "NetworkRates",
    "OomKills",
    "PendingReboot",
    "Pressure",
    "ProcessorUse",
    "RemoteFileSystems",
    "SmartHealth",
    "ZfsPools",
    "btrfs_samples",
    "conntrack_samples",
    "file_systems",
    "generation_samples",
    "generations",
    "load",
    "load_samples",
    "memory",
    "memory_samples",
    "open_file_samples",
    "parse_mount",
    "pending_reboot",
    "pressure",
    "pressure_samples",
    "process_samples",
    "raid_samples",
    "reboot_samples",
    "temperature_samples",
]
