"""`ai-sysadmin`: all commands together."""

import sys

import typer

from ai_sysadmin import __version__
from ai_sysadmin.cli import (
    actions,
    ask,
    audit,
    backup,
    build_configuration,
    check,
    configuration,
    doctor,
    halting,
    incidents,
    keys,
    knowledge,
    metrics,
    migrate,
    models,
    mute,
    notify,
    policy,
    probe,
    restore,
    services,
    status,
    templates,
    triage,
)
from ai_sysadmin.cli import report as trust_report
from ai_sysadmin.cli.chat import command as chat_command
from ai_sysadmin.cli.desk import Given, Json, SettingsFile, StateDir, say
from ai_sysadmin.cli.outcome import report
from ai_sysadmin.core.errors import AiSysadminError

app = typer.Typer(
    name="ai-sysadmin",
    help="A private, local system administrator: watches this host, proposes remedies, explains itself.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"ai-sysadmin {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
    _version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    context.obj = Given(settings, state_dir, as_json)


services.add_to(app)
status.add_to(app)
app.add_typer(incidents.app, name="incidents")
app.add_typer(actions.app, name="actions")
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
halting.add_to(app)
backup.add_to(app)
restore.add_to(app)
app.add_typer(keys.app, name="keys")
app.add_typer(templates.app, name="templates")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(metrics.app, name="metrics")
mute.add_to(app)
check.add_to(app)
trust_report.add_to(app)
triage.add_to(app)
ask.add_to(app)
chat_command.add_to(app)
app.add_typer(configuration.app, name="config")
doctor.add_to(app)
migrate.add_to(app)
app.add_typer(models.app, name="models")
app.add_typer(notify.app, name="notify")
app.add_typer(build_configuration.app, name="build-configuration", hidden=True)
app.add_typer(probe.app, name="probe", hidden=True)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except AiSysadminError as error:
        raise SystemExit(report(error, as_json="--json" in sys.argv[1:])) from error
