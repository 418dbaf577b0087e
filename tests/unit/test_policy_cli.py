"""`ai-sysadmin policy`: the table as people read it, and what would become of an action."""

import json
import socketserver
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import typer

from ai_sysadmin.actions.policy import Question, levels
from ai_sysadmin.actions.protocol import FRAME, Answer, Explain, Explained
from ai_sysadmin.cli.main import main
from ai_sysadmin.cli.plan_page import plan_lines, sandbox_words
from ai_sysadmin.cli.policy import arguments_of, explained_page
from ai_sysadmin.core.acting import Plan, Risk, Sandbox, Stage
from ai_sysadmin.core.policy_settings import Override, Policy
from ai_sysadmin.core.settings import Settings

RESTART = Stage(name="run", commands=(("systemctl", "reset-failed", "--", "web.service"), ("systemctl", "restart")))
PLAN = Plan(
    does="restarts web.service",
    run=RESTART,
    precondition="web.service is failed (failed)",
    post_check="web.service is active and stays so",
    undo="sudo systemctl stop -- web.service",
)


def explained(policy=Policy(), own="suggest", **changes):  # noqa: B008
    asked = Question("restart_unit", ("web.service",), "box", Risk.REVERSIBLE, True, datetime(2026, 11, 20, tzinfo=UTC))
    rulings = levels(asked, policy)
    values = {
        "name": "restart_unit",
        "arguments": {"unit": "web.service"},
        "subject": "web.service",
        "ruling": rulings[own],
        "levels": rulings,
        "warrant": "web.service has failed (exit-code)",
        "plan": PLAN,
    }
    return Explained(**(values | changes))


@contextmanager
def executor(path, answer):
    """Answer every frame on a socket; give the list of frames that came."""
    came = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            came.append(FRAME.validate_json(self.rfile.readline()))
            self.wfile.write(answer.model_dump_json().encode() + b"\n")

    path.parent.mkdir(parents=True, exist_ok=True)
    with socketserver.UnixStreamServer(str(path), Handler) as server:
        running = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        running.start()
        try:
            yield came
        finally:
            server.shutdown()
            running.join()


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Run the command line; return its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ai-sysadmin", "--state-dir", str(tmp_path), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_explain_asks_the_executor_and_shows_its_answer(cli, tmp_path):
    with executor(tmp_path / "run" / "operate.sock", Answer(explained=explained())) as came:
        code, out, _ = cli("policy", "explain", "restart_unit", "unit=web.service")
        as_json = cli("policy", "explain", "restart_unit", "web.service", "--origin", "chat", "--json")
    assert code == 0
    assert out.startswith("restart_unit web.service: asks a person\n")
    asked = {"name": "restart_unit", "arguments": {"unit": "web.service"}}
    assert came == [Explain(**asked), Explain(**asked, origin="chat")]
    assert Explained.model_validate(json.loads(as_json[1])) == explained()


def test_without_an_executor_nothing_is_explained(cli):
    code, out, err = cli("policy", "explain", "restart_unit", "unit=web.service")
    assert (code, out) == (4, "")
    assert err.startswith("ai-sysadmin: the executor does not answer")
    code, out, _ = cli("policy", "explain", "restart_unit", "unit=web.service", "--json")
    assert (code, json.loads(out)["error"]["kind"]) == (4, "ExecutorUnavailable")


def test_what_the_catalogue_does_not_take_is_refused(cli, tmp_path):
    with executor(tmp_path / "run" / "operate.sock", Answer(error="refused", message="the catalogue has no action x")):
        code, _, err = cli("policy", "explain", "x")
    assert (code, err) == (3, "ai-sysadmin: the catalogue has no action x\n")
    assert cli("policy", "explain", "rm -rf")[0] == 3
    assert cli("policy", "explain", "restart_unit", "unit=a.service", "unit=b.service")[0] == 2


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["unit=web.service"], {"unit": "web.service"}),
        (["web.service"], {"unit": "web.service"}),
        (["unit=a=b"], {"unit": "a=b"}),
        (["/srv/a=b"], {"unit": "/srv/a=b"}),
        (["depth=3", "web.service"], {"depth": "3", "unit": "web.service"}),
        (["unit="], {"unit": ""}),
    ],
)
def test_arguments_are_keys_and_values_or_values_in_order(words, given):
    assert arguments_of("restart_unit", words) == given


@pytest.mark.parametrize(
    ("action", "words"),
    [("restart_unit", ["a.service", "b.service"]), ("of_ones_own", ["x"]), ("of_ones_own", ["a=1", "a=2"])],
)
def test_other_arguments_are_a_usage_error(action, words):
    with pytest.raises(typer.BadParameter, match="write KEY=VALUE"):
        arguments_of(action, words)


def test_the_page_says_what_each_level_would_do_and_which_line_decides():
    denies = Policy(overrides=(Override(decision="run", units=("web*",)),))
    page = explained_page(explained(denies, own="auto-safe", autonomy="auto-safe"), Settings())
    assert page.startswith("restart_unit web.service: runs alone\n")
    assert "  need      web.service has failed (exit-code)" in page
    assert "  line      policy.overrides[0]" in page
    assert "\n   observe    only recorded  autonomy_level = observe × reversible\n" in page
    assert "\n   suggest    runs alone     policy.overrides[0]\n" in page
    assert "\n>  auto-safe  runs alone     policy.overrides[0]\n" in page
    assert "    systemctl reset-failed -- web.service\n    systemctl restart\n" in page
    assert "  must hold web.service is active and stays so, for 10 s" in page
    assert "  by hand   sudo systemctl stop -- web.service" in page


def test_the_page_says_what_stands_in_the_way():
    stopped = explained(obstacle="web.service is masked", hold="ada edits it", breaker="3 times", warrant="")
    page = explained_page(stopped, Settings())
    assert "\n>  suggest " in page  # the settings' own level, where the executor does not say
    for line in ("  need      the executor itself sees none", "  obstacle  web.service is masked"):
        assert line in page
    assert "  at work   ada edits it" in page
    assert "  breaker   3 times" in page


def test_what_is_built_first_has_no_plan_yet():
    page = explained_page(explained(plan=None, built_first=True, warrant=""), Settings())
    assert "has to be built before it can be shown" in page
    assert "WHAT WOULD RUN" not in page
    assert "need" not in page


def test_a_whole_plan_is_told_in_order():
    whole = PLAN.model_copy(
        update={
            "checks": (
                Stage(name="probe", commands=(("curl", "a b"),), sandbox=Sandbox(user="dynamic", network=True)),
            ),
            "confirm": Stage(name="confirm", commands=(("switch",),)),
            "revert": Stage(name="revert", commands=(("back",),)),
            "hold_seconds": 60,
            "facts": (("What differs", "nginx 1.26 → 1.28\x1b[31m"),),
        }
    )
    lines = plan_lines(whole, 10)
    told = [line.strip() for line in lines]
    order = ("systemctl restart", "curl 'a b'", "switch", "back", "WHAT DIFFERS", "nginx 1.26 → 1.28")
    assert sorted(order, key=told.index) == list(order)
    assert "for 60 s" in " ".join(told)
    assert all(len(line) <= 80 for line in lines)


def test_a_sandbox_is_told_in_words():
    assert sandbox_words(Sandbox()) == ("as root; without capabilities; writes nowhere; no network; sockets AF_UNIX")
    wide = Sandbox(
        user="dynamic",
        capabilities=("CAP_NET_ADMIN",),
        writable=("/srv",),
        devices=("/dev/sda r",),
        families=("AF_UNIX", "AF_NETLINK"),
        network=True,
        sees_home=True,
        sees_processes=True,
        own_mounts=False,
        kernel_logs=True,
        executes_memory=True,
        environment=("HOME=/srv",),
        working_directory="/srv",
        seconds=5,
    )
    assert sandbox_words(wide) == (
        "as a user of its own; with CAP_NET_ADMIN; writes /srv; on the host's network; sockets AF_UNIX, AF_NETLINK;"
        " devices /dev/sda r; sees home directories; sees other users' processes; in the host's own mounts;"
        " reads the kernel's log; may make memory executable; environment HOME=/srv; in /srv; at most 5 s"
    )


POLICY = """
autonomy_level = "auto-safe"

[policy]
further_protected_units = ["shop*"]

[[policy.overrides]]
decision = "deny"
actions = ["restart_unit"]
units = ["nginx"]
hosts = ["web-*"]
days = ["fri"]
hours = "22:00-06:00"
why = "The deployment restarts it."

[[policy.overrides]]
decision = "run"
actions = ["of_ones_own"]
units = ["sshd.service"]

[[actions.declared]]
name = "of_ones_own"
description = "flush the cache of the shop"
command = ["/bin/true"]
risk = "reversible"
"""


@pytest.mark.parametrize("command", [("policy",), ("policy", "show")])
def test_show_tells_the_policy_of_these_settings(cli, tmp_path, command):
    (tmp_path / "settings.toml").write_text(POLICY)
    code, out, _ = cli(*command, "--settings", str(tmp_path / "settings.toml"))
    assert code == 0
    assert "\n>  auto-safe  runs alone  runs alone     asks a person  asks a person\n" in out
    assert "[0] deny  restart_unit on nginx at web-*; fri; 22:00-06:00. The deployment\n" in out
    assert "shop*" in out.partition("PROTECTED UNITS")[2]
    assert "! policy.overrides[1] says run for sshd.service: protected" in out
    assert "no action of the catalogue" not in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_show_as_json_holds_the_whole_policy(cli, tmp_path):
    (tmp_path / "settings.toml").write_text(POLICY)
    code, out, _ = cli("policy", "show", "--json", "--settings", str(tmp_path / "settings.toml"))
    said = json.loads(out)
    assert (code, said["autonomy_level"]) == (0, "auto-safe")
    assert said["table"]["auto-full"] == {
        "read_only": "run",
        "reversible": "run",
        "disruptive": "run",
        "destructive": "ask",
    }
    assert said["overrides"][0]["hours"] == "22:00-06:00"
    assert {"sshd*", "shop*"} <= set(said["protected_units"])


def test_a_policy_that_cannot_be_meant_is_exit_78(cli, tmp_path):
    (tmp_path / "settings.toml").write_text('[[policy.overrides]]\ndecision = "deny"\nactions = ["restart-unit"]\n')
    code, _, err = cli("policy", "show", "--settings", str(tmp_path / "settings.toml"))
    assert code == 78
    assert "policy.overrides.0.actions.0 = 'restart-unit': can match no action" in err
