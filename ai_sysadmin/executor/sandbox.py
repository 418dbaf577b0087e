"""The sandbox of an action's transient unit: systemd's properties from what a stage declares.

It begins with nothing: no capability, no network, no device, no other process, nothing to write to; a stage adds what
it needs. A declaration that systemd could read as something else is refused, not passed on: systemd keeps a transient
unit as a file and reads that again at every daemon-reload.

systemd follows symbolic links in ``writable``: no part of such a path may lie in a directory that others write to.
"""

import re
import shlex
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from ai_sysadmin.core.acting import Sandbox, Stage
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.runtime.bus import Variant

Property = tuple[str, Variant]

PATH: Final = "/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where an action's programs are, and what they find of each other."""

CAPABILITIES: Final = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Every capability, at the place of its number."""

# What the kernel lets nobody do without the capability is denied by name as well, until the capability is declared.
_CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "CAP_CHOWN": ("@chown",),
    "CAP_SETUID": ("@setuid",),
    "CAP_SETGID": ("@setuid",),
    "CAP_SYS_CHROOT": ("chroot",),
    "CAP_SYS_TIME": ("@clock",),
    "CAP_SYS_MODULE": ("@module",),
    "CAP_SYS_NICE": ("@resources",),
    "CAP_SYS_RESOURCE": ("@resources",),
    "CAP_SYSLOG": ("syslog",),
}
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_FAMILY: Final = re.compile(r"AF_[A-Z0-9]{2,20}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}=[A-Za-z0-9 _./:@+=,~-]{0,1000}")
_DEVICE: Final = re.compile(r"(/dev/[A-Za-z0-9_./:-]{1,200}|(block|char)-[A-Za-z0-9_*-]{1,40})( r?w?m?)?")
_PATH: Final = re.compile(r"[-+]?/[A-Za-z0-9_./@:+=,~-]{0,1000}")
_DESCRIPTION_MOST: Final = 200
_LONGEST_SECONDS: Final = 7 * 86_400.0
STOP_SECONDS: Final = 10
"""How long a unit has to end once it is told to, before it is killed."""


class BadSandbox(AiSysadminError):
    """A stage declares what no unit can be made of."""


def properties(
    stage: Stage, programs: Sequence[str], about: Mapping[str, str], timeout_seconds: float
) -> list[Property]:
    """Return a transient unit's properties: what runs, for how long, in which sandbox, told how in the journal.

    Args:
        programs: the absolute path of each command's program.
        about: what each of its lines in the journal says of it, as fields.
        timeout_seconds: the longest that each command may take, where the sandbox does not say.

    Raises:
        BadSandbox: the stage declares what no unit can be made of.
    """
    box = stage.sandbox
    _check(box)
    _check_commands(stage, programs)
    return [
        *_running(stage, programs, about, timeout_seconds if box.seconds is None else box.seconds),
        *_identity(box),
        *_always(box),
        *_system_calls(box),
        *_network(box),
        *_devices(box),
        *(_mounts(box) if box.own_mounts else ()),
    ]


def _running(
    stage: Stage, programs: Sequence[str], about: Mapping[str, str], timeout_seconds: float
) -> Iterator[Property]:
    commands = [
        [program, [argument.replace("$", "$$") for argument in argv], False]
        for program, argv in zip(programs, stage.commands, strict=True)
    ]
    yield "Description", Variant("s", _description(stage))
    yield "Type", Variant("s", "oneshot")
    yield "RemainAfterExit", Variant("b", True)
    yield "ExecStart", Variant("a(sasb)", commands)
    yield "TimeoutStartUSec", Variant("t", _microseconds(timeout_seconds))
    yield "TimeoutStopUSec", Variant("t", STOP_SECONDS * 1_000_000)
    yield "Slice", Variant("s", "ai-sysadmin.slice")
    yield "LogExtraFields", Variant("aay", [_plain(f"{name}={value}", name).encode() for name, value in about.items()])
    yield "Environment", Variant("as", [f"PATH={PATH}", "LC_ALL=C.UTF-8", *stage.sandbox.environment])
    if stage.good_statuses != (0,):
        yield "SuccessExitStatus", Variant("(aiai)", [list(stage.good_statuses), []])
    if stage.input:
        yield "StandardInput", Variant("s", "data")
        yield "StandardInputData", Variant("ay", stage.input.encode())
    if stage.sandbox.working_directory:
        yield "WorkingDirectory", Variant("s", stage.sandbox.working_directory)


def _microseconds(seconds: float) -> int:
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise BadSandbox(f"{seconds:g} s is no time that an action may take: at most {_LONGEST_SECONDS:g}")
    return int(seconds * 1_000_000)


def _description(stage: Stage) -> str:
    said = "AI sysadmin action: " + "; ".join(shlex.join(argv) for argv in stage.commands)
    return said if len(said) <= _DESCRIPTION_MOST else said[: _DESCRIPTION_MOST - 1] + "…"


def _identity(box: Sandbox) -> Iterator[Property]:
    mask = sum(1 << CAPABILITIES.index(name) for name in set(box.capabilities))
    yield "CapabilityBoundingSet", Variant("t", mask)
    if box.user == "dynamic":
        yield "DynamicUser", Variant("b", True)
    elif box.user:
        yield "User", Variant("s", box.user)
    if box.user:
        yield "AmbientCapabilities", Variant("t", mask)


def _always(box: Sandbox) -> Iterator[Property]:
    """What needs no mount namespace: for every stage alike."""
    yield "NoNewPrivileges", Variant("b", True)
    yield "LockPersonality", Variant("b", True)
    yield "MemoryDenyWriteExecute", Variant("b", not box.executes_memory)
    yield "RestrictNamespaces", Variant("t", 0)
    yield "RestrictRealtime", Variant("b", True)
    yield "RestrictSUIDSGID", Variant("b", True)
    yield "RemoveIPC", Variant("b", bool(box.user))
    yield "UMask", Variant("u", 0o077)
    yield "KeyringMode", Variant("s", "private")
    # seccomp filters and a bounding set: a mount of the stage's still reaches the host
    yield "ProtectClock", Variant("b", "CAP_SYS_TIME" not in box.capabilities)


def _system_calls(box: Sandbox) -> Iterator[Property]:
    allowed = {"prlimit64"}.union(*(_CALLS.get(name, ()) for name in box.capabilities))
    if not box.own_mounts:
        allowed.add("@mount")
    if box.kernel_logs:
        allowed.add("syslog")
    yield "SystemCallArchitectures", Variant("as", ["native"])
    yield "SystemCallErrorNumber", Variant("i", 1)  # EPERM
    yield "SystemCallFilter", Variant("(bas)", [True, ["@system-service"]])
    yield "SystemCallFilter", Variant("(bas)", [False, ["@privileged", "@resources"]])
    yield "SystemCallFilter", Variant("(bas)", [True, sorted(allowed)])


def _network(box: Sandbox) -> Iterator[Property]:
    yield "RestrictAddressFamilies", Variant("(bas)", [True, list(box.families)])
    if box.network:
        return
    nowhere = [[socket.AF_INET, bytes(4), 0], [socket.AF_INET6, bytes(16), 0]]
    yield "IPAddressDeny", Variant("a(iayu)", nowhere)
    if box.own_mounts:  # a network namespace of its own brings a /sys of its own
        yield "PrivateNetwork", Variant("b", True)


def _devices(box: Sandbox) -> Iterator[Property]:
    devices = [*box.devices, *(["/dev/kmsg r"] if box.kernel_logs else [])]
    pairs = [(device.partition(" ")[0], device.partition(" ")[2] or "rwm") for device in devices]
    yield "DevicePolicy", Variant("s", "closed")
    if pairs:
        yield "DeviceAllow", Variant("a(ss)", [list(pair) for pair in pairs])
    if box.own_mounts:
        hides = not pairs and not {"CAP_MKNOD", "CAP_SYS_RAWIO"} & set(box.capabilities)
        yield "PrivateDevices", Variant("b", hides)


def _mounts(box: Sandbox) -> Iterator[Property]:
    """What gives the unit file systems of its own."""
    yield "PrivateMounts", Variant("b", True)
    yield "PrivateTmp", Variant("b", box.private_tmp)
    yield "ProtectSystem", Variant("s", "strict")
    yield "ProtectHome", Variant("s", "read-only" if box.sees_home else "yes")
    yield "ProtectKernelTunables", Variant("b", True)
    yield "ProtectKernelModules", Variant("b", "CAP_SYS_MODULE" not in box.capabilities)
    yield "ProtectKernelLogs", Variant("b", not (box.kernel_logs or "CAP_SYSLOG" in box.capabilities))
    yield "ProtectControlGroups", Variant("b", True)
    yield "ProtectHostname", Variant("b", True)
    if not box.sees_processes:
        yield "ProtectProc", Variant("s", "invisible")
    if box.user == "dynamic" and not box.capabilities:
        yield "PrivateUsers", Variant("b", True)
    if box.writable:
        yield "ReadWritePaths", Variant("as", list(box.writable))


def _check_commands(stage: Stage, programs: Sequence[str]) -> None:
    _each(programs, "program", lambda path: not path.startswith(("-", "+")) and _is_path(path))
    words = [word for argv in stage.commands for word in argv]
    for word in words:
        _plain(word, "an argument")
    # systemd 252 writes these with a backslash too many into the unit's file: after a daemon-reload in the middle it
    # would not know the command that runs for the one it reads, and pass over those that follow
    if len(stage.commands) > 1 and any(character in word for word in words for character in "$;"):
        raise BadSandbox(f"the stage {stage.name} has several commands and $ or ; in one of them: make it stages")


def _check(box: Sandbox) -> None:
    _each(box.capabilities, "capability", CAPABILITIES.__contains__)
    _each(box.families, "address family", _FAMILY.fullmatch)
    _each(box.devices, "device", _is_device)
    _each(box.writable, "writable path", _is_path)
    _each(filter(None, (box.working_directory,)), "working directory", _is_path)
    _each(box.environment, "variable", _VARIABLE.fullmatch)
    _each(filter(None, (box.user,)), "user", _USER.fullmatch)
    if not box.own_mounts and (box.writable or box.user == "dynamic"):
        raise BadSandbox("own_mounts=False leaves nothing to make writable, and no dynamic user: both need mounts")


def _is_device(text: str) -> bool:
    return _DEVICE.fullmatch(text) is not None and ".." not in text


def _is_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None and ".." not in text.split("/")


def _each(declared: Iterable[str], what: str, is_valid: Callable[[str], object]) -> None:
    wrong = [text for text in declared if not is_valid(text)]
    if wrong:
        raise BadSandbox(f"{wrong[0]!r} is no {what} that a sandbox can be made of")


def _plain(text: str, what: str) -> str:
    """Return a text of one line as it is. Raises: BadSandbox: it would end a line of the file, or is no Unicode."""
    if any(ord(character) < 32 or ord(character) == 127 or 0xD800 <= ord(character) < 0xE000 for character in text):
        raise BadSandbox(f"{what} holds a control character: {text[:60]!r}")
    return text
