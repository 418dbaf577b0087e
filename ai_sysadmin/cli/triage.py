"""`triage`: any log judged as the trigger monitor would judge it, without a daemon."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.table import Table

from ai_sysadmin.cli.desk import Given, Json, SettingsFile, StateDir, warn
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.runtime import settings_file
from ai_sysadmin.sources.lines import Format, Line, LineReader
from ai_sysadmin.trigger_monitor.triage import Finding, Summary, Triage, Verdict

USAGE = 2
BATCH_LINES = 1000

_CHUNK = 256 << 10
_SHOWN = 200
_EXAMPLE = 400

LogFile = Annotated[str, typer.Argument(metavar="[FILE]", help="The log; - is standard input.")]
LogFormat = Annotated[Format, typer.Option("--format", help="How the log is written.")]


def add_to(app: typer.Typer) -> None:
    app.command()(triage)


def triage(
    context: typer.Context,
    file: LogFile = "-",
    log_format: LogFormat = "auto",
    settings: SettingsFile = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Say which lines of a log matter, and why, as the trigger monitor would."""
    given = Given(settings, state_dir, as_json).over(context.obj)
    judge = Triage(_settings(given).trigger_monitor, "log")
    began = time.monotonic()
    try:
        with _opened(file) as log:
            for verdicts in _judged(log, log_format, judge):
                if given.as_json:
                    sys.stdout.write("".join(map(_as_json, verdicts)))
                    sys.stdout.flush()
        summary = judge.summary(time.monotonic() - began)
        if given.as_json:
            sys.stdout.write(json.dumps({"summary": summary.model_dump()}) + "\n")
        else:
            _page(judge.findings(), summary)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read this has seen enough


def _settings(given: Given) -> Settings:
    """Return the settings that were given, else those in the usual places, if they can be had: none are needed.

    Raises:
        SettingsError: those that were given cannot be used.
    """
    try:
        return settings_file.load(given.settings, given.state_dir)
    except SettingsError as error:
        if given.settings is not None:
            raise
        warn(f"ai-sysadmin: judging by the default settings: {error}")
        return Settings()


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Open the log, or leave with a sentence that says why not."""
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115 — closed below; the with would catch errors of reading too
    except OSError as error:
        warn(f"ai-sysadmin: {name} cannot be read: {error.strerror}")
        raise typer.Exit(USAGE) from error
    with file:
        yield file


def _judged(log: BinaryIO, log_format: Format, judge: Triage) -> Iterator[list[Verdict]]:
    reader = LineReader(log_format, SystemClock().now(), trusting=True)
    while chunk := _read(log):
        yield from _in_batches(reader.feed(chunk), judge)
    yield from _in_batches(reader.end(), judge)


def _read(log: BinaryIO) -> bytes:
    """Read what is there, without waiting for a full chunk."""
    try:
        return os.read(log.fileno(), _CHUNK)
    except IsADirectoryError as error:
        warn("ai-sysadmin: that is a directory, not a log")
        raise typer.Exit(USAGE) from error


def _in_batches(lines: list[Line], judge: Triage) -> Iterator[list[Verdict]]:
    for start in range(0, len(lines), BATCH_LINES):
        yield judge.judge(lines[start : start + BATCH_LINES])


def _as_json(verdict: Verdict) -> str:
    return json.dumps(verdict._asdict(), ensure_ascii=False) + "\n"


def _page(findings: list[Finding], summary: Summary) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    if findings:
        console.print(_table(findings[:_SHOWN]))
    if len(findings) > _SHOWN:
        console.print(f"… and {len(findings) - _SHOWN} more templates; --json shows every line.")
    share = f" ({100 * summary.forwarded / summary.lines:.1f} %)" if summary.lines else ""
    console.print(
        f"{summary.lines} lines, {summary.templates} templates, {summary.forwarded} lines forwarded{share},"
        f" {summary.incidents} incidents would have been opened; {summary.seconds:.1f} s."
    )


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("SCORE", "COUNT", "LINE"):
        table.add_column(name, justify="right")
    table.add_column("SOURCE", max_width=24, overflow="fold")
    table.add_column("EXAMPLE", ratio=3, overflow="fold")
    table.add_column("WHY", ratio=2, overflow="fold")
    for each in findings:
        numbers = (str(each.score), str(each.count), str(each.first_line))
        table.add_row(*numbers, one_line(each.source, 60), one_line(each.example, _EXAMPLE), "; ".join(each.why))
    return table
