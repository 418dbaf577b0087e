"""All tools of a host together: few enough to choose among, described briefly, each with a schema a decoder keeps."""

from pathlib import Path

import pytest

from ai_sysadmin.context.knowledge.retrieval import Retrieval
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import Refused, SettingsError
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend.structured import schema_of
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.sources.coredumps import SystemCoreDumps
from ai_sysadmin.sources.journal import SystemJournal
from ai_sysadmin.sources.unit_lists import SystemdUnitLists
from ai_sysadmin.sources.units import SystemdUnits
from ai_sysadmin.stores.relational import SqlStores, open_stores
from ai_sysadmin.testing.changes import FakeChanges
from ai_sysadmin.tools.host_tools import HostSources, files_of, host_tools
from ai_sysadmin.tools.toolbox import Toolbox
from tests.builders import HOST

MOST_TOOLS = 20
MOST_CHARACTERS = 4500


@pytest.fixture
async def sources(tmp_path: Path):
    async with open_stores(tmp_path / "state.db", HOST) as stores:
        yield sources_of(stores)


def sources_of(stores: SqlStores) -> HostSources:
    bus = SystemBus()
    return HostSources(
        units=SystemdUnits(bus),
        lists=SystemdUnitLists(bus),
        journal=SystemJournal(),
        dumps=SystemCoreDumps(),
        metrics=stores.metrics,
        reader=stores.reader,
        search=Retrieval(stores.knowledge, None, None, minimum_similarity=0.2),
        documents=stores.knowledge,
        changes=FakeChanges(),
        clock=SystemClock(),
    )


def settings(tools: dict | None = None, **changes) -> Settings:
    return Settings.model_validate({"tools": tools or {}} | changes)


async def test_a_small_model_can_choose_among_them(sources, tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/NIXOS").touch()
    tools = host_tools(sources, settings(), tmp_path)
    names = [tool.name for tool in tools]
    assert len(set(names)) == len(names) <= MOST_TOOLS
    box = Toolbox(tools, Redactor(), Settings().tools)
    assert list(box.tools) == [*names, "more"]
    assert len(box.described()) < MOST_CHARACTERS
    assert names == [tool.name for tool in host_tools(sources, settings())]


async def test_each_has_a_flat_bounded_schema_and_says_what_it_does(sources):
    for tool in host_tools(sources, settings()):
        schema = schema_of(tool.arguments)
        assert len(schema["properties"]) <= 4, tool.name
        assert "anyOf" not in str(schema), tool.name
        assert 20 < len(tool.purpose) <= 120, tool.name
        required = [name for name, field in tool.arguments.model_fields.items() if field.is_required()]
        given = {name: _least(schema["properties"][name]) for name in required}
        assert tool.title(tool.parsed(given)), tool.name


def _least(field: dict) -> object:
    return field["enum"][0] if "enum" in field else field.get("minimum", "aa")


async def test_what_is_declared_comes_last_and_may_not_take_a_name(sources):
    own = {"name": "pool", "description": "Tells the pool.", "argv": ["/bin/true"]}
    assert host_tools(sources, settings({"declared": [own]}))[-1].name == "pool"
    with pytest.raises(SettingsError, match="'read_file'"):
        own_named = host_tools(sources, settings({"declared": [own | {"name": "read_file"}]}))
        Toolbox(own_named, Redactor(), Settings().tools)


def box_of(sources: HostSources, given: Settings, root: Path) -> Toolbox:
    return Toolbox(host_tools(sources, given, root), Redactor(), given.tools)


async def test_what_can_tell_nothing_on_a_host_is_not_offered_and_says_why(sources, tmp_path):
    of_nixos = {"nixos_generations", "nixos_option", "nixos_configuration"}
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('PRETTY_NAME="Debian 12"\n')
    debian = box_of(sources, settings({"off": ["nixos_option"]}), tmp_path)
    assert not of_nixos & set(debian.tools)
    with pytest.raises(Refused, match="nixos_generations is of no use here: this host runs Debian 12, not NixOS"):
        debian.open().call("nixos_generations", {})
    named = {"tools": {"options_file": "/srv/options.json"}, "knowledge": {"configuration_repository": "/srv/nixos"}}
    assert of_nixos - set(box_of(sources, Settings.model_validate(named), tmp_path).tools) == {"nixos_generations"}
    (tmp_path / "etc/NIXOS").touch()
    assert of_nixos < set(box_of(sources, settings(), tmp_path).tools)


@pytest.mark.parametrize(
    "path",
    [
        "/srv/state/ai-sysadmin.db-wal",
        "/srv/state/x/y",
        "/srv/key",
        "/srv/ingest",
        "/srv/jwt",
        "/srv/backend",
        "/srv/executor/a",
    ],
)
def test_the_suites_own_files_are_never_read(tmp_path, path):
    place = tmp_path / path[1:]
    place.parent.mkdir(parents=True)
    place.write_text("hunter2")
    given = {
        "tools": {"files": ["/srv/**"]},
        "state_dir": "/srv/state",
        "executor": {"state_dir": "/srv/executor"},
        "api": {"key_file": "/srv/key", "ingest_key_file": "/srv/ingest"},
        "policy": {"identity_secret_file": "/srv/jwt"},
        "backends": {"meta": {"url": "http://127.0.0.1:8082", "api_key_file": "/srv/backend"}},
    }
    with pytest.raises(Refused, match="excluded"), files_of(Settings.model_validate(given), tmp_path).opened(path):
        pass
