"""A plan for people: what would run, in what sandbox, what must hold afterwards, how it is taken back. Pure."""

import shlex

from ai_sysadmin.cli.layout import fact, heading, verbatim
from ai_sysadmin.core.acting import Plan, Sandbox, Stage


def plan_lines(plan: Plan, hold_seconds: float) -> list[str]:
    """Render a plan.

    Args:
        hold_seconds: how long a post-check lasts where the plan does not say.
    """
    hold = plan.hold_seconds if plan.hold_seconds is not None else hold_seconds
    lines = [*heading("What would run"), *_stage(plan.run)]
    lines += [*heading("Afterwards"), *fact("must hold", f"{plan.post_check}, for {hold:g} s")]
    for check in plan.checks:
        lines += [*fact("checked by", "at the beginning and again at the end"), *_stage(check)]
    if plan.confirm is not None:
        lines += [*fact("then", "it is made to last by"), *_stage(plan.confirm)]
    if plan.revert is not None:
        lines += [*fact("if not", "it is taken back by itself by"), *_stage(plan.revert)]
    else:
        lines += fact("if not", "nothing is taken back by itself; a person is told")
    lines += fact("by hand", plan.undo)
    for title, text in plan.facts:
        lines += [*heading(title), *verbatim(text)]
    return lines


def sandbox_words(sandbox: Sandbox) -> str:
    """Say what a transient unit may do, from who it is to how long it may take."""
    who = {"": "root", "dynamic": "a user of its own"}.get(sandbox.user, sandbox.user)
    said = [
        f"as {who}",
        f"with {', '.join(sandbox.capabilities)}" if sandbox.capabilities else "without capabilities",
        f"writes {', '.join(sandbox.writable)}" if sandbox.writable else "writes nowhere",
        "on the host's network" if sandbox.network else "no network",
        f"sockets {', '.join(sandbox.families)}" if sandbox.families else "no sockets",
    ]
    said += [f"devices {', '.join(sandbox.devices)}"] if sandbox.devices else []
    said += [words for granted, words in _grants(sandbox) if granted]
    said += [f"environment {' '.join(sandbox.environment)}"] if sandbox.environment else []
    said += [f"in {sandbox.working_directory}"] if sandbox.working_directory else []
    said += [f"at most {sandbox.seconds:g} s"] if sandbox.seconds is not None else []
    return "; ".join(said)


def _grants(sandbox: Sandbox) -> tuple[tuple[bool, str], ...]:
    return (
        (sandbox.sees_home, "sees home directories"),
        (sandbox.sees_processes, "sees other users' processes"),
        (not sandbox.own_mounts, "in the host's own mounts"),
        (sandbox.kernel_logs, "reads the kernel's log"),
        (sandbox.executes_memory, "may make memory executable"),
    )


def _stage(stage: Stage) -> list[str]:
    argvs = "\n".join(shlex.join(argv) for argv in stage.commands)
    return [*verbatim(argvs), *fact("sandbox", sandbox_words(stage.sandbox))]
