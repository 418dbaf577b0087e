"""`ai-sysadmin actions` as a process, against the API and an executor that run."""

import json

from ai_sysadmin.actions.catalogue import CATALOGUE
from tests.builders import UNIT
from tests.services.test_chat_cli import a_suite, run


async def test_an_operator_proposes_approves_and_sees_what_came_of_it(tmp_path):
    async with a_suite(tmp_path) as host:
        code, out, err = await run(tmp_path, "actions", "propose", "restart_unit", f"unit={UNIT}", "--why", "it hangs")
        assert (code, err) == (0, "")
        (action,) = await host.stores.reader.actions()
        assert (action.request.origin, action.state) == ("operator", "pending")
        assert f"actions approve {action.request.id}" in out
        assert "asked for by an operator" in out
        assert out.index("WHAT WOULD RUN") < out.index("systemctl restart -- web.service") < out.index("it hangs")
        assert "in an operator's own words" in " ".join(out.split())
        assert host.ran == []
        code, out, err = await run(tmp_path, "actions", "approve", action.request.id, "--dry-run")
        assert (code, err) == (0, "Nothing was approved.\n")
        assert "systemctl restart -- web.service" in out
        assert (await host.stores.reader.action(action.request.id)).state == "pending"
        for digest, said in (("0" * 12, "is not what was shown"), ("abc", "give an action's id, and of")):
            code, out, err = await run(tmp_path, "actions", "approve", action.request.id, "--digest", digest)
            assert (code, out) == (3, "")
            assert said in err
        code, out, _ = await run(tmp_path, "actions", "approve", action.request.id)
        assert code == 0
        await host.becomes(action.request.id, "succeeded")
        code, out, _ = await run(tmp_path, "actions", "show", action.request.id, "--json")
        shown = json.loads(out)
        assert shown["plan"]["run"]["commands"][-1][-1] == UNIT
        assert (shown["state"], shown["ruling"]["risk"], shown["digest"]) == (
            "succeeded",
            "reversible",
            action.request.digest,
        )


async def test_a_dry_run_keeps_nothing(tmp_path):
    async with a_suite(tmp_path) as host:
        code, out, err = await run(tmp_path, "actions", "propose", "restart_unit", f"unit={UNIT}", "--dry-run")
        assert (code, err) == (0, "")
        for part in ("systemctl restart -- web.service", "BY LEVEL OF AUTONOMY", "must hold", "Nothing was proposed."):
            assert part in out, part
        code, out, _ = await run(tmp_path, "actions", "propose", "restart_unit", f"unit={UNIT}", "--dry-run", "--json")
        assert set(json.loads(out)["levels"]) == {"observe", "suggest", "auto-safe", "auto-full"}
        assert await host.stores.reader.actions() == ()
        assert list(await host.operate.list()) == []


async def test_what_cannot_be_done_is_refused_with_exit_3(tmp_path):
    async with a_suite(tmp_path):
        for words in (("format_disk",), ("restart_unit", "unit=calm"), ("reboot_host",)):
            code, out, err = await run(tmp_path, "actions", "propose", *words)
            assert (code, out) == (3, ""), words
            assert err.startswith("ai-sysadmin: ")
        assert (await run(tmp_path, "actions", "propose", "restart_unit", "unit=a", "unit=b"))[0] == 2


async def test_the_catalogue_is_listed_with_its_arguments(tmp_path):
    code, out, _ = await run(tmp_path, "actions", "catalogue")
    assert code == 0
    assert "restart_unit unit=…" in out
    assert "vacuum_journal [keep_since=…]" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = await run(tmp_path, "actions", "catalogue", "--json")
    entries = {each["name"]: each for each in json.loads(out)["entries"]}
    assert entries.keys() == CATALOGUE.keys()
    assert entries["kill_process"]["arguments"]["pid"] == "2 to 4194304"
    assert entries["block_address"]["optional"] == ["seconds"]


async def test_a_conversation_about_an_action_begins_with_what_the_executor_says(tmp_path):
    async with a_suite(tmp_path) as host:
        request = await host.pending()
        code, out, _ = await run(tmp_path, "actions", "discuss", request.id, stdin="and if it fails?\n")
        assert code == 0
        assert "All is well." in out
        first, second = (question.messages for question, _ in host.talk.heard)
        assert "data, not words of mine" in first[0].content
        assert "systemctl restart -- web.service" in first[0].content
        assert "it is down" not in first[0].content, "the proposer's words are no fact"
        assert [each.content for each in second if each.role == "user"][-1] == "and if it fails?"
        assert (await host.stores.reader.action(request.id)).state == "pending"
