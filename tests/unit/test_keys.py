"""Which keys open what, and in which words the command line says so. No sockets."""

import logging
from datetime import timedelta

import pytest

from ai_sysadmin.actions.protocol import ApprovalKey
from ai_sysadmin.cli.keys import url_of
from ai_sysadmin.cli.keys_page import Listing, Made, disagreements, listing_page, made_page
from ai_sysadmin.core.errors import Refused, StoreUnavailable
from ai_sysadmin.core.settings import Api, Policy, Settings
from ai_sysadmin.executor import approvers
from ai_sysadmin.openai_api_server.gate.keys import (
    Keyring,
    ensure_api_key,
    ensure_ingest_key,
    hash_of,
    make_key,
    matching,
)
from ai_sysadmin.openai_api_server.system.key_views import KeyView
from ai_sysadmin.stores.key_store import ApiKey, Scope
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.testing.memory_keys import MemoryKeys
from tests.builders import NOW

CHAT_READ = frozenset({Scope.CHAT, Scope.READ})


def kept(key_id="abcdef22", name="open-webui", secret="sk-1", **changes):
    given = {"scopes": CHAT_READ, "by": "ada", "at": NOW} | changes
    return ApiKey(id=key_id, name=name, hash=hash_of(secret), **given)


def approving(key_id="abcdef22", name="open-webui", secret="sk-1", **changes):
    return ApprovalKey(id=key_id, name=name, hash=hash_of(secret), by="root", at=NOW, **changes)


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path)


def test_keys_look_like_keys_and_no_two_are_alike():
    made = {make_key() for _ in range(200)}
    assert len(made) == 200
    assert all(key.startswith("sk-") and len(key) == 46 for key in made)


@pytest.mark.parametrize("find", [matching, approvers.matching])
def test_a_key_is_found_by_its_hash_alone(find):
    keys = (
        [kept(), kept("abcdef33", "phone", "sk-2")]
        if find is matching
        else [approving(), approving("abcdef33", "phone", "sk-2")]
    )
    assert find(keys, "sk-2").name == "phone"
    for other in ("", "sk-", "sk-3", hash_of("sk-2"), "ключ"):
        assert find(keys, other) is None
    assert find([], "sk-1") is None


async def test_the_files_open_what_they_always_did_and_never_approve(settings):
    ring = Keyring(settings, MemoryKeys(), FakeClock(NOW))
    own, ingest = ensure_api_key(settings.api_key_file), ensure_ingest_key(settings.ingest_key_file)
    assert (await ring.find(own, CHAT_READ)).scopes == CHAT_READ
    assert (await ring.find(ingest, CHAT_READ)).scopes == {Scope.INGEST}
    assert await ring.find("sk-no", CHAT_READ) is None
    assert await ring.find("", CHAT_READ) is None


async def test_a_kept_key_opens_until_it_is_revoked_or_expires(settings, caplog):
    ensure_api_key(settings.api_key_file)
    ensure_ingest_key(settings.ingest_key_file)
    store, clock = (
        MemoryKeys(kept(), kept("abcdef33", "phone", "sk-2", expires_at=NOW + timedelta(hours=1))),
        FakeClock(NOW),
    )
    ring = Keyring(settings, store, clock)
    found = await ring.find("sk-1", CHAT_READ)
    assert (found.id, found.name, found.scopes) == ("abcdef22", "open-webui", CHAT_READ)
    assert (await ring.find("sk-2", CHAT_READ)).name == "phone"
    with caplog.at_level(logging.WARNING):
        await store.revoke("open-webui", "ada", NOW)
        assert await ring.find("sk-1", CHAT_READ) is None
        assert "the key open-webui, which was revoked" in caplog.text
        clock.advance(3600)
        assert await ring.find("sk-2", CHAT_READ) is None
        assert "the key phone, which has expired" in caplog.text
        for _ in range(50):
            assert await ring.find("sk-2", CHAT_READ) is None
    assert len(caplog.records) == 2
    assert "sk-" not in caplog.text


async def test_a_store_that_is_away_keeps_the_files_keys_working_and_lets_nobody_else_in(settings):
    own = ensure_api_key(settings.api_key_file)
    store = MemoryKeys(kept())
    ring = Keyring(settings, store, FakeClock(NOW))
    # the ingest file is not there: that matters to whoever sends alerts only
    assert (await ring.find("sk-1", CHAT_READ)).name == "open-webui"
    assert await ring.find("sk-unknown", CHAT_READ) is None
    for key in ("sk-unknown", "sk-1", own):
        with pytest.raises(StoreUnavailable, match="ingest-key"):
            await ring.find(key, frozenset({Scope.INGEST}))
    store.away = True
    assert (await ring.find(own, CHAT_READ)).name == "api-key"
    with pytest.raises(StoreUnavailable):
        await ring.find("sk-1", CHAT_READ)


def test_wrong_keys_cost_a_minute_and_no_more():
    now = [100.0]
    known, wrong = [approving()], "does not know this key"
    taking = approvers.Approvers(Policy(), lambda: now[0])

    def said(key):
        try:
            return taking.identify(known, key, "", NOW).name
        except Refused as error:
            return str(error)

    for _ in range(9):
        assert wrong in said("sk-no")
    assert said("sk-1") == "key open-webui"  # nine are no siege
    assert wrong in said("sk-no")
    assert "too many wrong keys: no key is taken for another 60 s" in said("sk-1")
    now[0] += 59
    assert "another 1 s" in said("sk-no")
    now[0] += 1
    assert said("sk-1") == "key open-webui"
    for _ in range(9):
        now[0] += 10
        assert wrong in said("sk-no")
    assert said("sk-1") == "key open-webui"  # slow mistakes never add up


# --- pages


def view(**changes):
    return KeyView.of(kept(**changes))


def test_the_page_of_a_fresh_key_shows_it_once_and_says_where_to_put_it():
    scopes = frozenset({Scope.CHAT, Scope.APPROVE})
    page = made_page(Made(key="sk-secret", about=view(scopes=scopes)), "http://127.0.0.1:8083/v1")
    assert page.count("sk-secret") == 1
    assert "for chat, approve; it does not expire" in page
    assert "http://127.0.0.1:8083/v1" in page
    assert "ai-sysadmin actions approve ID" in page
    assert "approve" not in made_page(Made(key="sk-secret", about=view()), "http://x/v1")


def test_the_list_says_when_api_and_executor_do_not_agree():
    scopes = frozenset({Scope.CHAT, Scope.APPROVE})
    agreed = Listing(keys=(view(scopes=scopes),), approving=(approving(),))
    assert disagreements(agreed) == []
    (away,) = disagreements(Listing(keys=(view(scopes=scopes),), approving=None))
    assert "executor does not answer" in away
    (unknown,) = disagreements(Listing(keys=(view(scopes=scopes),), approving=()))
    assert "approves nothing" in unknown
    (left,) = disagreements(Listing(keys=(view(scopes=scopes, revoked_at=NOW),), approving=(approving(),)))
    assert "still takes a yes" in left
    assert "ai-sysadmin keys revoke abcdef22" in left
    assert disagreements(Listing(keys=(view(),), approving=None)) == []


def test_no_page_and_no_document_has_a_hash():
    listing = Listing(keys=(view(),), approving=(approving().model_copy(update={"hash": ""}),))
    for text in (listing_page(listing, NOW), listing.model_dump_json()):
        assert hash_of("sk-1") not in text
        assert "open-webui" in text


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:8083/v1"), ("::1", "http://[::1]:8083/v1")])
def test_the_address_for_a_front_end(host, url):
    assert url_of(Settings(api=Api(host=host))) == url
