"""`ai-sysadmin policy explain` against a real executor: what it says is what becomes of the same proposal."""

import asyncio

import pytest
from typer.testing import CliRunner

from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.protocol import Explained
from ai_sysadmin.cli.policy import app, explained_page
from ai_sysadmin.core.policy_settings import Override, Policy
from ai_sysadmin.core.settings import Autonomy, Executor, Settings
from ai_sysadmin.testing.fake_systemd import FakeSystemd
from tests.builders import HOST, UNIT, request
from tests.executing import serving

BECOMES = {"run": "approved", "ask": "pending", "record": "recorded", "refuse": "refused"}


@pytest.fixture
def systemd():
    fake = FakeSystemd()
    fake.add(UNIT, active="failed", result="exit-code")
    return fake


def settings_of(tmp_path, autonomy, *overrides):
    return Settings(
        host_name=HOST,
        autonomy_level=autonomy,
        runtime_dir=tmp_path / "run",
        executor=Executor(post_check_seconds=0.05, state_dir=tmp_path),
        policy=Policy(overrides=overrides),
    )


@pytest.mark.parametrize("autonomy", Autonomy)
@pytest.mark.parametrize("decision", [None, "run", "ask", "deny"])
async def test_what_is_explained_is_what_becomes_of_it(tmp_path, systemd, autonomy, decision):
    overrides = (Override(decision=decision, units=(UNIT,)),) if decision else ()
    settings = settings_of(tmp_path, autonomy, *overrides)
    wanted = request()
    async with serving(settings, systemd):
        said = await ExecutorClient(settings.operate_socket).explain(wanted.name, wanted.arguments)
        assert await ExecutorClient(settings.operate_socket).list() == ()  # nothing was proposed by asking
        facts = await ExecutorClient(settings.propose_socket).propose(wanted)
        while facts.state in {"proposed", "preparing"}:
            await asyncio.sleep(0.01)
            facts = await ExecutorClient(settings.propose_socket).show(wanted.id)
    assert said.ruling == said.levels[autonomy.value]
    assert facts.ruling == said.ruling
    if said.ruling.decision == "run":
        assert facts.state not in {"pending", "recorded", "refused"}
    else:
        assert facts.state == BECOMES[said.ruling.decision]


async def test_the_command_line_shows_it(tmp_path, systemd):
    settings = settings_of(tmp_path, Autonomy.AUTO_SAFE)
    file = tmp_path / "settings.json"
    file.write_text(settings.model_dump_json())
    wanted = ["explain", "restart_unit", f"unit={UNIT}", "--settings", str(file)]
    async with serving(settings, systemd):
        page, document = [
            await asyncio.to_thread(CliRunner().invoke, app, [*wanted, *more]) for more in ([], ["--json"])
        ]
    assert (page.exit_code, document.exit_code) == (0, 0)
    assert page.stdout == explained_page(Explained.model_validate_json(document.stdout), settings) + "\n"
    assert page.stdout.startswith(f"restart_unit {UNIT}: runs alone\n")
    assert f"    systemctl restart -- {UNIT}\n" in page.stdout
    assert "\n>  auto-safe  runs alone" in page.stdout
