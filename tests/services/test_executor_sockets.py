"""The executor's two sockets, for real: who may say what, and that nothing said there can hurt it."""

import asyncio
import json
import os
import random
from contextlib import suppress

import pytest

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import Approve, DecideByKey, ListActions, Propose, Reject, ShowAction
from ai_sysadmin.core.errors import AiSysadminError, ExecutorUnavailable, NotFound, Refused
from ai_sysadmin.core.settings import Autonomy, Executor, Settings
from ai_sysadmin.executor.daemon import capped, check_policy_file
from ai_sysadmin.executor.decide import why_no_operator
from ai_sysadmin.executor.server import Server
from ai_sysadmin.runtime.peers import Peer
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import HOST, UNIT, request
from tests.executing import serving


@pytest.fixture
def systemd():
    fake = FakeSystemd()
    fake.add(UNIT, active="failed", result="exit-code")
    return fake


@pytest.fixture
async def settings(tmp_path, systemd):
    settings = Settings(
        host_name=HOST, runtime_dir=tmp_path / "run", executor=Executor(post_check_seconds=0.05, state_dir=tmp_path)
    )
    async with serving(settings, systemd):
        yield settings


@pytest.fixture
def propose(settings):
    return ExecutorClient(settings.propose_socket, timeout_seconds=5)


@pytest.fixture
def operate(settings):
    return ExecutorClient(settings.operate_socket, timeout_seconds=5)


async def test_a_request_goes_in_by_one_door_and_the_yes_by_the_other(propose, operate, systemd):
    wanted = request()
    facts = await propose.propose(wanted)
    assert (facts.state, facts.ruling.risk, facts.digest) == ("pending", "reversible", wanted.digest)
    assert facts.by_hand == f"sudo systemctl reset-failed -- {UNIT} && sudo systemctl restart -- {UNIT}"
    assert [shown.id for shown in await operate.list()] == [wanted.id]
    await operate.approve(wanted.id[:5])
    kinds, epoch, since = [], "", 0
    while "finished" not in kinds:
        for event in await propose.events(epoch, since, wait_seconds=5):
            epoch, since = event.epoch, event.sequence
            kinds.append(event.kind.value)
    assert kinds == ["asked", "approved", "started", "ran", "finished"]
    assert (await operate.show(wanted.id)).state == "succeeded"
    assert systemd.starts.count(f"restart {UNIT}") == 1


async def test_waiting_for_events_ends_with_the_first(propose, operate):
    wanted = request()
    waiting = asyncio.create_task(propose.events("", 0, wait_seconds=10))
    await asyncio.sleep(0.05)
    await operate.list()
    await propose.propose(wanted)
    (event,) = await asyncio.wait_for(waiting, 2)
    assert event.action_id == wanted.id


async def test_nobody_decides_at_the_services_door(propose, systemd):
    wanted = request()
    await propose.propose(wanted)
    with pytest.raises(Refused, match="not taken on this socket"):
        await propose.approve(wanted.id)
    with pytest.raises(Refused, match="not taken on this socket"):
        await propose.reject(wanted.id, "no")
    assert systemd.starts == []


async def test_nobody_proposes_at_the_operators_door(operate):
    with pytest.raises(Refused, match="not taken on this socket"):
        await operate.propose(request())


@pytest.mark.parametrize("frame", [ListActions(), ShowAction(id="abc"), Approve(id="abc"), Reject(id="abc", why="no")])
async def test_the_operators_door_tells_a_stranger_nothing(tmp_path, settings, systemd, frame):
    server = Server(None, None, None, None, settings)
    answer = await server.answer(frame.model_dump_json().encode(), Peer(1001, "eve"), "operate")
    assert answer.error == "refused"
    assert "eve is no operator" in answer.message


async def test_what_does_not_exist_is_said(operate, propose):
    with pytest.raises(NotFound, match="no action 'abc'"):
        await operate.approve("abc")
    with pytest.raises(Refused, match="digest"):
        await propose.propose(request().model_copy(update={"arguments": {"unit": "sshd.service"}}))


async def test_an_executor_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ExecutorUnavailable, match=r"nobody\.sock"):
        await ExecutorClient(tmp_path / "nobody.sock").list()


async def test_the_services_door_is_for_its_group_only(settings):
    assert settings.propose_socket.stat().st_mode & 0o777 == 0o660
    assert settings.operate_socket.stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize(
    ("peer", "may"),
    [
        (Peer(0, "root"), True),
        (Peer(1000, "ada"), True),
        (Peer(1001, "eve"), False),
        (Peer(990, "ai-sysadmin"), False),
        (Peer(65534, "nobody"), False),
    ],
)
def test_only_root_and_the_operators_decide(peer, may):
    reason = why_no_operator(peer, Settings(operators=("ada", "ai-sysadmin")), own_uid=0)
    assert (reason is None) is may


def test_an_executor_of_ones_own_takes_ones_own_word():
    assert why_no_operator(Peer(1001, "eve"), Settings(), own_uid=1001) is None
    assert why_no_operator(Peer(1002, "bob"), Settings(), own_uid=1001) is not None


@pytest.mark.parametrize("autonomy", Autonomy)
def test_without_root_nothing_runs_on_its_own(autonomy):
    own = capped(Settings(autonomy_level=autonomy), uid=1000).autonomy_level
    assert own in {Autonomy.OBSERVE, Autonomy.SUGGEST}
    assert capped(Settings(autonomy_level=autonomy), uid=0).autonomy_level is autonomy


def test_a_policy_that_others_could_have_written_is_not_trusted(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text("{}")
    file.chmod(0o666)
    with pytest.raises(AiSysadminError, match="chmod go-w"):
        check_policy_file(file, uid=0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that is root's")
def test_a_policy_of_roots_in_a_sticky_directory_is_trusted(tmp_path):
    (tmp_path / "store").mkdir()
    file = tmp_path / "store/settings.json"
    file.write_text("{}")
    (tmp_path / "store").chmod(0o1775)  # as /nix/store is
    check_policy_file(file, uid=0)
    (tmp_path / "store").chmod(0o775)
    with pytest.raises(AiSysadminError):
        check_policy_file(file, uid=0)


async def test_malformed_frames_are_answered_and_nothing_runs(settings, operate, propose, systemd):
    wanted = request()
    await propose.propose(wanted)
    rng = random.Random(7)
    by_key = DecideByKey(do="approve_by_key", id=wanted.id, digest=wanted.digest, key="sk-1")
    good = [frame.model_dump_json() for frame in (Approve(id=wanted.id), Propose(request=request()), by_key)]
    reader, writer = await asyncio.open_unix_connection(settings.propose_socket)
    for _ in range(2000):
        frame = _spoilt(rng.choice(good), rng)
        writer.write(frame + b"\n")
        answer = json.loads(await asyncio.wait_for(reader.readline(), 5))
        assert answer["error"], frame
    await closed(writer)
    assert systemd.starts == []
    assert [action.state for action in await operate.list()] == ["pending"]


async def test_an_oversized_frame_ends_its_connection_and_no_other(settings, operate):
    reader, writer = await asyncio.open_unix_connection(settings.operate_socket)
    writer.write(b"x" * 200_000)
    with suppress(ConnectionError):
        await writer.drain()
    assert b"at most" in await asyncio.wait_for(reader.readline(), 5)
    await closed(writer)
    assert await operate.list() == ()


async def test_a_peer_that_leaves_in_mid_frame_harms_nobody(settings, operate):
    for _ in range(50):
        _reader, writer = await asyncio.open_unix_connection(settings.operate_socket)
        writer.write(b'{"do": "appr')
        await closed(writer)
    assert await operate.list() == ()


async def closed(writer):
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def _spoilt(frame: str, rng: random.Random) -> bytes:
    """Return a frame that is certainly not one: cut, of wrong types, with extra keys, or of random bytes."""
    match rng.randrange(5):
        case 0:
            return frame[: rng.randrange(1, len(frame))].encode()
        case 1:
            return json.dumps(json.loads(frame) | {"sudo": True}).encode()
        case 2:
            return json.dumps(json.loads(frame) | {"do": rng.choice(["run", "", None, 7, "approve;"])}).encode()
        case 3:
            return bytes(rng.randrange(11, 256) for _ in range(rng.randrange(1, 200)))
        case _:
            return b"[" * rng.randrange(1, 20_000)
