"""Renewing a certificate: starting the unit that does it, and seeing that it did."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, AwareDatetime, StringConstraints

from ai_sysadmin.actions.action import Action, Host
from ai_sysadmin.actions.catalogue.unit_looks import UnitSeen, looked_at, not_loaded, not_running, stands, unfit
from ai_sysadmin.actions.catalogue.units import systemctl
from ai_sysadmin.actions.standalone import needs_home, own_program
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.records import Record, UnitName
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.certificates import CertificateUnreadable, of_file
from ai_sysadmin.sources.path_globs import PathGlobs
from ai_sysadmin.sources.units import UnitStatus

RENEWERS: Final = ("acme-*.service", "certbot*.service", "lego*.service", "dehydrated*.service", "uacme*.service")
"""Units that renew certificates: NixOS's, Debian's and Fedora's of certbot, and those that other clients bring."""
_NO_RENEWERS: Final = ("acme-selfsigned*", "acme-fixperms*", "acme-setup*", "acme-lockfiles*")
_NIXOS_UNIT: Final = re.compile(r"acme-(?:order-renew-)?(.+)\.service")
_RENEWAL_SECONDS: Final = 600.0


def _leads_straight(path: str) -> str:
    if any(part in {"", ".", ".."} for part in path.split("/")[1:]):
        raise ValueError("it has to be a file's absolute path without dots and double slashes")
    return path


CertificatePath = Annotated[
    str, StringConstraints(pattern=r"^/[A-Za-z0-9 _.,:@+*=~/-]+$", max_length=1000), AfterValidator(_leads_straight)
]
"""A file's absolute path."""


class CertificateSeen(UnitSeen):
    """A renewing unit and the certificate. ``not_after`` is none where it cannot be read: ``unreadable`` says why.

    ``soon`` is the moment before which a certificate must not expire, by the settings.
    """

    not_after: AwareDatetime | None = None
    unreadable: str = ""
    soon: AwareDatetime
    certificate_days: int

    @property
    def expires(self) -> str:
        """What is wrong with the certificate, in words; empty: it lasts, or nobody can tell."""
        if self.not_after is None or self.not_after >= self.soon:
            return ""
        return f"the certificate expires at {self.not_after:%Y-%m-%d %H:%M} UTC, within {self.certificate_days} days"


class RenewCertificate(Action[CertificateSeen]):
    """Renew a certificate that expires soon, by starting the unit that renews it.

    ``certificate`` is the file that it is in, one that the settings name to be watched.
    """

    name: ClassVar[str] = "renew_certificate"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE, Risk.DISRUPTIVE)
    seen: ClassVar[type[Record]] = CertificateSeen
    needs: ClassVar[str] = (
        "The unit renews certificates by its name, is a oneshot and not at work; the file is one of the setting"
        " trigger_monitor.certificates."
    )
    unit: UnitName
    certificate: CertificatePath

    @property
    def subject(self) -> str:
        return self.unit

    def refuse(self, settings: Settings) -> str | None:
        if not any(fnmatchcase(self.unit, glob) for glob in RENEWERS) or any(
            fnmatchcase(self.unit, glob) for glob in _NO_RENEWERS
        ):
            return f"{self.unit} is no unit that renews certificates: those are {', '.join(RENEWERS)}"
        watched = [each for each in settings.trigger_monitor.certificates if each.startswith("/")]
        if not PathGlobs(watched).fits(self.certificate):
            return (
                f"{self.certificate} is none of trigger_monitor.certificates: {', '.join(watched) or 'no file is set'}"
            )
        return None

    async def observe(self, host: Host) -> CertificateSeen:
        unit = await looked_at(host, self.unit, stops=False, starts=False)
        days = host.settings.trigger_monitor.certificate_days
        not_after, unreadable = None, self.refuse(host.settings) or ""
        if not unreadable:
            try:
                not_after = (await asyncio.to_thread(of_file, host.path(self.certificate))).at
            except CertificateUnreadable as error:
                unreadable = str(error)
        return CertificateSeen(
            **dict(unit),
            not_after=not_after,
            unreadable=unreadable,
            soon=host.clock.now() + timedelta(days=days),
            certificate_days=days,
        )

    def risk(self, seen: CertificateSeen) -> Risk:
        return Risk.DISRUPTIVE if seen.status.active_state == "active" else Risk.REVERSIBLE

    def obstacle(self, seen: CertificateSeen) -> str | None:
        status = seen.status
        wrong = unfit(self.unit, seen) or not_loaded(status)
        if wrong is None and status.type != "oneshot":
            wrong = f"{status.name} is of type {status.type or 'unknown'}, not oneshot: it has no end to wait for"
        if wrong is None and status.active_state not in {"failed", "inactive", "active"}:
            wrong = f"{stands(status)}: it is at work already"
        return wrong

    def warrant(self, seen: CertificateSeen) -> str | None:
        """A certificate that the executor sees expire, or a unit that it sees failed; the one has to be the other's."""
        if seen.status.active_state == "failed":
            return f"{seen.status.name} has failed ({seen.status.result or seen.status.sub_state})"
        return (seen.expires or None) if self._belongs() else None

    def _belongs(self) -> bool:
        """Tell whether the certificate is the unit's, as far as names say: NixOS has one unit for each."""
        found = _NIXOS_UNIT.fullmatch(self.unit)
        return found is None or found[1] in Path(self.certificate).parts

    def plan(self, seen: CertificateSeen) -> Plan:
        verb = "restart" if seen.status.active_state == "active" else "start"
        lasts = f"{self.certificate} is good for {seen.certificate_days} days"
        return Plan(
            does=f"starts {self.unit} to renew {self.certificate}",
            run=Stage(name="run", commands=(systemctl(verb, self.unit),), sandbox=Sandbox(seconds=_RENEWAL_SECONDS)),
            precondition="; ".join((stands(seen.status), seen.expires or seen.unreadable or lasts)),
            post_check=f"{self.unit} ended in success, and {lasts} or more",
            checks=(self._check(seen),),
            undo="nothing to take back: a certificate that was renewed leaves the one before good until it expires",
            facts=(("the certificate's file", self.certificate),),
        )

    def _check(self, seen: CertificateSeen) -> Stage:
        """Let a unit that may read every file look at the certificate: it need not be root's, as NixOS's are not."""
        return Stage(
            name="certificate",
            commands=(own_program("certificate_lasts", self.certificate, str(seen.certificate_days * 86_400)),),
            sandbox=Sandbox(capabilities=("CAP_DAC_READ_SEARCH",), sees_home=needs_home(self.certificate), seconds=20),
        )

    def shortfall(self, before: CertificateSeen, now: CertificateSeen) -> str | None:
        fault = not_running(now)
        if fault is not None or now.not_after is None:
            return fault
        if now.not_after < now.soon:
            is_later = before.not_after is not None and now.not_after > before.not_after
            return f"{now.expires}, {'although it was renewed' if is_later else 'as before: it was not renewed'}"
        return None

    @classmethod
    def example(cls) -> tuple[Self, CertificateSeen]:
        status = UnitStatus(
            name="acme-example.org.service",
            load_state="loaded",
            active_state="inactive",
            sub_state="dead",
            type="oneshot",
        )
        ends = datetime(2030, 1, 10, tzinfo=UTC)
        action = cls(unit=status.name, certificate="/var/lib/acme/example.org/fullchain.pem")
        return action, CertificateSeen(
            status=status, not_after=ends, soon=ends + timedelta(days=4), certificate_days=14
        )


ENTRIES: Final = (RenewCertificate,)
