"""The executor as a process: its sockets, its journal, its loops."""

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.core.settings import Autonomy, Settings
from ai_sysadmin.executor.journal import Journal
from ai_sysadmin.executor.life import Life, Me
from ai_sysadmin.executor.server import Server
from ai_sysadmin.executor.systemd import SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.runtime.notify import listen_fds
from ai_sysadmin.runtime.peers import user_name
from ai_sysadmin.runtime.service import Heartbeat, Loop, run_service
from ai_sysadmin.sources.units import SystemdUnits

_ORDINARY = {Autonomy.AUTO_SAFE: Autonomy.SUGGEST, Autonomy.AUTO_FULL: Autonomy.SUGGEST}


async def run(settings: Settings, policy_file: Path | None = None, proposers: int = -1) -> None:
    """Be the executor until told to stop.

    Args:
        policy_file: the file that the settings came from.
        proposers: the group that may propose, where the sockets are not systemd's but made here.

    Raises:
        SettingsError: others than root could have written the policy.
        StoreUnavailable: its journal cannot be opened.
    """
    check_policy_file(policy_file, os.geteuid())
    settings = capped(settings, os.geteuid())
    directory = settings.executor.state_dir
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    bus, heart = SystemBus(), Heartbeat()
    journal = Journal(directory)
    await journal.open()
    try:
        life = Life(
            journal,
            SystemdEffects(bus, settings.executor.action_timeout_seconds),
            SystemdUnits(bus),
            settings,
            Me(os.geteuid(), user_name(os.geteuid()), boot_id()),
            SystemClock(),
            heart,
        )
        servers = await Server(life, journal, settings).listen(listen_fds() or bind(settings, proposers))
        loops: Mapping[str, Loop] = {"actions": life.run, "expiry": life.expire}
        await run_service("executor", loops, heart)
        for server in servers:
            server.close()
    finally:
        await journal.close()
        bus.close()


def capped(settings: Settings, uid: int) -> Settings:
    """Return the settings as an executor of this uid may use them: without root nothing runs on its own."""
    level = settings.autonomy_level
    if uid == 0 or level not in _ORDINARY:
        return settings
    return settings.model_copy(update={"autonomy_level": _ORDINARY[level]})


def check_policy_file(path: Path | None, uid: int) -> None:
    """Refuse a policy that anybody but root could have written.

    Raises:
        SettingsError: the file, or its directory, belongs to somebody else or is open to others.
    """
    if uid != 0 or path is None:
        return
    for place in (path.resolve(), path.resolve().parent):
        status = place.stat()
        sticky = place.is_dir() and status.st_mode & stat.S_ISVTX  # nobody can replace another's file, as in /nix/store
        if status.st_uid != 0 or (status.st_mode & 0o022 and not sticky):
            raise SettingsError(
                f"{place} could have been written by others than root, so the executor does not trust the policy "
                f"in it: `chown root {place}; chmod go-w {place}`"
            )


def bind(settings: Settings, proposers: int) -> dict[str, list[socket.socket]]:
    """Make the sockets where systemd has not: 0660 for the proposers' group, 0666 for those who may decide."""
    settings.runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    sockets = {}
    for name, path, mode in (("propose", settings.propose_socket, 0o660), ("operate", settings.operate_socket, 0o666)):
        with suppress(FileNotFoundError):
            path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        if name == "propose" and proposers >= 0:
            os.chown(path, -1, proposers)
        path.chmod(mode)
        listening.listen(16)
        listening.setblocking(False)
        sockets[name] = [listening]
    return sockets


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
