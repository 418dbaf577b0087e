"""Planned lines become journal entries, with the fields and numbers that journald gives them."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ai_sysadmin.core.records import JournalEntry
from tests.quiet.plan import NEW_BOOT, Planned
from tests.quiet.slots import Memory, filled
from tests.quiet.voices import Line, Service, Voice

HOSTNAME: Final = "myhost"

STARTING: Final = "7d4958e842da4a758f6c1cdc7b36dcc5"
STARTED: Final = "39f53479d3a045ac8e11786248231fbf"
START_FAILED: Final = "be02cf6855d2428ba40df7e9d022f03d"
STOPPING: Final = "de5b426a63be47a7b6ac3eaac82e2f6f"
STOPPED: Final = "9d1aaa27d60140bd96365438aad20286"
FAILED: Final = "d9b373ed55a64feb8242e02dbe79a49c"
EXITED: Final = "98e322203f7a4ed290d09fe03c09fe15"
RESTART: Final = "5eb03494b6584870a536b337290809b3"
SUCCESS: Final = "7ad2d189f7e94e70a38c781354912448"
CONSUMED: Final = "ae8f7b866b0347b9af31fe1c80b127c0"
OUT_OF_MEMORY: Final = "fe6faa94e7774663a0da52717891d8ef"
CORE_DUMPED: Final = "fc2e22bc6ee647b6b90729ab34a250b1"
SUPPRESSED: Final = "a596d6fe7bfa4994828e72309e95d61e"
STARTUP_FINISHED: Final = "b07a249cd024414a82dd00cd181378ff"

_SIGNALS: Final = {"1": "HUP", "6": "ABRT", "9": "KILL", "11": "SEGV", "15": "TERM"}
_STATUSES: Final = {"1": "FAILURE", "2": "INVALIDARGUMENT", "143": "n/a", "203": "EXEC"}


@dataclass(frozen=True)
class Verb:
    """What the manager says of a unit: ``{unit}``, ``{what}`` (its description) and ``{rest}`` vary."""

    text: str
    message_id: str = ""
    priority: int = 6
    fields: Mapping[str, str] = field(default_factory=dict)


def _job(kind: str, result: str = "") -> dict[str, str]:
    return {"JOB_TYPE": kind} | ({"JOB_RESULT": result} if result else {})


VERBS: Final = {
    "starting": Verb("Starting {what}...", STARTING, fields=_job("start")),
    "started": Verb("Started {what}.", STARTED, fields=_job("start", "done")),
    "finished": Verb("Finished {what}.", STARTED, fields=_job("start", "done")),
    "reached": Verb("Reached target {what}.", STARTED, fields=_job("start", "done")),
    "listening": Verb("Listening on {what}.", STARTED, fields=_job("start", "done")),
    "mounted": Verb("Mounted {what}.", STARTED, fields=_job("start", "done")),
    "stopping": Verb("Stopping {what}...", STOPPING, fields=_job("stop")),
    "stopped": Verb("Stopped {what}.", STOPPED, fields=_job("stop", "done")),
    "unmounting": Verb("Unmounting {what}...", STOPPING, fields=_job("stop")),
    "unmounted": Verb("Unmounted {what}.", STOPPED, fields=_job("stop", "done")),
    "closed": Verb("Closed {what}.", STOPPED, fields=_job("stop", "done")),
    "left": Verb("Stopped target {what}.", STOPPED, fields=_job("stop", "done")),
    "success": Verb("{unit}: Deactivated successfully.", SUCCESS),
    "consumed": Verb("{unit}: Consumed {cpu}s CPU time.", CONSUMED),
    "exited": Verb("{unit}: Main process exited, code=exited, status={rest}", EXITED, 5, {"EXIT_CODE": "exited"}),
    "killed": Verb("{unit}: Main process exited, code=killed, status={rest}", EXITED, 5, {"EXIT_CODE": "killed"}),
    "dumped": Verb("{unit}: Main process exited, code=dumped, status={rest}", EXITED, 5, {"EXIT_CODE": "dumped"}),
    "failed": Verb("{unit}: Failed with result '{rest}'.", FAILED, 4),
    "restart": Verb("{unit}: Scheduled restart job, restart counter is at {rest}.", RESTART),
    "start-failed": Verb("Failed to start {what}.", START_FAILED, 3, _job("start", "failed")),
    "too-quickly": Verb("{unit}: Start request repeated too quickly.", priority=4),
    "out-of-memory": Verb("{unit}: A process of this unit has been killed by the OOM killer.", OUT_OF_MEMORY, 5),
    "says": Verb("{unit}: {rest}"),
    # by others than the manager
    "startup": Verb("{unit} {rest}", STARTUP_FINISHED),
    "core-dumped": Verb("Process {rest} dumped core.", CORE_DUMPED, 2),
    "suppressed": Verb("Suppressed {rest} messages from {unit}", SUPPRESSED),
}

_NOT_OF_THE_MANAGER: Final = {
    "startup": ("init.scope", "systemd", "journal"),
    "core-dumped": ("", "systemd-coredump", "journal"),
    "suppressed": ("systemd-journald.service", "systemd-journald", "driver"),
}
"""Who writes these: the unit (empty: it counts as the unit spoken of), the identifier, the transport."""


@dataclass
class Speaker:
    """Turns a machine's planned lines into entries; to be given them in the order of time."""

    services: Mapping[str, Service]
    rng: random.Random
    _sequence: int = 0
    _boot: str = ""
    _sequence_id: str = ""
    _runs: dict[str, str] = field(default_factory=dict)
    _writers: dict[Voice, tuple[str, Mapping[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sequence_id = self._id()
        self._boot = self._id()

    def entry(self, planned: Planned) -> JournalEntry | None:
        """Return a line's entry; none for what is no line: the moment of a boot, a silence."""
        seconds, _, line, memory = planned
        if line.verb in {NEW_BOOT, "none"}:
            if line.verb == NEW_BOOT:
                self._boot = self._id()
                self._runs.clear()
                self._writers.clear()
            return None
        at = datetime.fromtimestamp(seconds, UTC)
        if line.verb:
            return self._managed(at, line, memory)
        unit, fields = self._writer(line.voice, at, memory)
        text = filled(line.text, self.rng, at, memory)
        return self._made(at, text, unit, line.priority, line.voice.identifier, "", line.voice.transport, fields)

    def _managed(self, at: datetime, line: Line, memory: Memory) -> JournalEntry:
        """Say what the manager says: ``unit``, ``unit rest`` or ``unit | description``."""
        about, _, description = filled(line.text, self.rng, at, memory).partition(" | ")
        unit, _, rest = about.partition(" ")
        verb = VERBS[line.verb]
        if line.verb in {"starting", "started", "mounted", "listening", "reached"}:
            self._begin_run(unit, is_new=line.verb != "started" or unit not in self._runs)
        what = description or (self.services[unit].description if unit in self.services else unit)
        cpu = f"{self.rng.uniform(0.05, 9):.3f}" if "{cpu}" in verb.text else ""
        text = verb.text.format(unit=unit, what=what, rest=_explained(line.verb, rest), cpu=cpu)
        fields = dict(verb.fields) | _about(line.verb, rest)
        if line.by_user_manager:
            fields |= {"USER_UNIT": unit, "_PID": "1873", "_SYSTEMD_SLICE": "user-1000.slice"}
            return self._made(
                at, text, "user@1000.service", verb.priority, "systemd", verb.message_id, "journal", fields
            )
        if line.verb in _NOT_OF_THE_MANAGER:
            writer, identifier, transport = _NOT_OF_THE_MANAGER[line.verb]
            own = {"N_DROPPED": rest} if line.verb == "suppressed" else {}
            about = writer or unit
            return self._made(at, text, about, verb.priority, identifier, verb.message_id, transport, own)
        fields |= {"UNIT": unit, "INVOCATION_ID": self._run(unit), "_PID": "1", "_SYSTEMD_SLICE": "-.slice"}
        entry = self._made(at, text, unit, verb.priority, "systemd", verb.message_id, "journal", fields)
        if line.verb in {"success", "failed", "stopped"}:
            self._writers = {voice: known for voice, known in self._writers.items() if voice.unit != unit}
        return entry

    def _begin_run(self, unit: str, *, is_new: bool) -> None:
        if is_new:
            self._runs[unit] = self._id()
            self._writers = {voice: known for voice, known in self._writers.items() if voice.unit != unit}

    def _run(self, unit: str) -> str:
        return self._runs.setdefault(unit, self._id())

    def _writer(self, voice: Voice, at: datetime, memory: Memory) -> tuple[str, Mapping[str, str]]:
        """Return the unit that a voice writes from and the fields that journald adds for it."""
        known = self._writers.get(voice)
        if known is not None:
            return known
        unit = filled(voice.unit, self.rng, at, memory)
        fields = {} if voice.transport == "kernel" else {"_PID": str(self.rng.randrange(400, 300_000))}
        if unit:
            is_users = unit.startswith(("user@", "session-"))
            fields["_SYSTEMD_SLICE"] = "user-1000.slice" if is_users else "system.slice"
            fields["_SYSTEMD_INVOCATION_ID"] = self._run(unit)
        if voice.user_unit:
            fields["_SYSTEMD_USER_UNIT"] = voice.user_unit
        if voice.container:
            fields["CONTAINER_NAME"] = voice.container
        if "{" not in voice.unit:
            self._writers[voice] = unit, fields
        return unit, fields

    def _made(
        self,
        at: datetime,
        text: str,
        unit: str,
        priority: int,
        identifier: str,
        message_id: str,
        transport: str,
        fields: Mapping[str, str],
    ) -> JournalEntry:
        self._sequence += 1
        cursor = f"s={self._sequence_id};i={self._sequence:x};b={self._boot};t={int(at.timestamp() * 1e6):x}"
        return JournalEntry(
            cursor=cursor,
            at=at,
            message=text,
            unit=unit,
            priority=priority,
            identifier=identifier,
            message_id=message_id,
            hostname=HOSTNAME,
            boot_id=self._boot,
            sequence_id=self._sequence_id,
            sequence=self._sequence,
            transport=transport,
            fields=fields,
        )

    def _id(self) -> str:
        return f"{self.rng.getrandbits(128):032x}"


def _explained(verb: str, rest: str) -> str:
    if verb in {"killed", "dumped"}:
        return f"{rest}/{_SIGNALS[rest]}"
    return f"{rest}/{_STATUSES.get(rest, 'n/a')}" if verb == "exited" else rest


def _about(verb: str, rest: str) -> dict[str, str]:
    names = {"exited": "EXIT_STATUS", "killed": "EXIT_STATUS", "dumped": "EXIT_STATUS", "failed": "UNIT_RESULT"}
    names["restart"] = "N_RESTARTS"
    if verb not in names:
        return {}
    return {names[verb]: _SIGNALS[rest] if verb in {"killed", "dumped"} else rest}
