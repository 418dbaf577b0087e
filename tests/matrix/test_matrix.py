"""The autonomy matrix, whole: each level, each class, protected or not, warranted or not, by every door."""

import pytest

from ai_sysadmin.actions import courier
from ai_sysadmin.actions.protocol import Approve
from ai_sysadmin.cli import actions
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.policy_settings import Override, Policy
from ai_sysadmin.runtime.peers import Peer
from tests.matrix.cells import ALONE, ASKED, CELLS, KEY_APPROVES, Cell, expected
from tests.matrix.doors import BY_A_PERSON, BY_THE_SUITE
from tests.matrix.host import KEY, matrix_host

pytestmark = pytest.mark.usefixtures("hurried")
LEVELS = ("observe", "suggest", "auto-safe", "auto-full")
DOORS = BY_THE_SUITE | BY_A_PERSON
SERVICE_USERS = ("ai-sysadmin", "ai-sysadmin-api")


@pytest.fixture
def hurried(monkeypatch):
    """Let nobody wait a fifth of a second for the next look."""
    monkeypatch.setattr(courier, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(actions, "_POLL_SECONDS", 0.02)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("door", DOORS)
async def test_what_becomes_of_a_proposal(tmp_path, level, door):
    """What runs without a person, what is asked and what is only recorded is what the table says, and nothing else."""
    async with matrix_host(tmp_path, level, CELLS) as host:
        await DOORS[door](host, CELLS)
        found = await host.settled(len(CELLS))
        became = {cell: await host.became(found[cell.unit]) for cell in CELLS}
        assert became == {cell: expected(level, cell, by_person=door in BY_A_PERSON) for cell in CELLS}
        for cell in CELLS:
            facts = found[cell.unit]
            assert bool(host.ran(cell.unit)) is (became[cell] == ALONE), cell
            assert facts.state == "succeeded" if became[cell] == ALONE else facts.state in {"pending", "recorded"}
            shielded = cell.protected and cell.risk != "read_only"
            assert facts.ruling.protected is shielded, cell
            assert facts.ruling.risk == ("destructive" if shielded else cell.risk), cell


@pytest.mark.parametrize("level", LEVELS)
async def test_who_may_approve_what(tmp_path, level):
    """A service's user nothing, a key what is reversible or disruptive and not protected, an operator all of it."""
    async with matrix_host(tmp_path, level, CELLS) as host:
        await BY_A_PERSON["chat"](host, CELLS)
        found = await host.settled(len(CELLS))
        for cell in CELLS:
            facts = found[cell.unit]
            for user in SERVICE_USERS:
                answer = await host.running.server.answer(_yes(facts.id), Peer(990, user), "operate")
                assert (answer.error, "never decide" in answer.message) == ("refused", True)
            if facts.state != "pending":
                assert level == "observe" or cell.risk == "read_only"
                with pytest.raises(Refused, match="does not wait for anybody"):
                    await host.operate.approve(facts.id, facts.digest)
                with pytest.raises(Refused, match="does not wait for anybody"):
                    await host.propose.approve_by_key(facts.id, facts.digest, KEY)
                continue
            assert host.ran(cell.unit) == []
            if KEY_APPROVES[cell.risk, cell.protected]:
                await host.propose.approve_by_key(facts.id, facts.digest, KEY)
            else:
                with pytest.raises(Refused, match="needs an operator"):
                    await host.propose.approve_by_key(facts.id, facts.digest, KEY)
                await host.operate.approve(facts.id, facts.digest)
            done = await host.running.ended(facts.id)
            assert (done.state.value, bool(host.ran(cell.unit))) == ("succeeded", True), (cell, done.text)
            with pytest.raises(Refused, match="does not wait for anybody"):  # a yes counts once
                await host.operate.approve(facts.id, facts.digest)


@pytest.mark.parametrize("level", LEVELS)
async def test_what_cannot_be_done_is_refused_by_every_door(tmp_path, level):
    """A unit that does not run cannot be restarted, whoever asks; and what the policy denies is not done either."""
    never = Cell("reversible", warranted=True, protected=False)
    async with matrix_host(tmp_path, level, [never]) as host:
        host.systemd.add(never.unit, active="inactive")
        for door in BY_THE_SUITE.values():
            await door(host, [never])
        with pytest.raises(Refused, match="neither failed nor active"):
            await BY_A_PERSON["chat"](host, [never])
        await host.settled(1)
        found = await host.operate.list()
        assert {each.state.value for each in found} == {"refused"}
        assert host.systemd.starts == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("door", DOORS)
async def test_what_the_policy_denies_is_refused(tmp_path, level, door):
    """Deny wins over every level, need and door; not even what only looks is done."""
    denied = Policy(overrides=(Override(decision="deny", units=("*",)),))
    async with matrix_host(tmp_path, level, CELLS, policy=denied) as host:
        await DOORS[door](host, CELLS)
        found = await host.settled(len(CELLS))
        assert {await host.became(each) for each in found.values()} == {"refused"}
        assert host.systemd.starts == []


@pytest.mark.parametrize("level", LEVELS)
async def test_a_forged_proposal_for_a_healthy_unit_never_runs_without_a_person(tmp_path, level):
    """Well formed, straight into the services' socket, in the name of each layer: the executor sees no need for it."""
    healthy = [each for each in CELLS if not each.warranted and each.risk != "read_only"]
    async with matrix_host(tmp_path, level, healthy) as host:
        await BY_THE_SUITE["propose.sock"](host, healthy)
        found = await host.settled(len(healthy))
        assert host.systemd.starts == []
        wanted = "recorded" if level == "observe" else "pending"
        assert {each.state.value for each in found.values()} == {wanted}
        assert not any(each.ruling.warranted for each in found.values())
        assert expected(level, healthy[0], by_person=False) in {ASKED, "recorded"}


def _yes(action_id):
    return Approve(id=action_id).model_dump_json().encode()
