"""The models that the layers are meant for: where their publisher has them, how large they are, under what licence.

File names, sizes and licences are the publisher's; no hash stands here, because the publisher's own metadata say it
when a file is fetched. Any other GGUF chat model of about that size does too.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Layer = Literal["trigger", "review", "meta", "embedding"]
LAYERS: tuple[Layer, ...] = get_args(Layer)


@dataclass(frozen=True)
class CatalogueEntry:
    """One model file of a publisher. ``approximate_bytes`` is for people and for free space, never for a check."""

    name: str
    repository: str
    file: str
    approximate_bytes: int
    layer: Layer
    licence: str
    aliases: tuple[str, ...] = ()


CATALOGUE = (
    CatalogueEntry("qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", 639_000_000, "trigger", "Apache-2.0"),
    CatalogueEntry(
        "qwen3-1.7b",
        "Qwen/Qwen3-1.7B-GGUF",
        "Qwen3-1.7B-Q8_0.gguf",
        1_834_000_000,
        "trigger",
        "Apache-2.0",
        aliases=("qwen3-1b",),
    ),
    CatalogueEntry("qwen3-4b", "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf", 2_497_000_000, "review", "Apache-2.0"),
    CatalogueEntry("qwen3-8b", "Qwen/Qwen3-8B-GGUF", "Qwen3-8B-Q4_K_M.gguf", 5_028_000_000, "meta", "Apache-2.0"),
    CatalogueEntry("qwen3-14b", "Qwen/Qwen3-14B-GGUF", "Qwen3-14B-Q4_K_M.gguf", 9_002_000_000, "meta", "Apache-2.0"),
    CatalogueEntry(
        "qwen3-embedding-0.6b",
        "Qwen/Qwen3-Embedding-0.6B-GGUF",
        "Qwen3-Embedding-0.6B-Q8_0.gguf",
        639_000_000,
        "embedding",
        "Apache-2.0",
    ),
)


def entry_of(name: str) -> CatalogueEntry | None:
    """Return the entry of a short name; ``qwen3:4b``, as Ollama writes it, is ``qwen3-4b``."""
    asked = name.lower().replace(":", "-")
    return next((entry for entry in CATALOGUE if asked in (entry.name, *entry.aliases)), None)


def entry_of_file(file_name: str) -> CatalogueEntry | None:
    return next((entry for entry in CATALOGUE if entry.file == file_name), None)
