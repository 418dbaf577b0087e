"""Autonomy × risk: the whole table, what an override is about, what is protected, which settings make no sense."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from ai_sysadmin.actions.policy import Question, levels, remarks, rule
from ai_sysadmin.core.acting import Decision, Risk
from ai_sysadmin.core.policy_settings import Breakers, Override, Policy
from ai_sysadmin.core.settings import Autonomy

WEB, SSH = "web.service", "sshd.service"
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # a Friday


def asked(**changes):
    values = {"action": "restart_unit", "units": (WEB,), "host": "box", "risk": Risk.REVERSIBLE, "warranted": True}
    return Question(**({"at": NOON} | values | changes))


def policy(*overrides, **others):
    return Policy(overrides=overrides, **others)


def line(decision, **others):
    return Override(decision=decision, **others)


# --- the table -------------------------------------------------------------------------------------------------

MATRIX = """
            unit       need    read_only  reversible  disruptive  destructive
observe     plain      seen    run        record      record      record
observe     plain      unseen  run        record      record      record
observe     protected  seen    run        record      record      record
observe     protected  unseen  run        record      record      record
suggest     plain      seen    run        ask         ask         ask
suggest     plain      unseen  run        ask         ask         ask
suggest     protected  seen    run        ask         ask         ask
suggest     protected  unseen  run        ask         ask         ask
auto-safe   plain      seen    run        run         ask         ask
auto-safe   plain      unseen  run        ask         ask         ask
auto-safe   protected  seen    run        ask         ask         ask
auto-safe   protected  unseen  run        ask         ask         ask
auto-full   plain      seen    run        run         run         ask
auto-full   plain      unseen  run        ask         ask         ask
auto-full   protected  seen    run        ask         ask         ask
auto-full   protected  unseen  run        ask         ask         ask
"""


@pytest.mark.parametrize("row", MATRIX.strip().splitlines()[1:])
@pytest.mark.parametrize("risk", Risk)
def test_the_table(row, risk):
    level, unit, need, *decisions = row.split()
    question = asked(units=(SSH if unit == "protected" else WEB,), warranted=need == "seen", risk=risk)
    ruling = rule(question, Autonomy(level), Policy())
    changes_protected = unit == "protected" and risk is not Risk.READ_ONLY
    assert ruling.decision == decisions[risk.level]
    assert ruling.protected is changes_protected
    assert ruling.risk is (Risk.DESTRUCTIVE if changes_protected else risk)
    assert ruling.warranted is (need == "seen")


@pytest.mark.parametrize(
    ("question", "overrides", "autonomy", "deciding"),
    [
        (asked(), (), "suggest", "autonomy_level = suggest × reversible"),
        (asked(risk=Risk.DISRUPTIVE), (), "auto-full", "autonomy_level = auto-full × disruptive"),
        (asked(warranted=False), (), "auto-safe", "autonomy_level = auto-safe × unwarranted"),
        (asked(units=(WEB, SSH)), (), "auto-full", "policy.protected_units (sshd*)"),
        (asked(units=(SSH,)), (), "observe", "autonomy_level = observe × destructive"),
        (asked(units=("web@1.service",)), (), "auto-full", "policy.protected_units (web@*)"),
        (asked(), (line("run", units=("db*",)), line("run")), "suggest", "policy.overrides[1]"),
        (asked(), (line("run"), line("ask")), "auto-full", "policy.overrides[1]"),
        (asked(), (line("run"), line("ask"), line("deny")), "observe", "policy.overrides[2]"),
        (asked(risk=Risk.READ_ONLY), (line("ask"),), "observe", "policy.overrides[0]"),
        (asked(units=(SSH,)), (line("run"),), "auto-full", "policy.protected_units (sshd*)"),
    ],
)
def test_the_line_that_decides_is_named(question, overrides, autonomy, deciding):
    ruling = rule(question, Autonomy(autonomy), policy(*overrides, further_protected_units=("web@*",)))
    assert ruling.line == deciding


def test_the_reason_is_the_operators_own():
    denied = rule(asked(), Autonomy.AUTO_FULL, policy(line("deny", why="the vendor restarts it")))
    assert (denied.decision, denied.reason) == (Decision.REFUSE, "the policy denies it: the vendor restarts it")
    shielded = rule(asked(units=(SSH,)), Autonomy.AUTO_FULL, Policy())
    assert shielded.reason == "sshd.service is protected (sshd*): any change to it is destructive"


def test_an_override_runs_what_the_table_would_ask_for():
    question = asked(action="vacuum_journal", units=("journal",), risk=Risk.DESTRUCTIVE)
    lets = policy(line("run", actions=("vacuum_*",)))
    assert {level: ruling.decision.value for level, ruling in levels(question, lets).items()} == {
        "observe": "record",
        "suggest": "run",
        "auto-safe": "run",
        "auto-full": "run",
    }
    assert rule(replace(question, warranted=False), Autonomy.AUTO_FULL, lets).decision is Decision.ASK


# --- what an override is about ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "units", "meant"),
    [
        (("web.service",), ("web.service",), True),
        (("web",), ("web.service",), True),  # as systemctl has it
        (("web",), ("web.socket",), False),
        (("web",), ("webmail.service",), False),
        (("web*",), ("webmail.service",), True),
        (("Web*",), ("web.service",), False),
        (("user@*",), ("user@1000.service",), True),
        (("user@1000",), ("user@1000.service",), True),
        ((r"dev-disk-by\x2duuid*",), (r"dev-disk-by\x2duuid-1.swap",), True),
        ((r"dev-disk-by\x2duuid*",), ("dev-disk-by-uuid-1.swap",), False),
        (("/var/tmp",), ("/var/tmp",), True),
        (("[ab].service",), ("b.service",), True),
        (("*",), (), True),
        (("**",), (), True),
        (("web*", "*"), (), True),
        (("*.service",), (), False),
        (("?*",), (), False),
    ],
)
@pytest.mark.parametrize("decision", ["run", "ask", "deny"])
def test_globs_of_units(decision, globs, units, meant):
    plain = policy(line(decision, units=globs), protected_units=())
    decides = rule(asked(units=units), Autonomy.AUTO_SAFE, plain).line
    assert (decides == "policy.overrides[0]") is meant


@pytest.mark.parametrize(("decision", "meant"), [("run", False), ("ask", True), ("deny", True)])
def test_run_has_to_be_about_every_unit_and_the_stricter_ones_about_any(decision, meant):
    question = asked(units=("web.service", "db.service"), risk=Risk.DESTRUCTIVE)
    ruling = rule(question, Autonomy.SUGGEST, policy(line(decision, units=("web*",))))
    assert (ruling.line == "policy.overrides[0]") is meant
    both = policy(line("run", units=("web*", "db.service")))
    assert rule(question, Autonomy.SUGGEST, both).decision is Decision.RUN


@pytest.mark.parametrize(
    ("decision", "autonomy", "meant"),
    [("run", "suggest", False), ("ask", "auto-full", True), ("deny", "auto-full", True)],
)
def test_another_name_counts_for_the_stricter_ones_alone(decision, autonomy, meant):
    """Debian's ssh.service is also sshd.service: whoever denies one name means both."""
    question = asked(units=("site.service",), aliases=("web.service",))
    ruling = rule(question, Autonomy(autonomy), policy(line(decision, units=("web",))))
    assert (ruling.line == "policy.overrides[0]") is meant
    assert rule(replace(question, aliases=("sshd.service",)), Autonomy.AUTO_FULL, Policy()).protected


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"actions": ("restart_unit",)}, True),
        ({"actions": ("start_*", "re*_unit")}, True),
        ({"actions": ("stop_unit",)}, False),
        ({"hosts": ("box",)}, True),
        ({"hosts": ("web-*", "b?x")}, True),
        ({"hosts": ("web-*",)}, False),
        ({"actions": ("restart_unit",), "hosts": ("other",)}, False),
    ],
)
def test_an_override_is_about_what_all_of_it_says(given, meant):
    assert (rule(asked(), Autonomy.OBSERVE, policy(line("deny", **given))).decision is Decision.REFUSE) is meant


@pytest.fixture
def zone(monkeypatch):
    """Set the host's time zone."""

    def at(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield at
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("hours", "days", "at", "meant"),
    [
        ("09:00-17:00", (), "2026-11-20 09:00", True),
        ("09:00-17:00", (), "2026-11-20 16:59", True),
        ("09:00-17:00", (), "2026-11-20 17:00", False),
        ("09:00-17:00", (), "2026-11-20 08:59", False),
        ("22:00-06:00", (), "2026-11-20 22:00", True),
        ("22:00-06:00", (), "2026-11-20 05:59", True),
        ("22:00-06:00", (), "2026-11-20 06:00", False),
        ("22:00-06:00", (), "2026-11-20 21:59", False),
        ("22:00-00:00", (), "2026-11-20 23:59", True),
        ("22:00-00:00", (), "2026-11-21 00:00", False),
        ("", ("fri",), "2026-11-20 00:00", True),
        ("", ("fri",), "2026-11-21 00:00", False),
        ("22:00-06:00", ("fri",), "2026-11-20 23:00", True),
        ("22:00-06:00", ("fri",), "2026-11-21 03:00", True),  # Saturday, in Friday's night
        ("22:00-06:00", ("fri",), "2026-11-20 03:00", False),  # Friday, in Thursday's night
        ("22:00-06:00", ("fri", "thu"), "2026-11-20 03:00", True),
        ("22:00-06:00", ("sun",), "2026-11-23 01:00", True),  # over the week's end
    ],
)
@pytest.mark.parametrize("name", ["UTC", "Pacific/Auckland", "America/St_Johns"])
def test_a_window_is_in_the_hosts_local_time(zone, hours, days, at, meant, name):
    zone(name)
    moment = datetime.fromisoformat(at).astimezone().astimezone(UTC)
    denies = policy(line("deny", hours=hours, days=days))
    assert (rule(asked(at=moment), Autonomy.OBSERVE, denies).decision is Decision.REFUSE) is meant


# --- protected units --------------------------------------------------------------------------------------------

PROTECTED = """
    sshd.service sshd.socket sshd@7-10.0.0.1:22-10.0.0.2:5022.service ssh.service ssh.socket sshd-keygen.service
    network.target networking.service network-setup.service network-addresses-eth0.service br0-netdev.service
    systemd-networkd.service systemd-networkd.socket systemd-resolved.service NetworkManager.service dhcpcd.service
    wpa_supplicant.service wpa_supplicant-wlan0.service iwd.service firewall.service nftables.service ufw.service
    wg-quick-wg0.service wg-quick@wg0.service wireguard-wg0.service tailscaled.service
    dbus.service dbus.socket dbus-broker.service systemd-logind.service dbus-org.freedesktop.login1.service
    systemd-journald.service systemd-journald.socket systemd-udevd.service polkit.service auditd.service
    user@1000.service user-1000.slice user.slice session-3.scope getty@tty1.service
    display-manager.service gdm.service gdm3.service sddm.service lightdm.service greetd.service
    docker.service docker.socket podman.service podman.socket containerd.service
    libvirtd.service libvirtd.socket virtqemud.service virtqemud-ro.socket virtlogd.service
    ai-sysadmin-executor.service ai-sysadmin-action-abcdef-123456.service llama-meta.service
    postgresql.service postgresql@15-main.service mysql.service mariadb.service chromadb.service
    nix-daemon.service nix-daemon.socket nix-gc.service nixos-upgrade.service apt-daily-upgrade.service
    reboot.target rescue.target poweroff.target multi-user.target system.slice init.scope -.mount nix-store.mount
    debug-shell.service
"""


@pytest.mark.parametrize("unit", PROTECTED.split())
def test_what_the_host_stands_on_is_protected(unit):
    ruling = rule(asked(units=(unit,)), Autonomy.AUTO_FULL, policy(line("run")))
    assert (ruling.decision, ruling.risk, ruling.protected) == (Decision.ASK, Risk.DESTRUCTIVE, True)


@pytest.mark.parametrize(
    "unit",
    [
        "nginx.service",
        "docker-grafana.service",
        "podman-web.service",
        "srv-data.mount",
        "backup.timer",
        "redis.service",
    ],
)
def test_what_people_run_on_it_is_not(unit):
    assert not rule(asked(units=(unit,)), Autonomy.AUTO_FULL, Policy()).protected


def test_one_protected_unit_among_several_is_enough():
    assert rule(asked(units=(WEB, "db.service", SSH)), Autonomy.AUTO_FULL, Policy()).protected


def test_a_list_of_ones_own_comes_to_the_list_that_is_there():
    more = policy(further_protected_units=("web", "sshd*"))
    assert more.protected_units == (*Policy().protected_units, "web.service")
    assert Policy.model_validate(more.model_dump(mode="json")) == more
    assert policy(protected_units=("db",), further_protected_units=["web"]).protected_units == (
        "db.service",
        "web.service",
    )
    assert rule(asked(), Autonomy.AUTO_FULL, more).protected
    assert rule(asked(units=(SSH,)), Autonomy.AUTO_FULL, more).protected


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overrides": [{"decision": "deny", "actions": ["restart-unit"]}]}, "can match no action"),
        ({"overrides": [{"decision": "deny", "actions": ["Restart*"]}]}, "can match no action"),
        ({"overrides": [{"decision": "deny", "actions": []}]}, "at least 1 item"),
        ({"overrides": [{"decision": "deny", "units": []}]}, "at least 1 item"),
        ({"overrides": [{"decision": "deny", "hosts": []}]}, "at least 1 item"),
        ({"overrides": [{"decision": "deny", "units": ["web.service db.service"]}]}, "must not hold blanks"),
        ({"overrides": [{"decision": "deny", "units": [" "]}]}, "must not hold blanks"),
        ({"overrides": [{"decision": "deny", "units": [""]}]}, "at least 1 character"),
        ({"overrides": [{"decision": "refuse"}]}, "'run', 'ask' or 'deny'"),
        ({"overrides": [{"decision": "deny", "hours": "22:00"}]}, "two different times such as 22:00-06:00"),
        ({"overrides": [{"decision": "deny", "hours": "06:00-06:00"}]}, "two different times"),
        ({"overrides": [{"decision": "deny", "hours": "00:00-24:00"}]}, "two different times"),
        ({"overrides": [{"decision": "deny", "days": ["friday"]}]}, "'fri'"),
        ({"protected_units": ["/srv/web"]}, "can match no unit: write it as nginx.service or nginx*"),
        ({"further_protected_units": ["web, db"]}, "can match no unit"),
        ({"protected_units": ["web["]}, "can match no unit"),
        ({"protected_units": "sshd*"}, "valid tuple"),
        ({"further_protected_units": "web*"}, "valid tuple"),
        ({"approvers": [""]}, "at least 1 character"),
        ({"breakers": {"within_seconds": 30}}, "back_off_seconds = 60 must not exceed within_seconds = 30"),
        ({"breakers": {"within_seconds": float("inf")}}, "less than or equal to 2592000"),
        ({"hands_off_seconds": float("inf")}, "less than or equal to 2592000"),
    ],
)
def test_what_cannot_be_meant_is_no_policy(given, said):
    with pytest.raises(ValidationError, match="validation error") as wrong:
        Policy.model_validate(given)
    assert said in str(wrong.value)


def test_globs_with_brackets_are_globs():
    Override(decision="ask", actions=("[rs]*_unit", "vacuum_[a-z]*"), units=("web-[0-9].service",))
    Policy(protected_units=("web-[0-9]*", r"dev-disk-by\x2duuid*.swap", "a:b@c.service"), breakers=Breakers())


def test_what_a_policy_only_seems_to_say_is_remarked():
    said = remarks(
        policy(
            line("deny", actions=("restart_units", "stop_*")),
            line("run", units=("sshd.service", "user@*", "sshd")),
            line("run", units=("sshd*", "web*")),
            line("run"),
            line("deny", units=("sshd*",)),
        ),
        ("restart_unit", "stop_unit"),
    )
    assert said == (
        "policy.overrides[0]: no action of the catalogue is named restart_units",
        "policy.overrides[1] says run for sshd.service, user@*, sshd: protected, so a person is asked all the same",
    )
