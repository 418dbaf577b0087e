"""The whole of it, as the guide shows it: a unit fails, the assistant finds out why, a person lets it mend it."""

MODEL = "ai-sysadmin"
UNIT = "backup.service"
TEXT = """\
[Unit]
Description=Nightly backup

[Service]
ExecStart=/bin/sh -c 'test -d /run/backup && exec sleep infinity; mkdir /run/backup; \
echo "<3>cannot write to /run/backup: it is not mounted" >&2; exit 1'
"""
QUESTION = "Why did the backup fail?"
STEPS = (
    {"plan": "See how it stands, then its log.", "do": "unit_status", "unit": UNIT},
    {"plan": "Now its log.", "do": "unit_log", "unit": UNIT, "minutes": 60, "contains": "", "priority": "any"},
    {
        "plan": "Its target is there again: propose to start it anew.",
        "do": "propose",
        "action": "restart_unit",
        "unit": UNIT,
        "why": "its target is mounted again",
    },
)
ANSWER = """\
`backup.service` failed with exit status 1 [t1]. Its log says why: **the target was not mounted** when it started [t2].

| when | what |
|---|---|
| at its start | `/run/backup` was not mounted |
| now | `/run/backup` is there |

It should succeed now, so I have proposed to restart it."""


def test_a_failed_backup_is_explained_and_mended(host, anna):
    host.machine.put(TEXT, f"/etc/systemd/system/{UNIT}")
    host.machine.systemctl("daemon-reload").ok()
    host.machine.systemctl("start", UNIT).ok()
    action = host.story.pending(UNIT, 60)["id"]
    host.script.course(QUESTION, ANSWER, *STEPS, pause_seconds=0.02)

    anna.open(MODEL)
    anna.ask(QUESTION)
    deny = anna.page.get_by_role("button", name="Deny")
    anna.until(lambda: deny.count(), "a card with buttons is there")
    anna.page.wait_for_timeout(1000)
    anna.picture("explained", whole=True)
    assert action in anna.seen and "the target was not mounted" in anna.seen
    kinds = [item["type"] for item in anna.message["output"]]
    assert kinds.count("function_call_output") >= 2

    anna.press("Approve")
    anna.until(lambda: host.story.actions(UNIT, "succeeded"), "the unit is mended", 40)
    anna.until_answered()
    anna.picture("mended", whole=True)
    host.story.ends(UNIT, "resolved")
