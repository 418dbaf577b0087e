"""No secret that a host logs, or an alert carries, comes as far as the store: its files are read byte by byte."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.context_settings import RedactionRule
from ai_sysadmin.core.noticing_settings import LogRule
from ai_sysadmin.core.noticing_settings import TriggerMonitor as Settings
from ai_sysadmin.core.records import JournalEntry, Template
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.openai_api_server.system.alerts import PATH, alerts_in, router, without_secrets
from ai_sysadmin.openai_api_server.system.views import IncidentView
from ai_sysadmin.review_model.daemon import Reviewer
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.stores import Cleared, Noticed
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.host import FakeUnits, ScriptedJournal
from ai_sysadmin.testing.scripted_model import ScriptedModel
from ai_sysadmin.trigger_monitor.daemon import Stores, TriggerMonitor
from ai_sysadmin.trigger_monitor.ledger import Ledger
from ai_sysadmin.trigger_monitor.lines.decide import Noticer
from ai_sysadmin.trigger_monitor.lines.mined import template_id
from tests.builders import HOST, NOW, PLACING, trigger
from tests.judging import FixedClock, gathering, log_of
from tests.leaks import leaks
from tests.noticing import Writer

LEAKS = leaks()
ONE_LINE = [each for each in LEAKS if "\n" not in each.text]
OPENING = Settings(rules=(LogRule(name="anything", pattern="leaky", severity=80),), debounce_seconds=0.05)


def kept_bytes(path: Path) -> str:
    """Return what the database and its journals hold, as text."""
    return "\n".join(file.read_bytes().decode(errors="replace") for file in sorted(path.parent.glob(f"{path.name}*")))


@asynccontextmanager
async def running(stores: SqlStores, journal: ScriptedJournal, redactor: Redactor | None = None) -> AsyncIterator:
    on = Stores(stores.notices, stores.templates, stores.metrics, stores.notes)
    monitor = TriggerMonitor(
        HOST, on, FakeUnits(), FixedClock(), Heartbeat(), OPENING, journal.follow, look_ups=(), redactor=redactor
    )
    tasks = [asyncio.create_task(loop()) for loop in monitor.loops().values()]
    try:
        yield monitor
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def until_read(stores: SqlStores, count: int) -> None:
    async with asyncio.timeout(10):
        while (position := await stores.notices.position()) is None or position.entries_read < count:
            await asyncio.sleep(0.01)


def written() -> list[JournalEntry]:
    """Write every leak as errors of a unit of its own, as the hit of a rule, and far behind in a long line."""
    write, entries = Writer(at=NOW), []
    for number, leak in enumerate(LEAKS):
        lines = leak.text.split("\n")
        entries += (write.line(line, unit=f"a{number}.service") for line in lines)
        entries.append(write.line(leak.text, unit=f"m{number}.service"))
        if len(lines) == 1:
            entries.append(write.line(f"leaky {number}: {leak.text}", unit=f"b{number}.service", priority=4))
            entries += (
                write.line(f"{'word ' * (at // 5)}{leak.text}", unit=f"c{number}.service", priority=2)
                for at in range(400, 520, 15)
            )
    return entries


async def test_no_secret_of_the_journal_reaches_the_store(tmp_path):
    path, journal = tmp_path / "state.db", ScriptedJournal(entries=written())
    async with open_stores(path, HOST) as stores:
        async with running(stores, journal):
            await until_read(stores, len(journal.entries))
        templates = await stores.templates.templates()
        live = await stores.notices.live()
        kept = kept_bytes(path)
    assert len(templates) > len(LEAKS)
    assert sum(each.incident.title.count("[redacted: ") for each in live) + kept.count("[redacted: ") > len(LEAKS)
    survivors = {secret for leak in LEAKS for secret in leak.survivors(kept)}
    assert survivors == set()


async def test_no_secret_of_a_units_log_reaches_a_prompt_the_store_or_the_api(tmp_path):
    clock, path = FixedClock(NOW + timedelta(minutes=1)), tmp_path / "state.db"
    async with open_stores(path, HOST) as stores:
        for start in range(0, len(LEAKS), 8):
            some, unit = LEAKS[start : start + 8], f"u{start}.service"
            fault = trigger(unit=unit, details={"invocation": unit})
            (opened,) = await stores.notices.commit(Noticed(None, triggers=[fault]), replace(PLACING, storm_count=0))
            model = ScriptedModel(context_tokens=100_000)
            reviewer = Reviewer.build(
                host=HOST,
                store=stores.reviews,
                gathering=gathering(journal=log_of(*(each.text for each in some)), clock=clock),
                model=model,
                condition=Condition("review-model", stores.notes, clock),
                clock=clock,
                heart=Heartbeat(),
                settings=ReviewModel(evidence_tokens=50_000),
            )
            assert await reviewer.review_next()
            (asked,) = model.asked
            shown = IncidentView.of(await stores.reader.incident(opened.id)).model_dump_json()
            assert asked.text.count("[redacted: ") >= len(some), "the lines were not before the model at all"
            assert "[redacted: " in shown
            for leak in some:
                assert leak.survivors(asked.text) == [], leak.kind
                assert leak.survivors(shown) == [], leak.kind
        kept = kept_bytes(path)
    assert [leak.kind for leak in LEAKS if leak.survivors(kept)] == []


async def test_no_secret_of_an_alert_reaches_the_store(tmp_path):
    path = tmp_path / "state.db"
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": f"a{number}", "instance": leak.text[:190], "severity": "critical"},
            "annotations": {"summary": leak.text, "description": leak.text},
        }
        for number, leak in enumerate(ONE_LINE)
        if len(leak.text) < 190
    ]
    alerts[0]["labels"]["db_password"] = "hunter2hunter2"
    body = json.dumps({"version": "4", "groupKey": '{}:{x="' + ONE_LINE[0].text + '"}', "alerts": alerts})
    received = [without_secrets(each, Redactor()) for each in alerts_in(body.encode(), NOW)]
    async with open_stores(path, HOST) as stores:
        await stores.alerts.receive(received)
        async with running(stores, ScriptedJournal()):
            async with asyncio.timeout(10):
                while await stores.notices.alerts():
                    await asyncio.sleep(0.01)
        live = await stores.notices.live()
        kept = kept_bytes(path)
    assert sum(len(each.faults) for each in live) >= len(alerts)
    assert "hunter2hunter2" not in kept
    assert {secret for leak in ONE_LINE for secret in leak.survivors(kept)} == set()


async def test_the_ledger_lets_no_secret_through_from_anywhere(tmp_path):
    path = tmp_path / "state.db"
    async with open_stores(path, HOST) as stores:
        ledger = Ledger(HOST, stores.notices, Settings(), Redactor([RedactionRule(name="ours", pattern=r"C-\d+")]))
        said = [
            trigger(SymptomKind.PROBE_FAILED, unit="", about=f"probe p{number}", why=f"it said {leak.text}").model_copy(
                update={"text": leak.text, "details": {"said": leak.text, "token": "abc123x"}}
            )
            for number, leak in enumerate(LEAKS)
        ]
        await ledger.commit(Noticed(None, triggers=said))
        ended = (await stores.notices.live())[0].incident
        cleared = Cleared(ended.id, NOW, "customer C-4711, password=hunter2hunter2")
        await ledger.commit(Noticed(None, cleared=(cleared,)))
        kept = kept_bytes(path)
    assert "customer [redacted: ours], password=[redacted: password]" in kept
    assert "abc123x" not in kept
    assert {secret for leak in LEAKS for secret in leak.survivors(kept)} == set()


# --- templates


def noticer(templates: list[Template] | tuple[()] = (), redactor: Redactor | None = None) -> Noticer:
    return Noticer(HOST, Settings(), now=NOW - timedelta(days=30), templates=templates, redactor=redactor)


def counted(to: Noticer, *messages: str, minutes: int = 0) -> dict[str, Template]:
    """Have lines judged, and return the templates that changed, by text."""
    write = Writer(at=NOW + timedelta(minutes=minutes))
    to.decide([write.line(each) for each in messages], write.at)
    return {each.text: each for each in to.changed(write.at)}


@pytest.mark.parametrize("leak", ONE_LINE, ids=lambda leak: leak.marked[:50])
def test_a_template_that_lost_a_secret_matches_its_line_after_a_restart(leak):
    (before,) = counted(noticer(), leak.text).values()
    assert leak.survivors(before.model_dump_json()) == []
    after = counted(noticer([before]), leak.text, minutes=5)
    assert [(each.id, each.text, each.count) for each in after.values()] == [(before.id, before.text, 2)]


def test_passwords_that_differ_make_one_template():
    found = counted(noticer(), *(f"login of bob with password={word}zzz" for word in ("qwe", "ert", "tzu", "poi")))
    assert [(text, each.count) for text, each in found.items()] == [
        ("login of bob with password=[redacted: password]", 4)
    ]


def test_a_rule_of_the_operators_also_cleans_what_was_kept_before_it():
    (before,) = counted(noticer(), "customer Alice-Liddell called").values()
    rules = Redactor([RedactionRule(name="customer", pattern=r"customer (?P<secret>\S+)")])
    started = noticer([before], rules)
    (after,) = counted(started, "customer Alice-Liddell called", minutes=5).values()
    assert (after.id, after.text, after.example) == (
        before.id, "customer [redacted: customer] called", "customer [redacted: customer] called",
    )  # fmt: skip
    assert after.count == 2


def test_a_harmless_template_keeps_its_id():
    (found,) = counted(noticer(), "upstream 10.0.0.7 refused the connection").values()
    assert (found.id, found.text) == (template_id("web.service", found.text), "upstream <ip> refused the connection")


async def test_the_route_takes_secrets_out_before_it_keeps_an_alert(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        app = FastAPI()
        rules = Redactor([RedactionRule(name="ours", pattern=r"C-\d+")])
        app.include_router(router(stores.alerts, FixedClock(), rules))
        sent = {"status": "firing", "labels": {"alertname": "a", "job": "C-4711"}, "fingerprint": "bob@example.com"}
        body = {"version": "4", "alerts": [sent | {"annotations": {"summary": "password=hunter2"}}]}
        async with AsyncClient(transport=ASGITransport(app), base_url="http://x") as client:
            assert (await client.post(PATH, json=body)).status_code == 200
        ((_, kept),) = await stores.notices.alerts()
    assert kept.labels == {"alertname": "a", "job": "[redacted: ours]"}
    assert kept.annotations == {"summary": "password=[redacted: password]"}
    assert re.fullmatch(r"[0-9a-f]{16}", kept.fingerprint)
