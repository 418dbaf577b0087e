"""The suite on PostgreSQL: one incident through every layer, and faults that keep coming while the database is away."""

import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.postgres_server import programs, why_not
from tests.prototype_data import IN_FILES, fill_files
from tests.system.machine import Machine
from tests.system.story import STAGES, Story
from tests.system.suite import Suite
from tests.system.test_one_incident import in_order

DATABASE = "e2e-postgresql.service"
SUITE = Suite(
    start=(),
    options={
        "settings": {
            "database": {"url": "postgresql:///ai-sysadmin?host=/run/e2e-postgresql&user=ai-sysadmin"},
            "executor": {"post_check_seconds": 1},
            "trigger_monitor": {"storm_incidents": 0},
        }
    },
)
UNIT = """[Unit]
Description=PostgreSQL for the tests

[Service]
Type=notify
User=postgres
RuntimeDirectory=e2e-postgresql
StateDirectory=e2e-postgresql
ExecStartPre=/bin/sh -c 'test -e /var/lib/e2e-postgresql/data/PG_VERSION \
  || {programs}/initdb -D /var/lib/e2e-postgresql/data -A trust -E UTF8 --no-sync'
ExecStart={programs}/postgres -D /var/lib/e2e-postgresql/data -c listen_addresses= \
  -c unix_socket_directories=/run/e2e-postgresql
KillSignal=SIGINT
"""
# no password, and no stranger: the kernel says who is there, as docs/database.md has it
ACCESS = """local all postgres peer map=suite
local ai-sysadmin ai-sysadmin peer map=suite
"""
USERS = """suite root postgres
suite postgres postgres
suite ai-sysadmin ai-sysadmin
suite ai-sysadmin-api ai-sysadmin
"""


@pytest.fixture(scope="module")
def story(boot_suite: Callable[[Suite], Machine]) -> Iterator[Story]:
    machine = boot_suite(SUITE)
    assert why_not() is None, why_not()
    machine.put(UNIT.format(programs=programs()), f"/etc/systemd/system/{DATABASE}")
    machine.systemctl("daemon-reload").ok()
    machine.systemctl("start", DATABASE).ok()
    machine.put(ACCESS, "/var/lib/e2e-postgresql/data/pg_hba.conf", mode=0o644)
    machine.put(USERS, "/var/lib/e2e-postgresql/data/pg_ident.conf", mode=0o644)
    machine.systemctl("restart", DATABASE).ok()
    as_admin = ["-h", "/run/e2e-postgresql", "-U", "postgres"]
    machine.run(["createuser", *as_admin, "ai-sysadmin"]).ok()
    machine.run(["createdb", *as_admin, "-O", "ai-sysadmin", "ai-sysadmin"]).ok()
    machine.systemctl("start", "ai-sysadmin.target", timeout=120).ok()
    yield Story(machine)


def rows(story: Story, statement: str) -> list[str]:
    """Return what a statement gives, a line for each row."""
    argv = ["psql", "-qAtX", "-h", "/run/e2e-postgresql", "-U", "postgres", "-d", "ai-sysadmin", "-c", statement]
    return story.machine.run(argv).ok().stdout.split()


def test_a_failed_unit_is_noticed_judged_approved_restarted_and_resolved(story: Story) -> None:
    unit = story.fail("flow")
    action = story.pending(unit)
    story.cli("actions", "approve", action["id"], user="alice").ok()
    resolved = story.ends(unit, "resolved")
    assert in_order(STAGES, story.events(resolved["id"])), story.events(resolved["id"])
    assert rows(story, f"SELECT state FROM ai_sysadmin.incidents WHERE id = '{resolved['id']}'") == ["resolved"]
    assert story.cli("status").ok().json["state"] in {"ok", "degraded"}


def test_while_the_database_is_away_the_suite_says_so_and_every_fault_is_one_incident(story: Story) -> None:
    names = [f"away{number}" for number in range(60)]
    units = [story.fail(name) for name in names[:20]]
    story.machine.systemctl("restart", DATABASE).ok()
    units += [story.fail(name) for name in names[20:40]]
    story.machine.systemctl("stop", DATABASE).ok()
    units += [story.fail(name) for name in names[40:]]
    said = story.machine.eventually(
        lambda: (store := story.cli("status").json["store"])["reachable"] is False and store,
        "status says that the store is away",
    )
    assert "the database ai-sysadmin at /run/e2e-postgresql cannot be used" in said["text"]
    time.sleep(10)
    story.machine.systemctl("start", DATABASE).ok()

    def known() -> Counter[str]:
        return Counter(rows(story, "SELECT subject FROM ai_sysadmin.incidents WHERE subject LIKE 'e2e-once@away%'"))

    story.machine.eventually(lambda: set(units) == set(known()), "every fault is an incident", 60)
    assert set(known().values()) == {1}
    story.machine.eventually(lambda: story.cli("status").json["store"]["reachable"], "the store is there again", 60)


def test_what_the_prototype_left_is_taken_over_by_root_as_the_services_user(story: Story) -> None:
    old = story.machine.path("/var/lib/prototype")
    fill_files(old)
    (old / "decisions.jsonl").chmod(0o600)  # root's alone: the services' user takes no other's secrets over
    done = story.cli("migrate", "--from-prototype", "--prototype-dir", "/var/lib/prototype")
    assert done.exit_status == 1, done
    assert [each["where"] for each in done.json["unread"]] == ["/var/lib/prototype/decisions.jsonl"]
    imported = "SELECT count(*) FROM ai_sysadmin.documents WHERE source LIKE 'imported by%'"
    assert rows(story, imported) == [str(IN_FILES - 61)]
