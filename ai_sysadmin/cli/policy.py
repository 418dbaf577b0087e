"""`policy`: show the table and what changes it; explain what would become of an action, and which line decides."""

import asyncio
import re
from typing import Annotated, Final

import typer

from ai_sysadmin.actions.catalogue import CATALOGUE
from ai_sysadmin.actions.client import ExecutorClient
from ai_sysadmin.actions.policy import decision_of, remarks
from ai_sysadmin.actions.protocol import Explained
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir
from ai_sysadmin.cli.layout import fact, heading, table, wrapped
from ai_sysadmin.cli.plan_page import plan_lines
from ai_sysadmin.core.acting import Decision, Origin, Risk, Ruling
from ai_sysadmin.core.policy_settings import Breakers, Override
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Autonomy, Settings

app = typer.Typer(help="What may be done without a person: show it, explain one action.", invoke_without_command=True)
EXPLAIN_SECONDS: Final = 30.0
_KEY: Final = re.compile(r"[a-z][a-z0-9_]*")
_DOES: Final = {
    Decision.RUN: "runs alone",
    Decision.ASK: "asks a person",
    Decision.RECORD: "only recorded",
    Decision.REFUSE: "refused",
}


class PolicyShown(Record):
    """The policy of these settings. ``remarks`` say what in it cannot have the effect that it seems to have."""

    autonomy_level: Autonomy
    table: dict[Autonomy, dict[Risk, Decision]]
    overrides: tuple[Override, ...]
    protected_units: tuple[str, ...]
    breakers: Breakers
    hands_off_seconds: float
    remarks: tuple[str, ...]


@app.callback()
def bare(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    context.obj = Given(settings, state_dir, as_json).over(context.obj)
    if context.invoked_subcommand is None:
        show(context)


@app.command()
def show(
    context: typer.Context, settings: SettingsFile = None, state_dir: StateDir = None, as_json: Json = False
) -> None:
    """Show the table, the overrides, the protected units and the breakers of these settings."""
    desk = Desk.open(context, settings, state_dir, as_json)
    shown = policy_of(desk.settings)
    desk.answer(shown, policy_page(shown))


@app.command()
def explain(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="The action's name, such as restart_unit.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Its arguments, such as unit=nginx.service.")
    ] = None,
    origin: Annotated[
        Origin, typer.Option("--origin", help="Who would propose it; what a person asks for waits for a person.")
    ] = Origin.INVESTIGATION,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Say what would become of an action now, at each level of autonomy, and which line decides.

    Nothing is proposed and nothing is kept.
    """
    desk = Desk.open(context, settings, state_dir, as_json)
    given = arguments_of(action, arguments or [])
    client = ExecutorClient(desk.settings.operate_socket, timeout_seconds=EXPLAIN_SECONDS)
    explained = asyncio.run(client.explain(action, given, origin))
    desk.answer(explained, explained_page(explained, desk.settings))


def arguments_of(action: str, words: list[str]) -> dict[str, str]:
    """Read an action's arguments: KEY=VALUE, or the values alone in the order of the catalogue's entry.

    Raises:
        typer.BadParameter: a word is neither, or a key comes twice.
    """
    entry = CATALOGUE.get(action)
    keys = list(entry.model_fields) if entry else []
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or _KEY.fullmatch(key) is None:
            key, value = next((each for each in keys if each not in given), ""), word
        if not key or key in given:
            wrong = "is given twice" if key else "will not do"
            raise typer.BadParameter(f"{word!r} {wrong}: write KEY=VALUE, such as unit=nginx.service")
        given[key] = value
    return given


def policy_of(settings: Settings) -> PolicyShown:
    """Return the policy of some settings."""
    policy = settings.policy
    names = (*CATALOGUE, *(each.name for each in settings.actions.declared))
    return PolicyShown(
        autonomy_level=settings.autonomy_level,
        table={level: {risk: decision_of(risk, level) for risk in Risk} for level in Autonomy},
        overrides=policy.overrides,
        protected_units=policy.protected_units,
        breakers=policy.breakers,
        hands_off_seconds=policy.hands_off_seconds,
        remarks=remarks(policy, names),
    )


def policy_page(shown: PolicyShown) -> str:
    """Render a policy."""
    heads = ("", "AUTONOMY", *(risk.value.upper() for risk in Risk))
    rows = [
        (">" if level is shown.autonomy_level else "", level.value, *(_DOES[row[risk]] for risk in Risk))
        for level, row in shown.table.items()
    ]
    lines = [*table(heads, rows), ""]
    lines += wrapped(
        "Where the executor itself sees no need for an action, a person is asked, unless it is read-only. A change to a"
        " protected unit is destructive.",
        2,
    )
    lines += heading("Overrides (deny wins over ask, ask over run)")
    for index, override in enumerate(shown.overrides):
        lines += fact(f"[{index}] {override.decision}", override_words(override))
    lines += [] if shown.overrides else ["  none"]
    lines += [*heading("Protected units"), *wrapped(" ".join(shown.protected_units), 2)]
    lines += [*heading("Breakers"), *wrapped(_breaker_words(shown), 2)]
    if shown.remarks:
        lines += heading("Look at")
        lines += [line for remark in shown.remarks for line in wrapped(remark, 4, "  ! ")]
    return "\n".join(lines)


def override_words(override: Override) -> str:
    """Say what an override is about, and why it is there."""
    said = ", ".join(override.actions)
    said += f" on {', '.join(override.units)}" if override.units != ("*",) else ""
    said += f" at {', '.join(override.hosts)}" if override.hosts != ("*",) else ""
    said += f"; {', '.join(override.days)}" if override.days else ""
    said += f"; {override.hours}" if override.hours else ""
    return f"{said}. {override.why}" if override.why else said


def _breaker_words(shown: PolicyShown) -> str:
    limits = shown.breakers
    return (
        f"alone at most {limits.per_unit} actions on one unit and {limits.all_units} on this host within"
        f" {limits.within_seconds:g} s; {limits.back_off_seconds:g} s between two on one unit, twice as long after each"
        f" that did not help; after {limits.failures} in vain for one symptom, and within {shown.hands_off_seconds:g} s"
        " of a change of a unit's files, a person is asked"
    )


def explained_page(explained: Explained, settings: Settings) -> str:
    """Render what would become of an action, with the host's own level marked."""
    own = explained.autonomy or settings.autonomy_level.value
    lines = wrapped(f"{explained.name} {explained.subject}: {_DOES[explained.ruling.decision]}", 2, "")
    lines += _seen(explained)
    lines += [*heading("By level of autonomy"), *_levels(explained.levels, own)]
    if explained.plan is not None:
        lines += plan_lines(explained.plan, settings.executor.post_check_seconds)
    return "\n".join(lines)


def _seen(explained: Explained) -> list[str]:
    plan, ruling = explained.plan, explained.ruling
    lines = fact("does", plan.does) if plan else []
    if explained.built_first:
        lines += fact("does", "something that has to be built before it can be shown; propose it to see it")
    lines += fact("risk", f"{ruling.risk.value}{', for it changes a protected unit' if ruling.protected else ''}")
    lines += fact("observed", plan.precondition) if plan else []
    lines += fact("need", explained.warrant or "the executor itself sees none") if plan else []
    for name, text in (("obstacle", explained.obstacle), ("at work", explained.hold), ("breaker", explained.breaker)):
        lines += fact(name, text) if text else []
    return [*lines, *fact("because", ruling.reason), *(fact("line", ruling.line) if ruling.line else [])]


def _levels(levels: dict[str, Ruling], own: str) -> list[str]:
    rows = [
        (">" if level == own else "", level, _DOES[ruling.decision], ruling.line) for level, ruling in levels.items()
    ]
    return table(("", "AUTONOMY", "WHAT", "DECIDED BY"), rows)
