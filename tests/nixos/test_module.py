"""What module.nix declares, for the options a person writes."""

import json
import re
from pathlib import Path

import pytest

from ai_sysadmin.core.settings import Autonomy, Settings
from ai_sysadmin.executor import polkit
from ai_sysadmin.runtime import settings_file
from tests.nixos.evaluate import EvaluationFailed, System, evaluate

SERVICES = ("trigger-monitor", "review-model", "meta-model", "api", "executor")
LAYERS = ("trigger", "review", "meta", "embedding")
SETTINGS = "ai-sysadmin/settings.json"


def load(system: System, directory: Path) -> Settings:
    """Read the generated settings as the services do, once the program accepts the file."""
    path = directory / "settings.json"
    path.write_text(system.etc[SETTINGS])
    settings_file.load(path)
    # below /etc nothing is moved to a directory of the user who runs this
    return Settings.model_validate_json(system.etc[SETTINGS])


def test_one_line_is_enough():
    system = evaluate(enable=True)
    assert {f"ai-sysadmin-{name}.service" for name in SERVICES} <= set(system.units)
    assert not system.failedAssertions
    assert not system.warnings
    assert not any(name.startswith("llama-") for name in system.units), "no model file was named"


def test_disabled_means_nothing_at_all():
    system = evaluate(enable=False)
    assert (system.units, system.etc, system.users, system.groups, system.tmpfiles) == ({}, {}, {}, [], [])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"autonomyLevel": "auto-everything"}, "services.ai-sysadmin.autonomyLevel'.*auto-full.*auto-everything"),
        ({"operators": "alice"}, "services.ai-sysadmin.operators'.*list"),
        ({"autonomylevel": "suggest"}, "services.ai-sysadmin.autonomylevel' does not exist"),
        ({"llama-cpp": {"models": {"review": {"port": 70000}}}}, "models.review.port'.*port"),
        ({"llama-cpp": {"models": {"reveiw": {}}}}, "models.reveiw' does not exist"),
    ],
)
def test_a_mistake_is_an_error_that_names_it(options, said):
    with pytest.raises(EvaluationFailed) as failed:
        evaluate(enable=True, **options)
    assert re.search(said, str(failed.value), re.DOTALL)


def test_every_autonomy_level_of_the_program_and_no_other():
    module = (Path(__file__).parents[2] / "module.nix").read_text()
    declared = re.search(r"autonomyLevel = .*?enum \[(.*?)\]", module, re.DOTALL)
    assert declared
    assert set(re.findall(r'"([\w-]+)"', declared.group(1))) == set(Autonomy)


def test_the_generated_settings_are_the_programs_own(tmp_path):
    assert load(evaluate(enable=True), tmp_path) == Settings()


def test_options_reach_the_settings(tmp_path):
    system = evaluate(
        enable=True,
        aiName="Jarvis",
        autonomyLevel="auto-safe",
        operators=["alice"],
        settings={"trigger_monitor": {"history_hours": 48}, "api": {"port": 9083}},
        **{"llama-cpp": {"models": {"review": {"port": 9081}}}},
    )
    settings = load(system, tmp_path)
    assert (settings.ai_name, settings.autonomy_level, settings.operators) == ("Jarvis", "auto-safe", ("alice",))
    assert (settings.trigger_monitor.history_hours, settings.api.port) == (48, 9083)
    assert settings.backends.review.url == "http://127.0.0.1:9081"


def test_settings_win_over_the_options_beside_them(tmp_path):
    system = evaluate(enable=True, autonomyLevel="suggest", settings={"autonomy_level": "observe"})
    assert load(system, tmp_path).autonomy_level is Autonomy.OBSERVE


def test_the_build_checks_the_settings_that_are_installed():
    (check,) = evaluate(enable=True).checks
    assert re.search(r"/bin/ai-sysadmin config check --settings /nix/store/\S+-settings.json", check)


@pytest.mark.parametrize("name", ["state_dir", "runtime_dir"])
def test_directories_that_the_units_give_cannot_be_moved_by_settings(name):
    (said,) = evaluate(enable=True, settings={name: "/elsewhere"}).failedAssertions
    assert name in said


def test_the_suites_own_users_are_no_operators():
    (said,) = evaluate(enable=True, operators=["ai-sysadmin-api"]).failedAssertions
    assert "operators" in said


def test_no_name_derives_from_the_display_name():
    plain, named = evaluate(enable=True), evaluate(enable=True, aiName="Jarvis")
    assert (plain.units.keys(), plain.users, plain.tmpfiles) == (named.units.keys(), named.users, named.tmpfiles)
    assert plain.units["ai-sysadmin-api.service"] == named.units["ai-sysadmin-api.service"]


def test_the_users_are_those_that_the_executor_never_takes_for_operators(suite):
    assert set(suite.users) == set(Settings().executor.service_users)
    assert suite.users["ai-sysadmin"]["extraGroups"] == ["systemd-journal"]
    assert set(suite.users["ai-sysadmin-api"]["extraGroups"]) == {"ai-sysadmin", "systemd-journal"}


def test_the_sockets_are_where_the_settings_say(suite, tmp_path):
    settings = load(suite, tmp_path)
    expected = {
        "ai-sysadmin-executor-propose": (settings.propose_socket, "propose", "0660", "ai-sysadmin-executor"),
        "ai-sysadmin-executor-operate": (settings.operate_socket, "operate", "0666", "ai-sysadmin-executor"),
        "ai-sysadmin-api": (settings.api_socket, "api", "0666", None),
    }
    for unit, (path, name, mode, service) in expected.items():
        lines = suite.units[f"{unit}.socket"].splitlines()
        assert {f"ListenStream={path}", f"FileDescriptorName={name}", f"SocketMode={mode}"} <= set(lines)
        assert not service or f"Service={service}.service" in lines


def test_the_directories_are_where_the_settings_say(suite, tmp_path):
    settings = load(suite, tmp_path)
    assert f"d {settings.state_dir} 2770 ai-sysadmin ai-sysadmin -" in suite.tmpfiles
    assert f"d {settings.runtime_dir} 0755 root root -" in suite.tmpfiles
    assert f"StateDirectory={settings.executor.state_dir.name}" in suite.service("ai-sysadmin-executor")


def test_model_servers_are_where_the_backends_look(suite, tmp_path):
    backends = load(suite, tmp_path).backends
    for layer in LAYERS:
        (start,) = [line for line in suite.service(f"llama-{layer}") if line.startswith("ExecStart=")]
        port = getattr(backends, layer).loopback_port
        assert f'"-m" "/srv/models/{layer}.gguf" "--alias" "{layer}"' in start
        assert f'"--host" "127.0.0.1" "--port" "{port}"' in start


def test_a_server_of_embeddings_is_one_only_where_its_model_is_named(suite, tmp_path):
    starts = {
        layer: line for layer in LAYERS for line in suite.service(f"llama-{layer}") if line.startswith("ExecStart=")
    }
    assert [layer for layer, start in starts.items() if '"--embeddings"' in start] == ["embedding"]
    assert load(evaluate(enable=True), tmp_path).backends.embedding is None


def test_what_evidence_is_asked_of_is_on_the_path(suite):
    for name in ("review-model", "meta-model"):
        assert any("nix" in line for line in suite.service(f"ai-sysadmin-{name}") if line.startswith("Environment="))


def test_a_slot_has_the_context_that_was_asked_for():
    meta = {"model": "/m.gguf", "contextSize": 1000, "parallel": 3, "threads": 2, "extraFlags": ["-ngl", "99"]}
    system = evaluate(enable=True, **{"llama-cpp": {"models": {"meta": meta}}})
    (start,) = [line for line in system.service("llama-meta") if line.startswith("ExecStart=")]
    assert '"-c" "3000" "-np" "3"' in start
    assert start.endswith('"-t" "2" "-ngl" "99"')


def test_every_service_is_started_supervised_and_stopped_together(suite):
    for name in SERVICES:
        lines = set(suite.service(f"ai-sysadmin-{name}"))
        assert {"Type=notify", "WatchdogSec=60", "Restart=always", "RestartPreventExitStatus=78"} <= lines
        assert {"Slice=ai-sysadmin.slice", "PartOf=ai-sysadmin.target"} <= lines
        assert suite.wanted[f"ai-sysadmin-{name}.service"] == ["ai-sysadmin.target"]
    assert suite.wanted["ai-sysadmin.target"] == ["multi-user.target"]


def test_a_switch_leaves_the_executor_running(suite):
    assert suite.unchanged == ["ai-sysadmin-executor", "ai-sysadmin-recover"]


def test_only_the_executor_is_root_and_it_has_neither_network_nor_capability(suite):
    for name in SERVICES:
        lines = suite.service(f"ai-sysadmin-{name}")
        assert ("User=ai-sysadmin" in lines or "User=ai-sysadmin-api" in lines) == (name != "executor")
        assert not any(line.startswith("PrivateUsers=") for line in lines)
    executor = suite.service("ai-sysadmin-executor")
    assert {"PrivateNetwork=true", "RestrictAddressFamilies=AF_UNIX", "CapabilityBoundingSet="} <= set(executor)
    assert "RestrictAddressFamilies=AF_INET" not in executor


def test_who_tells_people_is_there_where_somebody_is_to_be_told_and_alone_reaches_out(suite):
    assert "ai-sysadmin-notifier.service" not in evaluate(enable=True).units
    lines = suite.service("ai-sysadmin-notifier")
    assert "User=ai-sysadmin" in lines
    assert "IPAddressDeny=any" not in lines
    for name in SERVICES:
        assert "IPAddressDeny=any" in suite.service(f"ai-sysadmin-{name}")


def test_changes_are_built_by_a_user_of_their_own(suite):
    assert "ai-sysadmin-build" in suite.users
    assert "ai-sysadmin-build" not in evaluate(enable=True).users
    assert any(rule.startswith("d /var/lib/ai-sysadmin-build 0755 ai-sysadmin-build") for rule in suite.tmpfiles)


def test_nothing_leaves_this_host_unless_it_was_allowed():
    remote = {"backends": {"meta": {"url": "https://models.example", "allow_remote": True}}}
    here, there = evaluate(enable=True), evaluate(enable=True, settings=remote)
    assert "IPAddressDeny=any" in there.service("ai-sysadmin-trigger-monitor"), "it asks no model"
    for name in ("review-model", "meta-model", "api"):
        assert "IPAddressDeny=any" in here.service(f"ai-sysadmin-{name}")
        assert "IPAddressDeny=any" not in there.service(f"ai-sysadmin-{name}")
    assert json.loads(there.etc[SETTINGS])["backends"]["meta"]["url"] == "https://models.example"


@pytest.mark.parametrize(
    ("watched", "leaves"),
    [
        ({}, False),
        ({"certificates": ["/etc/ssl/*.pem"]}, False),
        ({"certificates": ["mail.example:993"]}, True),
        ({"probes": [{"name": "web", "type": "http", "url": "https://www.example"}]}, True),
    ],
)
def test_only_what_is_to_be_watched_elsewhere_takes_the_trigger_monitor_off_this_host(
    watched: dict[str, object], leaves: bool
):
    system = evaluate(enable=True, settings={"trigger_monitor": watched})
    assert ("IPAddressDeny=any" not in system.service("ai-sysadmin-trigger-monitor")) == leaves


def test_an_api_that_listens_elsewhere_can_be_reached_there():
    system = evaluate(enable=True, settings={"api": {"host": "0.0.0.0"}})
    assert "IPAddressDeny=any" not in system.service("ai-sysadmin-api")
    assert "IPAddressDeny=any" in system.service("ai-sysadmin-review-model")


POLKIT = {"executor": {"rights": "polkit", "polkit_units": ["nginx.service", "getty@tty1.service", "a\\x2db.socket"]}}


def test_without_root_the_executor_has_a_user_of_its_own_and_polkits_rules(tmp_path):
    system = evaluate(enable=True, settings=POLKIT)
    assert not system.failedAssertions
    lines = set(system.service("ai-sysadmin-executor"))
    assert {f"User={polkit.USER}", f"Group={polkit.USER}", "StateDirectory=ai-sysadmin-executor"} <= lines
    assert system.users[polkit.USER]["extraGroups"] == []
    settings = load(system, tmp_path)
    assert set(system.users) | {"ai-sysadmin-build"} == set(settings.executor.service_users)
    assert system.polkit == polkit.rules(settings.executor.polkit_units)


def test_root_needs_no_rules_and_no_user(suite):
    assert (suite.polkit, polkit.USER in suite.users) == ("", False)


@pytest.mark.parametrize("units", [[], ["nginx"], ["nginx*.service"], ['a".service']])
def test_polkits_units_are_literal_names(units):
    system = evaluate(enable=True, settings={"executor": {"rights": "polkit", "polkit_units": units}})
    assert any("polkit_units" in said for said in system.failedAssertions)
