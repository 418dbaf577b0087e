"""The trigger monitor's spool: store away, process killed, disk full; nothing is lost, and nothing counts twice."""

import asyncio
import json
import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.records import Sample
from ai_sysadmin.stores import Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.trigger_monitor.spool import SpoolingNotices
from tests.builders import HOST, NOW
from tests.spooling import (
    NO_STORMS,
    a_fault,
    a_line,
    a_spool,
    a_template,
    noticed,
    placed,
    spooling,
    standing,
)


@pytest.fixture
async def place(tmp_path):
    async with placed(tmp_path) as it:
        yield it


# --- away and back


async def test_what_is_committed_while_the_store_is_away_is_there_once_it_is_back(place):
    assert len(await place.commit(noticed(1, a_fault(1)))) == 1
    place.away()
    assert await place.commit(noticed(2, a_fault(2), memory={"a": "2"})) == ()
    assert await place.commit(noticed(3, a_fault(3), a_fault(2))) == ()
    place.away(False)
    assert await place.commit(noticed(4, memory={"b": "4"})) == (), "it goes behind what waits"
    assert len(await place.stores.reader.incidents()) == 1
    await place.drain()
    assert [each.subject for each in place.told] == ["u2.service", "u3.service"]
    found = await standing(place.stores)
    assert found["u2.service"][1] == 2
    assert found["memory"] == {"a": "2", "b": "4"}
    assert (found["position"].cursor, found["position"].entries_read) == ("c4", 4)
    assert place.lines() == []
    assert len(await place.commit(noticed(5, a_fault(5)))) == 1


async def test_a_commit_whose_reply_was_lost_counts_once(place):
    place.away(but_commits=True)
    assert await place.commit(noticed(1, a_fault(1))) == ()
    place.away()
    await place.commit(noticed(2, a_fault(1)))
    await place.back()
    found = await standing(place.stores)
    assert (found["u1.service"][1], found["position"].entries_read) == (2, 2)


async def test_draining_that_loses_replies_again_and_again_writes_each_once(place):
    place.away()
    for number in range(1, 6):
        await place.commit(noticed(number, a_fault(1)))
    for _ in range(5):
        place.away(but_commits=True)
        with suppress(StoreUnavailable):
            await place.notices.real.memory()  # the store answers, its commits' replies do not come
            await drain_past_the_look(place)
    await place.back()
    found = await standing(place.stores)
    assert (found["u1.service"][1], found["position"].entries_read) == (5, 5)


async def drain_past_the_look(place):
    class OnlyCommitsFail:
        memory = place.notices.real.memory
        commit = place.notices.commit

    await SpoolingNotices(OnlyCommitsFail(), place.spool).drain(place.told.extend)


async def test_commits_at_the_same_time_are_kept_in_order(place):
    place.away()
    await asyncio.gather(*(place.commit(noticed(number, a_fault(0), memory={"n": str(number)})) for number in range(9)))
    place.away(False)
    late = [place.commit(Noticed(None, triggers=[a_fault(0)])) for _ in range(9)]
    await asyncio.gather(place.drain(), *late)
    await place.drain()
    found = await standing(place.stores)
    assert (found["u0.service"][1], found["position"].entries_read, found["memory"]["n"]) == (18, 9, "8")


async def test_reads_wait_for_what_waits_or_know_it(place):
    await place.commit(noticed(1, memory={"a": "1", "b": "1"}))
    place.away()
    await place.commit(noticed(2, memory={"a": "2"}))
    notices = place.both.notices
    assert (await notices.position()).cursor == "c2"
    with pytest.raises(StoreUnavailable):
        await notices.memory()
    place.away(False)
    assert await notices.memory() == {"a": "2", "b": "1"}
    for ask in (notices.live(), notices.alerts(), notices.unattached(NOW)):
        with pytest.raises(StoreUnavailable, match="spool"):
            await ask
    await place.drain()
    assert await notices.live() == ()
    assert await notices.memory() == {"a": "2", "b": "1"}


async def test_the_position_is_known_while_the_store_is_away_and_nothing_waits(place):
    await place.commit(noticed(1))
    place.away()
    assert (await place.both.notices.position()).cursor == "c1"


async def test_figures_wait_too_and_come_in_order(place):
    write = place.both.metrics.write
    await write([Sample("load", 1.0)], NOW)
    place.away()
    for second in (1, 2):
        await write([Sample("load", 1.0 + second), Sample("odd", float("nan"))], NOW + timedelta(seconds=second))
    place.away(False)
    await write([Sample("load", 9.0)], NOW + timedelta(seconds=3))
    assert [each.value for each in await place.stores.metrics.list()] == [1.0]
    await place.drain()
    points = await place.both.metrics.points("load", "", NOW)
    assert [point.value for point in points] == [1.0, 2.0, 3.0, 9.0]
    assert place.lines("metrics") == []


# --- another process


async def test_what_an_earlier_process_left_is_written_first_and_once(place):
    place.away()
    for number in (1, 2, 3):
        await place.commit(noticed(number, a_fault(number)))
    left = {path: path.read_bytes() for path in place.files()}
    await place.back()
    await place.commit(noticed(4, a_fault(4)))

    def power_loss():  # the files that were removed are there again
        for path, content in left.items():
            path.write_bytes(content)

    place.restart(power_loss)
    with pytest.raises(StoreUnavailable):
        await place.both.notices.position()
    assert await place.commit(noticed(5, a_fault(5))) == ()
    await place.drain()
    found = await standing(place.stores)
    assert {name: each[1] for name, each in found.items() if name.endswith("service")} == {
        f"u{number}.service": 1 for number in (1, 2, 3, 4, 5)
    }
    assert (found["position"].cursor, found["position"].entries_read) == ("c5", 5)


async def test_what_another_version_has_read_again_meanwhile_is_not_counted_again(place):
    place.away()
    for number in (1, 2, 3):
        await place.commit(noticed(number, a_fault(number)))
    place.restart()
    for number in (1, 2):  # it knows no spool, and goes on from the store's position
        await place.stores.notices.commit(noticed(number, a_fault(number)), NO_STORMS)
    await place.drain()
    found = await standing(place.stores)
    assert [found[f"u{number}.service"][1] for number in (1, 2, 3)] == [1, 1, 1]
    assert (found["position"].cursor, found["position"].entries_read) == ("c3", 3)


async def test_only_one_process_has_a_spool(place):
    other = a_spool(place.directory)
    assert "another trigger monitor" in other.trouble
    both, notices, _ = spooling(place.stores, other)
    assert len(await both.notices.commit(noticed(1, a_fault(1)), NO_STORMS)) == 1
    notices.is_away = True
    with pytest.raises(StoreUnavailable, match="another trigger monitor"):
        await both.notices.commit(noticed(2), NO_STORMS)


async def test_a_directory_that_cannot_be_made_is_said_and_the_store_is_used_all_the_same(tmp_path):
    (tmp_path / "spool").write_text("a file")
    async with placed(tmp_path) as place:
        assert "cannot be used" in place.spool.trouble
        assert len(await place.commit(noticed(1, a_fault(1)))) == 1
        await place.both.metrics.write([Sample("load", 1.0)], NOW)
        place.away()
        with pytest.raises(StoreUnavailable, match="does not answer; the spool"):
            await place.commit(noticed(2))
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await place.both.metrics.write([Sample("load", 1.0)], NOW)


async def test_a_torn_last_line_is_cut_and_what_follows_is_whole(place):
    place.away()
    for number in (1, 2):
        await place.commit(noticed(number, a_fault(number)))

    def tear():
        (path,) = place.files()
        path.write_bytes(path.read_bytes() + place.lines()[1][:40])

    place.restart(tear)
    place.away()
    await place.commit(noticed(3, a_fault(3)))
    place.restart()
    await place.back()
    assert (await place.stores.notices.position()).entries_read == 3


async def test_files_that_somebody_removes_are_lost_alone_and_accounted_for(place):
    place.away()
    for number in (1, 2):
        await place.commit(noticed(number, a_fault(number)))
    await place.both.metrics.write([Sample("load", 1.0)], NOW)
    for path in (*place.files(), *place.files("metrics")):
        path.unlink()
    with pytest.raises(StoreUnavailable, match="No such file"):
        await place.commit(noticed(3, a_fault(3)))
    await place.commit(noticed(3, a_fault(3)))
    await place.back()
    await place.commit(noticed(4))
    found = await place.stores.notices.position()
    assert (found.entries_read, found.entries_lost) == (2, 2)
    assert [each.subject for each in place.told] == ["u3.service"]


async def test_a_damaged_line_is_lost_alone_and_accounted_for(place):
    place.away()
    for number in (1, 2, 3):
        await place.commit(noticed(number, a_fault(number)))

    def flip():
        (path,) = place.files()
        path.write_bytes(path.read_bytes().replace(b"u2.service", b"u2.serVice"))

    place.restart(flip)
    await place.back()
    await place.commit(noticed(4))
    found = await place.stores.notices.position()
    assert (found.entries_read, found.entries_lost) == (3, 1)
    assert {each.subject for each in place.told} == {"u1.service", "u3.service"}


def rewritten(path, change: Callable[[dict], None]):
    """Have a file's lines as another version would have written them."""
    lines = []
    for line in path.read_bytes().splitlines():
        _, number, body = line.split(b" ", 2)
        given = json.loads(body)
        change(given)
        text = number + b" " + json.dumps(given).encode()
        lines.append(b"%08x %s\n" % (zlib.crc32(text), text))
    path.write_bytes(b"".join(lines))


async def test_fields_of_another_version_are_passed_over(place):
    place.away()
    await place.commit(noticed(1, a_fault(1), templates=[a_template("t", 3)]))

    def later_version(given):
        given["more"] = given["noticed"]["more"] = given["placing"]["more"] = 1
        given["noticed"]["triggers"][0]["more"] = given["noticed"]["templates"][0]["more"] = {"a": [1]}
        given["noticed"]["position"]["more"] = "x"

    place.restart(lambda: rewritten(place.files()[0], later_version))
    await place.back()
    found = await standing(place.stores)
    assert (found["u1.service"][1], found["templates"], found["position"].cursor) == (1, {"t": 3}, "c1")


async def test_a_commit_that_cannot_be_understood_is_set_aside_and_holds_up_nobody(place):
    place.away()
    await place.commit(noticed(1, a_fault(1)))
    await place.commit(noticed(2, a_fault(2)))

    def other_version(given):
        if given["noticed"]["position"]["sequence"] == 1:
            del given["noticed"]["triggers"][0]["kind"]

    place.restart(lambda: rewritten(place.files()[0], other_version))
    await place.back()
    await place.commit(noticed(3))
    assert [each.subject for each in place.told] == ["u2.service"]
    assert (await place.stores.notices.position()).entries_lost == 1
    assert "u1.service" in (place.directory / "unreadable.jsonl").read_text()


# --- by chance


@pytest.mark.parametrize("seed", [1, 2])
async def test_with_twenty_outages_everything_is_as_without_any(tmp_path, seed):
    chance = random.Random(seed)
    events = [a_noticed(chance, number) for number in range(1, 1001)]
    async with open_stores(tmp_path / "plain.db", HOST) as plain:
        for each in events:
            await plain.notices.commit(each, NO_STORMS)
        wanted = await standing(plain)
    assert sum(len(each.triggers) for each in events) >= 5000
    outages = sorted(chance.sample(range(1000), 20))
    async with placed(tmp_path) as place:
        for number, each in enumerate(events):
            if number in outages:
                place.away(but_commits=chance.random() < 0.5)
            elif place.notices.is_away and chance.random() < 0.05:
                place.away(False)
            if place.notices.is_away and place.notices.but_commits and chance.random() < 0.5:
                place.away()
            await place.commit(each)
            if chance.random() < 0.2:
                with suppress(StoreUnavailable):
                    await place.drain()
            if chance.random() < 0.01:
                is_away = place.notices.is_away
                place.restart()
                place.away(is_away)
        await place.back()
        assert await standing(place.stores) == wanted


def a_noticed(chance, number):
    faults = [
        a_fault(chance.randrange(60)).model_copy(update={"at": at(number)}) for _ in range(chance.randrange(1, 4))
    ]
    lines = [a_line(number, chance.randrange(1, 5), unit=f"u{chance.randrange(80)}.service") for _ in range(5)]
    return noticed(number, *faults, *lines, templates=[a_template(f"t{number % 7}", number)], memory={"n": str(number)})


def at(seconds):
    return NOW + timedelta(seconds=seconds)
