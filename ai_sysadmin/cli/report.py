"""`report`: what was proposed in a time, what became of it, and which line would let it run alone."""

import asyncio
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Final

import typer

from ai_sysadmin.actions.nixos.literals import nix
from ai_sysadmin.actions.periods import DEFAULT_PERIOD, period_of
from ai_sysadmin.actions.promotion import Promotion
from ai_sysadmin.actions.trust import ActionTrust, Fate, SubjectTrust, Tally, TrustReport
from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Json, SettingsFile, StateDir
from ai_sysadmin.cli.layout import WIDTH, fact, heading, wrapped
from ai_sysadmin.context.defuse import defuse
from ai_sysadmin.core.acting import Decision
from ai_sysadmin.core.clock import local, since
from ai_sysadmin.core.policy_settings import Override

_MOST_SUBJECTS: Final = 8
_INDENT: Final = 4
_FATES: Final[Mapping[str, str]] = {
    Fate.ALONE: "ran alone",
    Fate.APPROVED: "approved",
    Fate.REJECTED: "rejected",
    Fate.EXPIRED: "expired",
    Fate.HEALED: "healed by itself while it waited",
    Fate.WITHDRAWN: "withdrawn",
    Fate.RECORDED: "only recorded",
    Fate.REFUSED: "refused",
    Fate.WAITING: "waits",
}
_OUTCOMES: Final = {"reverted": "taken back", "unknown": "not known", "under_way": "under way"}


def add_to(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    context: typer.Context,
    period: Annotated[
        str, typer.Option("--since", help="How far back: 24h, 7d, 4w; at most a year.", metavar="TIME")
    ] = DEFAULT_PERIOD,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Say how far proposals could be trusted: what would have run alone, what became of them, what to promote."""
    desk = Desk.open(context, settings, state_dir, as_json)
    try:
        period_of(period)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from error
    found = asyncio.run(Api(desk.settings).request("GET", "report", TrustReport, query={"since": period}))
    desk.answer(found, report_page(found))


def report_page(found: TrustReport) -> str:
    """Render a report for a terminal of 80 columns; only a single name that is longer makes a line longer."""
    count = found.tally.proposed
    lines = wrapped(f"{_number(count, 'proposal')} on {found.host}, autonomy {found.autonomy.value}", 2, "")
    lines += fact("from", f"{local(found.since)} to {local(found.at)}")
    lines += fact("healed", _healed(found))
    for action in found.actions:
        lines += ["", *_action(action, found)]
    if count:
        lines += [*heading("Autonomy"), *_level(found)]
    return "\n".join(lines)


def _healed(found: TrustReport) -> str:
    waited = found.tally.fates.get(Fate.HEALED, 0)
    said = f"{_number(found.healed, 'incident')} without anything being done"
    return f"{said}; not needed after all: {_number(waited, 'proposal')}" if waited else said


def _action(action: ActionTrust, found: TrustReport) -> list[str]:
    tally = action.tally
    lines = wrapped(f"{action.name}: {tally.proposed} proposed ({_counts(tally.origins, {})})", 2, "")
    lines += fact("became", _counts(tally.fates, _FATES))
    if tally.median_seconds is not None and tally.longest_seconds is not None:
        at_most = _span(tally.longest_seconds, found)
        lines += fact("decided", f"after {_span(tally.median_seconds, found)} (median), at most {at_most}")
    lines += fact("outcome", _counts(tally.outcomes, _OUTCOMES)) if tally.outcomes else []
    lines += fact("alone at", f"{_alone(tally)}, of {tally.proposed}")
    for subject in action.subjects[:_MOST_SUBJECTS]:
        lines += fact("on", _subject(subject))
    if more := len(action.subjects) - _MOST_SUBJECTS:
        lines += fact("", f"and {more} more; --json has them all") if more > 0 else []
    return [*lines, *_promotion(action.promotion, found)]


def _subject(subject: SubjectTrust) -> str:
    tally = subject.tally
    said = ", ".join(filter(None, (_counts(tally.fates, _FATES), _counts(tally.outcomes, _OUTCOMES))))
    return f"{subject.subject}, {tally.proposed}: {said}"


def _promotion(promotion: Promotion, found: TrustReport) -> list[str]:
    if promotion.override is None:
        return fact("not alone", promotion.why_not)
    where = "; add it to the overrides that are set already" if found.has_overrides else ""
    said = f"{_number(len(promotion.cases), 'approved case')} would have run by themselves with this{where}:"
    return [*fact("promote", said), *_indented(_nix_lines(promotion.override))]


def _level(found: TrustReport) -> list[str]:
    lines = fact("alone at", f"{_alone(found.tally)}, of {found.tally.proposed}; breakers and people at work left out")
    if not found.level.line:
        return [*lines, *fact("no level", found.level.why_not)]
    said = f"exactly what was approved, {_number(len(found.level.cases), 'case')}, would have run by itself with this:"
    return [*lines, *fact("promote", said), *_indented([found.level.line])]


def _nix_lines(override: Override) -> Iterator[str]:
    """Yield an override as Nix of short lines: the same as the report's line, which is one."""
    yield "services.ai-sysadmin.settings.policy.overrides = [ {"
    yield f"  decision = {nix(override.decision)};"
    for name, values in (("actions", override.actions), ("units", override.units)):
        yield from textwrap.wrap(
            f"{name} = [ {' '.join(map(nix, values))} ];",
            WIDTH - _INDENT,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    yield "} ];"


def _indented(lines: Iterable[str]) -> list[str]:
    """Indent lines that are to be copied, so that none of them may be folded."""
    return [" " * _INDENT + defuse(line) for line in lines]


def _alone(tally: Tally) -> str:
    return ", ".join(f"{level} {said.get(Decision.RUN.value, 0)}" for level, said in tally.levels.items())


def _counts(counts: Mapping[str, int], names: Mapping[str, str]) -> str:
    return ", ".join(f"{names.get(name, name)} {count}" for name, count in counts.items())


def _span(seconds: float, found: TrustReport) -> str:
    return since(found.at - timedelta(seconds=seconds), found.at)


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
