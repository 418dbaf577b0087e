"""Blocking an address for a while, and letting it in again: elements of a set of nftables that time out."""

import asyncio
import ipaddress
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, AwareDatetime, Field

from ai_sysadmin.actions.action import Action, Host, Session, Whole
from ai_sysadmin.actions.programs import program
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.host.reading import HostUnreadable
from ai_sysadmin.sources.logins import DONE, FAILED, USER_PROCESS, newest_logins
from ai_sysadmin.sources.own_network import Address, OwnNetwork, own_network, plain, tcp_peers

TABLE: Final = "inet ai_sysadmin"
SSH_PORT: Final = 22
RULES: Final = (
    f"add table {TABLE}",
    f"add set {TABLE} blocked4 {{ type ipv4_addr; flags timeout; size 65536; }}",
    f"add set {TABLE} blocked6 {{ type ipv6_addr; flags timeout; size 65536; }}",
    f"add chain {TABLE} input {{ type filter hook input priority filter - 10; policy accept; }}",
    f"add chain {TABLE} forward {{ type filter hook forward priority filter - 10; policy accept; }}",
    f"flush chain {TABLE} input",
    f"flush chain {TABLE} forward",
    *(
        f"add rule {TABLE} {chain} {protocol} saddr @{blocked} drop"
        for chain in ("input", "forward")
        for protocol, blocked in (("ip", "blocked4"), ("ip6", "blocked6"))
    ),
)
"""Loaded again and again they change nothing: the rules are replaced in one transaction, what is blocked stays."""
SANDBOX: Final = Sandbox(capabilities=("CAP_NET_ADMIN",), families=("AF_UNIX", "AF_NETLINK"), network=True, seconds=30)
_EMBEDDING: Final = tuple(ipaddress.IPv6Network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
_LOW: Final = 0xFFFFFFFF


def _canonical(text: str) -> str:
    try:
        return str(plain(text))
    except ValueError as error:
        raise ValueError("it has to be one address of IPv4 or IPv6") from error


def _has_no_zone(text: str) -> str:
    if "%" in text:
        raise ValueError("an address with a zone is only known on one link and is never blocked")
    return text


AddressText = Annotated[str, Field(max_length=64), AfterValidator(_has_no_zone), AfterValidator(_canonical)]
"""One address in its shortest form; one of IPv4 within one of IPv6 is one of IPv4."""


class AddressSeen(Record):
    """What speaks for and against blocking an address.

    ``nft`` is the program's path, empty where the host has none; ``seconds`` is how long a block lasts by default.
    ``never`` says why it may never be blocked, ``session`` who may be logged in from it, ``connections`` how many
    connections to it root or sshd has. ``failed`` counts the logins that failed from it within ``within_seconds``;
    ``logged_in_at`` is when one last succeeded.
    """

    nft: str
    seconds: int
    never: str = ""
    session: str = ""
    connections: int = 0
    failed: int = 0
    enough: int
    within_seconds: float
    logged_in_at: AwareDatetime | None = None

    @property
    def attacks(self) -> bool:
        return self.failed >= self.enough


class NftSeen(Record):
    """Where nftables' program is; empty where the host has none."""

    nft: str


class BlockAddress(Action[AddressSeen]):
    """Drop all that comes from one address, for a limited time. Only for an address that attacks this host."""

    name: ClassVar[str] = "block_address"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE,)
    seen: ClassVar[type[Record]] = AddressSeen
    needs: ClassVar[str] = (
        "nothing the host or its people live by: no address of its own, no gateway, no name server, none within"
        " policy.admin_networks, none that somebody is logged in from"
    )
    address: AddressText
    seconds: Annotated[Whole, Field(ge=1, le=604_800)] | None = None

    @classmethod
    def example(cls) -> tuple[Self, AddressSeen]:
        seen = AddressSeen(nft="/usr/sbin/nft", seconds=3600, failed=37, enough=10, within_seconds=3600)
        return cls(address="203.0.113.7"), seen

    @property
    def subject(self) -> str:
        return self.address

    def refuse(self, settings: Settings) -> str | None:
        most = settings.actions.block_seconds
        if self.seconds is not None and self.seconds > most:
            return f"{self.seconds} s are too long: actions.block_seconds allows {most}"
        return None

    async def observe(self, host: Host) -> AddressSeen:
        sessions = await host.sessions.live()
        try:
            return await asyncio.to_thread(_observed, host, plain(self.address), tuple(sessions))
        except HostUnreadable as error:
            raise Unavailable(str(error)) from error

    def risk(self, seen: AddressSeen) -> Risk:
        return Risk.REVERSIBLE

    def obstacle(self, seen: AddressSeen) -> str | None:
        """Never what the host or its people live by; an open connection only where the failed logins explain it."""
        if seen.never or seen.session:
            return f"{self.address} is not blocked: {seen.never or seen.session}"
        if seen.connections and not seen.attacks:
            return (
                f"{self.address} is not blocked: root or sshd has {seen.connections} open connections with it, and it"
                f" did not fail {seen.enough} logins: somebody may be at work from there"
            )
        return _no_nft(seen.nft)

    def warrant(self, seen: AddressSeen) -> str | None:
        """So many failed logins are an attack, unless somebody is known to log in from there."""
        return _failures(self.address, seen) if seen.attacks and seen.logged_in_at is None else None

    def plan(self, seen: AddressSeen) -> Plan:
        seconds = self.seconds or seen.seconds
        blocked, address = _set_of(self.address), f"{{ {self.address} }}"
        # an element that is there already would keep its time: it is put in, taken out and put in again, all at once
        renewed = (
            f"add element {TABLE} {blocked} {address}",
            f"delete element {TABLE} {blocked} {address}",
            f"add element {TABLE} {blocked} {{ {self.address} timeout {seconds}s }}",
        )
        taken_out = ("nft", f"delete element {TABLE} {blocked} {address}")
        is_in = Stage(name="blocked", commands=(("nft", f"get element {TABLE} {blocked} {address}"),), sandbox=SANDBOX)
        return Plan(
            does=f"drops all that comes from {self.address}, for {seconds} s",
            run=Stage(name="run", commands=(("nft", "; ".join((*RULES, *renewed))),), sandbox=SANDBOX),
            precondition=_failures(self.address, seen),
            post_check=f"{self.address} is in the set {blocked}, and nobody is logged in from it",
            undo=f"sudo nft 'delete element {TABLE} {blocked} {address}'; it ends by itself, and at a reboot",
            checks=(is_in,),
            revert=Stage(name="revert", commands=(taken_out,), sandbox=SANDBOX),
            facts=_facts(seen),
        )

    def shortfall(self, before: AddressSeen, now: AddressSeen) -> str | None:
        return f"{self.address} is needed: {now.never or now.session}" if now.never or now.session else None


class UnblockAddress(Action[NftSeen]):
    """Let one address in again that was blocked before its time is over."""

    name: ClassVar[str] = "unblock_address"
    risks: ClassVar[tuple[Risk, ...]] = (Risk.REVERSIBLE,)
    seen: ClassVar[type[Record]] = NftSeen
    needs: ClassVar[str] = "that nftables is installed"
    address: AddressText

    @classmethod
    def example(cls) -> tuple[Self, NftSeen]:
        return cls(address="203.0.113.7"), NftSeen(nft="/usr/sbin/nft")

    @property
    def subject(self) -> str:
        return self.address

    async def observe(self, host: Host) -> NftSeen:
        return NftSeen(nft=program("nft", host.root))

    def risk(self, seen: NftSeen) -> Risk:
        return Risk.REVERSIBLE

    def obstacle(self, seen: NftSeen) -> str | None:
        return _no_nft(seen.nft)

    def warrant(self, seen: NftSeen) -> str | None:
        """Nothing on the host says that somebody is missed: a person has to."""
        return None

    def plan(self, seen: NftSeen) -> Plan:
        element = f"element {TABLE} {_set_of(self.address)} {{ {self.address} }}"
        # only checked, never done: what is in the set already cannot be created
        is_out = Stage(name="free", commands=(("nft", "--check", f"create {element}"),), sandbox=SANDBOX)
        return Plan(
            does=f"lets {self.address} in again",
            run=Stage(name="run", commands=(("nft", f"delete {element}"),), sandbox=SANDBOX),
            precondition="nothing is seen beforehand: where the address is not blocked, this fails and changes nothing",
            post_check=f"{self.address} is not in the set {_set_of(self.address)}",
            undo="block the address again",
            checks=(is_out,),
        )

    def shortfall(self, before: NftSeen, now: NftSeen) -> str | None:
        return None


ENTRIES: Final = (BlockAddress, UnblockAddress)


def stands_for(address: Address) -> Iterator[Address]:
    """Yield an address, and those that it may be a way to write or to reach: of IPv4 within IPv6, and the other way."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        yield ipaddress.IPv6Address(f"::ffff:{address}")
        return
    number = int(address)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in _EMBEDDING) or number >> 32 & _LOW in _ISATAP:
        yield ipaddress.IPv4Address(number & _LOW)


def why_never(address: Address, network: OwnNetwork, admin_networks: Iterable[str]) -> str:
    """Say why an address may never be blocked; empty: it may."""
    forms = tuple(stands_for(address))
    if any(_is_special(form) for form in forms):
        return "it is an address of loopback, of one link, of many or of none"
    for text in admin_networks:
        if any(form in ipaddress.ip_network(text) for form in forms):
            return f"it is within {text}, one of policy.admin_networks"
    for addresses, what in (
        (network.own, "an address of this host's own"),
        (network.gateways, "a gateway of this host"),
        (network.resolvers, "a name server of this host"),
    ):
        if addresses.intersection(forms):
            return f"it is {what}"
    return ""


def whose_session(address: Address, sessions: Iterable[Session]) -> str:
    """Say who is or may be logged in from an address; empty: nobody."""
    for session in sessions:
        if not session.remote_host:
            continue
        try:
            far = plain(session.remote_host.partition("%")[0])
        except ValueError:
            return f"{session.user} is logged in from a host that has a name only: it may be this one"
        if far == address:
            return f"{session.user} is logged in from it"
    return ""


def _is_special(form: Address) -> bool:
    return (
        form.is_loopback
        or form.is_multicast
        or form.is_unspecified
        or form.is_link_local
        or (form.version == 4 and (form.packed[0] == 0 or form.packed == b"\xff" * 4))
    )


def _observed(host: Host, address: Address, sessions: tuple[Session, ...]) -> AddressSeen:
    settings = host.settings.actions
    since = host.clock.now() - timedelta(seconds=settings.block_failed_seconds)
    peers = tcp_peers(host.root, stands_for(address))
    return AddressSeen(
        nft=program("nft", host.root),
        seconds=settings.block_seconds,
        never=why_never(address, own_network(host.root), host.settings.policy.admin_networks),
        session=whose_session(address, sessions),
        connections=sum(peer.uid == 0 or peer.port == SSH_PORT for peer in peers),
        failed=sum(login.address == address and login.at >= since for login in newest_logins(FAILED, host.root)),
        enough=settings.block_failed_logins,
        within_seconds=settings.block_failed_seconds,
        logged_in_at=_last_login(host, address),
    )


def _last_login(host: Host, address: Address) -> datetime | None:
    logins = newest_logins(DONE, host.root)
    return max((each.at for each in logins if each.address == address and each.kind == USER_PROCESS), default=None)


def _no_nft(nft: str) -> str | None:
    return None if nft else "this host has no nft: install nftables"


def _set_of(address: str) -> str:
    return "blocked6" if ":" in address else "blocked4"


def _failures(address: str, seen: AddressSeen) -> str:
    return f"{seen.failed} failed logins from {address} within {seen.within_seconds:g} s"


def _facts(seen: AddressSeen) -> tuple[tuple[str, str], ...]:
    last = seen.logged_in_at.isoformat(timespec="minutes") if seen.logged_in_at else "none that the host remembers"
    return (
        ("Failed logins", f"{seen.failed}; {seen.enough} are enough to block it without a person"),
        ("Last login that succeeded", last),
        ("Open connections of root or sshd", f"{seen.connections}; they stop working too"),
    )
