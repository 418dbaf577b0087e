"""The command line in this process, where nothing of the suite runs."""

import json
import sys

import pytest

from ai_sysadmin.cli.main import main


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Run the command line; return its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ai-sysadmin", *arguments, "--state-dir", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_without_api_and_executor_everything_is_exit_4_and_status_still_reports(cli):
    for arguments in (["incidents"], ["actions"], ["ask", "x"], ["actions", "approve", "x"]):
        code, out, err = cli(*arguments)
        assert (code, out) == (4, ""), arguments
        assert err.startswith("ai-sysadmin: the ")
    code, out, _ = cli("status", "--json")
    said = json.loads(out)
    assert (code, said["error"]["kind"]) == (4, "ApiUnavailable")
    assert said["units"] or said["why_no_units"]
    code, out, _ = cli("doctor", "--json")
    checks = {check["name"]: check["health"] for check in json.loads(out)["checks"]}
    assert (code, checks["python"], checks["api"], checks["executor"]) == (4, "good", "bad", "bad")


def test_what_only_the_catalogue_knows_is_checked_with_the_settings(cli, tmp_path):
    declared = {"description": "has a name of the catalogue's", "command": ["/bin/true"], "risk": "reversible"}
    taken, vain = tmp_path / "taken.json", tmp_path / "vain.json"
    taken.write_text(json.dumps({"actions": {"declared": [{"name": "restart_unit", **declared}]}}))
    vain.write_text(json.dumps({"policy": {"overrides": [{"decision": "run", "actions": ["restart_unitt"]}]}}))
    code, _, err = cli("config", "check", "--settings", str(taken))
    assert (code, "an action of that name already: restart_unit" in err) == (78, True)
    code, out, err = cli("config", "check", "--settings", str(vain))
    assert (code, "fine" in out) == (0, True)
    assert "policy.overrides[0]: no action of the catalogue is named restart_unitt" in err


def test_settings_are_checked_shown_and_described(cli, tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.json"
    good.write_text('ai_name = "Hal"\n')
    bad.write_text('{"autonomy_level": "yolo", "colour": "red"}')
    code, out, _ = cli("config", "check", "--settings", str(good))
    assert (code, out) == (0, f"{good}: fine\n")
    code, _, err = cli("config", "check", "--settings", str(bad))
    assert code == 78
    assert "autonomy_level = 'yolo'" in err
    assert "'auto-safe'" in err
    assert "colour" in err
    code, out, _ = cli("--settings", str(good), "config", "show")
    assert (code, json.loads(out)["ai_name"]) == (0, "Hal")
    code, out, _ = cli("config", "schema")
    assert (code, json.loads(out)["additionalProperties"]) == (0, False)


def test_models_pull_without_a_name_says_which_there_are(cli):
    code, out, err = cli("models", "pull")
    assert (code, out) == (2, "")
    assert "qwen3-14b" in err
    assert "models pull NAME" in err


def test_the_common_options_go_before_or_after_the_command(cli, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text('{"ai_name": "Hal"}')
    for arguments in (["--settings", str(file), "config", "show"], ["config", "show", "--settings", str(file)]):
        assert json.loads(cli(*arguments)[1])["ai_name"] == "Hal"
    assert json.loads(cli("--json", "incidents", "show", "x")[1])["error"]["exit_code"] == 4
    assert json.loads(cli("incidents", "--json", "show", "x")[1])["error"]["exit_code"] == 4
    assert json.loads(cli("incidents", "show", "x", "--json")[1])["error"]["exit_code"] == 4


def test_wrong_usage_is_exit_2(cli):
    for arguments in (["nonsense"], ["incidents", "--state", "odd"], ["incidents", "show"], ["actions", "reject", "x"]):
        assert cli(*arguments)[0] == 2, arguments
