"""Files and directories that may be read, and all that may not: links, keys, devices, what is swapped meanwhile."""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import AiSysadminError, NotFound, Refused
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.sources.file_lines import LONGEST_LINE, WINDOW_BYTES
from ai_sysadmin.sources.readable_files import ReadableFiles
from ai_sysadmin.tools.files import file_tools
from ai_sysadmin.tools.tool import Told

SECRET = "hunter2-is-the-word"
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{'MIIEpAIBAAKCAQEA7' * 4}\n{'q9Zx8fLkQ2w7' * 5}\n-----END RSA PRIVATE KEY-----"


class NoScene:
    def names(self, target: str) -> bool:
        return False


async def read(root: Path, path: str, first: int = 0, contains: str = "", **given) -> Told:
    files = ReadableFiles(given.pop("files", Tools().files), root=root, **given)
    (tool,) = file_tools(files, Redactor())
    arguments = tool.parsed({"path": path, "from_line": first, "contains": contains})
    return await tool.look(arguments.model_dump(), NoScene())


def write(root: Path, path: str, text: str | bytes) -> Path:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text.encode() if isinstance(text, str) else text)
    return place


# --- what may be read


async def test_a_file_is_read_with_what_it_is(tmp_path):
    write(tmp_path, "/etc/nginx/nginx.conf", "worker_processes 2;\nuser nginx;\n")
    told = await read(tmp_path, "/etc/nginx/nginx.conf")
    head, *lines = told.text.split("\n")
    assert lines == ["worker_processes 2;", "user nginx;"]
    assert "lines 1 to 2" in head
    assert "32 bytes" in head
    assert not told.truncated


async def test_reading_begins_at_a_line_or_shows_the_last(tmp_path):
    write(tmp_path, "/etc/long", "\n".join(f"line {n}" for n in range(1, 101)))
    from_98 = await read(tmp_path, "/etc/long", 98)
    assert from_98.text.split("\n")[1:] == ["line 98", "line 99", "line 100"]
    assert (await read(tmp_path, "/etc/long", -2)).text.split("\n")[1:] == ["line 99", "line 100"]
    with pytest.raises(Refused, match="has 100 lines"):
        await read(tmp_path, "/etc/long", 101)


async def test_a_text_is_looked_for_whatever_its_case(tmp_path):
    write(tmp_path, "/etc/x.conf", "a\nListen 80\nb\nlisten 443\n")
    assert (await read(tmp_path, "/etc/x.conf", contains="LISTEN")).text.split("\n")[1:] == [
        "2: Listen 80",
        "4: listen 443",
    ]
    assert "no line has" in (await read(tmp_path, "/etc/x.conf", contains="nothing")).text


async def test_of_a_log_the_end_is_shown(tmp_path):
    write(tmp_path, "/var/log/app.log", "".join(f"{n} {'x' * 990}\n" for n in range(5000)))
    told = await read(tmp_path, "/var/log/app.log")
    assert told.newest_last
    assert told.text.split("\n")[-1].startswith("4999 ")
    assert len(told.text) < WINDOW_BYTES + 1000
    assert "only the last" in told.truncated


async def test_a_large_file_is_read_in_windows_and_says_how_to_go_on(tmp_path):
    write(tmp_path, "/etc/large", "".join(f"{n} {'x' * 990}\n" for n in range(5000)))
    told = await read(tmp_path, "/etc/large")
    last = int(told.text.split("\n")[-1].split()[0])
    assert f"from_line = {last + 2}" in told.truncated
    assert (await read(tmp_path, "/etc/large", last + 2)).text.split("\n")[1].startswith(f"{last + 1} ")


async def test_a_sparse_file_of_three_gigabytes_costs_neither_time_nor_memory(tmp_path):
    place = write(tmp_path, "/var/log/huge", "begin\n")
    with place.open("r+b") as opened:
        opened.truncate(3 << 30)
        opened.seek((3 << 30) - 10)
        opened.write(b"\nthe end\n\n")
    began = time.monotonic()
    for first, contains in ((0, ""), (-5, ""), (9_000_000, ""), (0, "the end")):
        with pytest.raises(Refused, match="NUL"):
            await read(tmp_path, "/var/log/huge", first, contains)
    assert time.monotonic() - began < 3


async def test_one_line_of_many_megabytes_is_bounded_and_says_what_is_missing(tmp_path):
    write(tmp_path, "/etc/one-line", b"first " + b"word " * 700_000 + b"last")
    told = await read(tmp_path, "/etc/one-line")
    assert len(told.text) < 3 * LONGEST_LINE
    assert "bytes left out" in told.text
    assert told.text.endswith("last")


async def test_what_is_not_utf8_is_shown_as_far_as_it_is_text(tmp_path):
    write(tmp_path, "/etc/latin1", b"caf\xe9 = 1\n")
    assert "caf\ufffd = 1" in (await read(tmp_path, "/etc/latin1")).text
    write(tmp_path, "/etc/binary", b"\x7fELF\0\0")
    with pytest.raises(Refused, match="not text"):
        await read(tmp_path, "/etc/binary")


async def test_a_directory_is_listed_and_names_what_is_never_read(tmp_path):
    write(tmp_path, "/etc/app/app.conf", "x")
    write(tmp_path, "/etc/app/server.key", "x")
    (tmp_path / "etc/app/conf.d").mkdir()
    (tmp_path / "etc/app/current").symlink_to("app.conf")
    text = (await read(tmp_path, "/etc/app")).text
    assert "4 names" in text
    assert "app.conf, 1 bytes" in text
    assert "conf.d/" in text
    assert "current -> /etc/app/app.conf" in text
    assert "server.key (never read)" in text
    assert "app.conf" not in (await read(tmp_path, "/etc/app", contains="conf.D")).text.split("\n", 1)[1]


async def test_a_wrong_name_is_told_with_what_there_is(tmp_path):
    write(tmp_path, "/etc/nginx/nginx.conf", "x")
    with pytest.raises(NotFound, match=r"in /etc/nginx there is nginx\.conf"):
        await read(tmp_path, "/etc/nginx/ngnix.conf")


async def test_links_are_followed_to_what_may_be_read(tmp_path):
    write(tmp_path, "/nix/store/abc-nginx.conf", "user nginx;")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nginx.conf").symlink_to("/nix/store/abc-nginx.conf")
    told = await read(tmp_path, "/etc/nginx.conf")
    assert "user nginx;" in told.text
    assert "which is /nix/store/abc-nginx.conf" in told.text


async def test_mounts_are_those_of_the_first_process():
    told = await read(Path("/"), "/proc/mounts")
    assert told.text.split("\n")[1:] == Path("/proc/1/mounts").read_text().rstrip("\n").split("\n")
    assert "MemTotal" in (await read(Path("/"), "/proc/meminfo")).text


# --- what may not


@pytest.mark.parametrize(
    "path",
    [
        "/etc/../root/.ssh/id_ed25519",
        "/etc/./../root/notes",
        "/etc/../../../root/notes",
        "/var/log/../../root/notes",
        "/root/notes",
        "/proc/self/environ",
        "/proc/1/environ",
        "/proc/thread-self/environ",
        "/proc/self/root/etc/shadow",
        "/proc/1/root/etc/passwd-not",
        "/proc/self/cwd/x",
        "/proc/self/fd/0",
        "/proc/self/mem",
        "/proc/kcore",
        "/dev/mem",
        "/dev/stdin",
        "/dev/zero",
        "/sys/kernel/debug/x",
        "relative/path",
        "",
        "~/.ssh/id_rsa",
        "/etc/x\0y",
        "/etc/x\ny",
        "/etc/\u202eshadow",
        "//root//notes",
    ],
)
async def test_what_is_not_on_the_list_is_refused_however_it_is_named(path):
    with pytest.raises(Refused):
        await read(Path("/"), path)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/shadow-",
        "/etc/gshadow",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/nginx/tls.key",
        "/etc/app/id_rsa",
        "/etc/app/id_ed25519_work",
        "/etc/app/.netrc",
        "/etc/app/.pgpass",
        "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf",
        "/etc/wpa_supplicant.conf",
        "/etc/NetworkManager/system-connections/home.nmconnection",
        "/etc/krb5.keytab",
        "/etc/vault.kdbx",
        "/etc/nixos/secrets/db.yaml",
        "/etc/nixos/secrets.yaml",
        "/etc/nixos/db.age",
        "/etc/credstore/db",
        "/etc/restic/password",
        "/etc/app/api-token.txt",
        "/etc/ppp/chap-secrets",
        "/etc/wireguard/wg0.conf",
        "/etc/ssl/private/site.pem",
        "/etc/SHADOW.KEY",
    ],
)
async def test_what_holds_secrets_is_never_read(tmp_path, path):
    write(tmp_path, path, SECRET)
    with pytest.raises(Refused, match="never read") as refused:
        await read(tmp_path, path)
    assert SECRET not in str(refused.value)
    write(tmp_path, "/etc/harmless", "x").unlink()
    (tmp_path / "etc/harmless").symlink_to(path)
    with pytest.raises(Refused, match="never read"):
        await read(tmp_path, "/etc/harmless")


async def test_the_suites_own_keys_and_what_is_excluded_are_never_read(tmp_path):
    write(tmp_path, "/etc/ai/state[1]/keys", SECRET)
    write(tmp_path, "/etc/ai/data.db-wal", SECRET)
    write(tmp_path, "/etc/app/private.txt", SECRET)
    own = (Path("/etc/ai/state[1]"), Path("/etc/ai/data.db"))
    for path in ("/etc/ai/state[1]/keys", "/etc/ai/state[1]", "/etc/ai/data.db-wal", "/etc/app/private.txt"):
        with pytest.raises(Refused, match="excluded"):
            await read(tmp_path, path, own=own, never=("**/private*",))


async def test_a_link_out_of_the_list_says_where_it_leads_and_is_refused(tmp_path):
    write(tmp_path, "/root/notes", SECRET)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/notes").symlink_to("/root/notes")
    (tmp_path / "etc/up").symlink_to("../root")
    for path in ("/etc/notes", "/etc/up/notes", "/etc/up"):
        with pytest.raises(Refused, match="which leads to /root"):
            await read(tmp_path, path)


async def test_another_name_of_a_secret_file_is_refused(tmp_path):
    shadow = write(tmp_path, "/etc/shadow", SECRET)
    key = write(tmp_path, "/srv/own/api-key", SECRET)
    os.link(shadow, tmp_path / "etc/harmless")
    os.link(key, tmp_path / "etc/other")
    for path in ("/etc/harmless", "/etc/other"):
        with pytest.raises(Refused, match="another name"):
            await read(tmp_path, path, own=(Path("/srv/own/api-key"),))
    harmless = write(tmp_path, "/etc/a", "fine")
    os.link(harmless, tmp_path / "etc/b")
    assert "fine" in (await read(tmp_path, "/etc/b")).text


async def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path):
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "etc/sock"))
        began = time.monotonic()
        for path, kind in (("/etc/pipe", "named pipe"), ("/etc/sock", "socket")):
            with pytest.raises(Refused, match=kind):
                await read(tmp_path, path)
    with pytest.raises(Refused, match="a device"), ReadableFiles(("/**",), root=Path("/dev")).opened("/null"):
        pass
    assert time.monotonic() - began < 1


async def test_who_may_read_is_told():
    with as_nobody(), tempfile.TemporaryDirectory() as made:
        root = Path(made)
        write(root, "/etc/closed", SECRET).chmod(0o000)
        with pytest.raises(Refused, match=r"closed belongs to .*, mode 0000; nobody may, this service"):
            await read(root, "/etc/closed")
        (root / "etc").chmod(0o000)
        with pytest.raises(Refused, match=r"the directory .*/etc belongs to"):
            await read(root, "/etc/closed")
        (root / "etc").chmod(0o700)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user without privileges for a while, where this is root: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    before = os.umask(0)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.umask(before)


async def test_a_file_swapped_for_a_link_while_it_is_looked_at_never_leaks(tmp_path):
    """A thread swaps a file, and its directory, for links to a secret, as fast as it can."""
    write(tmp_path, "/root/d/file", SECRET)
    write(tmp_path, "/etc/d/file", "harmless")
    write(tmp_path, "/etc/e", "harmless")
    stop = threading.Event()
    swapper = threading.Thread(target=swapping, args=(tmp_path, stop))
    swapper.start()
    read_well, refused = 0, 0
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            for path in ("/etc/d/file", "/etc/e"):
                try:
                    text = (await read(tmp_path, path)).text
                except AiSysadminError:
                    refused += 1
                else:
                    assert SECRET not in text
                    read_well += 1
    finally:
        stop.set()
        swapper.join()
    assert read_well > 5
    assert refused > 5


def swapping(root: Path, stop: threading.Event) -> None:
    (root / "etc/link").symlink_to("../root/d")
    (root / "etc/file-link").symlink_to("../root/d/file")
    while not stop.is_set():
        for real, link in (("etc/d", "etc/link"), ("etc/e", "etc/file-link")):
            aside = root / f"{real}-aside"
            (root / real).rename(aside)
            (root / link).rename(root / real)
            (root / real).rename(root / link)
            aside.rename(root / real)


# --- keys within files


async def test_a_private_key_is_masked_wherever_reading_begins(tmp_path):
    write(tmp_path, "/etc/app/all.conf", f"before\n{KEY}\nafter\n")
    for first, contains in ((0, ""), (3, ""), (-3, ""), (0, "q9Zx8fLkQ2w7"), (0, "MIIE")):
        text = (await read(tmp_path, "/etc/app/all.conf", first, contains)).text
        assert "q9Zx8" not in text.split("\n", 1)[1]
        assert "MIIEpAIB" not in text
    whole = (await read(tmp_path, "/etc/app/all.conf")).text.split("\n")
    assert whole[1] == "before"
    assert whole[6] == "after"  # each line stays where it was


async def test_a_secret_cannot_be_guessed_by_looking_for_it(tmp_path):
    write(tmp_path, "/etc/app.conf", f"password = {SECRET}\nname = x\n")
    assert "no line has" in (await read(tmp_path, "/etc/app.conf", contains=SECRET[:6])).text
    assert "1: password" in (await read(tmp_path, "/etc/app.conf", contains="password")).text
