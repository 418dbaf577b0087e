"""Proposing from a conversation, by the real stores: what is filled in, what is refused, whose incident it is for."""

from datetime import UTC, datetime, timedelta

import pytest

from ai_sysadmin.context.kept_log import kept_since, with_kept_log
from ai_sysadmin.core.acting import Origin
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.meta_model.proposals import Proposals
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.host import FakeUnits
from tests.builders import HOST, NOW, PLACING, UNIT, incident, trigger


@pytest.fixture
async def stores(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as opened:
        yield opened


def proposals(stores, **given):
    settings = Settings.model_validate({"host_name": HOST, **given})
    units = FakeUnits()
    units.put(UNIT)
    return Proposals(settings, stores.proposals, stores.reader, units, SystemClock())


async def noticed(stores):
    (opened,) = await stores.notices.commit(Noticed(None, triggers=[trigger()]), PLACING)
    return opened


async def made(stores, name, arguments, origin=Origin.CHAT, **given):
    proposed = await proposals(stores, **given).propose(name, arguments, "it is full", origin)
    return (await stores.reader.action(proposed.action_id)).request


async def test_log_that_a_live_incident_reads_is_never_given_up(stores):
    assert (await made(stores, "vacuum_journal", {})).arguments == {}
    opened = await noticed(stores)
    before = Settings().context.log_before_seconds
    oldest = (opened.opened_at - timedelta(seconds=before)).isoformat()
    for later in ({}, {"keep_since": "2999-01-01T00:00:00+00:00"}, {"keep_since": NOW.isoformat()}):
        assert (await made(stores, "vacuum_journal", later)).arguments == {"keep_since": oldest}
    earlier = {"keep_since": "2020-01-01T00:00:00+00:00", "path": "/var"}
    assert (await made(stores, "free_disk_space", earlier)).arguments == earlier


def test_from_when_on_log_stays():
    live = [incident(opened_at=NOW), incident(opened_at=NOW - timedelta(hours=5))]
    assert kept_since("", live, 600) == {"keep_since": (NOW - timedelta(hours=5, minutes=10)).isoformat()}
    assert kept_since("", [], 600) == {}
    earlier = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
    assert kept_since(earlier, live, 600) == {"keep_since": earlier}
    for wrong in ("yesterday", "2026-01-01T00:00:00"):
        assert kept_since(wrong, live, 600) == {"keep_since": wrong}


async def test_a_time_that_is_none_is_refused(stores):
    for wrong in ("yesterday", "2020-01-01T00:00:00"):
        with pytest.raises(Refused, match="keep_since"):
            await made(stores, "vacuum_journal", {"keep_since": wrong})


async def test_it_belongs_to_the_incident_of_a_unit_that_it_changes(stores):
    assert (await made(stores, "kill_process", {"pid": "7", "start_time": "1", "unit": UNIT})).incident_id == ""
    opened = await noticed(stores)
    assert (await made(stores, "restart_unit", {"unit": UNIT})).incident_id == opened.id
    assert (await made(stores, "unblock_address", {"address": "192.0.2.7"})).incident_id == ""


async def test_a_change_of_the_configuration_belongs_to_the_incident_that_it_names(stores):
    opened = await noticed(stores)
    nixos = {"repository": "/etc/nixos", "options": [{"option": "services.nginx.enable", "type": "boolean"}]}
    given = {"option": "services.nginx.enable", "value": "true"}
    named = await made(stores, "apply_configuration", {**given, "incident": opened.id}, actions={"nixos": nixos})
    assert named.incident_id == opened.id
    other = await made(stores, "apply_configuration", {**given, "incident": "zzzzzz"}, actions={"nixos": nixos})
    assert other.incident_id == ""


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("reboot_host", {}, "actions.reboot is not set"),
        ("clean_temporary_path", {"path": "/etc"}, "/etc"),
        ("mount_file_system", {"path": "/mnt/data"}, "not declared"),
        ("block_address", {"address": "192.0.2.7", "seconds": "9999"}, "block_seconds"),
        ("block_address", {"address": "192.0.2.7; reboot"}, "address"),
        ("kill_process", {"pid": "1", "start_time": "0", "unit": UNIT}, "pid"),
        ("restart_unit", {"unit": UNIT, "now": "1"}, "now"),
        ("restart_unit", {}, "unit"),
        ("apply_configuration", {"option": "a.b", "value": "1"}, "repository"),
        ("wipe_disk", {}, "no action 'wipe_disk'"),
    ],
)
async def test_what_the_catalogue_or_the_settings_forbid_is_not_proposed(stores, name, arguments, why):
    with pytest.raises(Refused, match=why):
        await made(stores, name, arguments)
    assert await stores.reader.actions() == ()


async def test_who_proposed_is_remembered(stores):
    assert (await made(stores, "vacuum_journal", {}, Origin.OPERATOR)).origin is Origin.OPERATOR


class Reader:
    def __init__(self, *incidents):
        self.live = incidents

    async def incidents(self, states=(), limit=100):
        return self.live


async def test_what_a_judgement_offers_keeps_the_log_of_live_incidents_too():
    opened = NOW - timedelta(hours=5)
    full = ProposedAction(name="free_disk_space", arguments={"path": "/var"})
    restart = ProposedAction(name="restart_unit", arguments={"unit": UNIT})
    reader = Reader(incident(opened_at=opened))
    offered = await with_kept_log({"free_disk_space": full, "restart_unit": restart}, reader, 600)
    kept = (opened - timedelta(seconds=600)).isoformat()
    assert offered["free_disk_space"].arguments == {"path": "/var", "keep_since": kept}
    assert offered["restart_unit"] == restart
