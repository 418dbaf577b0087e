"""`templates`: what kinds of line this host logs, what the trigger model says of them, what people say."""

import asyncio
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from ai_sysadmin.cli.api import Api
from ai_sysadmin.cli.desk import Desk, Given, Json, SettingsFile, StateDir
from ai_sysadmin.cli.layout import fact, table, verbatim
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.errors import NotFound
from ai_sysadmin.core.records import Judgement, Template
from ai_sysadmin.openai_api_server.system.opinions import Judged
from ai_sysadmin.openai_api_server.system.views import Templates

app = typer.Typer(help="Log templates: list, show, mark.", invoke_without_command=True)
TemplateId = Annotated[str, typer.Argument(metavar="ID", help="A template's id, or the beginning of one.")]
Unit = Annotated[str, typer.Option("--unit", help="Only those of this unit, program or container (a glob).")]
Unlabelled = Annotated[bool, typer.Option("--unlabelled", help="Only those that have no label yet.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many, the latest seen first.")]

_LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_SHOWN = 50


class Mark(StrEnum):
    BENIGN = "benign"
    MATTERS = "matters"
    CLEAR = "clear"


def quoted(name: str) -> str:
    """Return an id as a piece of a path. Raises: NotFound, it is empty."""
    if not name.strip():
        raise NotFound("an id is needed, or the beginning of one")
    return quote(name, safe="")


@app.callback()
def bare(
    context: typer.Context,
    unit: Unit = "",
    unlabelled: Unlabelled = False,
    limit: Limit = _SHOWN,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    context.obj = Given(settings, state_dir, as_json).over(context.obj)
    if context.invoked_subcommand is None:
        list_(context, unit, unlabelled, limit)


@app.command("list")
def list_(
    context: typer.Context,
    unit: Unit = "",
    unlabelled: Unlabelled = False,
    limit: Limit = _SHOWN,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """List templates, the latest seen first."""
    desk = Desk.open(context, settings, state_dir, as_json)
    query: dict[str, str | int] = {"source": unit, "unlabelled": str(unlabelled).lower(), "limit": limit}
    found = asyncio.run(Api(desk.settings).request("GET", "templates", Templates, query=query))
    desk.answer(found, templates_page(found))


@app.command()
def show(
    context: typer.Context,
    template_id: TemplateId,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Show one template: how often, since when, and who says what of it."""
    desk = Desk.open(context, settings, state_dir, as_json)
    found = asyncio.run(Api(desk.settings).request("GET", f"templates/{quoted(template_id)}", Template))
    desk.answer(found, template_page(found))


@app.command()
def mark(
    context: typer.Context,
    what: Annotated[Mark, typer.Argument(help="benign: it need not be told; matters: it must be; clear: neither.")],
    template_id: TemplateId,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Say what a template is to you; that stands above every label."""
    desk = Desk.open(context, settings, state_dir, as_json)
    judged = Judged(judgement=None if what is Mark.CLEAR else Judgement(what.value))
    path = f"templates/{quoted(template_id)}/judgement"
    found = asyncio.run(Api(desk.settings).request("POST", path, Template, judged))
    desk.answer(found, template_page(found))


def templates_page(found: Templates) -> str:
    """Render a list of templates."""
    if not found.templates:
        return "No such templates."
    rows = [
        (each.id, one_line(each.source, 28), str(each.count), local(each.last_at)[:19], said(each), each.text)
        for each in found.templates
    ]
    lines = table(("ID", "SOURCE", "COUNT", "LAST", "SAYS", "TEXT"), rows, width=140)
    if found.found > len(found.templates):
        lines += ["", f"{len(found.templates)} of {found.found}: --limit shows more, --unit fewer."]
    return "\n".join(lines)


def said(template: Template) -> str:
    """Say in a word or two what a template is held to be: a person's judgement before a label."""
    if template.judgement is not None:
        return template.judgement.value
    if template.label is not None:
        return f"{template.label.category} {template.label.severity}"
    return "known" if template.known else "-"


def template_page(template: Template) -> str:
    """Render a template for people."""
    label = template.label
    lines = [one_line(template.text, 78), *fact("template", f"{template.id} of {template.source}")]
    level = _LEVELS[min(max(template.priority, 0), 7)]
    lines += fact("seen", f"{template.count} times, {level}, last {local(template.last_at)}")
    lines += fact("first", f"{local(template.first_at)}{', in the history that was read first' * template.known}")
    if template.rule:
        lines += fact("rule", template.rule)
    if template.judgement is not None:
        lines += fact("judged", f"{template.judgement.value}, by {template.judged_by}")
    if label is not None:
        matters = "matters" if label.matters else "does not matter"
        lines += fact("label", f"{label.category}, {matters}, severity {label.severity} of 100: {label.summary}")
        lines += fact("says who", f"the model {label.model}, unverified, {local(label.at)}")
    else:
        lines += fact("label", "none yet")
    return "\n".join([*lines, "", "  An example:", *verbatim(template.example)])
