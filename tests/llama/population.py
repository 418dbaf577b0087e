"""Different incidents of one host with evidence of ordinary size, as the pack is gathered for each."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from ai_sysadmin.context.condition import Condition
from ai_sysadmin.context.evidence import gather
from ai_sysadmin.context.facts import Facts, facts_of
from ai_sysadmin.context.knowledge.runbooks import shipped
from ai_sysadmin.core.incident_triggers import attach, open_incident
from ai_sysadmin.core.records import Review
from ai_sysadmin.core.settings import Backend, ReviewModel
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.llm_backend.llama_cpp import LlamaCpp
from ai_sysadmin.review_model.judge import Judge
from ai_sysadmin.sources.changes import Change, ChangesSeen
from ai_sysadmin.sources.units import Dependencies
from tests.builders import NOW, trigger
from tests.judging import FAILED, RUNNING, FixedClock, FixedJournal, FixedUnits, Notes, claim, lines, sources, symptom

CASES = (
    (
        "nginx.service",
        SymptomKind.UNIT_FAILED,
        "exit-code",
        '[emerg] 812#812: unknown directive "upstrem" in sites.conf:18',
    ),
    ("postgresql.service", SymptomKind.UNIT_FAILED, "exit-code", "FATAL: database files are incompatible with server"),
    ("redis.service", SymptomKind.OOM_KILL, "oom-kill", "redis.service: A process of this unit has been killed"),
    ("grafana.service", SymptomKind.CRASHED, "core-dump", "panic: runtime error: invalid memory address"),
    ("backup-home.service", SymptomKind.UNIT_FAILED, "exit-code", "repository is locked by another process 4211"),
    ("matrix-synapse.service", SymptomKind.TIMED_OUT, "timeout", "start operation timed out. Terminating."),
    ("gitea.service", SymptomKind.START_LIMIT_HIT, "start-limit-hit", "failed to connect to database: refused"),
    ("jellyfin.service", SymptomKind.FLAPPING, "signal", "System.IO.IOException: No space left on device"),
    ("home-assistant.service", SymptomKind.UNIT_FAILED, "exit-code", "ImportError: cannot import name 'fan'"),
    ("prometheus.service", SymptomKind.UNIT_FAILED, "exit-code", "opening storage failed: lock DB directory"),
    ("mosquitto.service", SymptomKind.UNIT_FAILED, "exit-code", "Error: Address already in use"),
    ("borgmatic.service", SymptomKind.UNIT_FAILED, "exit-code", "ssh: connect to host backup port 22: timed out"),
    ("nextcloud-cron.service", SymptomKind.UNIT_FAILED, "exit-code", "PHP Fatal error: Allowed memory size exhausted"),
    ("wireguard-wg0.service", SymptomKind.DEPENDENCY_FAILED, "dependency", "Name or service not known: vpn"),
    ("paperless-web.service", SymptomKind.WATCHDOG, "watchdog", "worker timeout (pid 77)"),
    ("unbound.service", SymptomKind.UNIT_FAILED, "exit-code", "could not open ports: permission denied"),
    ("transmission.service", SymptomKind.CRASHED, "signal", "terminated by signal 11"),
    ("loki.service", SymptomKind.BURST, "success", 'level=error msg="failed to flush chunks"'),
    ("caddy.service", SymptomKind.UNIT_FAILED, "exit-code", "obtaining certificate: acme: rate limited"),
    ("vaultwarden.service", SymptomKind.UNIT_FAILED, "exit-code", "Error loading config: rsa_key.pem not readable"),
)
LOG_LINES = 30
ONE_SLOT = ("--port", "0", "-c", "8192", "-np", "1", "-t", "1", "-cram", "64", "--alias", "tiny")


class Changed:
    """What changed is said of the unit; every third host changed nothing."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def before(self, unit, moment, within):
        path = f"/etc/{unit.partition('.')[0]}/main.conf"
        at = moment - timedelta(seconds=30 + 40 * self._number)
        own = Change(at=at, kind="configuration", what=f"{path} was changed", about=path, unit_related=True)
        other = Change(at=moment - timedelta(hours=5), kind="package", what="curl 8.9.1 → 8.10.0", about="curl")
        return ChangesSeen(changes=(own, other) if self._number % 3 else ())


class Host:
    async def facts(self):
        return (
            ("hostname", "atlas"),
            ("os", "NixOS 25.05 (Warbler)"),
            ("generation", "NixOS generation 142"),
            ("kernel", "Linux 6.12.30 (x86_64)"),
            ("processors", "8"),
            ("memory", "31 GiB"),
            ("booted", "2026-11-02T07:11:40Z"),
        )


class Shelf:
    """The runbooks that are shipped."""

    def __init__(self) -> None:
        self._books = shipped().documents

    async def list(self, kinds: Sequence[object] = (), limit: int = 1000):
        return self._books[:limit]


async def facts_for(number: int) -> Facts:
    """Return one incident of the population, with its evidence."""
    unit, kind, result, said = CASES[number % len(CASES)]
    status = (RUNNING if result == "success" else FAILED).model_copy(
        update={
            "name": unit,
            "description": f"the {unit.partition('.')[0]} service",
            "result": result,
            "exit_status": number % 7 + 1,
            "fragment_path": f"/etc/systemd/system/{unit}",
        }
    )
    fault = trigger(kind, unit=unit, opens=True, why=f"systemd reports {unit}: {result}", text=said)
    incident = attach(open_incident(fault), fault, known=False, at=NOW)
    talk = [
        f"request {step * 7 + number} served in {step + number} ms to 10.0.{number}.{step}" for step in range(LOG_LINES)
    ]
    noticed = symptom(unit=unit, kind=kind, text=said, why=fault.why, count=number % 5 + 1)
    needs = Dependencies(requires=("network.target", "system.slice"), wants=("network-online.target",))
    pack = await gather(
        incident,
        [noticed],
        sources(
            FixedUnits(status, needs=needs),
            FixedJournal(lines(*talk, said)),
            changes=Changed(number),
            documents=Shelf(),
            host=Host(),
        ),
        NOW,
    )
    return facts_of(incident, pack)


class Served(NamedTuple):
    """What the server read of prompts, and what of it came from its cache."""

    prompt_tokens: int
    cached_tokens: int

    @property
    def percent(self) -> float:
        return 100 * self.cached_tokens / self.prompt_tokens


async def reviews(url: str, count: int) -> list[Review]:
    """Judge so many different incidents by the server at this URL, one after the other."""
    server = LlamaCpp("review", Backend(url=url))
    clock = FixedClock()
    judge = Judge.of(server, Condition("review-model", Notes(), clock), clock, ReviewModel())
    try:
        return [await judge.judge(await facts_for(number), claim()) for number in range(count)]
    finally:
        await server.close()


def served(found: list[Review]) -> Served:
    return Served(sum(each.prompt_tokens for each in found), sum(each.cached_tokens for each in found))
