"""Changes of the configuration as the executor sees them: what it takes, has built, and believes of that."""

import json
from pathlib import Path

import pytest

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.configuration import ApplyConfiguration
from ai_sysadmin.actions.catalogue.drafts import DraftConfiguration
from ai_sysadmin.actions.ladder import PROGRAMS
from ai_sysadmin.actions.nixos.literals import nix, scalar
from ai_sysadmin.actions.nixos.results import Built, Rehearsed, as_line
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.action_settings import NixosChanges
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.executor.sandbox import properties
from tests.acting import host_at

RUNNING, BUILT, OTHER = (f"/nix/store/{digit * 32}-nixos-system-h-26.05" for digit in "012")
OPTION = "services.nginx.clientMaxBodySize"
NIXOS = {
    "repository": "/etc/nixos",
    "attribute": "h",
    "options": [
        {"option": OPTION, "type": "text", "pattern": "[0-9]+[km]", "units": ["nginx.service"]},
        {"option": "services.nginx.enable", "type": "boolean"},
    ],
}
COMMIT = "a" * 40


def system(root: Path, store_path: str, **units: str) -> None:
    place = root / store_path.lstrip("/")
    for name in ("bin/switch-to-configuration", *(f"sw/bin/{program}" for program in PROGRAMS)):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("")
    (place / "init-interface-version").write_text("systemd 2\n")
    (place / "etc/systemd/system").mkdir(parents=True)
    for name, text in units.items():
        (place / "etc/systemd/system" / f"{name}.service").write_text(text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A NixOS host whose one generation runs, with another system built."""
    system(tmp_path, RUNNING, nginx="[Service]\nExecStart=/a\n")
    system(tmp_path, BUILT, nginx="[Service]\nExecStart=/b\n")
    profiles = tmp_path / "nix/var/nix/profiles"
    profiles.mkdir(parents=True)
    (profiles / "system-1-link").symlink_to(RUNNING)
    (profiles / "system").symlink_to("system-1-link")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/current-system").symlink_to(RUNNING)
    found = host_at(tmp_path, {"nixos": NIXOS})
    found.units.put("nginx.service", "failed")
    return found


def asked(host: Host, **more: str) -> ApplyConfiguration:
    given = {"option": OPTION, "value": '"50m"', "incident": "k7m3x9", **more}
    return ApplyConfiguration.model_validate(given).settle(host.settings)


def built(**more: object) -> str:
    record = Built(
        **{
            "store_path": BUILT,
            "running": RUNNING,
            "alone": True,
            "branch": "ai-sysadmin/k7m3x9",
            "commit": COMMIT,
            "option": OPTION,
            "literal": '"50m"',
            **more,
        }
    )
    return "some progress\n" + as_line(record) + "\n"


def rehearsed(**more: object) -> str:
    return as_line(Rehearsed(**{"store_path": BUILT, "running": RUNNING, "restart": ("nginx.service",), **more}))


def bound(host: Host, first: str = "", second: str = "", **more: str) -> ApplyConfiguration:
    return asked(host, **more).bind((first or built(), second or rehearsed()))


# --- what it takes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"option": "services.nginx.virtualHosts"}, "not on the list"),
        ({"option": f"{OPTION}; boot.x"}, "not on the list"),
        ({"value": "50m"}, "no JSON"),
        ({"value": "50"}, "takes a text"),
        ({"value": '"50m; evil"'}, "takes what matches"),
        ({"value": '"${x}"'}, "takes what matches"),
        ({"option": "services.nginx.enable", "value": '"true"'}, "takes a boolean"),
    ],
)
def test_what_is_not_allowed_is_refused_before_anything_is_built(host, given, said):
    assert said in (asked(host, **given).refuse(host.settings) or "")


def test_what_is_allowed_is_taken(host):
    assert asked(host).refuse(host.settings) is None
    assert asked(host, option="services.nginx.enable", value="true").refuse(host.settings) is None


def test_without_a_repository_nothing_is_ever_built(tmp_path):
    bare = host_at(tmp_path)
    for action in (asked(bare), drafted(bare)):
        assert "repository is not set" in (action.refuse(bare.settings) or "")


@pytest.mark.parametrize(
    "arguments",
    [
        {"option": OPTION},
        {"option": OPTION, "value": '"1m"', "incident": "../x"},
        {"option": OPTION, "value": '"1m"', "incident": "UPPER"},
        {"option": OPTION, "value": '"1m"', "build_user": "root"},
        {"option": OPTION, "value": '"1m"', "_built": "x"},
        {"option": OPTION, "value": "1" * 5000},
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValueError, match="ApplyConfiguration"):
        ApplyConfiguration.model_validate(arguments)


@pytest.mark.parametrize(
    "settings", [{"build_user": "root"}, {"changes_file": ".git/config"}, {"changes_file": "../x"}, {"repository": "a"}]
)
def test_settings_that_would_let_it_out_are_no_settings(settings):
    with pytest.raises(ValueError, match="NixosChanges"):
        NixosChanges.model_validate(settings)


# --- how it is built


def test_it_is_built_by_a_user_without_rights_in_one_directory(host):
    stage = asked(host).preparation(())
    assert stage is not None
    assert (stage.name, stage.sandbox.user, stage.sandbox.capabilities) == ("build", "ai-sysadmin-build", ())
    assert stage.sandbox.writable == ("/var/lib/ai-sysadmin-build",)
    (argv,) = stage.commands
    assert argv[:3] == ("ai-sysadmin", "build-configuration", "apply")
    assert {"--repository=/etc/nixos", "--attribute=h", "--incident=k7m3x9"} <= set(argv)
    assert argv[-3:-1] == (f"--option={OPTION}", '--value="50m"')


def test_a_value_reaches_the_command_line_as_one_line(host):
    argv = asked(host, value='\n "a\\nb\u2028" ').preparation(()).commands[0]
    assert '--value="a\\nb\\u2028"' in argv


@pytest.mark.parametrize("value", ['"50m"', '"$(reboot); ${x}%n"', "-5", '"--impure"'])
def test_the_executor_can_make_units_of_its_stages(host, value):
    action = asked(host, value=value)
    literal = nix(scalar(value))
    draft = drafted(host).plan(drafted(host).seen())
    for stage in (action.preparation(()), action.preparation((built(literal=literal),)), draft.run):
        assert properties(stage, ["/usr/bin/ai-sysadmin"], {}, 90)


def test_what_was_built_is_rehearsed_by_root_without_any_right(host):
    stage = asked(host).preparation((built(),))
    assert stage.commands == (("ai-sysadmin", "build-configuration", "rehearse", BUILT),)
    assert (stage.sandbox.user, stage.sandbox.capabilities, stage.sandbox.network) == ("", (), False)
    assert asked(host).preparation((built(), rehearsed())) is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no JSON",
        built().replace(BUILT, "/nix/store/../../tmp/evil"),
        built().replace(BUILT, f"/nix/store/{'1' * 32}-nginx"),
        built().replace(BUILT, f"{BUILT}/../x"),
        built(option="services.nginx.enable"),
        built(literal='"51m"'),
        built(branch="ai-sysadmin/other"),
        built() + "\na line of somebody else",
        built().replace('"alone": true', '"alone": "perhaps"'),
        built().replace('"alone"', '"more": 1, "alone"'),
    ],
)
def test_what_is_not_what_was_asked_for_is_not_believed(host, said):
    with pytest.raises(Refused):
        asked(host).bind((said,))
    with pytest.raises(Refused):
        asked(host).preparation((said,))


def test_a_rehearsal_of_something_else_is_not_believed(host):
    for other in ({"store_path": OTHER}, {"running": OTHER}):
        with pytest.raises(Refused, match="proposed again"):
            bound(host, second=rehearsed(**other))
    with pytest.raises(Refused):
        bound(host, second=rehearsed().replace("nginx.service", "nginx.service; rm"))


# --- what the executor sees


async def test_a_broken_unit_that_the_option_is_about_warrants_it(host):
    action = bound(host)
    seen = await action.observe(host)
    assert action.obstacle(seen) is None
    assert "nginx.service has failed" in (action.warrant(seen) or "")
    assert action.risk(seen) is Risk.DISRUPTIVE
    assert action.seen.model_validate_json(seen.model_dump_json()) == seen


async def test_a_healthy_unit_warrants_nothing(host):
    host.units.put("nginx.service", "active")
    action = bound(host)
    assert action.warrant(await action.observe(host)) is None


async def test_what_brings_more_than_the_change_is_for_a_person(host):
    action = bound(host, built(alone=False))
    seen = await action.observe(host)
    assert action.warrant(seen) is None
    assert "MORE THAN THIS" in dict(action.plan(seen).facts)["changes also"]


async def test_what_was_built_for_another_system_is_not_activated(host):
    action = bound(host)
    (host.root / "run/current-system").unlink()
    (host.root / "run/current-system").symlink_to(BUILT)
    assert "proposed again" in (action.obstacle(await action.observe(host)) or "")


async def test_a_system_that_is_gone_is_not_activated(host):
    action = bound(host)
    (host.root / BUILT.lstrip("/") / "bin/switch-to-configuration").unlink()
    assert action.obstacle(await action.observe(host))


def test_all_units_that_it_touches_are_told_to_the_policy(host):
    action = bound(host, second=rehearsed(restart=("sshd.service",), stop=("old.service",), start=("init.scope",)))
    assert set(action.units) == {"nixos-system", "nginx.service", "sshd.service", "old.service", "init.scope"}
    assert action.subject == "nixos-system"


async def test_a_person_decides_by_what_was_built(host):
    more = rehearsed(closure=("nginx: 1.26 → 1.27",), left_alone=("gdm.service",), closure_more=3)
    action = bound(host, built(carried=("services.a.b",), type="string"), more)
    plan = action.plan(await action.observe(host))
    facts = dict(plan.facts)
    assert facts["change"] == f'{OPTION} = "50m"'
    assert facts["would restart"] == "nginx.service"
    assert facts["packages that differ"] == "nginx: 1.26 → 1.27\nand 3 more"
    assert facts["built"] == BUILT
    assert facts["kept as it runs"] == "services.a.b"
    assert BUILT in str(plan.run.commands)
    assert BUILT in str(plan.confirm)
    assert RUNNING in str(plan.revert)


async def test_its_units_have_to_hold_afterwards(host):
    action = bound(host)
    before = await action.observe(host)
    (host.root / "run/current-system").unlink()
    (host.root / "run/current-system").symlink_to(BUILT)
    assert "nginx.service" in (action.shortfall(before, await action.observe(host)) or "")
    host.units.put("nginx.service", "active", invocation="b" * 32)
    now = await action.observe(host)
    assert action.shortfall(before, now) is None
    host.units.put("nginx.service", "active", invocation="c" * 32)
    assert "within the check" in (action.disturbed(now, await action.observe(host)) or "")


async def test_a_model_cannot_colour_what_a_person_reads(host):
    action = bound(host, built(type="\x1b[31mred\nline"), rehearsed(closure=("a\x1b[2J\u202eb",)))
    facts = dict(action.plan(await action.observe(host)).facts)
    assert facts["type"] == "red line"
    assert facts["packages that differ"] == "ab"


# --- drafts

DIFF = "--- a/x.nix\n+++ b/x.nix\n@@ -1 +1 @@\n-{ }\n+{ a = 1; }\n"


def drafted(host: Host, **more: str) -> DraftConfiguration:
    given = {"diff": DIFF, "title": "Set a", "incident": "k7m3x9", **more}
    return DraftConfiguration.model_validate(given).settle(host.settings)


async def test_a_draft_changes_nothing_of_the_host_and_carries_nothing_out(host):
    action = drafted(host)
    seen = await action.observe(host)
    plan = action.plan(seen)
    assert action.risk(seen) is Risk.READ_ONLY
    assert (plan.run.sandbox.network, plan.run.sandbox.families) == (False, ("AF_UNIX",))
    assert plan.run.sandbox.user == "ai-sysadmin-build"
    assert (plan.confirm, plan.revert) == (None, None)
    assert json.loads(plan.run.input)["diff"] == DIFF
    assert "a = 1" not in str(plan.run.commands)


async def test_a_draft_is_pushed_only_where_that_is_configured(tmp_path):
    pushing = host_at(tmp_path, {"nixos": {**NIXOS, "push_remote": "forge"}})
    action = drafted(pushing)
    plan = action.plan(await action.observe(pushing))
    assert plan.confirm is not None
    assert plan.confirm.commands[0][2:4] == ("push", "--repository=/etc/nixos")
    assert plan.confirm.commands[0][-1] == action.branch
    assert not plan.confirm.input


@pytest.mark.parametrize("diff", ["nothing that is a diff", DIFF + "\x1b[2J", DIFF + "GIT binary patch\n"])
def test_what_is_no_plain_diff_is_refused_at_once(host, diff):
    assert drafted(host, diff=diff).refuse(host.settings)
    assert drafted(host).refuse(host.settings) is None


def test_the_largest_draft_fits_into_what_a_stage_reads(host):
    worst = DIFF + '"\\\n' * ((12 << 10) // 3 - len(DIFF))
    action = drafted(host, diff=worst, why="\x1f" * 1000)
    assert action.refuse(host.settings) is None
    assert action.plan(action.seen()).run.input
