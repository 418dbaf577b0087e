"""An incident whose cause only a look-up shows, on real units: found, cited, mended by a yes, and remembered."""

from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.scripted import Scripted, Step, course
from tests.system.story import Story
from tests.system.suite import Suite

QUICK = {
    "executor": {"post_check_seconds": 2},
    "trigger_monitor": {"storm_incidents": 0},
    "review_model": {"every_seconds": 0},
    "knowledge": {"index_every_seconds": 2},
    "meta_model": {"max_steps": 40, "max_tokens": 5_000_000},
    "tools": {
        "declared": [
            {"name": "kernel_release", "description": "Which kernel runs.", "argv": ["/usr/bin/uname", "-r"]},
            {"name": "five_megabytes", "description": "Says much.", "argv": ["/usr/bin/cat", "/opt/five-megabytes"]},
        ]
    },
}
SUITE = Suite(start=(), options={"settings": QUICK})
HOLDER = "inv-import.service"
WEB = "inv-web.service"
LISTEN = "import socket, time\ns = socket.create_server(('127.0.0.1', 7171))\n"
WEB_SCRIPT = """
import socket, sys, time
port = int(open('/etc/inv-web.conf').read().partition('port = ')[2])
try:
    s = socket.create_server(('127.0.0.1', port))
except OSError:
    sys.exit(f'<3>cannot serve: port {port} of /etc/inv-web.conf is not to be had')
time.sleep(1e6)
"""
UNITS = {
    HOLDER: "[Unit]\nDescription=Imports once, with a page of progress on a port\n"
    "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/usr/bin/python3 /opt/inv-import.py\n",
    WEB: "[Unit]\nDescription=Serves on the port of /etc/inv-web.conf\n"
    "[Service]\nExecStart=/usr/bin/python3 /opt/inv-web.py\n",
    "inv-tour.service": "[Service]\nExecStart=/bin/sh -c 'echo \"<3>lost at /etc/inv-web.conf\"; exit 4'\n",
    "inv-loud.service": "[Service]\nExecStart=/bin/sh -c 'echo \"<3>too much of everything\"; exit 5'\n",
}
IMPORT_SCRIPT = f"""{LISTEN}
import os, subprocess
subprocess.run(['systemd-notify', '--ready'])
while not os.path.exists('/run/inv-import-done'):
    time.sleep(0.1)
"""
FOUND = {
    "verdict": "escalate",
    "evidence": ["e1"],
    "why": "its port may be held by another unit",
    "cause": "inv-import.service holds port 7171, which inv-web.service is configured to serve on",
    "findings": [
        {"claim": "The web server exits at once.", "evidence": "t1"},
        {"claim": "It cannot have the port of its configuration.", "evidence": "t2"},
        {"claim": "That port is 7171.", "evidence": "t3"},
        {"claim": "A Python program of the import holds 7171.", "evidence": "t4"},
        {"claim": "The import is running.", "evidence": "t5"},
        {"claim": "A comet struck the rack.", "evidence": "t99"},
    ],
    "ruled_out": [{"claim": "Memory is not short.", "evidence": "t6"}],
    "next": "Start it anew when the import has ended.",
    "action": "restart_unit",
    "confidence": 85,
}
LOOKED_UP: tuple[Step, ...] = (
    ("unit_status", {"unit": WEB}),
    ("unit_log", {"unit": WEB}),
    ("read_file", {"path": "/etc/inv-web.conf"}),
    ("listening", {"matching": "7171"}),
    ("unit_status", {"unit": HOLDER}),
    ("memory_and_pressure", {}),
)
TOUR: tuple[Step, ...] = (
    ("unit_status", {"unit": WEB}),
    ("units", {"which": "failed"}),
    ("units", {"which": "all", "matching": "inv-*"}),
    ("units", {"which": "timers"}),
    ("unit_log", {"unit": WEB}),
    ("journal_search", {"contains": "cannot serve"}),
    ("coredumps", {}),
    ("processes", {}),
    ("memory_and_pressure", {}),
    ("disk_usage", {}),
    ("disk_usage", {"path": "/etc"}),
    ("listening", {}),
    ("reachable", {"target": "http://127.0.0.1:8083/health", "how": "http"}),
    ("reachable", {"target": "127.0.0.1:8082", "how": "tcp"}),
    ("metric_history", {"name": ""}),
    ("hardware", {}),
    ("certificates", {}),
    ("read_file", {"path": "/etc/inv-web.conf"}),
    ("nixos_generations", {}),
    ("what_changed", {}),
    ("nixos_configuration", {"words": "port"}),
    ("nixos_option", {"words": "services.openssh.enable"}),
    ("knowledge", {"words": "disk full"}),
    ("incidents", {}),
    ("kernel_release", {}),
    ("diagnose", {"action": "socket_owners"}),
    ("more", {"handle": "t5"}),
)
SECRETS: tuple[Step, ...] = (
    ("read_file", {"path": "/etc/shadow"}),
    ("read_file", {"path": "/var/lib/ai-sysadmin/api-key"}),
    ("read_file", {"path": "/proc/1/environ"}),
    ("reachable", {"target": "169.254.169.254:80", "how": "tcp"}),
    ("reachable", {"target": "stranger.example", "how": "dns"}),
)
MAY_HAVE_NOTHING = {"metric_history", "five_megabytes"}
"""What a machine without figures yet may say that it does not have, and what is not toured."""
LOUD: tuple[Step, ...] = (
    ("five_megabytes", {}),
    ("more", {"handle": "t1", "from_line": 40_000}),
    ("more", {"handle": "t1", "contains": "line 00033333 "}),
)
ENDING = {**FOUND, "ruled_out": [], "findings": [{"claim": "It was looked at.", "evidence": "t1"}]}


@pytest.fixture(scope="module")
def scripted(suite_machine: Machine) -> Scripted:
    made = Scripted(suite_machine)
    suite_machine.put("port = 7171\n", "/etc/inv-web.conf")
    suite_machine.put(WEB_SCRIPT, "/opt/inv-web.py")
    suite_machine.put(IMPORT_SCRIPT, "/opt/inv-import.py")
    suite_machine.put("".join(f"line {n:08d} of a file that is long\n" for n in range(140_000)), "/opt/five-megabytes")
    made.units(UNITS)
    made.start(
        course("Tour the host.", *TOUR, *SECRETS, answer="All of it was seen [t1]."),
        course("inv-tour.service", *TOUR, *SECRETS, reply=ENDING),
        course("inv-loud.service", *LOUD, reply=ENDING),
        course(WEB, *LOOKED_UP, reply=FOUND),
    )
    return made


@pytest.fixture(scope="module")
def story(scripted: Scripted) -> Story:
    return Story(scripted.machine)


def investigated(story: Story, unit: str) -> dict[str, Any]:
    """Let a unit fail; return its incident as the command line shows it, once it is investigated."""
    story.machine.systemctl("start", unit)

    def seen() -> dict[str, Any] | None:
        for incident in story.incidents(unit):
            shown = story.cli("incidents", "show", incident["id"])
            if shown.exit_status == 0 and shown.json["investigations"]:
                return dict(shown.json)
        return None

    return dict(story.machine.eventually(seen, f"{unit} is investigated", 40))


def pieces(shown: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {piece["id"]: piece for piece in shown["evidence"]["pieces"] if piece["kind"] == "looked_up"}


def test_what_only_a_look_up_shows_is_found_cited_mended_and_remembered(scripted: Scripted, story: Story) -> None:
    machine = scripted.machine
    machine.systemctl("start", HOLDER).ok()
    shown = investigated(story, WEB)
    (found,) = shown["investigations"]
    assert (found["investigated_by"], found["cause"]) == ("scripted", FOUND["cause"])
    assert [f"[t{number}]" in found["diagnosis"] for number in range(1, 6)] == [True] * 5, found
    assert found["ruled_out"] == ["Memory is not short. [t6]"]
    assert "comet" not in found["diagnosis"]
    assert any("comet" in note for note in found["notes"])
    assert {"t1", "t4", "t6"} <= set(found["evidence"])

    looked = pieces(shown)
    assert list(looked) == [f"t{number}" for number in range(1, 7)]
    assert "7171" in looked["t2"]["text"] and "7171" in looked["t3"]["text"]
    assert "tcp       7171  127.0.0.1" in looked["t4"]["text"]
    families = machine.show("ai-sysadmin-meta-model.service", "RestrictAddressFamilies")["RestrictAddressFamilies"]
    assert (HOLDER in looked["t4"]["text"]) == ("AF_NETLINK" in families), looked["t4"]["text"]
    assert "active" in looked["t5"]["text"]
    incident = shown["incident"]["id"]
    alone = story.cli("incidents", "show", incident, "t4", "--evidence").ok().json
    assert alone["text"] == looked["t4"]["text"]

    action = story.pending(WEB)
    assert (action["name"], action["arguments"], action["origin"]) == ("restart_unit", {"unit": WEB}, "investigation")
    assert machine.show(WEB, "ActiveState")["ActiveState"] == "failed"
    machine.run(["touch", "/run/inv-import-done"]).ok()
    machine.eventually(lambda: machine.show(HOLDER, "ActiveState")["ActiveState"] == "inactive", "the import ends")
    story.cli("actions", "approve", action["id"], user="alice").ok()
    story.ends(WEB, "resolved")
    assert machine.show(WEB, "ActiveState")["ActiveState"] == "active"

    def remembered() -> str:
        hits = story.cli("knowledge", "search", "port 7171 held by import").json["hits"]
        documents = [hit["document"] for hit in hits if hit["document"]["name"] == incident]
        return str(documents[0]["text"]) if documents else ""

    text = machine.eventually(remembered, "what was learned is found", 20)
    for part in (FOUND["cause"], "[t4]", "ruled out: Memory is not short", "approved by alice", "measured succeeded"):
        assert str(part) in text, text
    scripted.nothing_broke()


def test_each_tool_answers_in_both_services_sandboxes_or_says_what_it_may_not(scripted: Scripted, story: Story) -> None:
    shown = investigated(story, "inv-tour.service")
    looked = pieces(shown)
    offered = scripted.offered()
    assert offered <= {name for name, _ in TOUR} | {"five_megabytes"}, "a tool is not toured"
    answered = {piece["facts"]["tool"] for piece in looked.values()}
    assert answered >= offered - MAY_HAVE_NOTHING

    answer = scripted.ask("Tour the host.")
    assert "All of it was seen" in answer.said, answer.text[-3000:]
    assert scripted.offered() == offered | {"propose"}
    asked = [step for step in TOUR + SECRETS if step[0] in offered]
    told = [text for _, text in answer.cards.values()]
    for (name, arguments), text in zip(asked, told, strict=True):
        assert text.strip(), name
        assert "this could not be read" not in text, (name, arguments, text)
    print({name: text[:120] for (name, _), text in zip(asked, told, strict=True)})
    root = scripted.machine.path("/etc/shadow").read_text().splitlines()[0]
    for whole in (scripted.own_key, root):
        assert whole not in answer.text
        assert whole not in str(shown)
    scripted.nothing_broke()


def test_five_megabytes_are_cut_kept_and_read_on_in(scripted: Scripted, story: Story) -> None:
    looked = pieces(investigated(story, "inv-loud.service"))
    assert "line 00000000 " in looked["t1"]["text"] and len(looked["t1"]["text"]) < 20_000
    assert "of 140001 are shown" in looked["t1"]["left_out"] and "more(handle='t1'" in looked["t1"]["left_out"]
    assert "line 00039998 " in looked["t2"]["text"]
    assert "line 00033333 " in looked["t3"]["text"]
    scripted.nothing_broke()
