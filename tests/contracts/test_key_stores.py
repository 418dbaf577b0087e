"""Keys, in every store: what is kept of them, what revoking does, what is refused."""

from datetime import timedelta

import pytest

from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.openai_api_server.gate.keys import hash_of
from ai_sysadmin.stores.key_store import ApiKey, Scope
from ai_sysadmin.stores.relational import open_stores
from ai_sysadmin.testing.memory_keys import MemoryKeys
from tests.builders import HOST, NOW
from tests.contracts.places import EVERYWHERE, place_of

LATER = NOW + timedelta(hours=1)


@pytest.fixture(params=EVERYWHERE)
async def keys(request, tmp_path):
    place = place_of(request, tmp_path)
    if place is None:
        yield MemoryKeys()
        return
    async with open_stores(place, HOST) as stores:
        yield stores.keys


def a_key(key_id="abcdef22", name="open-webui", secret="sk-1", **changes):
    given = {"scopes": frozenset({Scope.CHAT, Scope.READ}), "by": "ada", "at": NOW} | changes
    return ApiKey(id=key_id, name=name, hash=hash_of(secret), **given)


async def test_what_is_kept_comes_back_the_newest_first(keys):
    first, second = a_key(), a_key("abcdef33", "phone", "sk-2", expires_at=LATER)
    await keys.add(first)
    await keys.add(second)
    assert tuple(await keys.keys()) == (second, first)


@pytest.mark.parametrize("other", [a_key("abcdef33"), a_key("abcdef33", "phone"), a_key(name="phone", secret="sk-2")])
async def test_a_name_a_hash_and_an_id_are_one_keys_only(keys, other):
    await keys.add(a_key())
    with pytest.raises(Refused):
        await keys.add(other)
    assert len(await keys.keys()) == 1


async def test_a_name_is_free_again_when_its_key_opens_nothing_any_more(keys):
    await keys.add(a_key(expires_at=LATER))
    await keys.add(a_key("abcdef33", secret="sk-2", at=LATER))
    await keys.revoke("open-webui", "bob", LATER)
    await keys.add(a_key("abcdef44", secret="sk-3", at=LATER))
    assert [key.id for key in await keys.keys()] == ["abcdef44", "abcdef33", "abcdef22"]


@pytest.mark.parametrize("called", ["abcdef22", "open-webui"])
async def test_a_revoked_key_stays_and_stays_revoked(keys, called):
    await keys.add(a_key())
    revoked = await keys.revoke(called, "bob", LATER)
    assert (revoked.revoked_at, revoked.revoked_by, revoked.live(LATER)) == (LATER, "bob", False)
    assert await keys.revoke(called, "eve", LATER + timedelta(hours=1)) == revoked
    assert tuple(await keys.keys()) == (revoked,)


async def test_a_name_means_the_key_that_lives(keys):
    await keys.add(a_key())
    await keys.revoke("open-webui", "bob", NOW)
    await keys.add(a_key("abcdef33", secret="sk-2"))
    assert (await keys.revoke("open-webui", "bob", LATER)).id == "abcdef33"


async def test_what_is_not_there_is_said(keys):
    with pytest.raises(NotFound, match="no key 'phone'"):
        await keys.revoke("phone", "bob", NOW)


def test_a_key_lives_until_the_moment_it_expires():
    key = a_key(expires_at=LATER)
    assert (key.live(LATER - timedelta(seconds=1)), key.live(LATER)) == (True, False)


async def test_another_process_sees_a_revocation_at_once_and_another_host_no_key(place):
    async with open_stores(place, HOST) as ours, open_stores(place, HOST) as theirs:
        await ours.keys.add(a_key())
        async with open_stores(place, "elsewhere") as elsewhere:
            assert await elsewhere.keys.keys() == ()
        await theirs.keys.revoke("open-webui", "bob", LATER)
        (seen,) = await ours.keys.keys()
        assert seen.revoked_by == "bob"


async def test_no_key_is_in_the_file(tmp_path):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        await stores.keys.add(a_key(secret="sk-very-secret"))
        assert b"sk-very-secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
