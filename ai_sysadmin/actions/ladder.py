"""How a NixOS system is activated so that it takes itself back: arm, activate, confirm, revert, all as command lines.

``run`` marks what is about to be activated (by links that keep both systems from the garbage collector), arms a timer
that activates the system before, and only then activates the new one, without making it the boot default. ``confirm``
stops the timer and makes it the boot default. ``revert`` does at once what the timer would do. None of it needs Python,
and all programs are those of the system before, by their paths in the store: a broken system does not break its
undoing.

The stages have no rights but to ask systemd and to set links below ``/nix/var/nix``. What needs more runs in transient
units of its own: activating in ``ACTIVATION``, installing the boot loader in ``BOOTING``. Each undoes only while
``/run/current-system`` is what was activated here: whoever switched meanwhile is left alone.
"""

import re
from typing import Final

from ai_sysadmin.core.acting import Sandbox, Stage
from ai_sysadmin.core.records import Record

SUBJECT: Final = "nixos-system"
"""What every action that activates a system is done to: one at a time."""
PROFILES: Final = "/nix/var/nix/profiles"
PROFILE: Final = f"{PROFILES}/system"
CURRENT: Final = "/run/current-system"
ROOTS: Final = "/nix/var/nix/gcroots"
OURS: Final = f"{ROOTS}/ai-sysadmin"
PENDING: Final = f"{OURS}/pending"
"""Holds the links ``activated`` and ``previous`` from before an activation until it is confirmed or taken back."""
LAST_GOOD: Final = f"{OURS}/last-good"
"""The link to the system that was confirmed last; being here, it is kept from the garbage collector."""
THIS_BOOT: Final = "/run/ai-sysadmin-activation"
"""Is there once something was activated in this boot: what is pending is not for the recovery unit, which looks for it
whenever a switch starts the targets anew."""
SYSTEM_PATH: Final = re.compile(r"/nix/store/[0-9a-df-np-sv-z]{32}-nixos-system-[A-Za-z0-9+._?=-]{1,150}")
PROGRAMS: Final = ("journalctl", "ln", "mkdir", "mv", "nix-env", "rm", "sync", "systemctl", "systemd-run", "test")
"""What the stages use of the system that runs, from its ``sw/bin``."""

ACTIVATE: Final = "ai-sysadmin-activate"
ROLLBACK: Final = "ai-sysadmin-rollback"
REVERT: Final = "ai-sysadmin-revert"
MAKE_DEFAULT: Final = "ai-sysadmin-make-default"
_ACTIVATED: Final = f"{PENDING}/activated"
_PREVIOUS: Final = f"{PENDING}/previous"
_TIMER: Final = f"{ROLLBACK}.time[r]"
"""A pattern, which systemctl looks up among the loaded units: none is no error."""
_UNITS_FAILED: Final = 4
"""How switch-to-configuration ends where units failed: the post-check judges that, as it knows what failed before."""
_ARMING_SECONDS: Final = 30.0
_BOOTING_SECONDS: Final = 300.0
_SAID_MINUTES: Final = 10

_ALWAYS: Final = (
    "Type=oneshot",
    "Slice=ai-sysadmin.slice",
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictRealtime=yes",
    "RestrictNamespaces=yes",
    "SystemCallArchitectures=native",
    "SystemCallErrorNumber=EPERM",
    "RestrictAddressFamilies=AF_UNIX",
    "PrivateNetwork=yes",
    "IPAddressDeny=any",
    "KeyringMode=private",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
)
ACTIVATION: Final = (
    *_ALWAYS,
    "DevicePolicy=closed",
    "SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot",
    (
        "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID"
        " CAP_LINUX_IMMUTABLE CAP_SETFCAP CAP_SETGID CAP_SETUID CAP_SYS_ADMIN"
    ),
)
"""The unit in which a system is activated: it writes ``/etc``, makes users and homes, sets the host's name, tells the
managers of logged-in users; units it starts and stops by asking systemd. No network, no devices, no kernel modules."""
BOOTING: Final = (
    *_ALWAYS,
    "PrivateTmp=yes",
    "ProtectHome=yes",
    "ProtectHostname=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap",
    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_LINUX_IMMUTABLE CAP_SYS_ADMIN",
    "Environment=NIX_REMOTE=daemon HOME=/var/empty",
)
"""The unit in which the boot loader is installed: it writes ``/boot``, the disk's boot sectors, the firmware's list."""

_STAGE: Final = Sandbox(
    writable=(ROOTS, PROFILES, "/run"),
    environment=("NIX_REMOTE=daemon", "HOME=/var/empty"),
    seconds=_BOOTING_SECONDS + 60,
)

Argv = tuple[str, ...]


class Activation(Record):
    """What goes into a plan that activates a system."""

    run: Stage
    confirm: Stage
    revert: Stage
    hold_seconds: float


def stages(
    activated: str, previous: str, *, check_seconds: float, rollback_seconds: float, generation: int | None = None
) -> Activation:
    """Return how a system is activated in place of the one that runs.

    Args:
        activated: the system's path in the store.
        previous: that of the system which runs and is the boot default.
        check_seconds: how long it must hold before it becomes the boot default.
        rollback_seconds: after so long without being confirmed it is taken back.
        generation: the number in the profile that it has already; none: it gets the next one.

    Raises:
        ValueError: one of them is no system's path in the store.
    """
    for path in (activated, previous):
        if SYSTEM_PATH.fullmatch(path) is None:
            raise ValueError(f"{path!r} is no path of a NixOS system in the store")
    limit = max(_ARMING_SECONDS, rollback_seconds - check_seconds - _ARMING_SECONDS)
    ladder = _Ladder(activated, previous)
    return Activation(
        run=Stage(
            name="run",
            commands=ladder.run(rollback_seconds, limit),
            sandbox=_STAGE.model_copy(update={"seconds": limit + _ARMING_SECONDS}),
        ),
        confirm=Stage(name="confirm", commands=ladder.confirm(generation), sandbox=_STAGE),
        revert=Stage(
            name="revert",
            commands=ladder.revert(),
            sandbox=_STAGE.model_copy(update={"seconds": 3 * _BOOTING_SECONDS}),
        ),
        hold_seconds=check_seconds,
    )


class _Ladder:
    """The command lines for one pair of systems."""

    def __init__(self, activated: str, previous: str) -> None:
        self._activated = activated
        self._previous = previous

    def run(self, rollback_seconds: float, limit: float) -> tuple[Argv, ...]:
        """Mark, make durable, arm, activate. The first command sees that nobody switched since the look."""
        return (
            self._do("test", CURRENT, "-ef", self._previous, "-a", PROFILE, "-ef", self._previous),
            self._do("mkdir", "-p", THIS_BOOT, PENDING),
            self._do("ln", "-sfT", self._previous, _PREVIOUS),
            # without -f: where a link is left, another change is under way
            self._do("ln", "-sT", self._activated, _ACTIVATED),
            self._sync(),
            self._unit(
                ROLLBACK,
                (*ACTIVATION, f"TimeoutStartSec={_BOOTING_SECONDS:g}", *_RETRIED, *self._taking_back(by_itself=True)),
                self._switch(self._previous, "test"),
                f"--on-active={rollback_seconds:g}",
                "--timer-property=AccuracySec=1s",
            ),
            self._unit(
                ACTIVATE,
                (*ACTIVATION, f"TimeoutStartSec={limit:g}", _SUCCESS),
                self._switch(self._activated, "test"),
                "--wait",
            ),
            self._said(ACTIVATE),
        )

    def confirm(self, generation: int | None) -> tuple[Argv, ...]:
        """Disarm, make it the boot default, remember it as good. Every command may be done again."""
        number = ("--set", self._activated) if generation is None else ("--switch-generation", str(generation))
        return (
            self._holds(CURRENT),
            self._do("systemctl", "stop", "--", _TIMER),
            # the timer may just have fired: then there is nothing to confirm any more
            self._holds(CURRENT),
            self._do("nix-env", "--profile", PROFILE, *number),
            self._holds(PROFILE),
            self._do("sync", PROFILES),
            self._boot(self._activated, (), "--wait"),
            # the boot loader waited for nobody: had the timer gone back just before, this would not be what runs
            self._holds(CURRENT),
            self._do("ln", "-sfT", self._activated, f"{LAST_GOOD}.new"),
            self._do("mv", "-fT", f"{LAST_GOOD}.new", LAST_GOOD),
            *self._forget(),
        )

    def revert(self) -> tuple[Argv, ...]:
        """Take back, look whether it is, disarm. Every command may be done again; the timer stays until it is done."""
        default = f"ExecCondition={_join(self._do('test', *self._is_only_default()))}"
        profile = f"ExecStartPre={_join(self._do('nix-env', '--profile', PROFILE, '--set', self._previous))}"
        return (
            self._unit(
                REVERT,
                (*ACTIVATION, f"TimeoutStartSec={_BOOTING_SECONDS:g}", _SUCCESS, *self._taking_back(by_itself=False)),
                self._switch(self._previous, "test"),
            ),
            self._is_not_ours(CURRENT),
            self._boot(self._previous, (default, profile)),
            self._do("test", "!", "(", *self._is_only_default(), ")"),
            self._do("systemctl", "stop", "--", _TIMER),
            *self._forget(),
            self._said(ACTIVATE, REVERT, MAKE_DEFAULT),
        )

    def _said(self, *units: str) -> Argv:
        """Print what units wrote; journald does not count it as the stage's own, though they are waited for."""
        since = f"--since=-{_SAID_MINUTES}min"
        of = (f"_SYSTEMD_UNIT={unit}.service" for unit in units)
        return self._do("journalctl", "-q", "--no-pager", "-o", "cat", "-n", "200", since, *of)

    def _taking_back(self, *, by_itself: bool) -> tuple[str, ...]:
        """Return the conditions of a unit that activates the system before, and what it does afterwards."""
        # the timer leaves alone what somebody else made the boot default: confirming stops it first
        unless = ("-a", "!", PROFILE, "-ef", self._activated) if by_itself else ()
        condition = f"ExecCondition={_join((*self._is_ours(CURRENT), *unless))}"
        forgets = f"ExecStartPost=-{_join(self._do('rm', '-f', _ACTIVATED))}"
        return (condition, forgets) if by_itself else (condition,)

    def _boot(self, system: str, properties: Argv, *options: str) -> Argv:
        limit = f"TimeoutStartSec={_BOOTING_SECONDS:g}"
        return self._unit(MAKE_DEFAULT, (*BOOTING, limit, *properties), self._switch(system, "boot"), *options)

    def _unit(self, name: str, properties: Argv, command: Argv, *options: str) -> Argv:
        given = (f"--property={each}" for each in properties)
        return self._do("systemd-run", f"--unit={name}", "--collect", "--quiet", *options, *given, "--", *command)

    def _forget(self) -> tuple[Argv, ...]:
        # the marker first: without it the other link means nothing
        links = (self._do("rm", "-f", _ACTIVATED), self._do("rm", "-f", _PREVIOUS))
        # nothing may have been marked yet
        return (self._do("mkdir", "-p", PENDING), *links, self._sync())

    def _is_ours(self, link: str) -> Argv:
        return self._do("test", link, "-ef", self._activated, "-a", "-L", _ACTIVATED)

    def _is_only_default(self) -> Argv:
        # whether or not the mark is left: a timer that fires while confirming takes it away
        return (PROFILE, "-ef", self._activated, "-a", "!", CURRENT, "-ef", self._activated)

    def _is_not_ours(self, link: str) -> Argv:
        return self._do("test", "!", link, "-ef", self._activated, "-o", "!", "-L", _ACTIVATED)

    def _holds(self, link: str) -> Argv:
        return self._do("test", link, "-ef", self._activated)

    def _sync(self) -> Argv:
        return self._do("sync", PENDING, OURS, ROOTS)

    def _do(self, program: str, *arguments: str) -> Argv:
        return (f"{self._previous}/sw/bin/{program}", *arguments)

    @staticmethod
    def _switch(system: str, how: str) -> Argv:
        return (f"{system}/bin/switch-to-configuration", how)


_SUCCESS: Final = f"SuccessExitStatus={_UNITS_FAILED}"
_RETRIED: Final = (_SUCCESS, "Restart=on-failure", "RestartSec=5")
"""What the timer starts is tried again: a switch may hold the lock just then."""


def _join(argv: Argv) -> str:
    """Return a command line as a unit's property: nothing in it needs quotes, as ``stages`` has made sure."""
    return " ".join(argv)
