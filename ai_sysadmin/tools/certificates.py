"""Certificates: until when those that settings watch are good, one in a file, or one that a port here shows."""

import glob
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.context.pieces.drafts import iso
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.noticing_settings import TriggerMonitor
from ai_sysadmin.core.probe_settings import CertificateProbe
from ai_sysadmin.sources import certificates as reading
from ai_sysadmin.sources.certificates import CertificateUnreadable, Expiry
from ai_sysadmin.sources.host import Aside
from ai_sysadmin.sources.path_globs import PathGlobs
from ai_sysadmin.sources.reaching import Resolve, SystemResolver, Unreached, addresses_of, written
from ai_sysadmin.tools.targets import Place, check_listens, host_key, place_in
from ai_sysadmin.tools.tool import Told, Tool, tool_of

ALLOWED: Final = ("/etc", "/var/lib/acme")
_NAMED: Final = PathGlobs(f"{each}/**" for each in ALLOWED)
_LEADS_TO: Final = PathGlobs(f"{each}/**" for each in (*ALLOWED, "/nix/store"))
"""Where a path below ALLOWED may lead: on NixOS most of /etc are links into the store."""
_ENDINGS: Final = (".pem", ".crt", ".cer", ".cert", ".der")
_MOST: Final = 40
_LONGEST_CHAIN: Final = 8
_MOST_LISTED: Final = 20_000
_SECONDS: Final = 5.0
_ALL_SECONDS: Final = 15.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def certificate_tools(
    watched: TriggerMonitor, clock: Clock, root: Path = Path("/"), resolve: Resolve | None = None
) -> tuple[Tool, ...]:
    """Return the tool ``certificates``.

    Args:
        resolve: how a name's addresses are found; none: as programs on this host do.
    """
    looks = _Looks(watched, clock, root, resolve or SystemResolver(_SECONDS))

    async def certificates(
        path_or_host: Annotated[
            str,
            Field(
                max_length=500,
                description="a file or directory below /etc or /var/lib/acme, or localhost:PORT; empty: those watched",
            ),
        ] = "",
    ) -> Told:
        """Tell until when certificates are good: those that are watched, in a file, or of a TLS port on this host."""
        asked = path_or_host.strip()
        if not asked:
            return await looks.watched()
        return await (looks.path(asked) if asked.startswith("/") else looks.endpoint(asked))

    return (tool_of(certificates, says="certificates {path_or_host}", seconds=40.0),)


class _Looks:
    def __init__(self, watched: TriggerMonitor, clock: Clock, root: Path, resolve: Resolve) -> None:
        self._files, self._endpoints = _places(watched)
        self._warn_days = watched.certificate_days
        self._clock = clock
        self._root = root
        self._resolve = resolve
        self._aside = Aside()

    async def watched(self) -> Told:
        lines = await self._aside.ask("certificate files", self._watched_files, _ALL_SECONDS) if self._files else []
        for place in self._endpoints[: _MOST // 10]:
            lines.append(await self._line(place, verify=True))
        unasked = [written(*place) for place in self._endpoints[_MOST // 10 :]]
        if unasked:
            lines.append(f"not asked now, name one: {', '.join(unasked[:_MOST])}")
        if not lines:
            return Told(f"settings watch no certificates; name a file or directory below {' or '.join(ALLOWED)}")
        return Told("\n".join(lines))

    def _watched_files(self) -> list[str]:
        paths = sorted({path for each in self._files for path in glob.iglob(each, recursive=True)})  # noqa: PTH207
        missing = [each for each in self._files if not glob.has_magic(each) and not os.path.lexists(each)]
        return [*self._lines(paths), *(f"{one_line(each, 200)}: there is no such file" for each in missing)]

    async def path(self, path: str) -> Told:
        """Raises: Refused, NotFound."""
        if "\0" in path:
            raise Refused("a path holds no NUL character")
        lines = await self._aside.ask(path, partial(self._below, path), _ALL_SECONDS)
        return Told("\n".join(lines), narrow="name one file")

    def _below(self, path: str) -> list[str]:
        named = os.path.normpath(path)
        is_watched = any(named == each or Path(named).match(each) for each in self._files)
        real = os.path.realpath(self._root / named.lstrip("/"))
        inner = "/" + os.path.relpath(real, os.path.realpath(self._root)) if self._root != Path("/") else real
        if not (is_watched or (_NAMED.fits(named) and _LEADS_TO.fits(inner))):
            raise Refused(
                f"{one_line(path, 200)} is not looked at: only what is below {' or '.join(ALLOWED)}, or watched by"
                " settings (trigger_monitor.certificates)"
            )
        if not os.path.lexists(real):
            raise NotFound(f"there is no {one_line(path, 200)}, or this service may not see it")
        if not Path(real).is_dir():
            return self._lines([real])
        found = sorted(islice(_certificate_files(real), _MOST + 1))
        if not found:
            raise NotFound(f"below {one_line(path, 200)} is no file that ends in {', '.join(_ENDINGS)}")
        return self._lines(found)

    def _lines(self, paths: Sequence[str]) -> list[str]:
        now = self._clock.now()
        lines = []
        for path in paths[:_MOST]:
            try:
                lines.append(self._said(path, reading.of_file(Path(path)), now))
            except CertificateUnreadable as error:
                lines.append(one_line(str(error), 300))
        return [*lines, f"and {len(paths) - _MOST} or more others"] if len(paths) > _MOST else lines

    async def endpoint(self, asked: str) -> Told:
        """Raises: Refused."""
        place = Place("localhost", int(asked)) if asked.isdecimal() else place_in(asked)
        if place is None or not 0 < place.port < 1 << 16:
            raise Refused(f"{one_line(asked, 100)} is no path and no host:port. {self._may_be_asked()}")
        key = Place(host_key(place.host), place.port)
        if key in self._endpoints:
            return Told(await self._line(key, verify=True))
        if key.host not in _LOOPBACK:
            raise Refused(f"{one_line(asked, 100)} is not asked: settings do not watch it. {self._may_be_asked()}")
        here = Place("::1" if key.host == "::1" else "127.0.0.1", key.port)
        await check_listens(here, self._root)
        return Told(await self._line(here, verify=False))

    async def _line(self, place: Place, *, verify: bool) -> str:
        """Say until when the chain that a server shows is good; it is asked at an address that was checked."""
        now = self._clock.now()
        try:
            address = (await addresses_of(place.host, self._resolve))[0]
            expiry = await reading.of_endpoint(
                address, place.port, now, timeout_seconds=_SECONDS, verify=verify, server_name=place.host
            )
        except (CertificateUnreadable, Unreached, Refused) as error:
            return f"{written(*place)}: {one_line(str(error), 300)}"
        return self._said(written(*place), expiry, now)

    def _said(self, what: str, expiry: Expiry, now: datetime) -> str:
        days = expiry.days_left(now)
        if days < 0:
            state = f"EXPIRED {-days:.1f} days ago, on {iso(expiry.at)}"
        else:
            state = f"good for {days:.1f} days, until {iso(expiry.at)}"
            state = f"EXPIRES SOON: {state}" if days < self._warn_days else state
        if expiry.certificates > _LONGEST_CHAIN:
            state = f"a bundle of {expiry.certificates} certificates, the first of which to expire: {state}"
        fault = f"; does not verify: {one_line(expiry.fault, 200)}" if expiry.fault else ""
        return f"{one_line(what, 200)}: {state}{fault} ({one_line(expiry.subject, 200)})"

    def _may_be_asked(self) -> str:
        watched = ", ".join(written(*each) for each in self._endpoints[:12]) or "none"
        return f"There are localhost:PORT for what listens here, and those that settings watch: {watched}."


def _places(watched: TriggerMonitor) -> tuple[list[str], list[Place]]:
    """Return the globs of files and the endpoints that settings watch."""
    files = [each for each in watched.certificates if each.startswith("/")]
    places = [place for each in watched.certificates if not each.startswith("/") and (place := place_in(each))]
    for probe in watched.probes:
        if isinstance(probe, CertificateProbe):
            files += [str(probe.path)] if probe.path else []
            places += [Place(probe.host, probe.port)] if probe.host else []
    return list(dict.fromkeys(files)), list(dict.fromkeys(Place(host_key(each.host), each.port) for each in places))


def _certificate_files(directory: str) -> Iterator[str]:
    """Yield the files below a directory whose names end as certificates' do; links to directories are not followed."""
    seen = 0
    for where, _, names in os.walk(directory):
        for name in names:
            seen += 1
            if seen > _MOST_LISTED:
                return
            if name.endswith(_ENDINGS) and _leads_to_allowed(f"{where}/{name}", directory):
                yield f"{where}/{name}"


def _leads_to_allowed(path: str, directory: str) -> bool:
    real = os.path.realpath(path)
    return _LEADS_TO.fits(real) or Path(real).is_relative_to(directory)
