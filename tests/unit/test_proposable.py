"""What a model is offered to propose: only what makes sense on the host, in few words, with bounded arguments."""

import json

import pytest

from ai_sysadmin.actions.catalogue import CATALOGUE, catalogue_of
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.llm_backend import ToolCall
from ai_sysadmin.meta_model.offer import Offer
from ai_sysadmin.meta_model.proposable import proposables
from ai_sysadmin.meta_model.steps import Step, native_step, step_of
from ai_sysadmin.tools.toolbox import Toolbox

MOST_CHARACTERS = 2500
ALL = {
    "actions": {
        "reboot": True,
        "mount_points": ["/mnt/data", "/srv"],
        "nixos": {
            "repository": "/etc/nixos",
            "options": [{"option": "services.nginx.enable", "type": "boolean"}],
        },
        "declared": [
            {
                "name": "wipe_scratch",
                "description": "Empty a scratch directory of the builds.",
                "command": ["/usr/bin/find", "{path}", "-mtime", "{days}"],
                "parameters": {"path": {"type": "text"}, "days": {"type": "integer", "minimum": 1, "maximum": 99}},
                "risk": "reversible",
            },
            {
                "name": "told_why",
                "description": "One whose argument a step could not tell apart.",
                "command": ["/usr/bin/logger", "{why}"],
                "parameters": {"why": {"type": "text"}},
                "risk": "reversible",
            },
            {
                "name": "list_scratch",
                "description": "List a scratch directory of the builds.",
                "command": ["/usr/bin/ls", "/srv/scratch"],
                "risk": "read_only",
            },
        ],
    },
    "trigger_monitor": {"certificates": ["/var/lib/acme/a.pem"]},
}


def offered(given=None, *, is_nixos=True):
    settings = Settings.model_validate(given or {})
    return {each.name: each for each in proposables(catalogue_of(settings), settings, is_nixos=is_nixos)}


def an_offer(given=None, made=None):
    async def propose(name, arguments, why):
        made.append((name, dict(arguments), why))

    box = Toolbox((), Redactor(), Tools())
    return Offer(box, box.open(), propose, tuple(offered(given).values()))


def test_nothing_of_nix_is_offered_where_there_is_none():
    plain, nixos = offered(is_nixos=False), offered()
    assert nixos.keys() - plain.keys() == {"collect_nix_garbage", "switch_to_generation", "roll_back_generation"}
    assert not {"apply_configuration", "draft_configuration"} & nixos.keys()


def test_what_the_settings_rule_out_is_not_offered():
    assert not {"reboot_host", "mount_file_system", "renew_certificate", "wipe_scratch"} & offered().keys()
    everything = offered(ALL).keys()
    assert {"reboot_host", "mount_file_system", "renew_certificate", "wipe_scratch", "draft_configuration"} < everything
    assert "clean_temporary_path" not in offered({"actions": {"temporary_paths": []}})


def test_what_only_looks_is_a_tool_and_no_proposal():
    assert not {"kernel_log", "smart_report", "socket_owners", "list_scratch"} & offered(ALL).keys()


def test_without_root_only_what_polkit_allows_is_offered():
    by_polkit = offered({**ALL, "executor": {"rights": "polkit"}})
    assert {"restart_unit", "reload_unit", "start_unit", "reset_failed_unit"} <= by_polkit.keys()
    assert not {"stop_unit", "enable_unit_now", "kill_process", "vacuum_journal", "wipe_scratch"} & by_polkit.keys()


def test_an_argument_that_a_step_could_not_tell_apart_is_not_offered():
    assert "told_why" not in offered(ALL)


def test_the_settings_own_values_are_all_that_may_be_chosen():
    everything = offered(ALL)
    assert everything["mount_file_system"].arguments["path"]["enum"] == ["/mnt/data", "/srv"]
    assert everything["apply_configuration"].arguments["option"]["enum"] == ["services.nginx.enable"]
    assert everything["renew_certificate"].arguments["certificate"]["enum"] == ["/var/lib/acme/a.pem"]
    assert everything["clean_temporary_path"].arguments["path"]["enum"] == ["/tmp", "/var/tmp"]
    assert everything["wipe_scratch"].arguments["days"] == {"type": "integer", "minimum": 1, "maximum": 99}


def test_log_that_is_given_up_is_not_bounded_by_a_model():
    assert offered()["vacuum_journal"].arguments == {}
    assert list(offered()["free_disk_space"].arguments) == ["path"]


def test_every_argument_has_a_bound_that_a_decoder_knows():
    for each in offered(ALL).values():
        for name, schema in each.arguments.items():
            bounded = "enum" in schema or "maxLength" in schema or {"minimum", "maximum"} <= schema.keys()
            assert bounded, (each.name, name, schema)
            assert schema.get("maxLength", 0) < 2000, "decoders do not count that far"


def test_all_of_it_is_short():
    told = an_offer(ALL, []).instructions("words")
    lines = [line for line in told.splitlines() if line.startswith(("- ", "propose("))]
    assert len("\n".join(lines)) <= MOST_CHARACTERS
    assert "- restart_unit(unit): Restart one unit" in lines


@pytest.mark.parametrize("given", [{}, ALL])
def test_each_action_has_one_branch_with_its_own_arguments(given):
    actions, branches = offered(given), an_offer(given, []).schema["anyOf"][1:]
    placed = [name for branch in branches for name in branch["properties"]["action"]["enum"]]
    assert sorted(placed) == sorted(actions)
    for branch in branches:
        properties = branch["properties"]
        assert branch["required"] == list(properties)
        assert branch["additionalProperties"] is False
        for name in properties["action"]["enum"]:
            assert set(properties) - {"plan", "do", "action", "why"} == set(actions[name].arguments)


async def test_a_step_is_taken_as_the_actions_own_arguments_as_texts():
    made = []
    offer = an_offer(ALL, made)
    kill = {"do": "propose", "action": "kill_process", "pid": 77, "start_time": 9, "unit": "a.service", "why": "hangs"}
    await offer.proposal(step_of(json.dumps(kill)))
    block = {"do": "propose", "action": "block_address", "address": "192.0.2.7", "seconds": 0, "unit": "x", "why": ""}
    await offer.proposal(step_of(json.dumps(block)))
    assert made == [
        ("kill_process", {"pid": "77", "start_time": "9", "unit": "a.service"}, "hangs"),
        ("block_address", {"address": "192.0.2.7"}, ""),
    ]


async def test_a_servers_own_calls_propose_by_the_actions_name():
    made = []
    offer = an_offer({}, made)
    names = {spec.name: spec for spec in offer.specs}
    assert set(names) == {f"propose_{name}" for name in offered()}
    assert list(names["propose_restart_unit"].parameters["properties"]) == ["unit", "why"]
    call = ToolCall(id="c1", name="propose_restart_unit", arguments='{"unit": "a.service", "why": "hangs"}')
    await offer.proposal(native_step(call))
    assert made == [("restart_unit", {"unit": "a.service"}, "hangs")]


async def test_an_action_that_is_not_offered_goes_on_without_arguments():
    made = []
    offer = an_offer({}, made)
    await offer.proposal(Step(do="propose", arguments={"action": "reboot_host", "unit": "x", "why": "told"}))
    assert made == [("reboot_host", {}, "told")]
    assert offer.proposal(Step(do="restart_unit", arguments={"unit": "x"})) is None


def test_the_catalogue_has_no_argument_that_nobody_could_give():
    """Every entry of the catalogue is offered where the settings allow it, or it is a look-up."""
    left = CATALOGUE.keys() - offered(ALL).keys()
    assert left == {"kernel_log", "smart_report", "socket_owners"}
