"""Alerts in, templates, mutes: over real sockets, and from the command line."""

import json
import stat

import pytest

from ai_sysadmin.core.records import Label, Template, Trigger
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.openai_api_server.errors import Faulty
from ai_sysadmin.openai_api_server.gate.gate import changed_by, may_change
from ai_sysadmin.openai_api_server.gate.keys import ensure_ingest_key
from ai_sysadmin.stores import Noticed
from tests.builders import PLACING
from tests.services.api_harness import NOW, running
from tests.services.test_api_cli import cli

PATH = "/alerts/alertmanager"


@pytest.fixture
async def api(tmp_path):
    async with running(tmp_path) as server:
        server.ingest_key = ensure_ingest_key(server.settings.ingest_key_file)
        yield server


def a_notification(*alerts, **changes):
    whole = {
        "version": "4",
        "groupKey": '{}:{alertname="Down"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ai-sysadmin",
        "groupLabels": {"alertname": "Down"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
        "tomorrow": "a field that nobody knows yet",
    }
    return whole | changes


def sent(**changes):
    alert = {
        "status": "firing",
        "labels": {"alertname": "Down", "severity": "critical", "instance": "db:9100"},
        "annotations": {"summary": "db is down"},
        "startsAt": "2026-11-20T11:00:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": "5d2c6d2b3d1f0a44",
    }
    return alert | changes


async def waiting(server):
    return [alert for _, alert in await server.stores.notices.alerts()]


# --- alerts in


async def test_a_notification_is_kept_before_it_is_answered(api):
    async with api.http(api.ingest_key) as http:
        response = await http.post(PATH, json=a_notification(sent(), sent(status="resolved", fingerprint="f2")))
    assert (response.status_code, response.json()) == (200, {"received": 2})
    first, second = await waiting(api)
    assert (first.fingerprint, first.status, first.ends_at) == ("5d2c6d2b3d1f0a44", "firing", None)
    assert first.labels["instance"] == "db:9100"
    assert (first.group_key, first.starts_at.isoformat()) == (
        '{}:{alertname="Down"}',
        "2026-11-20T11:00:00.123456+00:00",
    )
    assert second.status == "resolved"


async def test_the_ingest_key_only_ingests_and_the_api_key_never(api):
    cases = [
        (api.key, "POST", PATH, 403, "wrong_scope"),
        (api.ingest_key, "GET", "/v1/models", 403, "wrong_scope"),
        (api.ingest_key, "POST", "/v1/chat/completions", 403, "wrong_scope"),
        (api.ingest_key, "GET", "/v1/system/status", 403, "wrong_scope"),
        (api.ingest_key, "POST", f"{PATH}/", 403, "wrong_scope"),
        (api.ingest_key, "GET", PATH, 405, "unknown_path"),
        ("wrong", "POST", PATH, 401, "invalid_api_key"),
    ]
    for key, method, path, status, code in cases:
        async with api.http(key) as http:
            response = await http.request(method, path, json=a_notification(sent()))
        assert (response.status_code, response.json()["error"]["code"]) == (status, code), (method, path)
    async with api.anonymous() as http:
        assert (await http.post(PATH, json=a_notification(sent()))).status_code == 401
    assert await waiting(api) == []


async def test_without_an_ingest_key_file_alerts_wait_at_the_sender_and_chat_goes_on(tmp_path):
    async with running(tmp_path) as server:
        async with server.http() as http:
            assert (await http.post(PATH, json=a_notification(sent()))).status_code == 503
            assert (await http.get("/v1/models")).status_code == 200
        async with server.http("wrong") as http:
            assert (await http.get("/v1/models")).status_code == 401


def test_the_ingest_key_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "ingest-key"
    assert ensure_ingest_key(path) == ensure_ingest_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (b"", 400, "JSON"),
        (b"[]", 400, "object"),
        (json.dumps(a_notification(version="3")).encode(), 400, "version"),
        (json.dumps({"version": "4"}).encode(), 400, "alerts"),
        (json.dumps(a_notification(sent(status="odd"))).encode(), 400, "alerts.0.status"),
        (json.dumps(a_notification(sent(labels={"a": 1}))).encode(), 400, "alerts.0.labels.a"),
        (json.dumps(a_notification(sent(startsAt="soon"))).encode(), 400, "alerts.0.startsAt"),
        (json.dumps(a_notification(sent(fingerprint="f" * 129))).encode(), 400, "alerts.0.fingerprint"),
        (json.dumps(a_notification(*[sent()] * 501)).encode(), 413, "max_alerts: 500"),
        (json.dumps(a_notification(sent(annotations={"a": "x" * (1 << 20)}))).encode(), 413, "max_alerts"),
    ],
)
async def test_what_is_no_notification_is_refused_in_words(api, body, status, named):
    async with api.http(api.ingest_key) as http:
        response = await http.post(PATH, content=body)
    assert response.status_code == status
    assert named in response.json()["error"]["message"]
    assert await waiting(api) == []


async def test_five_hundred_alerts_are_taken_and_what_is_long_is_cut(api):
    many = {f"l{number}": "x" * 3000 for number in range(100)}
    async with api.http(api.ingest_key) as http:
        alert = sent(annotations={"summary": "x" * 3000}, fingerprint="")
        assert (await http.post(PATH, json=a_notification(*[alert] * 300))).status_code == 200
        assert (await http.post(PATH, json=a_notification(sent(labels=many)))).status_code == 200
        small = {"status": "firing", "labels": {}, "startsAt": "2026-11-20T11:00:00Z"}
        assert (await http.post(PATH, json=a_notification(*[small] * 500))).status_code == 200
    kept = await waiting(api)
    assert len(kept) == 801
    assert len(kept[0].annotations["summary"]) == 1000
    assert len({alert.fingerprint for alert in kept[:300]}) == 1
    assert kept[0].fingerprint != kept[400].fingerprint  # none was sent: made of the labels
    assert (len(kept[300].labels), len(kept[300].labels["l0"])) == (64, 1000)


async def test_when_too_many_wait_the_sender_is_told_to_come_again(api):
    alerts = (await _parsed(api)) * 10_000
    await api.stores.alerts.receive(alerts)
    await api.stores.alerts.receive(alerts)
    async with api.http(api.ingest_key) as http:
        response = await http.post(PATH, json=a_notification(sent()))
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)


async def _parsed(api):
    async with api.http(api.ingest_key) as http:
        await http.post(PATH, json=a_notification(sent()))
    found = await api.stores.notices.alerts()
    await api.stores.notices.commit(Noticed(None, alerts=[number for number, _ in found]), PLACING)
    return [alert for _, alert in found]


# --- who may change


@pytest.mark.parametrize(
    ("uid", "may"), [(0, True), (1000, True), (1001, False), (990, False), (991, False), (65534, False)]
)
def test_root_and_the_operators_may_change_and_the_suites_own_users_never(uid, may):
    assert may_change(uid, own_uid=990, operators={1000, 991}, services={990, 991}) is may


def test_a_person_who_runs_it_all_may_change_and_a_key_never():
    assert may_change(1000, own_uid=1000, operators=(), services=(990,))
    with pytest.raises(Faulty, match="on the host itself"):
        changed_by({"client": ("127.0.0.1", 5)}, Settings())


async def test_nothing_is_changed_with_a_key(api):
    await some_templates(api)
    async with api.http() as http:
        assert (await http.get("/v1/system/templates")).status_code == 200
        for method, path in (
            ("POST", "/v1/system/templates/aa11/judgement"),
            ("POST", "/v1/system/mutes"),
            ("DELETE", "/v1/system/mutes/ab"),
        ):
            body = {"judgement": "benign"}
            response = await http.request(method, path, json=body)
            assert (response.status_code, response.json()["error"]["code"]) == (403, "not_an_operator")


async def test_a_mutes_length_is_bounded(api):
    async with api.local() as http:
        for body in ({"name": "x", "seconds": 0}, {"name": "x", "seconds": 31 * 86400}, {"name": "", "seconds": 5}):
            assert (await http.post("/v1/system/mutes", json=body)).status_code == 400, body


# --- from the command line


def a_template(name, source="web.service", **changes):
    given = {"id": name, "source": source, "text": f"text <n> of {name}", "example": f"text 1 of {name}\x1b[2J"}
    return Template(**(given | {"priority": 4, "count": 3, "first_at": NOW, "last_at": NOW} | changes))


async def some_templates(server):
    made = [a_template("aa11"), a_template("bb22", "db.service"), a_template("bb33", "db.service")]
    await server.stores.notices.commit(Noticed(None, templates=made), PLACING)
    label = Label(
        category="network", severity=40, matters=True, summary="it broke", model="tiny", prompt_version="v1", at=NOW
    )
    await server.stores.templates.label({"bb22": label})


async def test_templates_are_listed_shown_and_marked(api, tmp_path):
    await some_templates(api)
    code, out, _ = await cli("templates", state_dir=tmp_path)
    assert (code, out.count("text <n>")) == (0, 3)
    code, out, _ = await cli("templates", "list", "--unit", "db*", "--unlabelled", "--json", state_dir=tmp_path)
    assert (code, [each["id"] for each in json.loads(out)["templates"]]) == (0, ["bb33"])
    code, out, _ = await cli("templates", "--limit", "1", state_dir=tmp_path)
    assert (code, "1 of 3" in out) == (0, True)
    code, out, _ = await cli("templates", "show", "bb2", state_dir=tmp_path)
    assert (code, "network, matters, severity 40 of 100: it broke" in out, "\x1b" in out) == (0, True, False)
    code, out, _ = await cli("templates", "mark", "benign", "aa", state_dir=tmp_path)
    assert (code, "benign, by root" in out) == (0, True)
    assert (await api.stores.templates.template("aa11")).judged_by == "root"
    code, out, _ = await cli("templates", "mark", "clear", "aa11", "--json", state_dir=tmp_path)
    assert (code, json.loads(out)["judgement"]) == (0, None)
    code, _, err = await cli("templates", "mark", "benign", "b", state_dir=tmp_path)
    assert (code, "more than one template" in err) == (1, True)
    assert (await cli("templates", "mark", "fine", "aa11", state_dir=tmp_path))[0] == 2
    assert (await cli("templates", "show", "", state_dir=tmp_path))[0] == 1


def a_fault(unit="web.service", **changes):
    given = {"host": "thishost", "unit": unit, "kind": SymptomKind.UNIT_FAILED, "template": "", "opens": True}
    return Trigger(**(given | {"at": NOW, "why": "it failed"} | changes))


async def test_an_incident_or_a_fingerprint_is_muted_listed_and_heard_again(api, tmp_path):
    (web,) = await api.stores.notices.commit(Noticed(None, triggers=[a_fault(), a_fault(template="x")]), PLACING)
    await api.stores.notices.commit(Noticed(None, triggers=[a_fault(opens=False, template="y")]), PLACING)
    (other,) = await api.stores.notices.commit(Noticed(None, triggers=[a_fault("db.service")]), PLACING)
    prints = {a_fault().fingerprint, a_fault(template="x").fingerprint}
    code, out, _ = await cli("incidents", "show", web.id, state_dir=tmp_path)
    assert (code, all(name in out for name in prints)) == (0, True)
    code, out, _ = await cli("mute", web.id, "--for", "2h", "--reason", "at work: on it", state_dir=tmp_path)
    assert (code, all(name in out for name in prints)) == (0, True)
    db = a_fault("db.service").fingerprint
    assert (await cli("mute", db[:10], "--for", "1w", state_dir=tmp_path))[0] == 0
    code, out, _ = await cli("mute", "--list", "--json", state_dir=tmp_path)
    muted = {each["fingerprint"]: each for each in json.loads(out)["mutes"]}
    assert set(muted) == {*prints, db}
    assert (muted[db]["by"], muted[db]["subject"], muted[db]["reason"]) == ("root", "db.service", "")
    assert {muted[name]["reason"] for name in prints} == {"at work: on it"}
    code, out, _ = await cli("mute", "--list", state_dir=tmp_path)
    assert (code, "at work: on it" in out, other.id in out) == (0, True, False)
    code, out, _ = await cli("unmute", web.id, state_dir=tmp_path)
    assert (code, out.count("heard again")) == (0, 2)
    code, out, _ = await cli("unmute", db[:6], state_dir=tmp_path)
    assert (code, out) == (0, f"{db} is heard again\n")
    assert (await cli("mute", "--list", state_dir=tmp_path))[1] == "Nothing is muted.\n"


async def test_what_cannot_be_muted_says_what_to_do(api, tmp_path):
    (web,) = await api.stores.notices.commit(Noticed(None, triggers=[a_fault()]), PLACING)
    root = a_fault("db.service", explains=("web.service",))
    (database,) = await api.stores.notices.commit(Noticed(None, triggers=[root]), PLACING)
    code, _, err = await cli("mute", web.id, "--for", "1h", state_dir=tmp_path)
    assert (code, f"became part of {database.id}" in err) == (1, True)
    code, out, _ = await cli("incidents", "show", web.id, state_dir=tmp_path)
    assert (code, f"ai-sysadmin incidents show {database.id}" in out) == (0, True)
    code, _, err = await cli("mute", "zzzz", "--for", "1h", state_dir=tmp_path)
    assert (code, "incidents show ID" in err) == (1, True)
    code, _, err = await cli("unmute", "zzzz", state_dir=tmp_path)
    assert (code, "mute --list" in err) == (1, True)
    for wrong in ([web.id], [web.id, "--for", "31d"], [web.id, "--for", "soon"], ["--for", "1h"]):
        assert (await cli("mute", *wrong, state_dir=tmp_path))[0] == 2, wrong
