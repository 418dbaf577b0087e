"""What systemd does for the executor: the same assertions on the fake, and on a real systemd inside a machine.

Run as a program it checks the real one: `python -m tests.contracts.effects_contract UNIT`, where UNIT has failed and
runs at its next start. With a second argument it leaves out what needs more of the machine than the executor sees.
"""

import asyncio
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from ai_sysadmin.core.acting import Sandbox, Stage
from ai_sysadmin.executor.inhibitor import Inhibitor
from ai_sysadmin.executor.output import CUT
from ai_sysadmin.executor.sessions import LogindSessions
from ai_sysadmin.executor.systemd import ActionUnit, CannotStart, Effects, SystemdEffects, unit_of
from ai_sysadmin.runtime.bus import SystemBus
from ai_sysadmin.runtime.commands import Completed, run
from ai_sysadmin.sources.units import SystemdUnits, Units

ABOUT = {"AI_INCIDENT_ID": "abcdef", "AI_ACTION_ID": "contract"}
Clause = Callable[[Effects, Units, str], Coroutine[None, None, None]]
PLAIN = Sandbox()
PROBE = Sandbox(user="dynamic", network=True, families=("AF_UNIX", "AF_INET", "AF_INET6"))


def stage(*commands: Sequence[str], sandbox: Sandbox = PLAIN, **more: object) -> Stage:
    return Stage.model_validate(
        {"name": "run", "commands": [tuple(argv) for argv in commands], "sandbox": sandbox, **more}
    )


def systemctl(verb: str, unit: str) -> tuple[str, ...]:
    return ("systemctl", verb, "--", unit)


async def ended(effects: Effects, action_id: str) -> ActionUnit:
    async with asyncio.timeout(10):
        while True:
            unit = await effects.look(action_id)
            assert unit is not None, "an action's unit is kept until it is released"
            if not unit.running:
                return unit
            await asyncio.sleep(0.02)


async def a_failed_unit_is_seen(effects: Effects, units: Units, name: str) -> None:
    seen = await units.status(name)
    assert (seen.name, seen.load_state, seen.active_state) == (name, "loaded", "failed")
    assert seen.invocation
    assert name in [unit.name for unit in await units.failed()]


async def a_unit_that_does_not_exist_is_not_found(effects: Effects, units: Units, name: str) -> None:
    seen = await units.status("no-such-unit.service")
    assert (seen.load_state, seen.active_state) == ("not-found", "inactive")


async def an_action_that_was_never_started_is_unknown(effects: Effects, units: Units, name: str) -> None:
    assert await effects.look("never-0") is None
    await effects.release("never-0")


async def a_command_that_fails_is_told(effects: Effects, units: Units, name: str) -> None:
    await effects.start("fails-0", stage(systemctl("restart", "no-such-unit.service"), ("echo", "never")), ABOUT)
    unit = await ended(effects, "fails-0")
    assert (unit.exit_status, unit.result) == (5, "exit-code")
    assert "never" not in await effects.output("fails-0", 4096), "what follows a command that failed does not run"
    assert "fails-0" in await effects.held()
    await effects.release("fails-0")


async def an_exit_status_may_be_declared_good(effects: Effects, units: Units, name: str) -> None:
    await effects.start("good-0", stage(("false",), ("echo", "went on"), good_statuses=(0, 1)), ABOUT)
    unit = await ended(effects, "good-0")
    assert unit.result == "success"
    assert await effects.output("good-0", 4096) == "went on\n"
    await effects.release("good-0")


async def a_program_that_is_not_there_cannot_start(effects: Effects, units: Units, name: str) -> None:
    try:
        await effects.start("missing-0", stage(("no-such-program", "x")), ABOUT)
    except CannotStart as refusal:
        assert "no-such-program" in str(refusal)
    else:
        raise AssertionError("it was started")
    assert await effects.look("missing-0") is None


async def an_action_runs_once_and_is_kept_until_released(effects: Effects, units: Units, name: str) -> None:
    before = await units.status(name)
    mend = stage(systemctl("reset-failed", name), systemctl("restart", name))
    await effects.start("once-0", mend, ABOUT)
    unit = await ended(effects, "once-0")
    assert (unit.exit_status, unit.result) == (0, "success")
    after = await units.status(name)
    assert after.active_state == "active"
    assert after.invocation != before.invocation
    await effects.start("once-0", mend, ABOUT)  # again under the same id: nothing happens
    await ended(effects, "once-0")
    assert (await units.status(name)).invocation == after.invocation
    assert "once-0" in await effects.held()
    await effects.release("once-0")
    assert await effects.look("once-0") is None
    assert "once-0" not in await effects.held()


async def no_action_is_seen_as_ended_before_it_ran(effects: Effects, units: Units, name: str) -> None:
    mend = stage(systemctl("reset-failed", name), systemctl("restart", name))
    for number in range(20):
        before = await units.status(name)
        await effects.start(f"quick-{number}", mend, ABOUT)
        await ended(effects, f"quick-{number}")
        assert (await units.status(name)).invocation != before.invocation
        await effects.release(f"quick-{number}")


async def an_action_has_a_unit_for_each_stage(effects: Effects, units: Units, name: str) -> None:
    await effects.start("both-0", stage(("echo", "run")), ABOUT)
    await effects.start("both-0-revert", stage(("echo", "revert")), ABOUT)
    for unit_id, said in (("both-0", "run\n"), ("both-0-revert", "revert\n")):
        await ended(effects, unit_id)
        assert unit_id in await effects.held()
        assert await effects.output(unit_id, 4096) == said
    await effects.release("both-0")
    assert list(await effects.held()) == ["both-0-revert"]
    await effects.release("both-0-revert")


async def the_newest_of_what_it_wrote_is_kept(effects: Effects, units: Units, name: str) -> None:
    await effects.start("long-0", stage(*(("echo", f"{number} " + 90 * "x") for number in range(50))), ABOUT)
    await ended(effects, "long-0")
    kept = await effects.output("long-0", 1000)
    assert len(kept.encode()) <= 1000
    assert kept.startswith(CUT + "4")
    assert kept.endswith("\n49 " + 90 * "x" + "\n")
    await effects.release("long-0")
    assert await effects.output("never-0", 1000) == ""


CONTRACT = (
    a_failed_unit_is_seen,
    a_unit_that_does_not_exist_is_not_found,
    an_action_that_was_never_started_is_unknown,
    a_command_that_fails_is_told,
    an_exit_status_may_be_declared_good,
    a_program_that_is_not_there_cannot_start,
    an_action_runs_once_and_is_kept_until_released,
    no_action_is_seen_as_ended_before_it_ran,
    an_action_has_a_unit_for_each_stage,
    the_newest_of_what_it_wrote_is_kept,
)


# --- what only a real systemd can show


_NUMBERS = itertools.count()


async def said(effects: Effects, wanted: Stage) -> tuple[ActionUnit, str]:
    """Run a stage, as a unit of its own for journald's rate limit; return how it ended and what it wrote."""
    unit_id = f"real-{next(_NUMBERS)}"
    await effects.start(unit_id, wanted, ABOUT)
    unit, output = await ended(effects, unit_id), await effects.output(unit_id, 32 << 10)
    await effects.release(unit_id)
    return unit, output


async def asked(*argv: str) -> Completed:
    return await run(argv, timeout_seconds=10)


async def arguments_reach_the_program_as_they_are(effects: Effects, units: Units, name: str) -> None:
    tricky = (
        "$HOME",
        "${X}",
        "$$",
        "a$",
        "%n %%",
        "a\\b",
        "'q'",
        '"d"',
        ";",
        "é",
        "",
        " x ",
        "\\x41",
        "*",
        "`id`",
        "-",
    )
    program = ("python3", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")
    _unit, output = await said(effects, stage((*program, *tricky)))
    assert json.loads(output) == list(tricky)
    _unit, output = await said(effects, stage(("cat",), input="$HOME %n\nnext\n"))
    assert output == "$HOME %n\nnext\n"


async def nothing_is_passed_over_at_a_daemon_reload(effects: Effects, units: Units, name: str) -> None:
    await effects.start("reload-0", stage(("sleep", "0.5"), ("echo", "%n 'after' \\")), ABOUT)
    await asked("systemctl", "daemon-reload")
    assert (await ended(effects, "reload-0")).result == "success"
    assert await effects.output("reload-0", 4096) == "%n 'after' \\\n"
    await effects.release("reload-0")


async def a_stage_has_only_so_much_time(effects: Effects, units: Units, name: str) -> None:
    unit, _output = await said(effects, stage(("sleep", "60"), sandbox=Sandbox(seconds=0.5)))
    assert unit.result == "timeout"


async def a_hundred_megabytes_do_no_harm(effects: Effects, units: Units, name: str) -> None:
    before = _resident_kilobytes()
    flood = "head -c 100000000 /dev/zero | tr '\\0' x | fold -w 4000; seq 200; sleep 0.2; echo the end"
    _unit, output = await said(effects, stage(("sh", "-c", flood)))
    assert len(output.encode()) <= 32 << 10
    assert _resident_kilobytes() - before < 4000


def _resident_kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10


async def a_plain_stage_may_do_nothing(effects: Effects, units: Units, name: str) -> None:
    tries = {
        "capabilities": "grep -q 'CapBnd:.0*$' /proc/self/status",
        "no capability left": "! chown 1 /dev/shm 2>/dev/null",
        "read-only": "! touch /var/lib/x /etc/x /run/x 2>/dev/null",
        "own /tmp": 'test -z "$(ls /tmp)" && touch /tmp/x',
        "no home": 'test -z "$(ls -A /home)"',
        "no network": 'test "$(ls /sys/class/net)" = lo',
        "no devices": "test ! -e /dev/kmsg",
    }
    for what, script in tries.items():
        unit, output = await said(effects, stage(("sh", "-c", script)))
        assert unit.exit_status == 0, (what, output)


async def what_a_stage_declares_it_may_and_no_more(effects: Effects, units: Units, name: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/lib") as place:
        script = f"touch {place}/made; ! touch /var/lib/other 2>/dev/null"
        unit, output = await said(effects, stage(("sh", "-c", script), sandbox=Sandbox(writable=(place,))))
        assert (unit.exit_status, (Path(place) / "made").exists()) == (0, True), output
        owned = ("chown", "1:1", f"{place}/made")
        unit, _output = await said(effects, stage(owned, sandbox=Sandbox(writable=(place,))))
        assert unit.exit_status == 1
        box = Sandbox(writable=(place,), capabilities=("CAP_CHOWN",))
        unit, output = await said(effects, stage(owned, ("grep", "CapEff", "/proc/self/status"), sandbox=box))
        assert (unit.exit_status, output) == (0, "CapEff:\t0000000000000001\n")
        assert (Path(place) / "made").stat().st_uid == 1


async def a_probe_is_nobody(effects: Effects, units: Units, name: str) -> None:
    unit, output = await said(effects, stage(("sh", "-c", "id -u; ls /proc/1 || cat /etc/shadow"), sandbox=PROBE))
    assert unit.exit_status == 1
    assert 61184 <= int(output.split()[0]) <= 65519
    assert "/proc/1" in output
    assert "/etc/shadow" in output
    unit, output = await said(effects, stage(("ls", "/sys/class/net"), sandbox=PROBE))
    assert output.split() == sorted(path.name for path in Path("/sys/class/net").iterdir()), "the host's network"


async def a_mount_reaches_the_host(effects: Effects, units: Units, name: str) -> None:
    box = Sandbox(own_mounts=False, capabilities=("CAP_SYS_ADMIN",))
    with tempfile.TemporaryDirectory() as place:
        unit, output = await said(effects, stage(("mount", "-t", "tmpfs", "none", place), sandbox=box))
        assert (unit.exit_status, os.path.ismount(place)) == (0, True), output
        unit, output = await said(effects, stage(("umount", place), sandbox=box))
        assert (unit.exit_status, os.path.ismount(place)) == (0, False), output


async def what_no_unit_can_be_made_of_is_refused(effects: Effects, units: Units, name: str) -> None:
    for wrong in (
        stage(("echo", "a\n[Service]\nExecStartPost=/bin/touch /x")),
        stage(("echo", "$X"), ("echo",)),
        stage(("./echo",)),
        stage(("echo",), sandbox=Sandbox(capabilities=("CAP_EVERYTHING",))),
        stage(("echo",), sandbox=Sandbox(writable=("/srv /etc",))),
        stage(("echo",), sandbox=Sandbox(writable=("/srv/../etc",))),
        stage(("echo",), sandbox=Sandbox(user="0")),
        stage(("echo",), sandbox=Sandbox(environment=("A=1\nB=2",))),
        stage(("echo",), sandbox=Sandbox(own_mounts=False, writable=("/srv",))),
    ):
        try:
            await effects.start("wrong-0", wrong, ABOUT)
        except CannotStart:
            assert await effects.look("wrong-0") is None
        else:
            raise AssertionError(f"it was started: {wrong}")


async def systemd_thinks_little_of_it_is_exposed(effects: Effects, units: Units, name: str) -> None:
    for most, box in (
        (10, PLAIN),
        (15, PROBE),
        (40, Sandbox(own_mounts=False, capabilities=("CAP_SYS_ADMIN",), devices=("block-* rw",))),
        (20, Sandbox(network=True, families=("AF_UNIX", "AF_NETLINK"), capabilities=("CAP_NET_ADMIN",))),
        (20, Sandbox(kernel_logs=True, capabilities=("CAP_SYSLOG",))),
        (20, Sandbox(devices=("/dev/null r",), capabilities=("CAP_SYS_RAWIO", "CAP_SYS_ADMIN"))),
    ):
        await effects.start("exposed-0", stage(("true",), sandbox=box), ABOUT)
        await ended(effects, "exposed-0")
        told = await asked("systemd-analyze", "security", "--no-pager", f"--threshold={most}", unit_of("exposed-0"))
        assert told.exit_status == 0, (box, told.stdout.decode().splitlines()[-1])
        await effects.release("exposed-0")


async def sleep_waits_while_an_action_runs(effects: Effects, units: Units, name: str) -> None:
    bus = SystemBus()
    async with Inhibitor(bus).held("mending web.service") as delays:
        assert delays
        listed = (await asked("systemd-inhibit", "--list", "--no-legend")).stdout.decode()
        assert "ai-sysadmin" in listed
        assert "mending web.service delay" in listed
    assert "ai-sysadmin" not in (await asked("systemd-inhibit", "--list", "--no-legend")).stdout.decode()
    assert await LogindSessions(bus).live() == []
    bus.close()


REAL = (
    arguments_reach_the_program_as_they_are,
    nothing_is_passed_over_at_a_daemon_reload,
    a_stage_has_only_so_much_time,
    a_hundred_megabytes_do_no_harm,
    a_plain_stage_may_do_nothing,
    what_a_stage_declares_it_may_and_no_more,
    a_probe_is_nobody,
    a_mount_reaches_the_host,
    what_no_unit_can_be_made_of_is_refused,
    systemd_thinks_little_of_it_is_exposed,
    sleep_waits_while_an_action_runs,
)

EXECUTOR = (
    *CONTRACT,
    arguments_reach_the_program_as_they_are,
    a_hundred_megabytes_do_no_harm,
    a_plain_stage_may_do_nothing,
    what_no_unit_can_be_made_of_is_refused,
    sleep_waits_while_an_action_runs,
)
"""What the executor's own sandbox must leave possible."""


async def check(effects: Effects, units: Units, name: str, clauses: Sequence[Clause] = CONTRACT) -> list[str]:
    """Check clauses in order; return their names."""
    for clause in clauses:
        await clause(effects, units, name)
    return [clause.__name__ for clause in clauses]


async def _real(name: str, clauses: Sequence[Clause]) -> None:
    bus = SystemBus()
    print(*await check(SystemdEffects(bus, 30), SystemdUnits(bus), name, clauses), sep="\n")
    bus.close()


if __name__ == "__main__":
    asyncio.run(_real(sys.argv[1], EXECUTOR if sys.argv[2:] else (*CONTRACT, *REAL)))
