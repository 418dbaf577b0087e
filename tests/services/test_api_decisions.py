"""What people decide and ask for, over real sockets and from the command line: incidents, evidence, a check."""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.core.records import Evidence, EvidencePack
from ai_sysadmin.core.settings import ReviewModel
from ai_sysadmin.review_model import host_review
from ai_sysadmin.review_model.host_look import HostLook
from ai_sysadmin.review_model.host_review import HostReviews
from ai_sysadmin.runtime.service import Heartbeat
from ai_sysadmin.testing.scripted_model import ScriptedModel
from ai_sysadmin.trigger_monitor.checks import Checks
from tests.builders import review
from tests.judging import FixedClock, FixedUnits
from tests.services.api_harness import NOW, an_incident, running
from tests.services.test_api_cli import cli

PIECES = (
    Evidence(id="e1", kind="unit_status", title="state of nginx.service", text="state: failed", at=NOW),
    Evidence(id="e2", kind="unit_log", title="its log", text="a line\nanother", at=NOW, redacted={"password": 2}),
)


async def judged(api):
    """Open an incident and have it judged with evidence."""
    incident = await an_incident(api)
    later = NOW + timedelta(minutes=1)
    bounds = {"lease": timedelta(minutes=3), "settle": timedelta(0), "settle_at_most": timedelta(0), "now": later}
    held = await api.stores.reviews.claim_review("r", **bounds)
    pack = EvidencePack(incident_id=incident.id, pieces=PIECES, hash="h")
    found = review("escalate", incident_id=incident.id, evidence=("e1",), at=later)
    await api.stores.reviews.finish_review(held, pack, found, [])
    return incident


async def test_a_person_resolves_dismisses_and_reopens_an_incident(tmp_path):
    async with running(tmp_path) as api:
        incident = await judged(api)
        code, out, _ = await cli("incidents", "resolve", incident.id[:4], "--why", "by hand", state_dir=tmp_path)
        assert (code, "is resolved" in out) == (0, True)
        code, out, _ = await cli("incidents", "dismiss", incident.id, "--json", state_dir=tmp_path)
        assert (code, json.loads(out)["changed"], json.loads(out)["incident"]["state"]) == (0, False, "resolved")
        code, out, _ = await cli("incidents", "reopen", incident.id, state_dir=tmp_path)
        assert (code, "is open" in out) == (0, True)
        told = (await api.stores.reader.incident(incident.id)).timeline
        assert [(line.event, line.by) for line in told[-2:]] == [
            ("incident_resolved", "root"),
            ("incident_reopened", "root"),
        ]
        assert told[-2].text == "by hand"
        assert (await cli("incidents", "resolve", "zzz", state_dir=tmp_path))[0] == 1
        assert (await cli("incidents", "resolve", incident.id, "--why", "x" * 501, state_dir=tmp_path))[0] == 2


async def test_a_key_decides_nothing(tmp_path):
    async with running(tmp_path) as api, api.http() as http:
        incident = await judged(api)
        for path in (f"incidents/{incident.id}/resolve", "checks"):
            answer = await http.post(f"/v1/system/{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_an_operator")
        assert (await http.get("/v1/system/health-report")).status_code == 404
        assert (await http.post(f"/v1/system/incidents/{incident.id}/explode")).status_code == 400


async def test_evidence_is_shown_by_title_whole_and_piece_by_piece(tmp_path):
    async with running(tmp_path) as api:
        incident = await judged(api)
        show = ("incidents", "show", incident.id)
        _, short, _ = await cli(*show, state_dir=tmp_path)
        _, whole, _ = await cli(*show, "--evidence", state_dir=tmp_path)
        assert ("another" in short, "another" in whole) == (False, True)
        assert "2 things were taken out: 2 password" in short
        for asked in (("--evidence", "e2"), ("e2",)):
            code, one, _ = await cli(*show, *asked, state_dir=tmp_path)
            assert (code, "another" in one, "state: failed" in one) == (0, True, False)
        code, out, _ = await cli(*show, "e2", "--json", state_dir=tmp_path)
        assert (code, json.loads(out)["text"]) == (0, "a line\nanother")
        code, _, err = await cli(*show, "e9", state_dir=tmp_path)
        assert (code, "it has e1, e2" in err) == (1, True)


async def test_what_an_incident_opened_by_is_muted(tmp_path):
    async with running(tmp_path) as api:
        incident = await judged(api)
        code, out, _ = await cli("incidents", "mute", incident.id, "--for", "2h", state_dir=tmp_path)
        assert (code, "opens nothing until" in out) == (0, True)
        assert len(await api.stores.mutes.mutes(NOW)) == 1


class Clock:
    def now(self):
        return datetime.now(UTC)


@asynccontextmanager
async def services(api, *, monitor=True):
    """Run the loops of a check: the trigger monitor's, and the review service's."""
    looked = []

    async def look():
        looked.append(1)

    clock, heart = Clock(), Heartbeat()
    stores = api.stores
    checks = Checks(stores.health, {"units": look}, clock, heart)
    reviews = HostReviews.build(
        store=stores.health,
        look=HostLook(stores.reader, FixedUnits(), stores.metrics, stores.templates, clock),
        spent=stores.reviews.spent,
        model=ScriptedModel(),
        condition=Condition("review-model", stores.notes, FixedClock()),
        clock=clock,
        heart=heart,
        settings=ReviewModel(),
    )
    loops = [reviews.check_forever, *([checks.look_forever] if monitor else [])]
    tasks = [asyncio.create_task(loop()) for loop in loops]
    try:
        yield looked
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_check_looks_reviews_and_prints_the_report(tmp_path):
    async with running(tmp_path) as api, services(api) as looked:
        code, out, _ = await cli("check", state_dir=tmp_path)
        assert (code, looked) == (0, [1])
        assert "web.service is failed (exit-code)" in out
        assert "WHAT DESERVES ATTENTION" in out
        assert max(map(len, out.splitlines())) <= 80
        code, out, _ = await cli("check", "--json", state_dir=tmp_path)
        done = json.loads(out)
        assert (code, done["state"], done["report"]["judged_by"]) == (0, "done", "scripted")
        async with api.http() as http:
            report = (await http.get("/v1/system/health-report")).json()
        assert report["hash"] == done["report"]["hash"]


async def test_a_check_goes_on_without_the_trigger_monitor(tmp_path, monkeypatch):
    monkeypatch.setattr(host_review, "MONITOR_ANSWERS_WITHIN", timedelta(seconds=0))
    async with running(tmp_path) as api, services(api, monitor=False):
        code, out, _ = await cli("check", state_dir=tmp_path)
        assert code == 0
        assert "the trigger monitor did not look within" in " ".join(out.split())


async def test_who_leaves_a_check_leaves_it_to_go_on(tmp_path):
    async with running(tmp_path) as api:
        argv = (sys.executable, "-m", "ai_sysadmin", "check", "--state-dir", str(tmp_path))
        left = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
        while (check := await api.stores.health.waiting_check("asked")) is None:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        left.send_signal(signal.SIGINT)
        _, err = await left.communicate()
        assert (left.returncode, "goes on without you" in err.decode()) == (130, True)
        async with services(api):
            code, out, _ = await cli("check", "--json", state_dir=tmp_path)
        assert (code, json.loads(out)["id"]) == (0, check.id)
