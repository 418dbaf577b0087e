"""All tools of a host, in one order, made of what they look at."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ai_sysadmin.context.knowledge import Search
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.sources.changes import Changes
from ai_sysadmin.sources.coredumps import CoreDumps
from ai_sysadmin.sources.journal import SearchedJournal
from ai_sysadmin.sources.nixos_options import NixosOptions
from ai_sysadmin.sources.readable_files import ReadableFiles
from ai_sysadmin.sources.unit_lists import UnitLists
from ai_sysadmin.sources.units import ExaminedUnits
from ai_sysadmin.stores import ReadStore
from ai_sysadmin.stores.knowledge_store import KnowledgeStore
from ai_sysadmin.stores.metric_store import MetricStore
from ai_sysadmin.tools.certificates import certificate_tools
from ai_sysadmin.tools.configuration import configuration_tools
from ai_sysadmin.tools.declared import declared_tools
from ai_sysadmin.tools.disks import disk_tools
from ai_sysadmin.tools.figures import figure_tools
from ai_sysadmin.tools.files import file_tools
from ai_sysadmin.tools.hardware import hardware_tools
from ai_sysadmin.tools.known import known_tools
from ai_sysadmin.tools.logs import log_tools
from ai_sysadmin.tools.memory import memory_tools
from ai_sysadmin.tools.nixos import nixos_tools, not_nixos
from ai_sysadmin.tools.nixos_options import option_tools
from ai_sysadmin.tools.processes import process_tools
from ai_sysadmin.tools.reachability import reachability_tools
from ai_sysadmin.tools.sockets import socket_tools
from ai_sysadmin.tools.tool import Tool
from ai_sysadmin.tools.units import unit_tools


@dataclass(frozen=True)
class HostSources:
    """What the tools of a host look at, beside its files."""

    units: ExaminedUnits
    lists: UnitLists
    journal: SearchedJournal
    dumps: CoreDumps
    metrics: MetricStore
    reader: ReadStore
    search: Search
    documents: KnowledgeStore
    changes: Changes
    clock: Clock


def host_tools(sources: HostSources, settings: Settings, root: Path = Path("/")) -> tuple[Tool, ...]:
    """Return the tools of a host: what is wrong first, then its resources, its making, and what is known."""
    redactor, clock = Redactor(settings.context.redaction), sources.clock
    repository = settings.knowledge.configuration_repository
    files = files_of(settings, root)
    not_here = not_nixos(root)
    return (
        *unit_tools(sources.units, sources.lists, clock),
        *log_tools(sources.journal, sources.lists, clock, sources.dumps),
        *process_tools(root),
        *memory_tools(root),
        *disk_tools(root),
        *socket_tools(root),
        *reachability_tools(settings, clock, root),
        *figure_tools(sources.metrics, clock),
        *hardware_tools(root),
        *certificate_tools(settings.trigger_monitor, clock, root),
        *file_tools(files, redactor),
        *nixos_tools(sources.changes, clock, root),
        *configuration_tools(repository, sources.search, files, redactor, root, "" if repository else not_here),
        *option_tools(NixosOptions(settings.tools.options_file, root), "" if settings.tools.options_file else not_here),
        *known_tools(sources.search, sources.documents, sources.reader, clock),
        *declared_tools(settings.tools.declared, settings.tools.kept_bytes),
    )


def files_of(settings: Settings, root: Path = Path("/")) -> ReadableFiles:
    """Return what may be read by the settings; the suite's own keys and what it remembers never."""
    return ReadableFiles(settings.tools.files, settings.tools.never_files, tuple(_own(settings)), root)


def _own(settings: Settings) -> Iterator[Path]:
    yield settings.state_dir
    yield settings.executor.state_dir
    yield settings.api_key_file
    yield settings.ingest_key_file
    backends = (getattr(settings.backends, name) for name in type(settings.backends).model_fields)
    named = (settings.policy.identity_secret_file, *(getattr(each, "api_key_file", None) for each in backends))
    yield from (path for path in named if path is not None)
