"""The operator's own actions: what is declared is checked when it is read, and no argument says more than it may."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue import Catalogue
from ai_sysadmin.actions.catalogue.declared import DeclaredSeen, entries, entry_of, why_untrusted
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.declared_settings import DeclaredAction
from ai_sysadmin.core.errors import Refused, SettingsError
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.testing.host import FakeClock, FakeUnits

WHAT = {"name": "clear_cache", "description": "Clear the cache of one site.", "risk": "disruptive"}
SEEN = DeclaredSeen()


class Nobody:
    async def live(self):
        return ()


def declared(**changes) -> DeclaredAction:
    given = WHAT | {"command": ["/usr/bin/rm", "--", "/srv/{site}/cache"], "parameters": {"site": {}}} | changes
    return DeclaredAction.model_validate(given)


def argv(declaration: DeclaredAction, **arguments: str) -> tuple[str, ...]:
    action = Catalogue({declaration.name: entry_of(declaration)}).validate(declaration.name, arguments)
    return action.plan(SEEN).run.commands[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "clear_cache2"}, "pattern"),
        ({"command": ["rm", "{site}"]}, "absolute path"),
        ({"command": ["/usr/bin/../bin/rm", "{site}"]}, "absolute path"),
        ({"command": ["/usr//bin/rm", "{site}"]}, "absolute path"),
        ({"command": ["/opt/{site}"]}, "absolute path"),
        ({"command": ["/opt/my programs/rm", "{site}"]}, "such characters in its path"),
        ({"command": ["/usr/bin/rm", "a\0b", "{site}"]}, "control characters"),
        ({"command": ["/bin/sh", "-c", "true\nfalse", "x", "{site}"]}, "line ends"),
        ({"writable_paths": ["/srv/my sites"]}, "plain absolute path"),
        ({"command": ["/usr/bin/rm", "{other}", "{site}"]}, "not declared: other"),
        ({"command": ["/usr/bin/rm"]}, "does not use: site"),
        ({"post_check": ["/usr/bin/test", "{other}"]}, "post_check names parameters that are not declared"),
        ({"revert": ["touch", "{site}"]}, "revert must begin"),
        ({"command": ["/bin/sh", "-c", "rm {site}"]}, "as a part of a program"),
        ({"command": ["/bin/bash", "-ec", "{site}"]}, "as a part of a program"),
        ({"command": ["/usr/bin/python3.11", "-c", "print('{site}')"]}, "as a part of a program"),
        ({"command": ["/usr/bin/awk", "-v", "x={site}", "{ print x }"]}, "as a part of a program"),
        ({"command": ["/usr/bin/ssh", "host", "rm", "{site}"]}, "as a part of a program"),
        ({"command": ["/usr/bin/env", "X=1", "{site}"]}, "as a part of a program"),
        ({"parameters": {"site": {"pattern": "[a-z"}}}, "no regular expression"),
        ({"parameters": {"site": {"pattern": "(?=a)a"}}}, "look-around"),
        ({"parameters": {"site": {"pattern": "a)|(b"}}}, "no regular expression"),
        ({"parameters": {"site": {"pattern": "(?x)a #"}}}, "no regular expression"),
        ({"parameters": {"site": {"type": "choice"}}}, "needs choices"),
        ({"parameters": {"site": {"choices": ["a"]}}}, "needs choices"),
        ({"parameters": {"site": {"type": "choice", "choices": ["--all"]}}}, "begins with a dash"),
        ({"parameters": {"site": {"type": "integer", "minimum": -1}}}, "greater than or equal to 0"),
        ({"parameters": {"site": {"type": "integer", "minimum": 3, "maximum": 2}}}, "above maximum"),
        ({"command": ["/usr/bin/systemctl", "restart", "{site}"]}, "set `unit` to it"),
        ({"command": ["/usr/bin/systemctl", "stop", "{site}"], "unit": "x@{site}.service"}, "set `unit` to it"),
        ({"revert": ["/usr/bin/systemctl", "start", "a@{site}.service"]}, "set `unit` to it"),
        ({"unit": "web"}, "full name"),
        ({"unit": "*.service"}, "full name"),
        ({"user": "ai-sysadmin-api"}, "suite's own"),
        ({"user": "llama-review"}, "suite's own"),
        ({"user": "0"}, "pattern"),
        ({"capabilities": ["NET_ADMIN"]}, "CAP_NET_ADMIN"),
        ({"capabilities": ["CAP_EVERYTHING"]}, "capabilities\\(7\\) knows no"),
        ({"writable_paths": ["/"]}, "not all of /"),
        ({"writable_paths": ["srv"]}, "absolute path"),
        ({"writable_paths": ["//"]}, "absolute path"),
        ({"writable_paths": ["/srv/../etc"]}, "absolute path"),
        ({"writable_paths": ["/nix/store/x"]}, "ever written to"),
        ({"writable_paths": ["/var/lib/ai-sysadmin-executor"]}, "by the suite only"),
        ({"risk": "read_only", "writable_paths": ["/srv"]}, "writes nothing"),
        ({"risk": "read_only", "revert": ["/usr/bin/true"]}, "writes nothing"),
        ({"risk": "read_only", "capabilities": ["CAP_SYS_ADMIN"]}, "every level of autonomy"),
        ({"risk": "harmless"}, "risk"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_it_is_read(changes, said):
    with pytest.raises(ValidationError, match=said):
        declared(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ["/bin/sh", "-c", 'rm -- "/srv/1"', "x", "{site}"]},
        {"command": ["/usr/bin/python3", "-m", "sites", "{site}"]},
        {"command": ["/opt/clear", "--site={site}"]},
        {"unit": "site@{site}.service"},
        {"unit": "a@{site}.service", "command": ["/usr/bin/systemctl", "stop", "--", "a@{site}.service"]},
        {"risk": "read_only", "capabilities": ["CAP_DAC_READ_SEARCH"]},
        {"user": "dynamic", "network": True, "writable_paths": ["/srv/sites"]},
    ],
)
def test_what_can_be_meant_is_taken(changes):
    assert declared(**changes).name == "clear_cache"


def test_an_argument_is_put_in_as_a_whole_or_within_a_word():
    two = declared(
        command=["/opt/clear", "{site}", "--depth={depth}", "/srv/{site}/{kind}"],
        parameters={
            "site": {"pattern": ".*"},
            "depth": {"type": "integer", "maximum": 9},
            "kind": {"type": "choice", "choices": ["css", "pages and all"]},
        },
    )
    assert argv(two, site="a b; reboot", depth="007", kind="pages and all") == (
        "/opt/clear",
        "a b; reboot",
        "--depth=7",
        "/srv/a b; reboot/pages and all",
    )
    assert argv(two, site="{depth}", depth="1", kind="css")[1] == "{depth}"  # what was put in is not looked at again


@pytest.mark.parametrize(
    "site",
    ["", "-rf", "--", ".", "..", "a/../b", "../a", "a/.", "a\n", "\n", "a\0", "$HOME", "\u202ea", "\ud800", "x" * 257],
)
def test_some_texts_are_never_an_argument(site):
    anything = declared(parameters={"site": {"pattern": "(?s).*"}})
    with pytest.raises(Refused, match="clear_cache does not take site"):
        argv(anything, site=site)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ({"pattern": "[a-z]+"}, "a1"),
        ({"pattern": "[a-z]+"}, "a\n"),
        ({"pattern": "a|b"}, "ab"),
        ({"pattern": "(?m)^a$"}, "b"),
        ({"type": "integer", "minimum": 2, "maximum": 5}, "1"),
        ({"type": "integer", "minimum": 2, "maximum": 5}, "6"),
        ({"type": "integer"}, "-1"),
        ({"type": "integer"}, "1e3"),
        ({"type": "integer"}, " 1"),
        ({"type": "integer"}, "\u0661"),
        ({"type": "choice", "choices": ["a", "b"]}, "c"),
        ({"type": "choice", "choices": ["a", "b"]}, "A"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused(parameter, value):
    with pytest.raises(Refused, match="clear_cache does not take site"):
        argv(declared(parameters={"site": parameter}), site=value)


def test_a_pattern_that_takes_for_ever_elsewhere_takes_no_time():
    with pytest.raises(Refused):
        argv(declared(parameters={"site": {"pattern": "((a+)+)+b"}}), site="a" * 256)


@given(site=st.text(max_size=300), depth=st.text(max_size=20))
def test_no_argument_changes_the_number_of_words_or_becomes_an_option(site, depth):
    anything = declared(
        command=["/opt/clear", "{site}", "x{site}", "{site}{depth}", "/srv/{site}", "--depth={depth}", "{depth}"],
        parameters={"site": {"pattern": "(?s).*"}, "depth": {"type": "integer"}},
    )
    try:
        words = argv(anything, site=site, depth=depth)
    except Refused:
        return
    assert len(words) == 7
    assert [word.startswith("-") for word in words] == [False] * 5 + [True, False]
    assert words[1] == site
    assert words[4] == f"/srv/{site}"
    assert ".." not in Path(words[4]).parts
    assert not any(bad in word for word in words for bad in "\n\0$")
    assert int(words[6]) == int(depth)


@given(st.from_regex(r"[\x00-\x7f]{0,12}", fullmatch=True))
def test_no_argument_makes_a_unit_of_what_is_none(site):
    about = declared(unit="{site}.service", parameters={"site": {"pattern": "(?s).*"}})
    try:
        action = entry_of(about).model_validate({"site": site})
    except ValidationError:
        return
    assert action.subject == f"{site}.service"
    assert not set(site) & set("/* \n?[]")


def test_parameters_may_be_called_what_an_action_has_itself():
    names = ["unit", "copy", "name", "plan", "seen", "json", "model_config"]
    many = declared(command=["/opt/x", *(f"{{{each}}}" for each in names)], parameters={each: {} for each in names})
    assert argv(many, **{each: f"v{each}" for each in names})[1:] == tuple(f"v{each}" for each in names)
    with pytest.raises(Refused):
        argv(many, **{f"argument_{each}": "v" for each in names})


def test_what_is_declared_becomes_stages_in_a_sandbox_of_their_own():
    entry = entry_of(
        declared(
            unit="site@{site}.service",
            post_check=["/opt/check", "{site}"],
            revert=["/opt/back", "{site}"],
            user="dynamic",
            capabilities=["CAP_NET_ADMIN"],
            network=True,
            writable_paths=["/srv/sites"],
            timeout_seconds=7,
        )
    )
    action = entry.model_validate({"site": "shop"})
    plan = action.plan(SEEN)
    assert (action.subject, action.units) == ("site@shop.service", ("site@shop.service",))
    assert plan.checks[0].commands == (("/opt/check", "shop"),)
    assert plan.revert is not None
    assert plan.revert.commands == (("/opt/back", "shop"),)
    for stage in (plan.run, plan.checks[0], plan.revert):
        box = stage.sandbox
        assert (box.user, box.capabilities, box.writable) == ("dynamic", ("CAP_NET_ADMIN",), ("/srv/sites",))
        assert (box.network, box.seconds) == (True, 7)
        assert set(box.families) == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}
    assert entry.__doc__ == "Clear the cache of one site."
    assert action.warrant(SEEN) is None
    assert action.risk(SEEN) is Risk.DISRUPTIVE


def test_without_network_there_is_none():
    box = entry_of(declared()).model_validate({"site": "a"}).plan(SEEN).run.sandbox
    assert (box.network, box.families, box.user, box.capabilities, box.writable) == (False, ("AF_UNIX",), "", (), ())


def test_a_unit_that_failed_afterwards_is_a_shortfall():
    action = entry_of(declared(unit="site@{site}.service")).model_validate({"site": "a"})
    units = FakeUnits()
    before = DeclaredSeen(status=units.put("site@a.service", "active"))
    assert action.shortfall(before, before) is None
    assert "has failed" in (action.shortfall(before, DeclaredSeen(status=units.put("site@a.service"))) or "")


def test_a_unit_by_another_name_is_refused_since_policy_would_not_know_it():
    action = entry_of(declared(unit="{site}.service")).model_validate({"site": "alias"})
    status = FakeUnits().put("sshd.service", "active")
    assert "another name of sshd.service" in (action.obstacle(DeclaredSeen(status=status)) or "")


def test_none_runs_as_the_suite_and_none_takes_a_name_of_the_catalogue():
    settings = Settings.model_validate(
        {
            "host_name": "box",
            "executor": {"service_users": ["watcher"]},
            "actions": {"declared": [declared().model_dump()]},
        }
    )
    assert entries(settings).keys() == {"clear_cache"}
    own = settings.model_dump() | {"actions": {"declared": [declared(user="watcher").model_dump()]}}
    with pytest.raises(SettingsError, match="clear_cache runs as watcher"):
        entries(Settings.model_validate(own))
    with pytest.raises(ValueError, match="restart_unit"):
        Catalogue({"restart_unit": entry_of(declared(name="restart_unit"))})


# --- whose the programs are


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "opt").mkdir()
    tmp_path.chmod(0o755)
    program = tmp_path / "opt/clear"
    program.write_text("#!/bin/true\n")
    program.chmod(0o755)
    return tmp_path


def observed(root: Path, declaration: DeclaredAction) -> str | None:
    host = Host(Settings(host_name="box"), FakeUnits(), Nobody(), FakeClock(), root=root)
    action = entry_of(declaration).model_validate({"site": "a"})
    return action.obstacle(asyncio.run(action.observe(host)))


def clear(*words: str) -> DeclaredAction:
    return declared(command=["/opt/clear", *words, "{site}"])


def test_a_program_of_roots_own_runs(root):
    assert observed(root, clear()) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "opt/clear").unlink(), "cannot be looked at"),
        (lambda root: (root / "opt/clear").chmod(0o644), "not executable"),
        (lambda root: (root / "opt/clear").chmod(0o757), "everybody may write"),
        (lambda root: (root / "opt").chmod(0o777), "everybody may write"),
        (lambda root: (root / "opt").chmod(0o1777), "everybody may write"),
        (lambda root: root.chmod(0o777), "everybody may write"),
        (lambda root: ((root / "opt/clear").unlink(), (root / "opt/clear").mkdir()), "no file"),
        (lambda root: ((root / "opt/clear").unlink(), (root / "opt/clear").symlink_to("clear")), "circle"),
        (
            lambda root: ((root / "opt/clear").unlink(), (root / "opt/clear").symlink_to("/tmp/x")),
            "cannot be looked at",
        ),
    ],
)
def test_a_program_that_another_could_change_does_not_run(root, change, said):
    change(root)
    assert said in (observed(root, clear()) or "")


def test_links_are_followed_and_every_step_is_looked_at(root):
    (root / "opt/clear").rename(root / "opt/clear-1")
    (root / "usr/store").mkdir(parents=True)
    (root / "usr/link").symlink_to("../opt")
    (root / "opt/clear").symlink_to("/usr/link/clear-1")
    assert observed(root, clear()) is None
    (root / "usr").chmod(0o777)
    assert "everybody may write /usr" in (observed(root, clear()) or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("place", ["", "opt", "opt/clear"])
def test_what_is_another_users_or_groups_does_not_run(root, place):
    os.chown(root / place, 4242, 0)
    assert "belongs to the user id 4242" in (observed(root, clear()) or "")
    os.chown(root / place, 0, 4242)
    (root / place).chmod(0o775)
    assert "group id 4242 may write" in (observed(root, clear()) or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_directory_like_the_nix_store_is_roots_own(root):
    os.chown(root / "opt", 0, 4242)
    (root / "opt").chmod(0o1775)
    assert observed(root, clear()) is None


def test_the_script_that_an_interpreter_runs_counts_too(root):
    (root / "bin").mkdir()
    (root / "opt/clear").rename(root / "bin/python3")
    script = root / "opt/script.py"
    script.write_text("")
    run = declared(command=["/bin/python3", "/opt/script.py", "{site}"])
    assert observed(root, run) is None
    script.chmod(0o666)
    assert "/bin/python3 would run it" in (observed(root, run) or "")


def test_what_checks_and_takes_back_counts_too(root):
    assert "post_check: /opt/check" in (
        observed(root, declared(command=["/opt/clear", "{site}"], post_check=["/opt/check"])) or ""
    )


def test_a_link_that_leads_above_the_root_stays_below_it(root):
    (root / "opt/up").symlink_to("../../../../opt/clear")
    assert why_untrusted("/opt/up", root) is None
