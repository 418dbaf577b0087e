"""The spool when it, or its disk, is full: what is counted together, what is given up, and in which order."""

import os
from datetime import timedelta

import pytest

from ai_sysadmin.core.errors import StoreUnavailable
from ai_sysadmin.core.records import Sample
from ai_sysadmin.stores import Cleared, Noticed
from ai_sysadmin.trigger_monitor.spool.condense import Level, condensed
from ai_sysadmin.trigger_monitor.spool.pieces import Piece, piece_of, written
from tests.builders import NOW
from tests.spooling import MEBIBYTE, NO_STORMS, a_fault, a_line, a_template, noticed, placed, standing


@pytest.fixture
async def place(tmp_path):
    async with placed(tmp_path) as it:
        yield it


async def test_figures_give_way_first_and_the_oldest_of_them(tmp_path, caplog):
    async with placed(tmp_path, most_bytes=64 << 10) as place:
        place.away()
        samples = [Sample("load", 1.0, f"/{number}", "percent") for number in range(20)]
        for second in range(40):
            await place.both.metrics.write(samples, NOW + timedelta(seconds=second))
        for number in range(60):
            await place.commit(noticed(number, a_fault(number)))
        for second in range(40, 200):
            await place.both.metrics.write(samples, NOW + timedelta(seconds=second))
        assert sum(path.stat().st_size for path in place.directory.iterdir()) <= 64 << 10
        await place.back()
        assert len(await place.stores.reader.incidents(limit=500)) == 60
        kept = [point.at for point in await place.stores.metrics.points("load", "/1", NOW)]
        assert kept == [NOW + timedelta(seconds=second) for second in range(200 - len(kept), 200)]
        assert 10 < len(kept) < 200
        assert f"figures of {200 - len(kept)} moments" in caplog.text


async def test_figures_that_waited_too_long_are_dropped(tmp_path):
    async with placed(tmp_path, most_bytes=MEBIBYTE, age=timedelta(hours=1)) as place:
        place.away()
        await place.both.metrics.write([Sample("load", 1.0)], NOW)
        (path,) = place.files("metrics")
        old = (NOW - timedelta(hours=2)).timestamp()
        os.utime(path, (old, old))
        await place.both.metrics.write([Sample("load", 2.0)], NOW + timedelta(seconds=1))
        await place.back()
        assert [point.value for point in await place.stores.metrics.points("load", "", NOW)] == [2.0]


async def test_a_full_spool_counts_together_what_only_supports_and_loses_nothing(tmp_path):
    async with placed(tmp_path, most_bytes=64 << 10) as place:
        place.away()
        for number in range(1, 500):
            extra = (a_fault(number),) if number % 50 == 0 else ()
            given = noticed(number, a_line(number, 2), *extra, templates=[a_template("t", number)])
            await place.commit(given)
        assert sum(path.stat().st_size for path in place.files()) <= 64 << 10
        await place.back()
        found = await standing(place.stores)
        assert [subject for _, subject in found["order"]] == [f"u{number}.service" for number in range(50, 500, 50)]
        assert found["templates"] == {"t": 499}
        assert sum(found["waiting"].values()) == 2 * 499 or found["position"].entries_lost == 0
        assert (found["position"].entries_read, found["position"].entries_lost) == (499, 0)


@pytest.mark.parametrize("dies", [True, False])
async def test_what_the_store_may_have_already_is_not_counted_together(tmp_path, dies):
    async with placed(tmp_path, most_bytes=16 << 10) as place:
        place.away(but_commits=True)
        await place.commit(noticed(1, a_line(1)))
        place.away()
        for number in range(2, 5):
            await place.commit(noticed(number, a_line(number)))
        if dies:
            await drained_without_letting_go(place, 3)
            place.restart()
            place.away()
        for number in range(5, 200):
            await place.commit(noticed(number, a_line(number)))
        assert len(place.lines()) < 150, "they are counted together"
        await place.back()
        found = await standing(place.stores)
        assert (list(found["waiting"].values()), found["position"].entries_read) == ([199], 199)


async def drained_without_letting_go(place, many):
    """Have the store take the first that wait; the process ends before it can let go of them."""
    for _, piece in (await place.spool.first())[:many]:
        await place.stores.notices.commit(piece.noticed, piece.placing)


async def test_fuller_still_it_drops_what_only_supports_says_so_and_keeps_every_fault(tmp_path, caplog):
    async with placed(tmp_path, most_bytes=64 << 10) as place:
        place.away()
        for number in range(1, 150):
            lines = [a_line(number, 1, unit=f"x{number}-{each}.service") for each in range(10)]
            await place.commit(noticed(number, a_fault(number), *lines))
        await place.back()
        found = await standing(place.stores)
        faults = [subject for _, subject in found["order"] if subject.startswith("u")]
        assert faults == [f"u{number}.service" for number in range(1, 150)]
        lost = found["position"].entries_lost
        assert lost > 0
        assert lost + sum(found["waiting"].values()) == 1490
        assert f"no room for {lost} log entries" in caplog.text


async def test_when_faults_alone_fill_it_a_commit_fails_and_its_position_stays(tmp_path):
    async with placed(tmp_path, most_bytes=32 << 10) as place:
        place.away()
        taken = 0
        with pytest.raises(StoreUnavailable, match="are full"):
            for number in range(1, 1000):
                await place.commit(noticed(number, a_fault(number)))
                taken = number
        assert taken > 50
        assert (await place.both.notices.position()).cursor == f"c{taken}"
        await place.back()
        for number in range(taken + 1, taken + 3):
            await place.commit(noticed(number, a_fault(number)))
        found = await standing(place.stores)
        assert (len(found["order"]), found["position"].entries_read) == (taken + 2, taken + 2)


async def test_a_disk_without_room_leaves_no_half_line(place, monkeypatch):
    place.away()
    await place.commit(noticed(1, a_fault(1)))
    real = os.write

    def no_room(descriptor, data):
        if len(data) > 60:
            return real(descriptor, data[:60])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", no_room)
        with pytest.raises(StoreUnavailable, match="No space left"):
            await place.commit(noticed(2, a_fault(2)))
    assert len(place.lines()) == 1
    await place.commit(noticed(2, a_fault(2)))
    place.restart()
    await place.back()
    assert (await place.stores.notices.position()).entries_read == 2


def test_what_was_cleared_stays_between_what_came_before_and_after():
    cleared = Noticed(None, cleared=[Cleared("i", NOW, "why")])
    parts = [noticed(1, a_fault(1)), cleared, cleared, noticed(2, a_fault(1)), noticed(3, a_fault(1))]
    given = [(number, Piece("s", each, NO_STORMS)) for number, each in enumerate(parts, 1)]
    result = condensed(given, Level.BARE).pieces
    assert [(number, len(each.noticed.triggers), len(each.noticed.cleared)) for number, each in result] == [
        (3, 1, 2),
        (5, 2, 0),
    ]


def test_a_commit_is_read_as_it_was_written():
    piece = Piece(
        "s",
        noticed(
            7,
            a_fault(1, joins=("a",), explains=("b",)),
            a_line(2, text="ünï\n\r\u2028\x00"),
            cleared=[Cleared("i", NOW, "why")],
            templates=[a_template("t", 1)],
            memory={"m": "{}"},
            alerts=[1, 2],
        ),
        NO_STORMS,
    )
    again = piece_of(written(piece))
    assert again.placing == piece.placing
    assert again.noticed.position == piece.noticed.position
    assert tuple(again.noticed.triggers) == piece.noticed.triggers
    assert list(again.noticed.cleared) == piece.noticed.cleared
    assert list(again.noticed.templates) == piece.noticed.templates
    assert (again.noticed.memory, list(again.noticed.alerts)) == ({"m": "{}"}, [1, 2])
    assert b"\n" not in written(piece)
