"""The first survey of this host: look around, judge, render. ``up`` shows it at start."""

import socket
from datetime import timedelta

from ai_sysadmin.cli.survey_look import WARNING, Survey, look_around
from ai_sysadmin.cli.survey_page import survey_page
from ai_sysadmin.core.clock import SystemClock
from ai_sysadmin.sources.journal import past
from ai_sysadmin.sources.units import Units
from ai_sysadmin.trigger_monitor.lines.masks import masked

HISTORY = timedelta(hours=24)


async def survey(units: Units, host: str = "") -> Survey:
    """Look at this host once, in about three seconds. What cannot be read is told in it, nothing is raised."""
    worst = past(HISTORY, priority=WARNING)
    return await look_around(host or socket.gethostname(), units, worst, masked, SystemClock())


page = survey_page
