"""What is looked up on this very machine, and which of it is kept."""

import asyncio

import pytest

from ai_sysadmin.core.noticing_settings import Backup, TriggerMonitor
from ai_sysadmin.core.records import Sample
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.trigger_monitor.host.look_ups import of_this_host
from ai_sysadmin.trigger_monitor.host.sampling import Sampling
from ai_sysadmin.trigger_monitor.host.unchanged import Unchanged
from ai_sysadmin.trigger_monitor.ledger import Ledger
from tests.builders import HOST


async def test_this_machine_is_sampled_without_an_error_and_says_what_it_cannot(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        await sample_this_machine(stores)


async def sample_this_machine(stores) -> None:
    settings = TriggerMonitor(
        certificates=("/nonexistent/*.pem", "127.0.0.1:1"),
        backups=(Backup(name="db", path="/nonexistent/*.dump"),),
    )
    clock = FakeClock()
    look_ups = of_this_host(settings, clock)
    sampling = Sampling(settings, Ledger(HOST, stores.notices, settings), stores.metrics, clock, Heartbeat())
    silent = {"certificate files", "certificate of 127.0.0.1:1"}
    looking = asyncio.create_task(sampling.look_forever())
    await sampling.tick()
    async with asyncio.timeout(20):
        while not silent <= set(sampling.unreadable):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # the processors' use is counted in hundredths of a second
    await sampling.tick()
    assert not looking.done()
    looking.cancel()
    names = {series.name for series in await stores.metrics.list()}
    assert {"memory_available_percent", "load_per_processor", "cpu_used_percent", "open_files_used_percent"} <= names
    assert set(sampling.unreadable) <= {each.name for each in look_ups}
    assert sampling.unreadable["certificate files"] == "no file matches /nonexistent/*.pem"
    assert sampling.switching() in {True, False}
    assert isinstance(sampling.generation(), str)


def test_a_figure_is_kept_when_it_moves_or_was_not_kept_for_long():
    unchanged = Unchanged()

    def is_kept(value: float, ticks: float, unit: str = "bytes") -> bool:
        return bool(unchanged.left_out([Sample("x", value, "", unit)], ticks))

    assert is_kept(100.0, 0)
    assert not is_kept(100.9, 15)
    assert is_kept(101.1, 30)
    assert not is_kept(101.1, 300)
    assert is_kept(101.1, 330)
    assert is_kept(101.1, 10)  # another boot
    assert is_kept(0.0, 20, "percent")
    assert not is_kept(0.05, 30, "percent")
    assert is_kept(0.5, 40, "percent")


@pytest.mark.parametrize("place", ["/etc/ssl/*.pem", "mail.example:993", "[::1]:443"])
def test_a_certificate_is_a_path_or_an_endpoint(place: str) -> None:
    assert TriggerMonitor(certificates=(place,)).certificates == (place,)


@pytest.mark.parametrize("place", ["ssl/web.pem", "mail.example", "https://mail.example", "mail.example:70000", ""])
def test_any_other_place_of_a_certificate_is_refused_by_name(place: str) -> None:
    with pytest.raises(ValueError, match="neither an absolute path"):
        TriggerMonitor(certificates=(place,))
