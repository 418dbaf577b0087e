"""Proposing and deciding over HTTP: who may, in whose name, and what the executor is told."""

import hashlib

import pytest

from ai_sysadmin.actions.protocol import Halted
from ai_sysadmin.core.errors import ExecutorUnavailable
from ai_sysadmin.stores.key_store import ApiKey, Scope
from ai_sysadmin.testing.api import FixedExecutor
from ai_sysadmin.testing.host import FakeUnits
from tests.builders import NOW, request
from tests.services.api_harness import running

ACTIONS = "/v1/system/actions"
RESTART = {"name": "restart_unit", "arguments": {"unit": "nginx.service"}, "why": "it hangs"}


def down():
    units = FakeUnits()
    units.put("nginx.service")
    return units


async def a_key(api, name, *scopes):
    secret = f"sk-{name}"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    await api.stores.keys.add(
        ApiKey(id=f"{name}22"[:8], name=name, hash=digest, scopes=frozenset(scopes), by="root", at=NOW)
    )
    return api.http(secret)


async def test_an_operator_on_the_host_proposes_in_their_own_name(tmp_path):
    async with running(tmp_path, units=down()) as api, api.local() as client:
        reply = await client.post(ACTIONS, json=RESTART)
        assert reply.status_code == 200, reply.text
        view = reply.json()
        assert (view["name"], view["origin"], view["state"]) == ("restart_unit", "operator", "proposed")
        assert view["why"].endswith(": it hangs")
        assert view["digest"].startswith(view["id"].partition("-")[2])
        assert (await client.post(ACTIONS, json=RESTART)).json()["id"] == view["id"]
        assert len((await client.get(ACTIONS)).json()["actions"]) == 1


async def test_a_key_to_talk_proposes_as_a_conversation_does(tmp_path):
    async with running(tmp_path, units=down()) as api, await a_key(api, "talker", Scope.CHAT) as client:
        view = (await client.post(ACTIONS, json=RESTART)).json()
        assert view["origin"] == "chat"
        assert view["why"].startswith("talker: ")


@pytest.mark.parametrize("scopes", [(Scope.READ,), (Scope.INGEST,), (Scope.APPROVE,)])
async def test_other_keys_propose_nothing(tmp_path, scopes):
    async with running(tmp_path, units=down()) as api, await a_key(api, "other", *scopes) as client:
        reply = await client.post(ACTIONS, json=RESTART)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "wrong_scope")
        assert await api.stores.reader.actions() == ()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({**RESTART, "name": "format_disk"}, 403),
        ({**RESTART, "arguments": {"unit": "x; reboot"}}, 403),
        ({**RESTART, "arguments": {"unit": ["nginx.service"]}}, 400),
        ({**RESTART, "origin": "rules"}, 400),
        ({"arguments": {}}, 400),
        ({"name": "reboot_host"}, 403),
    ],
)
async def test_what_is_no_action_here_is_said_so(tmp_path, body, status):
    async with running(tmp_path, units=down()) as api, api.local() as client:
        reply = await client.post(ACTIONS, json=body)
        assert reply.status_code == status, reply.text
        assert reply.json()["error"]["message"]
        assert await api.stores.reader.actions() == ()


async def test_a_key_that_approves_is_carried_with_the_digest_that_was_seen(tmp_path):
    executor, wanted = FixedExecutor(), request()
    executor.knows(wanted)
    async with running(tmp_path, executor=executor) as api, await a_key(api, "boss", Scope.APPROVE) as client:
        seen = {"digest": wanted.digest}
        reply = await client.post(f"{ACTIONS}/{wanted.id}/approve", json=seen)
        assert (reply.status_code, reply.json()["state"]) == (200, "approved")
        reply = await client.post(f"{ACTIONS}/{wanted.id}/reject", json={**seen, "why": "not now"})
        assert (reply.status_code, reply.json()["state"]) == (200, "rejected")
        assert executor.decided == [
            ("approve", wanted.id, wanted.digest, "sk-boss", ""),
            ("reject: not now", wanted.id, wanted.digest, "sk-boss", ""),
        ]
        for wrong in ({}, {"digest": "abc"}, {**seen, "key": "x"}):
            assert (await client.post(f"{ACTIONS}/{wanted.id}/approve", json=wrong)).status_code == 400
        assert (await client.post(f"{ACTIONS}/zzzzzz-000000/approve", json=seen)).status_code == 404
        assert len(executor.decided) == 2


@pytest.mark.parametrize("verb", ["approve", "reject"])
async def test_nobody_else_decides_over_http(tmp_path, verb):
    executor, wanted = FixedExecutor(), request()
    executor.knows(wanted)
    async with running(tmp_path, executor=executor, keyless_chat=True) as api:
        path, seen = f"{ACTIONS}/{wanted.id}/{verb}", {"digest": wanted.digest}
        others = [api.local(), api.anonymous(), await a_key(api, "talker", Scope.CHAT, Scope.READ)]
        replies = []
        for each in others:
            async with each as client:
                replies.append(await client.post(path, json=seen))
        assert [reply.status_code for reply in replies] == [403, 403, 403]
        assert "ai-sysadmin actions approve" in replies[0].json()["error"]["message"]
    assert executor.decided == []


async def test_an_executor_that_is_away_is_said_so(tmp_path):
    executor = FixedExecutor(ExecutorUnavailable("the executor does not answer"))
    async with running(tmp_path, executor=executor) as api, await a_key(api, "boss", Scope.APPROVE) as client:
        reply = await client.post(f"{ACTIONS}/abc234-0f0f0f/approve", json={"digest": "a" * 64})
        assert reply.status_code == 503


async def test_the_condition_says_that_actions_are_halted(tmp_path):
    executor = FixedExecutor(holds=Halted(by="ada", why="the disk is being changed", at=NOW))
    async with running(tmp_path, executor=executor) as api, api.local() as client:
        status = (await client.get("/v1/system/status")).json()
        assert status["halted"]["by"] == "ada"
        assert status["state"] == "degraded"
        assert "actions are halted by ada" in status["reasons"][0]
        assert "the disk is being changed" in status["reasons"][0]
    async with running(tmp_path / "other") as api, api.local() as client:
        status = (await client.get("/v1/system/status")).json()
        assert (status["halted"], status["state"]) == (None, "ok")


async def test_the_document_names_the_paths_and_what_they_take(tmp_path):
    async with running(tmp_path) as api, api.local() as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    body = paths[ACTIONS]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"name", "arguments", "why"}
    for verb in ("approve", "reject"):
        operation = paths[f"{ACTIONS}/{{action_id}}/{verb}"]["post"]
        assert operation["requestBody"]["required"]
        assert operation["requestBody"]["content"]["application/json"]["schema"]["required"] == ["digest"]
