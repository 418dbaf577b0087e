"""Reachability: whether a port takes connections, a name resolves, a web server answers.

Only what settings or the evidence name, and this host itself, is asked; never the clouds' metadata services.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.probe_settings import DnsProbe, RecordType
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.probes import check
from ai_sysadmin.sources.reaching import (
    Answer,
    Resolve,
    SystemResolver,
    Unreached,
    address_in,
    addresses_of,
    ask,
    connect,
    why_never,
    written,
)
from ai_sysadmin.tools.targets import (
    HowAsked,
    Place,
    Targets,
    check_listens,
    host_key,
    loopback_place,
    own_hosts,
    place_in,
    resolvers,
    targets_of,
    url_key,
)
from ai_sysadmin.tools.tool import Scene, Told, Tool, tool_of

_SECONDS: Final = 5.0
_MOST_ADDRESSES: Final = 4
_MOST_RESOLVERS: Final = 3
_MOST_NAMED: Final = 12
_TOLD_HEADERS: Final = ("content-type", "content-length", "location", "server", "retry-after", "www-authenticate")
_OTHERS: Final = "An operator can add others as tools.targets."
_RECORDS: Final[tuple[RecordType, ...]] = ("A", "AAAA")
_TEXTS: Final = ("text/", "application/json", "application/xml", "application/problem+json", "application/javascript")


def reachability_tools(
    settings: Settings, clock: Clock, root: Path = Path("/"), resolve: Resolve | None = None
) -> tuple[Tool, ...]:
    """Return the tool ``reachable``.

    Args:
        resolve: how a name's addresses are found; none: as programs on this host do.
    """
    looks = _Looks(targets_of(settings), clock, root, resolve or SystemResolver(_SECONDS))

    async def reachable(
        target: Annotated[
            str, Field(min_length=1, max_length=500, description="tcp: host:port, dns: a name, http: a whole URL")
        ],
        how: Literal["tcp", "dns", "http"],
        scene: Scene,
    ) -> Told:
        """Try a TCP port, a DNS name or a URL that settings or evidence name, or http://127.0.0.1:PORT/."""
        target = target.strip()
        match how:
            case "tcp":
                return await looks.tcp(target, scene)
            case "dns":
                return await looks.dns(target, scene)
            case "http":
                return await looks.http(target)

    return (tool_of(reachable, says="whether {target} is reachable ({how})", seconds=30.0),)


class _Looks:
    def __init__(self, targets: Targets, clock: Clock, root: Path, resolve: Resolve) -> None:
        self._targets = targets
        self._clock = clock
        self._root = root
        self._resolve = resolve

    async def tcp(self, target: str, scene: Scene) -> Told:
        """Raises: Refused."""
        place = self._place(target, scene)
        if not place.port:
            raise Refused(f"tcp needs a port: give the target as {target}:PORT")
        try:
            addresses = await addresses_of(place.host, self._resolve)
        except Unreached as error:
            return Told(str(error))
        lines = [f"{place.host} is {', '.join(addresses)}"] if address_in(place.host) is None else []
        lines += [await _connected(address, place.port) for address in addresses[:_MOST_ADDRESSES]]
        return Told("\n".join(lines))

    async def dns(self, target: str, scene: Scene) -> Told:
        """Raises: Refused."""
        name = self._place(target, scene).host
        if address_in(name) is not None:
            raise Refused(f"{name} is an address already: dns takes a name; tcp takes {name}:PORT")
        try:
            lines = [f"programs on this host find: {', '.join(await addresses_of(name, self._resolve))}"]
        except Unreached as error:
            lines = [f"programs on this host: {error}"]
        for server in resolvers(self._root)[:_MOST_RESOLVERS]:
            if not why_never(server):
                lines += [await self._asked(server, name, record) for record in _RECORDS]
        return Told("\n".join(lines))

    async def _asked(self, server: str, name: str, record: RecordType) -> str:
        probe = DnsProbe(type="dns", name="tool", query=name, record=record, server=server, timeout_seconds=3)
        result = await check(probe, self._clock)
        return f"name server {server}, {record}: {result.why} ({result.seconds * 1000:.0f} ms)"

    async def http(self, url: str) -> Told:
        """Raises: Refused."""
        host = _host_in(url)
        here = loopback_place(url)
        if here is not None:
            await check_listens(here, self._root)
            return await self._fetched(url, (here.host,), HowAsked())
        how = self._targets.urls.get(url_key(url))
        if how is None:
            raise Refused(f"{one_line(url, 100)} is not asked for. {self._pages()}")
        try:
            return await self._fetched(url, await addresses_of(host, self._resolve), how)
        except Unreached as error:
            return Told(str(error))

    async def _fetched(self, url: str, addresses: Sequence[str], how: HowAsked) -> Told:
        faults: list[str] = []
        for address in addresses[:2]:
            try:
                answer = await ask(url, address, timeout_seconds=_SECONDS, method=how.method, verify=how.verify)
            except Unreached as error:
                faults.append(f"at {address}: {error}")
            else:
                return _shown(answer, url, address)
        return Told("\n".join(faults))

    def _place(self, target: str, scene: Scene) -> Place:
        """Return a host that may be asked. Raises: Refused."""
        place = place_in(target)
        if place is None:
            raise Refused(f"{one_line(target, 100)} is no host and no host:port. {self._hosts()}")
        key = host_key(place.host)
        known = key in self._targets.hosts or key in own_hosts(self._root)
        if not known and not any(scene.names(each) for each in (target, place.host)):
            raise Refused(f"{one_line(target, 100)} is not asked: nothing here names it. {self._hosts()}")
        return place

    def _hosts(self) -> str:
        some = ", ".join(sorted(self._targets.hosts | {"localhost"})[:_MOST_NAMED])
        others = "this host's own addresses, gateway and name servers, and hosts that the evidence names"
        return f"tcp and dns take {some}, {others}. {_OTHERS}"

    def _pages(self) -> str:
        pages = [*sorted(self._targets.urls)[:_MOST_NAMED], "http://127.0.0.1:PORT/ for what listens here"]
        return f"http takes only these, to the letter: {', '.join(pages)}. {_OTHERS}"


def _host_in(url: str) -> str:
    """Return a URL's host. Raises: Refused: it is no URL, or holds a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise Refused(f"{one_line(url, 100)} is no URL") from error
    if parts.scheme.lower() not in {"http", "https"} or not host or not url.isprintable() or " " in url:
        raise Refused(f"{one_line(url, 100)} is no URL: give one such as http://127.0.0.1:8080/")
    if "@" in parts.netloc:
        raise Refused("a URL with a user's name or password is never asked for")
    return host


async def _connected(address: str, port: int) -> str:
    try:
        seconds = await connect(address, port, timeout_seconds=_SECONDS)
    except Unreached as error:
        return str(error)
    return f"{written(address, port)} takes connections ({seconds * 1000:.0f} ms)"


def _shown(answer: Answer, url: str, address: str) -> Told:
    lines = [f"{url} at {address} answered {answer.status} {answer.reason}".rstrip()]
    lines += [f"{name}: {answer.headers[name]}" for name in _TOLD_HEADERS if name in answer.headers]
    if 300 <= answer.status < 400 and "location" in answer.headers:
        lines.append("(the redirect was not followed)")
    kind = answer.headers.get("content-type", "text/plain").lower()
    if not answer.body:
        lines.append("(no body)")
    elif kind.startswith(_TEXTS):
        lines += ["", answer.body.decode(errors="replace")]
    else:
        lines.append(f"({len(answer.body)} bytes that are no text)")
    return Told("\n".join(lines), truncated="the body has more than what was read" if answer.cut else "")
