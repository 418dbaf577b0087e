"""Approving with an API key, on the executor's real sockets: what it takes, and every road that it does not."""

import asyncio
import sqlite3
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import ApprovalKey, DecideByKey, ListKeys, RegisterKey, RevokeKey
from ai_sysadmin.core.acting import ActionRequest, Origin
from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.core.settings import Autonomy, Executor, Policy, Settings
from ai_sysadmin.executor.approvers import Approvers
from ai_sysadmin.executor.server import Server
from ai_sysadmin.openai_api_server.gate.keys import hash_of
from ai_sysadmin.runtime.peers import Peer
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import HOST, NOW, UNIT, request
from tests.executing import serving

KEY = "sk-the-right-one"
SECRET = "0123456789abcdef0123456789abcdef"
PROTECTED = "sshd.service"


class Suite:
    """A running executor, seen from both its sockets."""

    def __init__(self, settings, systemd):
        self.settings, self.systemd = settings, systemd
        self.propose = ExecutorClient(settings.propose_socket, timeout_seconds=5)
        self.operate = ExecutorClient(settings.operate_socket, timeout_seconds=5)

    async def asked(self, **changes):
        wanted = request(**changes)
        await self.propose.propose(wanted)
        return wanted

    async def state(self, action):
        return (await self.operate.show(action.id)).state

    async def ended(self, action):
        async with asyncio.timeout(5):
            while not (state := await self.state(action)).ended:
                await asyncio.sleep(0.01)
        return state


def settings_in(tmp_path, autonomy=Autonomy.SUGGEST, **policy):
    return Settings(
        host_name=HOST,
        runtime_dir=tmp_path / "run",
        autonomy_level=autonomy,
        executor=Executor(post_check_seconds=0.05, state_dir=tmp_path),
        policy=Policy(**policy),
    )


@pytest.fixture
def systemd():
    fake = FakeSystemd()
    fake.add(UNIT, active="failed", result="exit-code")
    fake.add(PROTECTED, active="failed", result="exit-code")
    return fake


@pytest.fixture
async def suite(tmp_path, systemd):
    settings = settings_in(tmp_path)
    async with serving(settings, systemd):
        running = Suite(settings, systemd)
        await running.operate.register_key("keyabc22", "open-webui", hash_of(KEY))
        yield running


async def test_a_key_that_an_operator_registered_approves_once(suite):
    action = await suite.asked()
    facts = await suite.propose.approve_by_key(action.id, action.digest, KEY)
    assert (facts.state, facts.text) == ("approved", "approved by key open-webui")
    assert await suite.ended(action) == "succeeded"
    with pytest.raises(Refused, match="does not wait for anybody: it is succeeded"):
        await suite.propose.approve_by_key(action.id, action.digest, KEY)
    assert suite.systemd.starts.count(f"restart {UNIT}") == 1
    (approval,) = [e.approval for e in await suite.propose.events("", 0) if e.kind == "approved"]
    assert (approval.by, approval.key_id, approval.digest) == ("key open-webui", "keyabc22", action.digest)


async def test_a_key_rejects_and_says_why(suite):
    action = await suite.asked()
    facts = await suite.propose.reject_by_key(action.id, action.digest, KEY, "not today")
    assert (facts.state, facts.text) == ("rejected", "rejected by key open-webui: not today")
    with pytest.raises(Refused, match="rejected"):
        await suite.propose.approve_by_key(action.id, action.digest, KEY)
    assert suite.systemd.starts == []


@pytest.mark.parametrize("key", ["sk-another", "", KEY + " ", KEY[:-1], "x" * 513, hash_of(KEY)])
async def test_no_other_key_will_do(suite, key):
    action = await suite.asked()
    with pytest.raises(Refused):
        await suite.propose.approve_by_key(action.id, action.digest, key)
    assert (await suite.state(action), suite.systemd.starts) == ("pending", [])


async def test_the_digest_is_what_the_person_saw_and_the_id_is_whole(suite):
    action, other = await suite.asked(), await suite.asked(unit=PROTECTED)
    with pytest.raises(Refused, match="not what was shown"):
        await suite.propose.approve_by_key(action.id, other.digest, KEY)
    for part in (action.id[:6], action.id[:-1], action.id.upper(), f"{action.id} "):
        with pytest.raises(Refused, match="its id will not do"):
            await suite.propose.approve_by_key(part, action.digest, KEY)
    with pytest.raises(NotFound):
        await suite.propose.approve_by_key("zzzzzz-000000", action.digest, KEY)
    assert suite.systemd.starts == []


async def test_what_is_protected_needs_an_operator_but_may_be_rejected(suite):
    action = await suite.asked(unit=PROTECTED)
    with pytest.raises(Refused, match=f"ai-sysadmin actions approve {action.id}"):
        await suite.propose.approve_by_key(action.id, action.digest, KEY)
    assert (await suite.state(action), suite.systemd.starts) == ("pending", [])
    assert (await suite.propose.reject_by_key(action.id, action.digest, KEY, "no")).state == "rejected"


async def test_what_disrupts_may_be_approved(suite):
    suite.systemd.add(UNIT)
    action = await suite.asked()
    assert (await suite.operate.show(action.id)).ruling.risk == "disruptive"
    await suite.propose.approve_by_key(action.id, action.digest, KEY)
    assert await suite.ended(action) == "succeeded"


async def test_a_revoked_key_approves_nothing_and_is_never_taken_back(suite):
    action = await suite.asked()
    revoked = await suite.operate.revoke_key("keyabc22")
    assert (revoked.revoked_by, revoked.hash) == ("root", "")
    assert await suite.operate.revoke_key("keyabc22") == revoked
    with pytest.raises(Refused, match="key open-webui was revoked"):
        await suite.propose.approve_by_key(action.id, action.digest, KEY)
    for key_id, secret in (("keyabc22", KEY), ("keyabc33", KEY), ("keyabc22", "sk-fresh")):
        with pytest.raises(Refused):
            await suite.operate.register_key(key_id, "open-webui", hash_of(secret))
    await suite.operate.register_key("keyabc44", "open-webui", hash_of("sk-fresh"))
    with pytest.raises(Refused, match="revoked"):
        await suite.propose.approve_by_key(action.id, action.digest, KEY)
    assert (await suite.propose.approve_by_key(action.id, action.digest, "sk-fresh")).state == "approved"


async def test_an_expired_key_approves_nothing(suite):
    past = datetime.now(UTC) - timedelta(seconds=1)
    await suite.operate.register_key("keyabc33", "phone", hash_of("sk-old"), past)
    action = await suite.asked()
    with pytest.raises(Refused, match="key phone has expired"):
        await suite.propose.approve_by_key(action.id, action.digest, "sk-old")


async def test_registering_again_changes_nothing_and_two_keys_have_two_names(suite):
    await suite.operate.register_key("keyabc22", "open-webui", hash_of(KEY))
    with pytest.raises(Refused, match="revoke it first"):
        await suite.operate.register_key("keyabc33", "open-webui", hash_of("sk-2"))
    (key,) = await suite.operate.keys()
    assert (key.id, key.name, key.hash, key.by) == ("keyabc22", "open-webui", "", "root")
    with pytest.raises(NotFound, match="no key 'keyabc99'"):
        await suite.operate.revoke_key("keyabc99")


async def test_keys_are_the_operators_affair(suite):
    frames = [RegisterKey(id="keyabc55", name="mine", hash=hash_of("x")), RevokeKey(id="keyabc22"), ListKeys()]
    server = Server(None, None, None, None, suite.settings)
    for frame in frames:
        line = frame.model_dump_json().encode()
        assert "not taken on this socket" in (await server.answer(line, Peer(0, "root"), "propose")).message
        for peer in (Peer(990, "ai-sysadmin-api"), Peer(1001, "eve")):
            assert (await server.answer(line, peer, "operate")).error == "refused"
    for do in ("approve_by_key", "reject_by_key"):
        frame = DecideByKey(do=do, id="abcdef-012345", digest="0" * 64, key=KEY)
        answer = await server.answer(frame.model_dump_json().encode(), Peer(0, "root"), "operate")
        assert "not taken on this socket" in answer.message
    assert len(await suite.operate.keys()) == 1


async def test_after_many_wrong_keys_none_is_taken_and_the_operators_still_decide(suite):
    action = await suite.asked()
    for number in range(10):
        with pytest.raises(Refused, match="does not know this key"):
            await suite.propose.approve_by_key(action.id, action.digest, f"sk-guess-{number}")
    with pytest.raises(Refused, match="too many wrong keys"):
        await suite.propose.approve_by_key(action.id, action.digest, KEY)
    await suite.operate.approve(action.id)
    assert await suite.ended(action) == "succeeded"


async def test_a_broken_frame_is_answered_without_the_key_in_it(suite):
    reader, writer = await asyncio.open_unix_connection(suite.settings.propose_socket)
    writer.write(
        b'{"do": "approve_by_key", "id": "short", "digest": "x", "key": "%s", "more": "%s"}\n'
        % (KEY.encode() * 50, KEY.encode())
    )
    answer = await asyncio.wait_for(reader.readline(), 5)
    assert b"invalid" in answer
    assert KEY.encode() not in answer
    writer.close()


async def test_only_the_hash_of_a_key_is_on_the_disk(suite, tmp_path):
    action = await suite.asked()
    await suite.propose.approve_by_key(action.id, action.digest, KEY)
    await suite.ended(action)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert KEY.encode() not in kept
    assert hash_of(KEY).encode() in kept


async def test_a_journal_of_before_keeps_its_actions_and_learns_keys(tmp_path, systemd):
    settings = settings_in(tmp_path)
    async with serving(settings, systemd):
        action = await Suite(settings, systemd).asked()
        await Suite(settings, systemd).operate.reject(action.id, "no")
    with sqlite3.connect(tmp_path / "executor.db") as connection:
        connection.execute("DROP TABLE approval_keys")
        for index in ("actions_by_start", "actions_by_boottime", "events_by_action"):
            connection.execute(f"DROP INDEX {index}")
        for column in ("started_boot", "started_boottime"):
            connection.execute(f"ALTER TABLE actions DROP COLUMN {column}")
        connection.execute("ALTER TABLE actions DROP COLUMN started_at")
        connection.execute("ALTER TABLE actions RENAME COLUMN subject TO unit")
        connection.execute("DROP TABLE schema_versions")
        connection.execute("PRAGMA user_version=1")
    connection.close()
    async with serving(settings, systemd):
        suite = Suite(settings, systemd)
        assert await suite.state(action) == "rejected"
        await suite.operate.register_key("keyabc22", "open-webui", hash_of(KEY))
        assert len(await suite.operate.keys()) == 1


async def test_a_registered_key_outlives_the_executor(tmp_path, systemd):
    settings = settings_in(tmp_path)
    async with serving(settings, systemd):
        await Suite(settings, systemd).operate.register_key("keyabc22", "open-webui", hash_of(KEY))
    async with serving(settings, systemd):
        suite = Suite(settings, systemd)
        action = await suite.asked()
        assert (await suite.propose.approve_by_key(action.id, action.digest, KEY)).state == "approved"


# --- what was asked for in chat


@pytest.mark.parametrize("autonomy", [Autonomy.SUGGEST, Autonomy.AUTO_SAFE, Autonomy.AUTO_FULL])
async def test_what_is_asked_for_in_chat_never_runs_alone(tmp_path, systemd, autonomy):
    settings = settings_in(tmp_path, autonomy)
    async with serving(settings, systemd):
        suite = Suite(settings, systemd)
        await suite.operate.register_key("keyabc22", "open-webui", hash_of(KEY))
        action = ProposedAction(name="restart_unit", arguments={"unit": UNIT})
        wanted = ActionRequest.propose(HOST, "", action, Origin.CHAT, "a person asked", NOW)
        assert (await suite.propose.propose(wanted)).state == "pending"
        await asyncio.sleep(0.1)
        assert systemd.starts == []
        await suite.propose.approve_by_key(wanted.id, wanted.digest, KEY)
        assert await suite.ended(wanted) == "succeeded"


# --- who is behind the key


def signed(secret=SECRET, algorithm="HS256", **changes):
    now = int(time.time())
    claims = {"sub": "u-17", "email": "ada@example.org", "name": "Ada", "role": "user", "iss": "open-webui"}
    claims |= {"iat": now, "exp": now + 300} | changes
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, algorithm=algorithm)


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "identity-secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


async def decided(tmp_path, systemd, policy, identity):
    """Approve one action with this identity; return what the executor says of it."""
    settings = settings_in(tmp_path, **policy)
    async with serving(settings, systemd):
        suite = Suite(settings, systemd)
        await suite.operate.register_key("keyabc22", "open-webui", hash_of(KEY))
        action = await suite.asked()
        try:
            return (await suite.propose.approve_by_key(action.id, action.digest, KEY, identity)).text
        except Refused as error:
            assert await suite.state(action) == "pending"
            assert systemd.starts == []
            return str(error)


@pytest.mark.parametrize("approvers", [(), ("ada@example.org",), ("ADA@Example.org",), ("u-17",)])
async def test_a_named_person_approves(tmp_path, systemd, secret_file, approvers):
    policy = {"identity_secret_file": secret_file, "approvers": approvers}
    said = await decided(tmp_path, systemd, policy, signed())
    assert said == "approved by ada@example.org with key open-webui"


NONE = jwt.encode({"sub": "u-17", "email": "ada@example.org", "iss": "open-webui", "iat": 1, "exp": 9e9}, None, "none")


@pytest.mark.parametrize(
    ("identity", "because"),
    [
        ("", "does not say who is asking"),
        ("nonsense", "does not hold"),
        (NONE, "does not hold"),
        (signed("another secret, long enough too, yes"), "does not hold"),
        (signed(SECRET * 2, "HS512"), "does not hold"),
        (signed(exp=int(time.time()) - 60), "expired"),
        (signed(exp=None), "exp"),
        (signed(iat=None), "iat"),
        (signed(iat=int(time.time()) + 600), "not yet valid"),
        (signed(iss="elsewhere"), "issuer"),
        (signed(iss=None), "iss"),
        (signed(aud="another service"), "udience"),
        (signed(sub=None), "sub"),
        (signed(sub="u-18", email="eve@example.org"), "eve@example.org is not among"),
        (signed(sub="u-18", email="ada@example.org.evil"), "is not among"),
        (signed(sub="u-18", email="ada@example.org".replace("a", "\u0430")), "is not among"),
        (signed(sub="u-18", email=""), "u-18 is not among"),
        (signed(sub="u-18\u202e", email="ada @example.org"), "names nobody"),
    ],
)
async def test_nobody_else_does(tmp_path, systemd, secret_file, identity, because):
    policy = {"identity_secret_file": secret_file, "approvers": ("ada@example.org",)}
    assert because in await decided(tmp_path, systemd, policy, identity)


def test_what_only_looks_like_an_approver_is_none(tmp_path, secret_file):
    policy = Policy(identity_secret_file=secret_file, approvers=("kim@example.org",))
    key = ApprovalKey(id="keyabc22", name="open-webui", hash=hash_of(KEY), by="root", at=NOW)
    for email, may in (("Kim@Example.ORG", True), ("\u212aim@example.org", False), ("kim@example.org\u200b", False)):
        if may:
            assert Approvers(policy).identify([key], KEY, signed(email=email), NOW).key_id == key.id
        else:
            with pytest.raises(Refused):
                Approvers(policy).identify([key], KEY, signed(email=email), NOW)


async def test_approvers_without_a_way_to_tell_who_is_asking_are_refused(tmp_path, systemd):
    said = await decided(tmp_path, systemd, {"approvers": ("ada@example.org",)}, signed())
    assert "set policy.identity_secret_file" in said


async def test_without_a_policy_of_persons_an_identity_says_nothing(tmp_path, systemd):
    said = await decided(tmp_path, systemd, {}, signed("forged, and who cares, since nobody asks"))
    assert said == "approved by key open-webui"


@pytest.mark.parametrize(
    ("make", "because"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.chmod(0o644), "chmod o="),
        (lambda path: path.write_text("short"), "can be guessed"),
    ],
)
async def test_a_secret_that_is_none_lets_nobody_approve(tmp_path, systemd, secret_file, make, because):
    make(secret_file)
    assert because in await decided(tmp_path, systemd, {"identity_secret_file": secret_file}, signed())
