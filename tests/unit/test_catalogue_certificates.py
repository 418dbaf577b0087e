"""Renewing a certificate: which units and files it takes, when it is needed, what has to hold."""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.certificates import CertificateSeen, RenewCertificate
from ai_sysadmin.actions.standalone import own_program
from ai_sysadmin.actions.standalone.certificate_lasts import check, earliest
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.testing.fake_systemd import FakeSystemd

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOON = NOW + timedelta(days=14)
UNIT = "acme-example.org.service"
FILE = "/var/lib/acme/example.org/fullchain.pem"
SETTINGS = Settings.model_validate({"trigger_monitor": {"certificates": ["/var/lib/acme/*/fullchain.pem", "a:443"]}})
ACTION = RenewCertificate(unit=UNIT, certificate=FILE)


class Now:
    def now(self) -> datetime:
        return NOW


class Nobody:
    async def live(self):
        return ()


def seen(active: str = "inactive", days: float | None = 5, **changes: object) -> CertificateSeen:
    status = {"name": UNIT, "load_state": "loaded", "active_state": active, "type": "oneshot", "result": "success"}
    return CertificateSeen(
        status=UnitStatus(**{**status, **changes}),
        not_after=None if days is None else NOW + timedelta(days=days),
        soon=SOON,
        certificate_days=14,
    )


def certificate(until: datetime, kind: str = "PEM") -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.org")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1 << 120, until - timedelta(days=9000), until)
    return built.sign(key, hashes.SHA256()).public_bytes(getattr(serialization.Encoding, kind))


@pytest.mark.parametrize(
    ("unit", "path", "said"),
    [
        (UNIT, FILE, None),
        ("acme-order-renew-example.org.service", FILE, None),
        ("certbot.service", FILE, None),
        ("nginx.service", FILE, "is no unit that renews certificates"),
        ("acme-selfsigned-example.org.service", FILE, "is no unit that renews certificates"),
        ("acme-fixperms.service", FILE, "is no unit that renews certificates"),
        ("certbot.timer", FILE, "is no unit that renews certificates"),
        (UNIT, "/etc/shadow", "is none of trigger_monitor.certificates"),
        (UNIT, "/var/lib/acme/a/b/fullchain.pem", "is none of trigger_monitor.certificates"),
    ],
)
def test_only_units_that_renew_and_files_that_are_watched(unit, path, said):
    refused = RenewCertificate(unit=unit, certificate=path).refuse(SETTINGS)
    assert (refused is None) if said is None else said in (refused or "")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (seen(), None),
        (seen("failed"), None),
        (seen("active"), None),
        (seen("activating"), "at work already"),
        (seen(type="simple"), "not oneshot"),
        (seen(load_state="not-found"), "no such unit"),
        (seen(name="certbot.service"), "is another name of certbot.service"),
    ],
)
def test_the_unit_has_to_be_one_that_ends_and_is_not_at_work(found, said):
    obstacle = ACTION.obstacle(found)
    assert (obstacle is None) if said is None else said in (obstacle or "")


@pytest.mark.parametrize(
    ("action", "found", "needed"),
    [
        (ACTION, seen(days=5), True),
        (ACTION, seen(days=-1), True),
        (ACTION, seen(days=20), False),
        (ACTION, seen(days=None), False),
        (ACTION, seen("failed", days=20), True),
        (RenewCertificate(unit="acme-other.org.service", certificate=FILE), seen(days=5), False),  # not its certificate
        (RenewCertificate(unit="acme-org.service", certificate=FILE), seen(days=5), False),
        (RenewCertificate(unit="acme-order-renew-example.org.service", certificate=FILE), seen(days=5), True),
        (RenewCertificate(unit="certbot.service", certificate=FILE), seen(days=5), True),
    ],
)
def test_it_is_needed_where_the_executor_sees_the_units_certificate_expire_or_the_unit_failed(action, found, needed):
    assert (action.warrant(found) is not None) is needed


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        (seen(days=5), seen(days=90), True),
        (seen(days=5), seen(days=5), False),  # the unit ended in success and renewed nothing
        (seen(days=5), seen(days=8), False),
        (seen("failed", days=60), seen(days=60), True),  # it had nothing to renew
        (seen(days=5), seen("failed", days=90), False),
        (seen(days=5), seen("activating", days=90), False),
        (seen(days=None), seen(days=None), True),  # the check says it, which may read the file
    ],
)
def test_it_holds_when_the_unit_succeeded_and_the_certificate_lasts(before, after, holds):
    assert (ACTION.shortfall(before, after) is None) is holds


def test_what_runs_what_checks_and_with_which_rights():
    plan = ACTION.plan(seen())
    assert plan.run.commands == (("systemctl", "start", "--", UNIT),)
    assert plan.run.sandbox.capabilities == ()
    (check_stage,) = plan.checks
    assert check_stage.commands == (own_program("certificate_lasts", FILE, str(14 * 86_400)),)
    assert check_stage.sandbox.capabilities == ("CAP_DAC_READ_SEARCH",)
    assert not check_stage.sandbox.network
    assert not check_stage.sandbox.writable
    assert plan.calls == ()
    assert ACTION.plan(seen("active")).run.commands == (("systemctl", "restart", "--", UNIT),)
    assert (ACTION.risk(seen()), ACTION.risk(seen("active"))) == (Risk.REVERSIBLE, Risk.DISRUPTIVE)


@pytest.mark.parametrize("days", [3, 300])
async def test_the_executor_reads_the_file_itself(tmp_path, days):
    file = tmp_path / FILE.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_bytes(certificate(NOW + timedelta(days=days)))
    systemd = FakeSystemd()
    systemd.add(UNIT, active="inactive")
    host = Host(SETTINGS, systemd, Nobody(), Now(), tmp_path)
    found = await ACTION.observe(host)
    assert found.not_after == NOW + timedelta(days=days)
    assert bool(found.expires) is (days == 3)
    file.write_text("nothing")
    assert "no certificate" in (await ACTION.observe(host)).unreadable


async def test_a_file_that_is_not_watched_is_not_even_read(tmp_path):
    (tmp_path / "secret.pem").write_bytes(certificate(NOW))
    host = Host(SETTINGS, FakeSystemd(), Nobody(), Now(), tmp_path)
    found = await RenewCertificate(unit=UNIT, certificate="/secret.pem").observe(host)
    assert found.not_after is None


# --- the check that runs by itself


@pytest.mark.parametrize("kind", ["PEM", "DER"])
@pytest.mark.parametrize("year", [1999, 2030, 2049, 2051])
def test_it_reads_until_when_a_certificate_is_good(kind, year):
    until = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert earliest(certificate(until, kind)) == until


def test_the_first_to_expire_of_a_chain_counts():
    first, last = NOW + timedelta(days=1), NOW + timedelta(days=9)
    assert earliest(b"# a comment\n" + certificate(last) + certificate(first) + certificate(last)) == first


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(own_program("certificate_lasts", *arguments), capture_output=True, text=True, timeout=20)


def test_its_exit_status_says_whether_it_lasts(tmp_path):
    file = tmp_path / "c.pem"
    file.write_bytes(certificate(datetime.now(UTC) + timedelta(days=10)))
    assert run(str(file), str(9 * 86400)).returncode == 0
    assert run(str(file), str(11 * 86400)).returncode == 1
    assert "cannot be read" in run(str(tmp_path / "none"), "1").stderr


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300) | st.integers(0, 200).map(lambda cut: WHOLE[:cut]))
def test_what_is_no_certificate_is_said_to_be_none(tmp_path, data):
    file = tmp_path / "data"
    file.write_bytes(data)
    with pytest.raises(SystemExit, match="holds no certificate"):
        check(str(file), 1)


WHOLE = certificate(NOW, "DER")
