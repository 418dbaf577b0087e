"""The executor's sockets under attack: an executor as a process of its own, and everybody who may connect to it.

AI_SYSADMIN_FUZZ_FRAMES says how many hostile frames are sent to each executor (`tools/fuzz-executor`).
"""

import asyncio
import json
import os
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.core.acting import ActionState
from ai_sysadmin.core.settings import Autonomy, Executor, Settings
from ai_sysadmin.executor import server
from ai_sysadmin.executor.admission import PER_STRANGER, PER_UID, STRANGERS
from tests.builders import HOST, UNIT, request
from tests.executing import failed_unit, serving
from tests.executor_process import IN_MEMORY, SERVICE, executor_process
from tests.hostile_frames import Hostile, Sender

FRAMES = int(os.environ.get("AI_SYSADMIN_FUZZ_FRAMES", "3000"))
SENDERS = 4
WARM = 10_000
FOREIGN = Path(__file__).with_name("foreign_uid.py")
NOBODY = 65534
CROWD = """
import socket, sys
while True:
    held = [socket.socket(socket.AF_UNIX) for _ in range(900)]
    for each in held:
        each.setblocking(False)
        try:
            each.connect(sys.argv[1])
        except OSError:
            pass
    for each in held:
        each.close()
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.fixture
def directory():
    """A directory that every user may enter: a test's own is open to its user only."""
    made = Path(tempfile.mkdtemp(prefix="sockets-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(params=[IN_MEMORY, SERVICE], ids=["in memory", "the service"])
def running(request, directory):
    with executor_process(directory, settings_in(directory), request.param) as process:
        yield process


@pytest.fixture
def in_memory(directory):
    with executor_process(directory, settings_in(directory), IN_MEMORY) as process:
        yield process


def settings_in(directory):
    """As much autonomy as there is: what runs then would run at any level."""
    return Settings(
        host_name=HOST,
        autonomy_level=Autonomy.AUTO_FULL,
        runtime_dir=directory / "run",
        executor=Executor(post_check_seconds=0.05, state_dir=directory / "state"),
    )


async def test_a_flood_of_hostile_frames_comes_to_nothing(running):
    """Malformed, oversized, replayed, truncated, at the wrong door: on connections that are used again and again."""
    rng = random.Random(20261122)
    waiting = [request(), request(name="stop_unit")]
    knows = "ai_sysadmin" not in running.process.args
    for each in waiting if knows else ():
        assert (await running.propose.propose(each)).state is ActionState.PENDING
    senders = [
        Sender(path, door, Hostile(rng, waiting, request(unit="other.service")), rng)
        for door, path in (("propose", running.settings.propose_socket), ("operate", running.settings.operate_socket))
        for _ in range(SENDERS)
    ]
    begun = time.monotonic()
    warm = min(WARM, FRAMES // 2)
    await asyncio.gather(*(sender.send(warm // len(senders)) for sender in senders))
    before = running.figures()
    await asyncio.gather(*(sender.send((FRAMES - warm) // len(senders)) for sender in senders))
    seconds = time.monotonic() - begun
    after = await settled(running, before.descriptors)
    asked = time.monotonic()
    actions = await running.operate.list()
    assert time.monotonic() - asked < 1
    assert [(each.id, each.state) for each in reversed(actions)] == [
        (each.id, ActionState.PENDING) for each in waiting if knows
    ]
    events = await running.propose.events("", 0)
    assert [each.kind.value for each in events] == ["asked"] * len(actions)
    assert await running.operate.keys() == ()
    assert await running.operate.halted() is None
    assert running.stop() == 0, running.log.read_text()[-2000:]
    assert running.begun == []
    said = running.log.read_text()
    assert "Traceback" not in said, said[-3000:]
    sent, told = sum(sender.sent for sender in senders), sum((sender.told for sender in senders), Counter())
    print(f"{sent} frames, {sent / seconds:.0f}/s; {dict(told)}; after {warm}: {before}, at the end: {after}")
    assert after.descriptors <= before.descriptors
    assert after.resident - before.resident < 10_000


@needs_root
async def test_foreign_uids_are_only_ever_told_no(in_memory):
    """Each asks for everything there is, well formed, with and without being root in a user namespace of its own."""
    waiting = request()
    assert (await in_memory.propose.propose(waiting)).state is ActionState.PENDING
    before = in_memory.figures()
    rounds = max(1, min(1000, FRAMES) // 12 // len(everything(waiting)))
    told: Counter[str] = Counter()
    for uid in (NOBODY, 1, 4242):
        for prefix in ([], ["unshare", "--user"], ["unshare", "--user", "--map-root-user"]):
            for path in (in_memory.settings.operate_socket, in_memory.settings.propose_socket):
                said = await ask_as(uid, prefix, path, rounds, everything(waiting))
                expected = {"refused"} if path == in_memory.settings.operate_socket else {"PermissionError"}
                assert set(said) == expected, (uid, prefix, path, said)
                told += said
    after = await settled(in_memory, before.descriptors)
    assert [each.state for each in await in_memory.operate.list()] == [ActionState.PENDING]
    assert await in_memory.operate.keys() == ()
    assert await in_memory.operate.halted() is None
    assert in_memory.begun == []
    print(f"{told.total()} frames of foreign uids: {dict(told)}; {before} → {after}")
    assert after.descriptors <= before.descriptors
    assert after.resident - before.resident < 10_000


@needs_root
async def test_the_root_of_a_user_namespace_is_not_root(in_memory):
    """Whoever is uid 0 inside is whom the kernel knows outside; the real root in a namespace stays root."""
    frames = ['{"do":"list"}']
    path = in_memory.settings.operate_socket
    assert await ask_as(NOBODY, ["unshare", "--user", "--map-root-user"], path, 1, frames) == {"refused": 1}
    assert await ask_as(0, ["unshare", "--user", "--map-root-user"], path, 1, frames) == {"done": 1}


@needs_root
async def test_strangers_who_stay_do_not_keep_the_operator_out(in_memory):
    """A stranger may hold a few connections, all strangers together some more, and root is served all the same."""
    path = in_memory.settings.operate_socket
    with ExitStack() as held:
        kept = [hold(path, uid, held) for uid in range(3000, 3040) for _ in range(PER_STRANGER + 2)]
        assert len(still_open(kept)) == STRANGERS
        started = time.monotonic()
        assert await in_memory.operate.list() == ()
        assert time.monotonic() - started < 1


@needs_root
async def test_one_stranger_leaves_the_others_their_turn_to_be_refused(in_memory):
    path = in_memory.settings.operate_socket
    with ExitStack() as held:
        kept = [hold(path, NOBODY, held) for _ in range(PER_UID)]
        assert len(still_open(kept)) == PER_STRANGER
        assert await ask_as(1, [], path, 1, ['{"do":"list"}']) == {"refused": 1}


@needs_root
async def test_a_service_that_waits_on_all_its_connections_keeps_no_other_out(directory):
    """One of the proposers' group waits for events on as many connections as it gets, for as long as it may."""
    settings = settings_in(directory)
    with executor_process(directory, settings, IN_MEMORY) as process, ExitStack() as held:
        os.chown(settings.propose_socket, -1, 1)
        kept = [hold(settings.propose_socket, 3000, held, gid=1) for _ in range(PER_UID + 10)]
        for each in still_open(kept):
            each.sendall(b'{"do":"events","epoch":"","since":0,"wait_seconds":30}\n')
        assert len(still_open(kept)) == PER_UID
        started = time.monotonic()
        assert await process.propose.list() == ()
        said = await ask_as(3001, [], settings.propose_socket, 1, ['{"do":"list"}'], gid=1)
        assert said == {"done": 1}
        assert await process.operate.list() == ()
        assert time.monotonic() - started < 2


@needs_root
async def test_a_flood_of_connections_by_a_stranger_delays_the_operator_little(in_memory):
    path = in_memory.settings.operate_socket
    flood = await started_as(NOBODY, [], path, 100_000, ['{"do":"approve","id":"a"}'])
    try:
        slowest = 0.0
        for _ in range(20):
            started = time.monotonic()
            await in_memory.operate.list()
            slowest = max(slowest, time.monotonic() - started)
        assert flood.returncode is None
    finally:
        flood.kill()
        await flood.wait()
    print(f"the operator's slowest answer during the flood: {slowest * 1000:.0f} ms")
    assert slowest < 1
    assert in_memory.log.read_bytes().count(b"is no operator") <= 1


@needs_root
async def test_a_full_queue_of_strangers_turns_no_operator_away(in_memory):
    """Some processes connect a thousand times at once and never wait to be answered."""
    argv = ["python3", "-I", "-S", "-c", CROWD, str(in_memory.settings.operate_socket)]
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    crowd = [await asyncio.create_subprocess_exec(*argv, cwd="/", **who) for _ in range(3)]
    try:
        await asyncio.sleep(0.5)
        started = time.monotonic()
        for _ in range(3):
            await in_memory.operate.list()
        seconds = (time.monotonic() - started) / 3
        assert [each.returncode for each in crowd] == [None] * 3
    finally:
        for each in crowd:
            each.kill()
            await each.wait()
    print(f"the operator's answers in the crowd: {seconds:.1f} s each")


async def test_who_never_reads_is_left_with_nothing_kept(tmp_path, monkeypatch):
    """Answers that nobody takes are thrown away with their connection, not kept until they are taken."""
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.3)
    settings = settings_in(tmp_path)
    async with serving(settings, failed_unit()):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(settings.operate_socket))
            connection.setblocking(False)
            before = descriptors()
            while True:
                await asyncio.sleep(0)
                try:
                    connection.send(b'{"do":"list"}\n' * 1000)
                except BlockingIOError:
                    if descriptors() > before:  # it was let in, and is answered no more
                        break
            async with asyncio.timeout(5):
                while descriptors() > before:
                    await asyncio.sleep(0.05)
        assert await ExecutorClient(settings.operate_socket).list() == ()


async def test_what_actions_wrote_is_shown_one_by_one(tmp_path):
    """All of it together may be more than a client takes: a list leaves it out."""
    settings = settings_in(tmp_path)
    systemd = failed_unit(programs={"systemctl": lambda _argv: (1, "\x1b" * 30_000)})
    async with serving(settings, systemd) as running:
        wanted = request()
        await ExecutorClient(settings.propose_socket).propose(wanted)
        await running.ended(wanted.id)
        operate = ExecutorClient(settings.operate_socket)
        assert len((await operate.show(wanted.id)).output) > 20_000
        assert [each.output for each in await operate.list()] == [""]


async def test_to_halt_twice_is_told_once(tmp_path):
    """Whoever may halt could otherwise fill the audit."""
    settings = settings_in(tmp_path)
    async with serving(settings, failed_unit()):
        first = await ExecutorClient(settings.propose_socket).halt("wait")
        assert await ExecutorClient(settings.operate_socket).halt("another reason") == first
        lines = await ExecutorClient(settings.operate_socket).audit(0)
        assert len([line for line in lines if '"halt"' in line]) == 1


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def everything(waiting):
    """One of each frame, well formed."""
    about = {"id": waiting.id}
    key = {"id": "k22222", "name": "eve", "hash": "0" * 64}
    by_key = {**about, "digest": waiting.digest, "key": "sk-guessed"}
    asked = [
        {"do": "approve", **about},
        {"do": "reject", **about, "why": ""},
        {"do": "list"},
        {"do": "show", **about},
        {"do": "explain", "name": "restart_unit", "arguments": {"unit": UNIT}},
        {"do": "halt", "why": ""},
        {"do": "resume"},
        {"do": "read_audit", "since": 0},
        {"do": "register_key", **key},
        {"do": "revoke_key", "id": "k22222"},
        {"do": "list_keys"},
        {"do": "propose", "request": waiting.model_dump(mode="json")},
        {"do": "withdraw", **about, "why": ""},
        {"do": "events", "epoch": "", "since": 0, "wait_seconds": 30},
        {"do": "approve_by_key", **by_key},
        {"do": "reject_by_key", **by_key},
    ]
    return [json.dumps(each) for each in asked]


async def started_as(uid, prefix, path, rounds, frames, gid=NOBODY):
    program = [sys.executable if os.access(sys.executable, os.X_OK) else "python3", "-I", "-S", "-c"]
    argv = [*prefix, *program, FOREIGN.read_text(), str(path), str(rounds), *frames]
    who = {"user": uid, "group": gid, "extra_groups": []} if uid else {}
    return await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", **who)


async def ask_as(uid, prefix, path, rounds, frames, gid=NOBODY):
    process = await started_as(uid, prefix, path, rounds, frames, gid)
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    return Counter(json.loads(out))


def hold(path, uid, held, gid=NOBODY):
    """Connect as somebody else, and keep the connection: its credentials are those of when it was made."""
    connection = held.enter_context(socket.socket(socket.AF_UNIX))
    try:
        os.setegid(gid)
        os.seteuid(uid)
        connection.connect(str(path))
    finally:
        os.seteuid(0)
        os.setegid(0)
    return connection


def still_open(connections):
    """Return the connections that are kept; one too many is told so and closed at once."""
    time.sleep(0.5)
    readable, _, _ = select.select(connections, [], [], 0)
    return [each for each in connections if each not in readable]


async def settled(running, descriptors):
    """Return what the executor takes up once it has closed what was left to close."""
    until = time.monotonic() + 10
    while (figures := running.figures()).descriptors > descriptors and time.monotonic() < until:
        await asyncio.sleep(0.1)
    return figures
