"""`probe run`: carry out one probe, given as JSON. The executor starts it under a user that may only ask."""

import asyncio
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from ai_sysadmin.cli.desk import say, warn
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.core.probe_settings import FAILS, ProbeSettings

app = typer.Typer(help="Carry out a probe.")
_PROBE: TypeAdapter[ProbeSettings] = TypeAdapter(ProbeSettings)


@app.callback()
def bare() -> None:
    """Keep `run` a command of its own."""


@app.command()
def run(probe: Annotated[str, typer.Argument(metavar="JSON", help="The probe, as in the settings.")]) -> None:
    """Carry out a probe: exit 0 where it passes, 10 where it fails, and say why in one line."""
    from ai_sysadmin.sources.probes import check  # with it come an HTTP client and a TLS stack

    try:
        wanted = _PROBE.validate_json(probe)
    except ValidationError as error:
        warn(f"that is no probe: {error}")
        raise typer.Exit(2) from None
    result = asyncio.run(check(wanted, SystemClock()))
    say(" ".join(result.why.split()))
    raise typer.Exit(0 if result.ok else FAILS)
