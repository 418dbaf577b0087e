"""The notifier on a real store, telling real servers on this host by Apprise."""

import asyncio
import json
import logging
import re
from collections import Counter
from datetime import timedelta

import pytest

from ai_sysadmin.core.errors import StoreUnavailable, Unavailable
from ai_sysadmin.core.incident import Decided
from ai_sysadmin.core.notification_settings import Notifications
from ai_sysadmin.notifications import UNCONFIGURED
from ai_sysadmin.notifications.daemon import Notifier
from ai_sysadmin.stores.relational import open_stores
from tests.builders import HOST, NOW
from tests.contracts.test_acting_stores import over
from tests.notifying import (
    CANARY,
    Moment,
    Told,
    around,
    lines_of,
    needing,
    notes,
    notifier,
    told_servers,
    troubles,
    urls_file,
)
from tests.serving import serving, unused_port

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise's import of it

ALL = 20
"""More messages an hour than these tests have."""


@pytest.fixture
async def stores(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as opened:
        yield opened


@pytest.fixture
def clock():
    return Moment(NOW + timedelta(minutes=1))


def told_of(told):
    """Return in how many messages a server was told of each service."""
    said = [set(f"{message['title']} {message['message']}".split()) for message in told.messages]
    return Counter(word for words in said for word in words if re.fullmatch(r"s\d+", word))


# --- one message


async def test_a_person_is_told_host_unit_kind_and_id_and_not_one_word_of_a_log(stores, tmp_path, clock, caplog):
    caplog.set_level(logging.DEBUG)
    told = Told()
    async with told_servers(told) as urls:
        held = await needing(stores)
        await notifier(stores, tmp_path, urls, clock, link="https://chat.example.org").round()
    (message,) = told.messages
    assert held.id in message["title"] and "web.service" in message["title"] and HOST in message["title"]
    assert f"ai-sysadmin incidents show {held.id}" in message["message"]
    assert "unit_failed" in message["message"] and "https://chat.example.org" in message["message"]
    assert CANARY not in json.dumps(message)
    assert "it exited 1" not in json.dumps(message)  # the judgement's words


async def test_it_is_told_once_also_by_a_notifier_that_starts_again(stores, tmp_path, clock):
    told = Told()
    async with told_servers(told) as urls:
        await needing(stores)
        for _ in range(3):
            await notifier(stores, tmp_path, urls, clock).round()
            clock.goes(minutes=5)
    assert len(told.messages) == 1


async def test_that_it_is_over_is_told_of_what_was_told(stores, tmp_path, clock):
    told = Told()
    async with told_servers(told) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        held = await needing(stores)
        await telling.round()
        await over(stores, held.id)
        await telling.round()
    assert [held.id in title for title in told.titles] == [True, True]
    assert "is well again" in told.titles[1]


async def test_what_is_over_while_nobody_could_be_told_is_not_told(stores, tmp_path, clock):
    told = Told(takes=lambda number: number > 1)
    async with told_servers(told) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        held = await needing(stores)
        await telling.round()
        await stores.decisions.decide(held.id, Decided("dismiss", "alice", NOW))
        clock.goes(hours=1)
        await telling.round()
    assert (told.asked, told.messages) == (1, [])


async def test_occasions_that_nobody_wants_are_taken_from_the_outbox(stores, tmp_path, clock):
    told = Told()
    async with told_servers(told) as urls:
        await troubles(stores, 3)
        await needing(stores)
        await notifier(stores, tmp_path, urls, clock, occasions=["needs_person"]).round()
    assert len(told.messages) == 1
    assert await stores.notifications.waiting(clock.now()) == ()


# --- a flood


async def test_a_thousand_notices_in_a_minute_are_six_messages_and_one_summary(stores, tmp_path, clock):
    told = Told()
    async with told_servers(told) as urls:
        await troubles(stores, 1000)
        for _ in range(65):
            await notifier(stores, tmp_path, urls, clock).round()  # one that starts again each time
            clock.goes(minutes=1)
            if len(told.messages) == 6 and clock.now() < NOW + timedelta(minutes=58):
                assert await stores.notifications.delivered_since(NOW) == 6
    assert len(told.messages) == 7
    assert "994 notices were held back" in told.titles[-1]
    assert await stores.notifications.waiting(clock.now()) == ()


async def test_no_hour_has_more_messages_than_are_allowed_while_a_flood_goes_on(stores, tmp_path, clock):
    told, at = Told(), []
    async with told_servers(told) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        for minute in range(0, 300, 5):
            await troubles(stores, 3, clock.now(), first=minute * 10)
            await telling.round()
            at += [minute] * (len(told.messages) - len(at))
            clock.goes(minutes=5)
    assert all(sum(minute - 60 < other <= minute for other in at) <= 6 for minute in at)
    assert 24 <= len(at) <= 30


# --- addresses that do not answer


async def test_half_failing_addresses_are_each_told_of_everything_once(stores, tmp_path, clock):
    flaky, other = Told(takes=lambda number: number % 2 == 0), Told(takes=lambda number: number % 3 == 0)
    async with told_servers(flaky, other) as urls:
        for number in range(12):
            await troubles(stores, 1, clock.now(), first=number)
            await notifier(stores, tmp_path, urls, clock, most_per_hour=ALL).round()  # restarted in between
            clock.goes(minutes=2)
        telling = notifier(stores, tmp_path, urls, clock, most_per_hour=ALL)
        for _ in range(10):
            await telling.round()
            clock.goes(hours=1)
    for told in (flaky, other):
        assert told_of(told) == {f"s{number}": 1 for number in range(12)}
        assert told.asked > len(told.messages)


async def test_only_the_address_that_failed_is_tried_again(stores, tmp_path, clock):
    well, away = Told(), Told(takes=lambda number: number > 2)
    async with told_servers(well, away) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        await needing(stores)
        for _ in range(4):
            await telling.round()
            clock.goes(hours=1)
    assert (well.asked, away.asked) == (1, 3)
    assert well.messages == away.messages


async def test_an_address_that_is_away_is_left_alone_whatever_there_is_to_tell(stores, tmp_path, clock):
    well, away = Told(), Told(takes=lambda _: False)
    async with told_servers(well, away) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        for number in range(5):
            await troubles(stores, 1, clock.now(), first=number)
            await telling.round()
            clock.goes(seconds=5)
    assert (len(well.messages), away.asked) == (5, 1)


async def test_what_an_address_is_owed_survives_a_restart_and_comes_as_one_message(stores, tmp_path, clock):
    well, away = Told(), Told(takes=lambda _: False)
    async with told_servers(well, away) as urls:
        for number in range(4):
            await troubles(stores, 1, clock.now(), first=number)
            await notifier(stores, tmp_path, urls, clock).round()
        away.takes = lambda _: True
        await notifier(stores, tmp_path, urls, clock).round()
        await notifier(stores, tmp_path, urls, clock).round()
    assert len(well.messages) == 4
    assert [message["title"] for message in away.messages] == ["4 messages of ai-sysadmin"]
    assert all(f"s{number}" in away.messages[0]["message"] for number in range(4))


async def test_one_who_is_told_to_stop_in_the_middle_remembers_what_went_out(stores, tmp_path, clock):
    told, asked = Told(), asyncio.Event()

    async def slow(reader, writer):
        asked.set()
        await asyncio.sleep(0.2)
        await told(reader, writer)

    async with serving(slow) as port:
        urls = [f"json://127.0.0.1:{port}/"]
        await needing(stores)
        running = asyncio.create_task(notifier(stores, tmp_path, urls, clock).notify_forever())
        await asked.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await notifier(stores, tmp_path, urls, clock).round()
    assert len(told.messages) == 1


class StoreDies:
    """An outbox whose answer to what was delivered never comes: the process ends there."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    async def delivered(self, ids, at):
        raise StoreUnavailable("gone")


async def test_what_was_told_before_the_store_went_is_not_told_again(stores, tmp_path, clock):
    told = Told()
    async with told_servers(told) as urls:
        await needing(stores)
        settings = Notifications(urls_file=urls_file(tmp_path, urls))
        dying = around(stores, tmp_path, clock)
        object.__setattr__(dying, "outbox", StoreDies(stores.notifications))
        with pytest.raises(StoreUnavailable):
            await Notifier(settings, dying).round()
        assert len(await stores.notifications.waiting(clock.now())) == 1
        await notifier(stores, tmp_path, urls, clock).round()
    assert len(told.messages) == 1
    assert await stores.notifications.waiting(clock.now()) == ()


async def test_while_nobody_answers_everything_waits_and_the_servers_are_left_alone(stores, tmp_path, clock):
    told = Told(takes=lambda _: False)
    async with told_servers(told) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        await troubles(stores, 100)
        for _ in range(120):
            await telling.round()
            clock.goes(seconds=30)
        assert 5 <= told.asked <= 10
        told.takes = lambda _: True
        clock.goes(hours=1)
        await telling.round()
        assert len(told.messages) == 6


# --- secrets, and what the notifier says of itself


async def test_no_secret_of_a_url_is_said_anywhere(stores, tmp_path, clock, caplog):
    caplog.set_level(logging.DEBUG)
    told, refuses = Told(), Told(takes=lambda _: False)
    async with told_servers(told, refuses) as urls:
        nobody = f"json://bot:hunter@127.0.0.1:{await unused_port()}/s3cr3t-path?+X-Token=s3cr3t-header"
        nonsense = "s3cr3t://hunter/s3cr3t-path"
        for number in range(3):
            await troubles(stores, 1, first=number)
            await notifier(stores, tmp_path, [*urls, nobody, nonsense], clock).round()
    said = caplog.text + "".join(map(str, (vars(record) for record in caplog.records)))
    said += str(await notes(stores)) + (tmp_path / "notifications.json").read_text()
    for secret in ("hunter", "s3cr3t-path", "s3cr3t-header"):
        assert secret not in said
    state, text = (await notes(stores))["notifier"]
    assert state == "degraded" and "line 4 (json://127.0.0.1:" in text and "cannot read this URL" in text


async def test_without_a_file_it_says_that_nobody_is_told(stores, tmp_path, clock):
    await Notifier(Notifications(), around(stores, tmp_path, clock)).round()
    assert (await notes(stores))["notifier"] == ("ok", UNCONFIGURED)


async def test_a_file_that_is_open_to_others_is_told_and_nothing_is_sent(stores, tmp_path, clock):
    told = Told()
    async with told_servers(told) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        await needing(stores)
        (tmp_path / "urls").chmod(0o644)
        with pytest.raises(Unavailable, match="chmod"):
            await telling.round()
        assert "chmod 0600" in (await notes(stores))["notifier"][1]
        assert told.asked == 0
        (tmp_path / "urls").chmod(0o600)
        await telling.round()
    assert (await notes(stores))["notifier"] == ("ok", f"people are told by {lines_of(urls)[0]}")
    assert len(told.messages) == 1


async def test_a_redirection_is_not_followed(stores, tmp_path, clock):
    elsewhere = Told()

    async def redirects(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 307 Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

    async with told_servers(elsewhere) as urls, serving(redirects) as port:
        target = f"http://127.0.0.1:{urls[0].partition('@127.0.0.1:')[2]}"
        await needing(stores)
        await notifier(stores, tmp_path, [f"json://127.0.0.1:{port}/"], clock).round()
    assert elsewhere.asked == 0
