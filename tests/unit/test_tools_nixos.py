"""NixOS: its generations, what changed on the host, and the options there are."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.core.errors import NotFound, Refused
from ai_sysadmin.sources.changes import Change, ChangesSeen
from ai_sysadmin.sources.nixos_options import NixosOptions
from ai_sysadmin.testing.changes import FakeChanges
from ai_sysadmin.tools.nixos import nixos_tools
from ai_sysadmin.tools.nixos_options import option_tools
from ai_sysadmin.tools.tool import Tool
from tests.builders import NOW
from tests.judging import FixedClock
from tests.unit.test_changes_generations import Nixos, store

DAY = timedelta(days=1)
COMMIT = "3f2a" * 10


class NoScene:
    def names(self, target: str) -> bool:
        return False


async def ask(tools: tuple[Tool, ...], name: str, **given) -> str:
    return await _asked(next(tool for tool in tools if tool.name == name), given)


async def _asked(tool: Tool, given: dict) -> str:
    told = await tool.look(tool.parsed(given).model_dump(), NoScene())
    return f"{told.text}\n{told.truncated}".rstrip("\n")


def nixos(root: Path, seen: ChangesSeen | None = None) -> tuple[Tool, ...]:
    return nixos_tools(FakeChanges(seen or ChangesSeen(changes=())), FixedClock(NOW), root)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nixos:
    host = Nixos(tmp_path / "root")
    one = host.generation(141, NOW - 9 * DAY, {"nginx": store("nginx-1.24.0")}, kernel="6.6.50")
    two = host.generation(142, NOW - DAY, {"nginx": store("nginx-1.26.1")}, kernel="6.6.52")
    version = f"cat <<EOF\n{json.dumps({'configurationRevision': COMMIT, 'nixosVersion': '24.05'})}\nEOF\n"
    host.write(f"{store('system-path', '142')}/bin/nixos-version", version)
    host.activate(142, two, NOW - DAY)
    host.boot(one, NOW - 8 * DAY)
    host.nix_store(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return host


# --- generations


async def test_generations_are_listed_and_the_newest_two_compared(host):
    text = await ask(nixos(host.root), "nixos_generations")
    newest, before, *_ = text.split("\n")
    assert newest.startswith("generation 142, made ")
    assert "CURRENT, NEXT BOOT" in newest
    assert f"configuration {COMMIT[:18]}" in newest
    assert "linux 6.6.52" in newest
    assert before.startswith("generation 141, made ")
    assert before.endswith("linux 6.6.50, BOOTED")
    assert "not the one that was booted" in text
    assert "from generation 141 to generation 142:" in text
    assert "nginx: 1.24.0 → 1.26.1" in text
    assert "kernel: linux 6.6.50 → linux 6.6.52" in text


@pytest.mark.parametrize("compare", ["141..142", "141", "booted..current", "141 to 142", "141-142"])
async def test_two_generations_are_named_in_several_ways(host, compare):
    assert "nginx: 1.24.0 → 1.26.1" in await ask(nixos(host.root), "nixos_generations", compare=compare)


async def test_the_other_way_round_is_a_rollback(host):
    text = await ask(nixos(host.root), "nixos_generations", compare="142..141")
    assert "nginx: 1.26.1 → 1.24.0" in text


@pytest.mark.parametrize(("compare", "error"), [("99..142", NotFound), ("1;ls", Refused), ("..", Refused)])
async def test_what_is_no_generation_is_said(host, compare, error):
    with pytest.raises(error, match=r"141|compare"):
        await ask(nixos(host.root), "nixos_generations", compare=compare)


async def test_a_host_without_nixos_says_what_it_is_and_what_to_ask(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    with pytest.raises(Refused, match=r"Debian GNU/Linux 12 \(bookworm\), not NixOS.*what_changed"):
        await ask(nixos(tmp_path), "nixos_generations")


async def test_what_changed_is_told_with_when_and_what_is_not_known():
    change = Change(
        at=NOW - timedelta(minutes=7),
        kind="package",
        what="nginx 1.24 → 1.26",
        details=("by apt",),
        unit_related=True,
        took_effect=False,
    )
    changes = FakeChanges(ChangesSeen(changes=(change,), gaps=("reboots: no wtmp",), left_out=3))
    tools = nixos_tools(changes, FixedClock(NOW), Path("/nowhere"))
    text = await ask(tools, "what_changed", hours=3, unit="nginx")
    assert changes.asked == [("nginx.service", NOW, timedelta(hours=3))]
    assert text.startswith("7 min ago (")
    assert "package: nginx 1.24 → 1.26 [the unit's own] [not in effect yet]\n    by apt\n" in text
    assert text.endswith("not known: reboots: no wtmp\n3 more changes")
    assert "nothing that is looked at changed" in await ask(nixos(Path("/nowhere")), "what_changed")


# --- options


OPTIONS = {
    "services.nginx.enable": {
        "declarations": ["/nix/store/abc-source/nixos/modules/services/web-servers/nginx/default.nix"],
        "default": {"_type": "literalExpression", "text": "false"},
        "description": "Whether to enable Nginx Web Server.",
        "example": {"_type": "literalExpression", "text": "true"},
        "type": "boolean",
    },
    "services.nginx.virtualHosts": {
        "declarations": [{"name": "<nixpkgs/nixos/modules/x.nix>", "url": "x"}],
        "description": {"_type": "mdDoc", "text": "Virtual\n  hosts."},
        "type": "attribute set",
    },
    "services.nginx.virtualHosts.<name>.forceSSL": {"description": "Redirect to TLS.", "type": "boolean"},
    "networking.firewall.allowedTCPPorts": {
        "description": "Ports on which TCP is accepted.",
        "type": "list",
        "default": [],
    },
    "system.nixos.release": {"description": "Release.", "type": "string", "readOnly": True},
}


@pytest.fixture
def options(tmp_path: Path) -> Path:
    path = tmp_path / "share/doc/nixos/options.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(OPTIONS, indent=1))
    return path


@pytest.mark.parametrize(
    ("query", "first", "says"),
    [
        ("services.nginx.enable", "services.nginx.enable", "type: boolean; default: false"),
        ("config.services.nginx.enable", "services.nginx.enable", "declared in nixos/modules/services/web-servers"),
        ('services.nginx.virtualHosts."a.example.org".forceSSL', "services.nginx.virtualHosts.<name>.forceSSL", "TLS"),
        ("nginx enable", "services.nginx.enable", "Whether to enable"),
        ("ALLOWEDTCP", "networking.firewall.allowedTCPPorts", "default: []"),
        ("tcp accepted", "networking.firewall.allowedTCPPorts", "Ports on which"),
        ("services.nginx.virtualHosts", "services.nginx.virtualHosts", "Virtual hosts."),
        ("system.nixos.release", "system.nixos.release (read only)", "Release"),
    ],
)
async def test_options_are_found_by_name_and_by_words(options, query, first, says):
    text = await ask(option_tools(NixosOptions(options)), "nixos_option", words=query)
    assert text.split("\n")[0] == first
    assert says in text


async def test_an_option_names_those_below_it(options):
    text = await ask(
        option_tools(NixosOptions(options.parents[3])), "nixos_option", words="services.nginx.virtualHosts"
    )
    assert "services.nginx.virtualHosts.<name>.forceSSL" in text


async def test_the_running_systems_options_are_read_once_and_again_when_they_change(tmp_path):
    root = tmp_path / "root"
    path = root / "run/current-system/sw/share/doc/nixos/options.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(OPTIONS))
    known = NixosOptions(root=root)
    assert known.options() is known.options()
    path.write_text(json.dumps({"a.b": {"type": "string"}}) + " ")
    assert list(known.options()) == ["a.b"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a"', '{"a": 1}', '{"a": {}', '{"a" {}}', '{"a": {"declarations": 3}}']
)
async def test_what_is_no_options_file_is_refused_with_the_settings_name(options, text):
    options.write_text(text)
    with pytest.raises(Refused, match=r"tools\.options_file"):
        await ask(option_tools(NixosOptions(options)), "nixos_option", words="nginx")


async def test_without_options_it_is_said_what_to_set(options):
    options.rename(f"{options}.br")
    with pytest.raises(Refused, match="brotli"):
        NixosOptions(options).options()
    with pytest.raises(Refused, match="optionsJSON"):
        NixosOptions(options.parent / "other.json").options()
    with pytest.raises(NotFound, match="fewer words"):
        options.with_suffix(".json").write_text(json.dumps(OPTIONS))
        await ask(option_tools(NixosOptions(options)), "nixos_option", words="quantum nginx")


def test_twenty_megabytes_of_options_are_parsed_within_bounds(tmp_path):
    node = OPTIONS["services.nginx.enable"] | {"description": "word " * 180}
    path = tmp_path / "options.json"
    path.write_text(json.dumps({f"services.s{n}.enable": node for n in range(18_000)}))
    assert path.stat().st_size > 20 << 20
    began = time.monotonic()
    known = NixosOptions(path).options()
    assert len(known) == 18_000
    assert max(len(each.description) for each in known.values()) <= 700
    assert time.monotonic() - began < 5


NAMES = st.text(min_size=1, max_size=20)
NODES = st.dictionaries(
    st.sampled_from(["type", "default", "example", "description"]),
    st.one_of(st.none(), st.text(max_size=50), st.integers(), st.fixed_dictionaries({"text": st.text(max_size=30)})),
)


@given(st.dictionaries(NAMES, NODES, max_size=8), st.sampled_from([None, 1]))
def test_any_object_of_options_is_read_whole(tmp_path_factory, made, indent):
    path = tmp_path_factory.mktemp("options") / "options.json"
    path.write_text(json.dumps(made, indent=indent))
    assert list(NixosOptions(path).options()) == list(made)
