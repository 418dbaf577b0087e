"""Who is let in: keys, peers, names. The functions behind the gate, by themselves."""

import asyncio
import os
import pwd
import stat

import pytest

from ai_sysadmin.core.errors import ApiUnavailable, NotFound, Refused, SettingsError, StoreUnavailable
from ai_sysadmin.core.settings import Api, Settings
from ai_sysadmin.llm_backend import Delta
from ai_sysadmin.openai_api_server.errors import fault_of
from ai_sysadmin.openai_api_server.gate import host_fault, known_hosts
from ai_sysadmin.openai_api_server.keys import ensure_api_key, opens
from ai_sysadmin.openai_api_server.peers import may_enter, uid_of, uids_of
from ai_sysadmin.openai_api_server.server import bind_tcp, bind_unix
from ai_sysadmin.openai_api_server.streaming import Gathered


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    path = tmp_path / "new" / "api-key"
    key = ensure_api_key(path)
    assert len(key) > 30
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_api_key(path) == key
    assert list(path.parent.iterdir()) == [path]


async def test_all_who_start_at_once_agree_on_the_key(tmp_path):
    keys = await asyncio.gather(*(asyncio.to_thread(ensure_api_key, tmp_path / "api-key") for _ in range(20)))
    assert len(set(keys)) == 1


def test_a_file_without_a_key_opens_nothing(tmp_path):
    path = tmp_path / "api-key"
    path.write_text("# nothing here\n\n")
    with pytest.raises(SettingsError, match="holds no key"):
        ensure_api_key(path)
    assert not opens(path, "")
    assert not opens(path, "# nothing here")


def test_a_key_file_that_cannot_be_had_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be used"):
        ensure_api_key(tmp_path / "file" / "api-key")
    with pytest.raises(StoreUnavailable):
        opens(tmp_path / "none", "key")


@pytest.mark.parametrize(
    ("uid", "welcome"), [(0, True), (990, True), (1000, True), (1001, False), (991, False), (65534, False)]
)
def test_root_the_operators_and_the_api_itself_may_enter(uid, welcome):
    assert may_enter(uid, own_uid=990, operators={1000}) is welcome


def test_only_the_kernel_says_who_a_peer_is():
    assert uid_of(("uid:1000", 0)) == 1000
    assert uid_of(("127.0.0.1", 5000)) is None
    assert uid_of(None) is None


def test_operators_are_looked_up_and_strangers_are_nobody():
    me = pwd.getpwuid(os.getuid()).pw_name
    assert uids_of((me, "no-such-user-here")) == {os.getuid()}


def test_further_names_come_from_the_settings():
    known = known_hosts(Settings(api=Api(host="::1", allowed_hosts=("Box.Lan", "[fd00::1]"))))
    for host in ("box.lan:8083", "BOX.LAN", "[fd00::1]:8083", "[::1]", "localhost"):
        assert host_fault([host], known) is None, host
    for hosts in ([], ["lan"], ["box.lan", "box.lan"], ["box.lan/x"], ["box.lan@evil"], [""]):
        assert host_fault(hosts, known) is not None, hosts


@pytest.mark.parametrize(
    ("error", "status"), [(NotFound(), 404), (Refused(), 403), (StoreUnavailable(), 503), (SettingsError(), 500)]
)
def test_our_errors_have_their_status(error, status):
    fault = fault_of(error)
    assert (fault.status, fault.message) == (status, str(error))
    assert ("Retry-After" in fault.headers) is (status == 503)


def test_a_port_that_is_taken_is_said_so():
    with bind_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ApiUnavailable, match=rf"127.0.0.1:{port}: another program"):
            bind_tcp("127.0.0.1", port)


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path):
    path = tmp_path / "run" / "api.sock"
    bind_unix(path).close()
    assert path.is_socket()
    with bind_unix(path), pytest.raises(ApiUnavailable, match="another program"):
        bind_unix(path)


def test_a_socket_never_takes_the_place_of_a_file(tmp_path):
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(ApiUnavailable):
        bind_unix(path)
    assert path.read_text() == "precious"


async def test_gathered_deltas_lose_nothing_and_end_with_their_failure():
    async def deltas():
        for number in range(50):
            yield Delta(text=f"{number},")
            if number % 7 == 0:
                await asyncio.sleep(0)
        raise Refused("enough")

    gathered = Gathered(deltas(), seconds=0.001)
    text = "".join([part async for part in gathered.texts()])
    assert text == "".join(f"{number}," for number in range(50))
    assert isinstance(gathered.failure, Refused)
