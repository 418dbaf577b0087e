"""What the executor may do on its own, and who may allow the rest. The executor reads it from a file that only root can
write.
"""

import ipaddress
import re
from datetime import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from ai_sysadmin.core.section import Section

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_SUFFIXES = (
    *(".service", ".socket", ".device", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice"),
    ".scope",
)
_ACTIONS = re.compile(r"(?:[a-z0-9_*?]|\[[^\]\s]+\])+")
_UNITS = re.compile(r"(?:[A-Za-z0-9:_.\\@*?-]|\[[^\]\s]+\])+")


def _names_actions(glob: str) -> str:
    if _ACTIONS.fullmatch(glob) is None:
        raise ValueError("can match no action: their names are lower-case letters, digits and underscores")
    return glob


def _names_units(glob: str) -> str:
    """Return a glob of units; without a suffix it means a service, as for systemctl."""
    if _UNITS.fullmatch(glob) is None:
        raise ValueError("can match no unit: write it as nginx.service or nginx*")
    return glob if glob.endswith(("*", *_SUFFIXES)) else f"{glob}.service"


def _without_blanks(glob: str) -> str:
    if len(glob.split()) != 1:
        raise ValueError("must not hold blanks; ? stands for any one character")
    return glob


_Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Glob = Annotated[_Text, AfterValidator(_without_blanks)]
ActionGlob = Annotated[_Text, AfterValidator(_names_actions)]
UnitGlob = Annotated[_Text, AfterValidator(_names_units)]
LONGEST_SECONDS = 30 * 86_400
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")


PROTECTED_UNITS = (
    # the way in, and names and accounts of those who come
    *("sshd*", "ssh.service", "ssh.socket", "ssh@*", "nscd*", "sssd*", "polkit*"),
    # the network; "network*" is also NixOS's network-addresses-eth0 and Debian's networking, *-netdev NixOS's bridges
    *("network*", "NetworkManager*", "ModemManager*", "wpa_supplicant*", "iwd*", "connman*", "dhcpcd*", "ifup@*"),
    *("*-netdev.service", "wg-quick*", "wireguard-*", "tailscaled*", "zerotierone*", "openvpn*", "resolvconf*"),
    *("nftables*", "firewall*", "iptables*", "ufw*", "netfilter-persistent*"),
    # systemd's own (logind, journald, networkd, udevd; suspend and reboot too), D-Bus, the record of what happens
    *("systemd-*", "dbus*", "audit*"),
    # people's sessions: stopping one of these ends them
    *("user@*", "user-runtime-dir@*", "getty@*", "autovt@*", "serial-getty@*", "console-getty*", "container-getty@*"),
    *("display-manager*", "gdm*", "sddm*", "lightdm*", "greetd*", "xdm*", "lxdm*", "slim.service", "ly.service"),
    # what runs containers and virtual machines; a single container's own unit (docker-NAME, podman-NAME) is none
    *("docker.*", "dockerd*", "docker-prune*", "podman.*", "podman-restart*", "podman-prune*", "containerd*", "crio*"),
    *("libvirtd*", "libvirt-guests*", "virt*d.*", "virt*d-*", "lxc*", "lxd*", "incus*", "k3s*", "kubelet*"),
    # the suite itself, its database, and other people's
    *("ai-sysadmin*", "llama-*", "postgresql*", "chromadb*", "mysql*", "mariadb*", "mongo*"),
    # what file systems lie on
    *("cryptdisks*", "lvm2*", "dm-event*", "mdmon*", "mdadm*", "zfs*", "multipathd*", "iscsid*", "open-iscsi*"),
    # starting one of these changes or cleans the whole host, or opens a root shell
    *("nix-daemon*", "nix-gc*", "nixos-upgrade*", "nixos-rebuild*", "apt-daily*", "unattended-upgrades*"),
    *("packagekit*", "rescue.service", "emergency.service", "debug-shell*"),
    # a target may be reboot.target; stopping a slice stops all in it; a scope's processes never come back
    *("*.target", "*.slice", "*.scope", "*.swap"),
    # file systems that the host itself lies on
    *("-.mount", "boot*.mount", "efi.mount", "home.mount", "nix*.mount", "usr*.mount", "var.mount", "var-lib.mount"),
    *("var-log.mount", "tmp.mount", "run-*.mount", "dev-*.mount", "proc-*.mount", "sys-*.mount"),
)


class Override(Section):
    """One line that changes the table for some actions. Of all that match, deny wins over ask, and ask over run."""

    decision: Literal["run", "ask", "deny"] = Field(
        description="run: without a person, where the executor itself sees the need; ask: a person decides;"
        " deny: it is never done."
    )
    actions: tuple[ActionGlob, ...] = Field(("*",), min_length=1, description="Globs of the catalogue's names.")
    units: tuple[Glob, ...] = Field(
        ("*",),
        min_length=1,
        description="Globs of units, or of what else an action is done to; without a suffix a service is meant.",
    )
    hosts: tuple[Glob, ...] = Field(("*",), min_length=1, description="Globs of host names.")
    days: tuple[Weekday, ...] = Field(
        (), description="Only on these days of the week, those on which the hours begin; empty: every day."
    )
    hours: str = Field("", description="Only within these hours of local time, such as 22:00-06:00; empty: always.")
    why: str = Field("", max_length=200, description="The reason, as people are told it.")

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, hours: str) -> str:
        found = _HOURS.fullmatch(hours)
        if hours and (found is None or hours[:5] == hours[6:]):
            raise ValueError("must be two different times such as 22:00-06:00")
        return hours

    @property
    def window(self) -> tuple[time, time] | None:
        """The hours as times; the second may lie before the first: over midnight. None: always."""
        if not self.hours:
            return None
        begins, ends = self.hours.split("-")
        return time.fromisoformat(begins), time.fromisoformat(ends)


class Breakers(Section):
    """How often something is done without a person before a person is asked."""

    per_unit: PositiveInt = Field(3, description="So many actions on one unit within the time below; then it asks.")
    all_units: PositiveInt = Field(12, description="So many actions on the whole host within that time; then it asks.")
    within_seconds: PositiveFloat = Field(
        3600, le=LONGEST_SECONDS, description="The time within which actions are counted."
    )
    back_off_seconds: PositiveFloat = Field(
        60,
        description="The least time between two actions on one unit; it doubles with each in a row that did not help,"
        " up to the time within which actions are counted.",
    )
    failures: PositiveInt = Field(
        2, description="An action that failed so often for the same symptom is not taken again without a person."
    )

    @model_validator(mode="after")
    def _back_off_counts(self) -> "Breakers":
        if self.back_off_seconds > self.within_seconds:
            raise ValueError(
                f"back_off_seconds = {self.back_off_seconds:g} must not exceed within_seconds ="
                f" {self.within_seconds:g}: what is longer ago is not looked at"
            )
        return self


class Policy(Section):
    """What the executor may do on its own; it is read from a file that only root can write."""

    approvers: tuple[_Text, ...] = Field(
        (),
        description="Who may approve through a front end that several people share: the e-mail addresses or ids in"
        " its signed identity. Empty: whoever holds the key may.",
    )
    identity_secret_file: Path | None = Field(
        None, description="The secret with which a front end signs who is asking (Open WebUI's JWT, HS256)."
    )
    protected_units: tuple[UnitGlob, ...] = Field(
        PROTECTED_UNITS,
        description="Globs of units, any change to which is destructive and needs an operator's own uid. What is set"
        " here takes the place of the whole list; to add to it, use further_protected_units.",
    )
    further_protected_units: tuple[UnitGlob, ...] = Field(
        (), description="Units to protect besides those; they become part of protected_units."
    )
    overrides: tuple[Override, ...] = Field((), description="Lines that change what autonomy and risk say.")
    breakers: Breakers = Field(Breakers(), description="How often something is done without a person.")
    hands_off_seconds: PositiveFloat = Field(
        600,
        le=LONGEST_SECONDS,
        description="A unit whose files changed so recently is being worked on: a person is asked.",
    )
    admin_networks: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"),
        description="Networks that are never blocked, in CIDR notation.",
    )

    @model_validator(mode="before")
    @classmethod
    def _add_further_units(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        listed = given.get("protected_units", PROTECTED_UNITS), given.get("further_protected_units", ())
        if not all(isinstance(units, list | tuple) for units in listed):
            return given  # its fields say what is wrong with it
        return {**given, "protected_units": [*listed[0], *(unit for unit in listed[1] if unit not in listed[0])]}

    @model_validator(mode="after")
    def _networks_are_networks(self) -> "Policy":
        for network in self.admin_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"admin_networks: {error}; write it as 192.168.0.0/16") from error
        return self
