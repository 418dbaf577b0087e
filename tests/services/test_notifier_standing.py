"""How the notifier stands and says so: a test, `doctor`, the suite in trouble, the dead man's switch."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from fastapi import FastAPI

from ai_sysadmin.cli import checkup, notify
from ai_sysadmin.cli.checkup import Health
from ai_sysadmin.core.errors import Refused, StoreUnavailable, Unavailable
from ai_sysadmin.core.notification_settings import Notifications
from ai_sysadmin.core.settings import Api, Settings
from ai_sysadmin.notifications import TEST
from ai_sysadmin.notifications import daemon as notifier_daemon
from ai_sysadmin.notifications.addresses import SecretFile
from ai_sysadmin.notifications.daemon import Notifier
from ai_sysadmin.notifications.heartbeat import beat, beat_forever
from ai_sysadmin.notifications.suite_watch import GRACE
from ai_sysadmin.openai_api_server.gate.gate import Gate
from ai_sysadmin.openai_api_server.gate.keys import ensure_api_key
from ai_sysadmin.openai_api_server.server import serve, sockets
from ai_sysadmin.openai_api_server.system import notifications as paths
from ai_sysadmin.stores import ServiceNote
from ai_sysadmin.stores.relational import open_stores
from tests.builders import HOST, NOW
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
from tests.services.api_harness import free_port
from tests.serving import Web, serving, unused_port

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise's import of it


@pytest.fixture
async def stores(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as opened:
        yield opened


@pytest.fixture
def clock():
    return Moment(NOW + timedelta(minutes=1))


# --- a test


async def test_a_test_goes_out_though_the_hour_is_full_and_says_who_was_told(stores, tmp_path, clock):
    told, away = Told(), Told(takes=lambda _: False)
    async with told_servers(told, away) as urls:
        telling = notifier(stores, tmp_path, urls, clock, occasions=["needs_person", "suite_trouble"])
        await troubles(stores, 10)
        await telling.round()
        clock.goes(minutes=1)
        said = []
        for takes in (False, True):
            away.takes = lambda _, takes=takes: takes
            await stores.notifications.raise_trouble(TEST, "a test", clock.now())
            await telling.round()
            await telling.round()
            said.append((await notes(stores))["notifier"])
        assert not [each for each in await stores.notifications.waiting(clock.now()) if each.unit == TEST]
    lines = lines_of(urls)
    assert said[0][0] == "degraded" and f"a test told {lines[0]}; {lines[1]}: it was not reached" in said[0][1]
    assert said[1] == ("ok", f"a test told {', '.join(lines)}")
    assert [title for title in told.titles if "test" in title] == [f"[{HOST}] a test of ai-sysadmin"] * 2


@asynccontextmanager
async def asked_over_http(stores, settings, clock):
    """Serve the API's paths of notifications on its Unix socket, as far as they go."""
    settings.runtime_dir.mkdir()
    app = FastAPI()
    app.include_router(paths.router(stores.notifications, stores.reader, settings, clock), prefix="/v1/system")
    with sockets(settings) as listening:
        serving = asyncio.create_task(serve(Gate(app, settings, stores.keys, clock), listening))
        yield
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def settings_of(directory, urls):
    return Settings(
        host_name=HOST,
        state_dir=directory,
        runtime_dir=directory / "run",
        api=Api(port=free_port()),
        notifications=Notifications(urls_file=urls_file(directory, urls) if urls else None),
    )


async def test_a_test_is_asked_for_over_the_api_sent_by_the_notifier_and_answered(stores, tmp_path, clock, monkeypatch):
    monkeypatch.setattr(notifier_daemon, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(notify, "_LOOK_SECONDS", 0.05)
    told, away = Told(), Told(takes=lambda _: False)
    async with told_servers(told, away) as urls:
        settings = settings_of(tmp_path, urls)
        ensure_api_key(settings.api_key_file)
        telling = Notifier(settings.notifications, around(stores, tmp_path, clock))
        async with asked_over_http(stores, settings, clock):
            with pytest.raises(Unavailable, match="ai-sysadmin-notifier"):
                await notify.try_out(settings, wait_seconds=0.2)
            running = asyncio.create_task(telling.notify_forever())
            tried = await notify.try_out(settings)
            away.takes = lambda _: True
            clock.goes(seconds=1)
            again = await notify.try_out(settings)
            (check,) = await checkup.notifications(settings)
            running.cancel()
    assert not tried.told and tried.text.startswith(f"a test told {lines_of(urls)[0]}; {lines_of(urls)[1]}: it was")
    assert again.told and again.text == f"a test told {', '.join(lines_of(urls))}"
    assert told.titles[-1] == away.titles[-1] == f"[{HOST}] a test of ai-sysadmin"
    assert check.health is Health.GOOD and "json://127.0.0.1" in check.text


async def test_where_nobody_is_to_be_told_a_test_is_refused(stores, tmp_path, clock):
    tellings = paths.Tellings(stores.notifications, stores.reader, settings_of(tmp_path, []), clock)
    with pytest.raises(Refused, match=r"notifications\.urls_file"):
        await tellings.test("alice")
    assert await stores.notifications.waiting(clock.now()) == ()


async def test_doctor_warns_while_nobody_is_told(stores, tmp_path, clock):
    (check,) = await checkup.notifications(settings_of(tmp_path, []))
    assert check.health is Health.LACKING and "nobody is told when a person is needed" in check.text
    assert "notifications.urls_file" in check.advice
    settings = settings_of(tmp_path, ["json://127.0.0.1:1/s3cr3t"])
    (check,) = await checkup.notifications(settings)
    assert check.health is Health.LACKING  # nobody answers who would know
    ensure_api_key(settings.api_key_file)
    async with asked_over_http(stores, settings, clock):
        (check,) = await checkup.notifications(settings)
        assert check.health is Health.BAD and "ai-sysadmin-notifier" in check.advice
        telling = Notifier(settings.notifications, around(stores, tmp_path, clock))
        await needing(stores)
        await telling.round()
        (check,) = await checkup.notifications(settings)
        assert check.health is Health.BAD and "line 3 (json://127.0.0.1:1): it was not reached" in check.text
        (tmp_path / "urls").chmod(0o644)
        with pytest.raises(Unavailable):
            await telling.round()
        (check,) = await checkup.notifications(settings)
        assert check.health is Health.BAD and "chmod 0600" in check.text and "s3cr3t" not in check.text


# --- the suite itself


async def test_a_degraded_service_is_told_without_its_words_and_once(stores, tmp_path, clock, monkeypatch):
    monkeypatch.setattr(notifier_daemon, "WATCH_SECONDS", 0.01)
    told, units = Told(), {"ai-sysadmin-executor.service": "failed"}
    await stores.notes.note(ServiceNote(service="review-model", state="degraded", text=CANARY, at=NOW))
    async with told_servers(told) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        watching = asyncio.create_task(notifier_daemon.watch_suite(around(stores, tmp_path, clock, units)))
        await asyncio.sleep(0.1)
        await telling.round()
        assert told.messages == []
        clock.goes(seconds=GRACE.total_seconds())
        await asyncio.sleep(0.1)
        await telling.round()
        await telling.round()
        watching.cancel()
    assert sorted(title.rpartition(" ")[2] for title in told.titles) == ["executor", "review-model"]
    assert CANARY not in str(told.messages)
    assert "kind: does not run" in str(told.messages) and "kind: degraded" in str(told.messages)


async def test_the_heartbeat_stops_while_a_service_does_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr("ai_sysadmin.notifications.heartbeat._RETRY_SECONDS", 0.01)
    web, away = Web(), ["executor"]
    web.page("/beat/s3cr3t", 200)

    async def dead():
        return ", ".join(away)

    async with serving(web) as port:
        file = SecretFile(urls_file(tmp_path, [f"http://127.0.0.1:{port}/beat/s3cr3t"]))
        beating = asyncio.create_task(beat_forever(file, dead, 0.01))
        await asyncio.sleep(0.1)
        assert web.requests == []
        away.clear()
        await asyncio.sleep(0.2)
        assert len(web.requests) > 1
        away.append("api")
        await asyncio.sleep(0.05)
        before = len(web.requests)
        await asyncio.sleep(0.1)
        assert len(web.requests) == before
        beating.cancel()


async def test_what_the_heartbeat_did_not_reach_is_said_without_its_secret(tmp_path):
    web = Web()
    web.page("/beat/s3cr3t", 404)
    async with serving(web) as port:
        urls = [f"http://127.0.0.1:{port}/beat/s3cr3t", f"http://127.0.0.1:{await unused_port()}/s3cr3t", "s3cr3t"]
        said = await beat(SecretFile(urls_file(tmp_path, urls)))
    assert f"line 3 (http://127.0.0.1:{port}) answered with status 404" in said
    assert said.count("was not reached") == 2 and "line 5" in said
    assert "s3cr3t" not in said


async def test_the_loops_run_on_while_the_store_is_away(stores, tmp_path, clock, monkeypatch, caplog):
    monkeypatch.setattr(notifier_daemon, "LOOK_SECONDS", 0.01)
    told = Told()
    async with told_servers(told) as urls:
        telling = notifier(stores, tmp_path, urls, clock)
        real, telling._outbox = telling._outbox, Gone()
        running = asyncio.create_task(telling.loops()["notifications"]())
        await asyncio.sleep(0.1)
        assert "notifications: the database is away" in caplog.text
        await needing(stores)
        telling._outbox = real
        async with asyncio.timeout(5):
            while not told.messages:
                await asyncio.sleep(0.02)
        running.cancel()


class Gone:
    def __getattr__(self, name):
        async def gone(*_, **__):
            raise StoreUnavailable("the database is away")

        return gone
