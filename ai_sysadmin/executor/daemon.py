"""The executor as a process: its sockets, its journal, its loops."""

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue import catalogue_of
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.core.settings import Autonomy, Settings
from ai_sysadmin.executor.asking import Asking, Me
from ai_sysadmin.executor.audit import Audit
from ai_sysadmin.executor.halt import HaltSwitch
from ai_sysadmin.executor.holds import SystemHolds
from ai_sysadmin.executor.inhibitor import Inhibitor
from ai_sysadmin.executor.journal import Journal
from ai_sysadmin.executor.life import Life
from ai_sysadmin.executor.looking import Looking
from ai_sysadmin.executor.polkit import PolkitEffects
from ai_sysadmin.executor.probing import Probing, own_program
from ai_sysadmin.executor.retention import forget_forever
from ai_sysadmin.executor.server import Server
from ai_sysadmin.executor.sessions import LogindSessions
from ai_sysadmin.executor.stages import Stages
from ai_sysadmin.executor.systemd import Effects, SystemdEffects
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.runtime.notify import listen_fds
from ai_sysadmin.runtime.peers import user_name
from ai_sysadmin.runtime.restoring import refuse_interrupted
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
    check_policy_file(policy_file, os.geteuid(), strictly=settings.executor.rights == "polkit")
    settings = capped(settings, os.geteuid())
    limits = settings.executor
    limits.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_interrupted(limits.state_dir)
    bus, heart, clock = SystemBus(), Heartbeat(), SystemClock()
    audit = Audit(limits.state_dir, limits.audit_copy, to_journal=limits.audit_to_journal)
    journal = Journal(limits.state_dir, audit)
    await journal.open()
    try:
        halt = HaltSwitch(limits.state_dir)
        stages = Stages(_effects(settings, bus), limits.action_timeout_seconds, limits.output_kilobytes * 1024)
        probing = Probing({probe.name: probe for probe in settings.trigger_monitor.probes}, stages, own_program())
        sessions = LogindSessions(bus)
        host = Host(settings, SystemdUnits(bus), sessions, clock, probe=probing.probe, forget_probes=probing.forget)
        looking = Looking(catalogue_of(settings), host, SystemHolds(bus), journal, halt, boot_id())
        me = Me(os.geteuid(), user_name(os.geteuid()), boot_id())
        life = Life(journal, looking, stages, Inhibitor(bus), me.boot_id, heart)
        asking = Asking(journal, looking, me, life.due)
        server = Server(asking, journal, halt, audit, settings, clock)
        listening = await server.listen(listen_fds() or bind(settings, proposers))
        loops: Mapping[str, Loop] = {
            "actions": partial(life.run, asking),
            "expiry": asking.expire,
            "retention": partial(forget_forever, journal, clock, looking.remembered),
        }
        await run_service("executor", loops, heart)
        for each in listening:
            each.close()
    finally:
        await journal.close()
        bus.close()


def _effects(settings: Settings, bus: SystemBus) -> Effects:
    if settings.executor.rights == "polkit":
        limits = settings.executor
        return PolkitEffects(bus, limits.polkit_units, limits.action_timeout_seconds)
    return SystemdEffects(bus, settings.executor.action_timeout_seconds)


def capped(settings: Settings, uid: int) -> Settings:
    """Return the settings as an executor of this uid may use them.

    Without root nothing runs on its own, unless polkit gave it rights of its own.
    """
    level = settings.autonomy_level
    if uid == 0 or settings.executor.rights == "polkit" or level not in _ORDINARY:
        return settings
    return settings.model_copy(update={"autonomy_level": _ORDINARY[level]})


def check_policy_file(path: Path | None, uid: int, *, strictly: bool = False) -> None:
    """Refuse a policy that anybody but root could have written; an ordinary user's own is as good, unless ``strictly``.

    Raises:
        SettingsError: the file, or a directory on the way to it, belongs to somebody else or is open to others.
    """
    if path is None or (uid != 0 and not strictly):
        return
    real = path.resolve()
    for place in (real, *path.absolute().parents, *real.parents):
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
