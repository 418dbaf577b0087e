"""`ai-sysadmin report` and ``/v1/system/report``: from what the executor told to the page, over real sockets."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
import typer
from fastapi import FastAPI
from typer.testing import CliRunner

from ai_sysadmin.actions.catalogue import catalogue_of
from ai_sysadmin.actions.periods import period_of
from ai_sysadmin.actions.promotion import decision_at
from ai_sysadmin.actions.trust import TrustReport
from ai_sysadmin.cli.report import add_to, report_page
from ai_sysadmin.core.acting import ActionRequest, Approval, ExecutorEventKind, Origin, OutcomeKind
from ai_sysadmin.core.errors import ApiUnavailable
from ai_sysadmin.core.policy_settings import Override, Policy
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.core.settings import Api, Autonomy, Settings
from ai_sysadmin.openai_api_server.errors import Faulty
from ai_sysadmin.openai_api_server.server import serve, sockets
from ai_sysadmin.openai_api_server.system.report import Reports, case_of, router
from ai_sysadmin.stores import Cleared, Noticed
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.host import FakeClock
from tests.builders import HOST, NOW, PLACING, UNIT, event, finished, request, trigger
from tests.services.api_harness import free_port
from tests.trusting import case

LATER = NOW + timedelta(hours=1)


@asynccontextmanager
async def reporting(directory, now=LATER, **changes):
    """Serve the report alone; give the settings and the stores."""
    settings = Settings(
        host_name=HOST, state_dir=directory, runtime_dir=directory / "run", api=Api(port=free_port()), **changes
    )
    async with open_stores(settings.store_place, HOST) as stores:
        app = FastAPI()
        app.include_router(router(Reports(stores.reader, settings, FakeClock(now))), prefix="/v1/system")

        @app.exception_handler(Faulty)
        async def faulty(_request, error):
            return error.fault.response()

        with sockets(settings) as listening:
            serving = asyncio.create_task(serve(app, listening))
            try:
                yield settings, stores
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)


async def told(stores, wanted, *kinds, first=1, minutes=4):
    """Propose an action and let the executor tell its story: asked at once, decided after so many minutes."""
    decided = NOW + timedelta(minutes=minutes)
    ruled = case(unit=wanted.arguments["unit"]).ruling
    approval = Approval(action_id=wanted.id, digest=wanted.digest, by="ada", uid=1000, at=decided)
    await stores.proposals.propose(wanted)
    events, seen = [event(wanted, ExecutorEventKind.ASKED, first, ruling=ruled)], {"ruling": ruled, "at": decided}
    for number, kind in enumerate(kinds, first + 1):
        if isinstance(kind, OutcomeKind):
            told_last = finished(wanted, kind, number, passed=True)
            events.append(told_last.model_copy(update={**seen, "at": decided + timedelta(seconds=30)}))
            continue
        if kind is ExecutorEventKind.APPROVED:
            seen["approval"] = approval
        events.append(event(wanted, kind, number, **seen))
    await stores.outbox.apply(events)
    return first + len(events)


def by_review(unit=UNIT, incident_id=""):
    action = ProposedAction(name="restart_unit", arguments={"unit": unit})
    return ActionRequest.propose(HOST, incident_id, action, Origin.REVIEW, "it failed", NOW)


async def run_cli(directory, *arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    add_to(app)
    wanted = ["report", "--state-dir", str(directory), *arguments]
    return await asyncio.to_thread(CliRunner().invoke, app, wanted)


GOOD = (ExecutorEventKind.APPROVED, ExecutorEventKind.STARTED, ExecutorEventKind.RAN, OutcomeKind.SUCCEEDED)


async def test_from_the_executors_story_to_the_line_that_promotes(tmp_path):
    async with reporting(tmp_path) as (_, stores):
        number = 1
        for _ in range(3):
            number = await told(stores, by_review(), *GOOD, first=number)
        await told(stores, by_review("db.service"), ExecutorEventKind.REJECTED, first=number)
        page, document = await run_cli(tmp_path), await run_cli(tmp_path, "--since", "24h", "--json")
    assert (page.exit_code, document.exit_code) == (0, 0)
    found = TrustReport.model_validate_json(document.stdout)
    (restarts,) = found.actions
    assert restarts.tally.fates == {"approved": 3, "rejected": 1}
    assert restarts.tally.outcomes == {"succeeded": 3}
    assert restarts.tally.levels["auto-safe"] == {"run": 4}
    assert (restarts.tally.median_seconds, restarts.tally.longest_seconds) == (240, 240)
    assert [(each.subject, each.why_not) for each in restarts.subjects] == [
        (UNIT, ""),
        ("db.service", "it was rejected once, of 1"),
    ]
    assert f'units = [ "{UNIT}" ]' in restarts.promotion.line
    assert found.at - found.since == timedelta(days=1)
    assert (found.host, found.autonomy) == (HOST, Autonomy.SUGGEST)
    week = found.model_copy(update={"since": LATER - timedelta(days=7)})
    assert page.stdout == report_page(week) + "\n"
    assert f'      units = [ "{UNIT}" ];\n' in page.stdout


async def test_what_healed_while_a_proposal_waited_was_not_needed(tmp_path):
    async with reporting(tmp_path) as (settings, stores):
        (incident,) = await stores.notices.commit(Noticed(None, triggers=[trigger()]), PLACING)
        asked = by_review(incident_id=incident.id)
        await told(stores, asked)
        await stores.notices.commit(Noticed(None, cleared=[Cleared(incident.id, LATER, "it runs again")]), PLACING)
        ((_, why),) = await stores.outbox.unneeded()
        await stores.outbox.apply([event(asked, ExecutorEventKind.WITHDRAWN, 2, text=why, ruling=case().ruling)])
        found = TrustReport.model_validate_json((await run_cli(tmp_path, "--json")).stdout)
        later = FakeClock(LATER + timedelta(days=2))
        afterwards = await Reports(stores.reader, settings, later).trust(timedelta(hours=1))
    assert found.healed == 1
    assert found.tally.fates == {"healed": 1}
    assert (afterwards.healed, afterwards.tally.proposed) == (0, 0)


async def test_a_time_that_is_none_is_a_usage_error_and_a_400(tmp_path):
    async with reporting(tmp_path) as (settings, _):
        refused = await run_cli(tmp_path, "--since", "7 days")
        transport = httpx.AsyncHTTPTransport(uds=str(settings.api_socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://local") as client:
            answer = await client.get("/v1/system/report", params={"since": "-1d"})
            plain = await client.get("/v1/system/report")
    assert refused.exit_code == 2
    assert "24h, 7d or 4w" in " ".join(refused.output.replace("│", " ").split())
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "since")
    assert plain.json()["tally"]["proposed"] == 0


async def test_without_the_api_it_is_told(tmp_path):
    assert isinstance((await run_cli(tmp_path)).exception, ApiUnavailable)


@pytest.mark.parametrize(
    ("text", "hours"), [("24h", 24), ("7d", 168), ("4w", 672), ("366d", 8784), (" 1H ", 1), ("52w", 8736)]
)
def test_a_period_is_read(text, hours):
    assert period_of(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-7d", "7m", "1.5d", "7d7d", "367d", "99999w", "٧d", "7d\n8d"])
def test_what_is_no_period(text):
    with pytest.raises(ValueError, match="is needed, as in 24h, 7d or 4w"):
        period_of(text)


async def test_a_case_is_made_of_what_the_store_keeps(tmp_path):
    async with reporting(tmp_path) as (settings, stores):
        await told(stores, wanted := request(""), ExecutorEventKind.APPROVED)
        await stores.proposals.propose(strange := by_review("--nothing that is a unit"))
        known, odd = [
            case_of(await stores.reader.action(each.id), (), catalogue_of(settings)) for each in (wanted, strange)
        ]
    assert (known.subject, known.units, known.by) == (UNIT, (UNIT,), "ada")
    assert known.decided_at == NOW + timedelta(minutes=4)
    assert decision_at(known, Autonomy.AUTO_SAFE, Policy(overrides=(Override(decision="ask", units=(UNIT,)),))) == "ask"
    assert (odd.subject, odd.ruling) == ("--nothing that is a unit", None)
    assert json.loads(known.model_dump_json())["subject"] == UNIT
