"""tools/certificates: those that are watched, in files, and of ports on this host."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.core.noticing_settings import TriggerMonitor
from ai_sysadmin.sources.reaching import Unreached
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.tools.certificates import certificate_tools
from ai_sysadmin.tools.tool import Tool
from tests.looking import looked, tree
from tests.serving import NOW, make, tls_server, trust, unused_port

CERTIFICATE = make("shop.lan", 30.5).pem


def _tools(root: Path = Path("/"), resolves: str = "127.0.0.1", **watched: object) -> tuple[Tool, ...]:
    async def resolve(name: str) -> Sequence[str]:
        if not resolves:
            raise Unreached(f"{name} does not resolve")
        return [resolves]

    return certificate_tools(TriggerMonitor.model_validate(watched), FakeClock(NOW), root, resolve)


async def _said(root: Path, path: str) -> str:
    return (await looked(_tools(root), path_or_host=path)).text


async def test_a_file(tmp_path: Path) -> None:
    root = tree(tmp_path, {"etc/ssl/a.pem": CERTIFICATE, "var/lib/acme/b/cert.pem": make("old", -2.0).pem})
    assert "/etc/ssl/a.pem: good for 30.5 days, until " in await _said(root, "/etc/ssl/a.pem")
    assert "(CN=shop.lan)" in await _said(root, "/etc/ssl/a.pem")
    assert "EXPIRED 2.0 days ago" in await _said(root, "/var/lib/acme/b/cert.pem")


async def test_of_a_bundle_the_first_to_expire_is_told_as_that(tmp_path: Path) -> None:
    many = b"".join(make(f"root{number}", days).pem for number, days in enumerate((-9.0, *[400.0] * 8)))
    text = await _said(tree(tmp_path, {"etc/ssl/all.crt": many}), "/etc/ssl/all.crt")
    assert "a bundle of 9 certificates, the first of which to expire: EXPIRED 9.0 days ago" in text
    assert "CN=root0" in text


async def test_one_that_expires_soon_is_marked(tmp_path: Path) -> None:
    root = tree(tmp_path, {"etc/ssl/a.pem": make("shop.lan", 3.0).pem})
    assert "EXPIRES SOON: good for 3.0 days" in await _said(root, "/etc/ssl/a.pem")


async def test_a_key_gives_nothing_of_itself_away(tmp_path: Path) -> None:
    key = make("shop.lan", 30).key_pem
    root = tree(tmp_path, {"etc/ssl/key.pem": key, "etc/shadow": "root:$6$secret:1::::::\n"})
    for path in ("/etc/ssl/key.pem", "/etc/shadow"):
        text = await _said(root, path)
        assert "holds no certificate" in text
        assert len(text) < 300
        assert key.decode().splitlines()[1] not in text
        assert "secret" not in text


async def test_a_directory(tmp_path: Path) -> None:
    many = {f"etc/ssl/{at:02}.pem": CERTIFICATE for at in range(45)}
    text = await _said(tree(tmp_path, many | {"etc/ssl/readme.txt": "x"}), "/etc/ssl")
    assert text.count("CN=shop.lan") == 40
    assert text.splitlines()[-1] == "and 1 or more others"
    with pytest.raises(NotFound, match="no file that ends in"):
        await _said(tree(tmp_path, {"etc/none/x.txt": "x"}), "/etc/none")


@pytest.mark.parametrize(
    "path", ["/root/x.pem", "/etc/../root/x.pem", "/etc/ssl/link.pem", "/etcetera/x.pem", "/", "/etc/ssl/up/x.pem"]
)
async def test_only_what_is_below_the_allowed_directories(tmp_path: Path, path: str) -> None:
    files = dict.fromkeys(("root/x.pem", "etcetera/x.pem", "etc/ssl/a.pem"), CERTIFICATE)
    root = tree(tmp_path, files)
    (root / "etc/ssl/link.pem").symlink_to(root / "root/x.pem")
    (root / "etc/ssl/up").symlink_to(root / "root")
    with pytest.raises(Refused, match="is not looked at"):
        await _said(root, path)


async def test_links_into_the_store_are_followed_and_others_in_a_directory_left_out(tmp_path: Path) -> None:
    root = tree(tmp_path, {"nix/store/x/ca.pem": CERTIFICATE, "root/x.pem": make("hidden", 9).pem, "etc/ssl/k": "x"})
    (root / "etc/ssl/ca.pem").symlink_to(root / "nix/store/x/ca.pem")
    (root / "etc/ssl/link.pem").symlink_to(root / "root/x.pem")
    assert "CN=shop.lan" in await _said(root, "/etc/ssl/ca.pem")
    assert "hidden" not in (await _said(tree(root, {"etc/ssl/own.pem": CERTIFICATE}), "/etc/ssl"))


async def test_a_path_that_cannot_be_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="NUL"):
        await _said(tmp_path, "/etc/\0")
    with pytest.raises(NotFound):
        await _said(tree(tmp_path, {"etc/x": ""}), "/etc/gone.pem")


async def test_those_that_settings_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trust(tmp_path, monkeypatch)
    tree(tmp_path, {"w/a.pem": CERTIFICATE, "w/b.pem": make("old", -1).pem, "other/c.pem": make("probed", 8).pem})
    async with tls_server(tmp_path, make("localhost", 99.5, authority)) as port:
        probe = {"type": "certificate", "name": "c", "path": str(tmp_path / "other/c.pem")}
        watched = {"certificates": [f"{tmp_path}/w/*.pem", f"localhost:{port}", f"{tmp_path}/gone.pem"]}
        lines = (await looked(_tools(**watched, probes=[probe]))).text.splitlines()
        assert len(lines) == 5
        assert "b.pem: EXPIRED 1.0 days ago" in "\n".join(lines)
        assert "c.pem: EXPIRES SOON: good for 8.0 days" in "\n".join(lines)
        assert f"{tmp_path}/gone.pem: there is no such file" in lines
        assert lines[-1].startswith(f"localhost:{port}: good for 99.5 days")
        one = (await looked(_tools(**watched), path_or_host=f"LOCALHOST:{port}")).text
        assert one == lines[-1]
        # A file that settings watch may be named, wherever it is.
        assert "CN=shop.lan" in (await looked(_tools(**watched), path_or_host=f"{tmp_path}/w/a.pem")).text
        with pytest.raises(Refused):
            await looked(_tools(), path_or_host=f"{tmp_path}/w/a.pem")


async def test_no_certificates_are_watched() -> None:
    assert "settings watch no certificates" in (await looked(_tools())).text


@pytest.mark.parametrize("asked", ["localhost:{}", "127.0.0.1:{}", "{}"])
async def test_a_port_on_this_host(tmp_path: Path, asked: str) -> None:
    async with tls_server(tmp_path, make("unknown", 12.5)) as port:
        text = (await looked(_tools(), path_or_host=asked.format(port))).text
    assert text.startswith(f"127.0.0.1:{port}: EXPIRES SOON: good for 12.5 days")
    assert "CN=unknown" in text


async def test_servers_elsewhere_are_not_asked() -> None:
    port = await unused_port()
    for asked in ("evil.org:443", "192.0.2.1:443", "evil.org", "a b", "localhost", "http://x/", "99999"):
        with pytest.raises(Refused):
            await looked(_tools(certificates=["shop.lan:443"]), path_or_host=asked)
    with pytest.raises(Refused, match="nothing on this host listens"):
        await looked(_tools(), path_or_host=f"localhost:{port}")


@pytest.mark.parametrize(("resolves", "said"), [("169.254.169.254", "never asked"), ("", "does not resolve")])
async def test_a_watched_name_that_leads_elsewhere(resolves: str, said: str) -> None:
    tools = _tools(resolves=resolves, certificates=["shop.lan:443"])
    assert said in (await looked(tools, path_or_host="shop.lan:443")).text
