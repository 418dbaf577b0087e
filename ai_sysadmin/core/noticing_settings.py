"""The settings of layer 1: what is noticed, when it counts, what is silent. Defaults stand nowhere else."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from ai_sysadmin.core.probe_settings import ProbeSettings
from ai_sysadmin.core.section import Section

RuleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
Severity = Annotated[int, Field(ge=0, le=100)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_ENDPOINT = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})")


def _expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return pattern


class LogRule(Section):
    """A log line that matters, or one that the built-in table judges otherwise."""

    name: RuleName = Field(description="What the rule is called; a built-in rule's name replaces that rule.")
    pattern: str = Field(description="A regular expression (Python's), searched in the message without regard to case.")
    unit: str = Field("*", description="A glob of the units (or programs) whose lines are meant.")
    opens: bool = Field(True, description="Such a line opens an incident; otherwise it only supports one.")
    severity: Severity = Field(60, description="How bad it is, 0 to 100.")
    why: str = Field("", max_length=200, description="What it means, in words for people.")

    _compiles = field_validator("pattern")(_expression)


class Silence(Section):
    """Lines and faults that open nothing and support nothing."""

    unit: str = Field("*", description="A glob of the units, programs or other subjects that are meant.")
    pattern: str = Field("", description="A regular expression searched in the message; empty: any.")
    rule: str = Field("", description="The name of a rule or threshold; empty: any.")
    reason: str = Field("", max_length=200, description="Why, for whoever reads it later.")

    _compiles = field_validator("pattern")(_expression)

    @model_validator(mode="after")
    def _silences_something(self) -> "Silence":
        if self.unit in {"", "*"} and not self.pattern and not self.rule:
            raise ValueError("would silence everything: give a unit, a pattern or a rule")
        return self


class Threshold(Section):
    """When a figure of the host is a fault; it replaces the built-in threshold of the same name."""

    name: RuleName = Field(
        description="Its name; that of a built-in one (disk_filling and unusual are two) replaces it."
    )
    metric: str = Field(description="The metric's name; `ai-sysadmin metrics list` shows what there is.")
    about: str = Field("*", description="A glob of what it is measured on: a mount point, an interface.")
    above: float | None = Field(None, description="A fault when the figure is above this.")
    below: float | None = Field(None, description="A fault when the figure is below this.")
    clear: float | None = Field(None, description="Over when the figure is back at this; by default the limit itself.")
    samples: PositiveInt = Field(3, description="So many figures over the limit ...")
    of_samples: PositiveInt = Field(4, description="... of the last so many make a fault.")
    severity: Severity = Field(60, description="How bad it is, 0 to 100.")
    enabled: bool = Field(True, description="False: this threshold is never crossed.")

    @model_validator(mode="after")
    def _has_one_limit(self) -> "Threshold":
        if (self.above is None) == (self.below is None):
            raise ValueError("needs either above or below")
        if self.samples > self.of_samples:
            raise ValueError(f"samples = {self.samples} of of_samples = {self.of_samples} can never be reached")
        return self


class Maintenance(Section):
    """Hours in which faults of some units open nothing; what is still wrong afterwards does."""

    units: tuple[str, ...] = Field(("*",), description="Globs of the units or other subjects that are meant.")
    days: tuple[Day, ...] = Field((), description="The days on which it begins; empty: every day.")
    start: TimeOfDay = Field(description="When it begins, local time, as in 02:30.")
    end: TimeOfDay = Field(description="When it ends; before the start: on the next day.")


class WatchedFile(Section):
    """A log file that is followed like the journal."""

    path: Path = Field(description="The file; it may be rotated.")
    format: Literal["auto", "plain", "syslog", "journal-json", "journal-export"] = Field(
        "auto", description="How its lines are written."
    )


class Backup(Section):
    """A backup whose age is watched."""

    name: RuleName = Field(description="What the backup is called.")
    path: str = Field(description="A glob of the files that it writes; the newest counts.")
    max_age_hours: PositiveFloat = Field(26, description="Older than this it is overdue.")


class TriggerMonitor(Section):
    history_hours: PositiveFloat = Field(24, description="How far back the journal is read at first start.")
    debounce_seconds: PositiveFloat = Field(
        0.3, description="How long a unit must stay failed before it counts as failed."
    )
    burst_count: PositiveInt = Field(
        100, description="So many equal error lines within burst_window_seconds open an incident."
    )
    burst_window_seconds: PositiveFloat = Field(
        10, description="The window in which equal error lines are counted as one burst."
    )
    join_within_seconds: PositiveFloat = Field(
        300, description="How long a unit's error lines are kept for an incident that opens later."
    )
    reopen_within_seconds: PositiveFloat = Field(
        3600, description="A symptom that returns so soon reopens its incident."
    )
    storm_incidents: NonNegativeInt = Field(
        10, description="More new incidents than this within storm_seconds are one storm incident; 0: never."
    )
    storm_seconds: PositiveFloat = Field(300, description="The window in which new incidents make a storm.")
    settle_seconds: PositiveFloat = Field(
        300, description="How long after a boot, a resume or a switch its failures are gathered before they count."
    )
    correlate_seconds: PositiveFloat = Field(
        60, description="Units that fail within this time of each other are seen as cause and effect."
    )
    learning_days: PositiveFloat = Field(
        7, description="So long after the first start nothing counts for being unheard of alone."
    )
    flap_restarts: PositiveInt = Field(5, description="A unit restarted so often within flap_seconds is flapping.")
    flap_seconds: PositiveFloat = Field(600, description="The window in which restarts are counted.")
    stuck_seconds: PositiveFloat = Field(
        300, description="A unit that starts or stops for so long is stuck (one-shot services may take any time)."
    )
    sample_seconds: PositiveFloat = Field(15, description="How often the host's figures are read.")
    keep_samples_hours: PositiveFloat = Field(24, description="How long figures are kept as they were read.")
    keep_five_minutes_days: PositiveFloat = Field(
        14, description="How long five-minute means of the figures are kept; then hourly ones."
    )
    spool_mebibytes: PositiveInt = Field(
        64, description="So much of what is noticed waits on disk while the database is away, in MiB."
    )
    spool_days: PositiveFloat = Field(7, description="How long figures wait there; what else waits, waits for ever.")
    keep_metrics_days: PositiveFloat = Field(90, description="How long hourly means of the figures are kept.")
    rules: tuple[LogRule, ...] = Field((), description="Further log rules.")
    silences: tuple[Silence, ...] = Field((), description="What is not to be heard.")
    thresholds: tuple[Threshold, ...] = Field((), description="Further thresholds.")
    maintenance: tuple[Maintenance, ...] = Field((), description="Maintenance windows.")
    files: tuple[WatchedFile, ...] = Field((), description="Log files that are followed besides the journal.")
    certificates: tuple[str, ...] = Field((), description="Certificate files (globs) and host:port endpoints to watch.")
    certificate_days: PositiveInt = Field(14, description="A certificate with fewer days left is a fault.")
    backups: tuple[Backup, ...] = Field((), description="Backups whose age is watched.")
    probes: tuple[ProbeSettings, ...] = Field((), description="Services that are asked whether they answer.")

    @field_validator("certificates")
    @classmethod
    def _are_places(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        for place in places:
            endpoint = _ENDPOINT.fullmatch(place)
            if not place.startswith("/") and not (endpoint and 0 < int(endpoint[1]) < 1 << 16):
                raise ValueError(f"{place!r} is neither an absolute path, as in /etc/ssl/*.pem, nor host:port")
        return places
