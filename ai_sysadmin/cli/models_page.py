"""The models as documents and as pages for people."""

from pathlib import Path

from ai_sysadmin.cli.layout import heading, table, wrapped
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend.local_servers import choices
from ai_sysadmin.llm_backend.weights.catalogue import CATALOGUE, Layer
from ai_sysadmin.llm_backend.weights.download import sized
from ai_sysadmin.llm_backend.weights.model_files import ModelRecord, Verdict, dangling, models_in, standing
from ai_sysadmin.llm_backend.weights.pull import Pulled

BECAUSE = {"settings": "named in the settings", "link": "`models use`", "size": "matched by size"}
_MARKS = {"matches": "ok  ", "differs": "BAD ", "unrecorded": "note", "unreadable": "BAD "}


class Offered(Record):
    """An entry of the catalogue; its size is approximate."""

    name: str
    layer: Layer
    repository: str
    file: str
    approximate_bytes: int
    licence: str
    here: bool


class Kept(Record):
    """A model file on this host; its hash is none where nothing was recorded."""

    file: Path
    size: int
    sha256: str | None
    checked_against: str | None
    standing: str
    url: str | None


class Used(Record):
    """The file that a layer uses, and why that one."""

    layer: Layer
    file: Path
    because: str
    there: bool


class ModelsView(Record):
    """All that is known of models here."""

    directory: Path
    catalogue: tuple[Offered, ...]
    files: tuple[Kept, ...]
    layers: tuple[Used, ...]


class PullView(Record):
    """A model file that is there now, the layers that use it, and what to do next."""

    file: Path
    size: int
    sha256: str
    checked_against: str | None
    url: str
    was_there: bool
    layers: tuple[Layer, ...]
    next: str


class VerifyView(Record):
    """What a second look at the files says."""

    files: tuple[Verdict, ...]


def models_view(settings: Settings) -> ModelsView:
    """Look at the directory of the models."""
    directory = settings.models_directory
    found = models_in(directory)
    names = {model.path.name for model in found}
    offered = tuple(
        Offered(
            name=entry.name,
            layer=entry.layer,
            repository=entry.repository,
            file=entry.file,
            approximate_bytes=entry.approximate_bytes,
            licence=entry.licence,
            here=entry.file in names,
        )
        for entry in CATALOGUE
    )
    files = tuple(_kept(model.path, model.size, model.record) for model in found)
    return ModelsView(directory=directory, catalogue=offered, files=files, layers=_layers(settings))


def layers_of(file: Path, settings: Settings) -> tuple[Layer, ...]:
    """Return the layers that use a file."""
    found = choices(settings.models, settings.models_directory)
    return tuple(layer for layer, choice in found.items() if choice.file.resolve() == file.resolve())


def models_page(view: ModelsView) -> str:
    """Render what there is, what could be, and who uses what."""
    lines = [f"Models in {view.directory}"]
    rows = [(kept.file.name, sized(kept.size), (kept.sha256 or "-")[:12], kept.standing) for kept in view.files]
    lines += table(("FILE", "SIZE", "SHA-256", "VERIFIED"), rows, indent=2) if rows else ["  none yet"]
    lines += heading("Layers")
    used = [(used.layer, used.file.resolve().name, _because(used)) for used in view.layers]
    lines += table(("LAYER", "FILE", "WHY"), used, indent=2) if used else ["  no layer has a file"]
    return "\n".join([*lines, *catalogue_lines(view)])


def catalogue_lines(view: ModelsView) -> list[str]:
    """Render what can be fetched by a short name."""
    rows = [
        (entry.name, entry.layer, f"~{sized(entry.approximate_bytes)}", "here" if entry.here else "", entry.repository)
        for entry in view.catalogue
    ]
    lines = [*heading("To be had"), *table(("NAME", "FOR", "SIZE", "", "FROM"), rows, indent=2)]
    return [*lines, "", "  ai-sysadmin models pull NAME, or the URL or path of any GGUF file"]


def pull_view(pulled: Pulled, settings: Settings, next_step: str) -> PullView:
    record = pulled.record
    return PullView(
        file=pulled.file,
        size=record.size,
        sha256=record.sha256,
        checked_against=record.checked_against,
        url=record.url,
        was_there=pulled.was_there,
        layers=layers_of(pulled.file, settings),
        next=next_step,
    )


def pull_page(view: PullView) -> str:
    """Render what came, how far it can be trusted, who uses it, and the next step."""
    there = "was there already" if view.was_there else "is there"
    lines = [f"{view.file.name} {there}: {sized(view.size)} in {view.file.parent}", f"SHA-256  {view.sha256}"]
    if view.checked_against:
        lines += wrapped(f"checked against {view.checked_against}", 9)
    else:
        lines += wrapped(
            "NOT checked against a publisher, because none says it: compare it yourself, or give --sha256", 9
        )
    if view.layers:
        lines.append(f"Used by  {', '.join(view.layers)}")
    return "\n".join([*lines, f"Next     {view.next}"])


def verify_page(view: VerifyView) -> str:
    lines = [line for seen in view.files for line in wrapped(f"{seen.file.name}: {seen.text}", 6, _mark(seen))]
    return "\n".join(lines) or "there is no model file"


def _kept(path: Path, size: int, record: ModelRecord | None) -> Kept:
    return Kept(
        file=path,
        size=size,
        sha256=record.sha256 if record else None,
        checked_against=record.checked_against if record else None,
        standing=standing(record),
        url=record.url if record else None,
    )


def _layers(settings: Settings) -> tuple[Used, ...]:
    directory = settings.models_directory
    broken = [
        Used(layer=layer, file=file, because="`models use`", there=False)
        for layer, file in dangling(directory).items()
        if getattr(settings.models, layer, None) is None
    ]
    found = [
        Used(layer=layer, file=choice.file, because=BECAUSE[choice.because], there=choice.file.is_file())
        for layer, choice in choices(settings.models, directory).items()
    ]
    return tuple(found + broken)


def _because(used: Used) -> str:
    return used.because if used.there else f"{used.because}, but it is NOT there"


def _mark(seen: Verdict) -> str:
    return f"{_MARKS[seen.state]}  "
