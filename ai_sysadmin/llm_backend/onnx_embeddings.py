"""Texts as vectors in this process: ChromaDB's own embedding model (all-MiniLM-L6-v2) by onnxruntime.

The archive is taken only if it is the one whose SHA-256 ChromaDB's source names; of its members only the two that are
needed are read. Nothing is downloaded.
"""

import asyncio
import hashlib
import importlib
import os
import shutil
import tarfile
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend.embeddings import TextKind, Vector, normalised

MINILM_SHA256: Final = "913d7300ceae3b2dbc2c50d1de4baacab4be7b9380491c27fab7418616a16ec3"
"""Of the ``onnx.tar.gz`` that ChromaDB's default embedding function downloads."""

MODEL: Final = "all-MiniLM-L6-v2"
_MEMBERS: Final = ("model.onnx", "tokenizer.json")
_WINDOW_TOKENS: Final = 256
_BATCH: Final = 16
_QUIET: Final = 3  # onnxruntime's log level: errors only


@dataclass(frozen=True)
class _Loaded:
    """The model and its tokenizer, as their libraries give them."""

    session: Any
    tokenizer: Any
    numpy: Any


class OnnxEmbeddings:
    """``Embedder`` on a model archive; it is loaded at the first text, and stays.

    Args:
        archive: ``onnx.tar.gz``.
        directory: where it is unpacked, once.
        sha256: what the archive's hash must be.
    """

    def __init__(self, archive: Path, directory: Path, sha256: str = MINILM_SHA256) -> None:
        self.id = MODEL
        self._archive = archive
        self._directory = directory / f"{MODEL}-{sha256[:16]}"
        self._sha256 = sha256
        self._one_at_a_time = threading.Lock()
        self._loaded: _Loaded | None = None
        self._refused: tuple[tuple[int, int], str] | None = None

    async def identify(self) -> str:
        return self.id

    async def asleep(self) -> bool:
        return False

    async def close(self) -> None:
        self._loaded = None

    async def embed(self, texts: Sequence[str], kind: TextKind) -> list[Vector]:  # noqa: ARG002 - one for both
        vectors: list[Vector] = []
        for start in range(0, len(texts), _BATCH):
            vectors += await asyncio.to_thread(self._embed, texts[start : start + _BATCH])
        return vectors

    def _embed(self, texts: Sequence[str]) -> list[Vector]:
        with self._one_at_a_time:
            loaded = self._loaded = self._loaded or self._load()
            return _vectors(loaded, texts)

    def _load(self) -> _Loaded:
        try:
            onnxruntime, tokenizers, numpy = map(importlib.import_module, ("onnxruntime", "tokenizers", "numpy"))
        except ImportError as error:
            raise BackendUnavailable(
                f"knowledge.onnx_archive is set, but its runtime is not installed ({error}):"
                " install ai-sysadmin[vectors]"
            ) from error
        if not self._directory.is_dir():
            self._unpack()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = 1
        try:
            tokenizer = tokenizers.Tokenizer.from_buffer((self._directory / "tokenizer.json").read_bytes())
            session = onnxruntime.InferenceSession(
                str(self._directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except _faults(onnxruntime) as error:
            raise BackendUnavailable(
                f"the embedding model in {self._directory} cannot be loaded ({error}): remove that directory, and it is"
                f" unpacked anew from {self._archive}"
            ) from error
        tokenizer.enable_truncation(max_length=_WINDOW_TOKENS)
        tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")  # noqa: S106 - not that kind of token
        return _Loaded(session, tokenizer, numpy)

    def _unpack(self) -> None:
        """Check the archive and unpack it. One that was refused is not read again until it changes."""
        try:
            with self._archive.open("rb") as file:
                seen = os.fstat(file.fileno())
                signature = (seen.st_mtime_ns, seen.st_size)
                if self._refused and self._refused[0] == signature:
                    raise BackendUnavailable(self._refused[1])
                if why := self._why_not(file):
                    self._refused = (signature, why)
                    raise BackendUnavailable(why)
                self._extract(file)
        except (OSError, tarfile.TarError, EOFError) as error:
            raise BackendUnavailable(f"knowledge.onnx_archive = {self._archive}: {error}") from error

    def _why_not(self, file: IO[bytes]) -> str:
        found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # any binary file will do
        if found == self._sha256:
            return ""
        return (
            f"knowledge.onnx_archive = {self._archive} is not the archive that ChromaDB publishes: its SHA-256 is"
            f" {found}, not {self._sha256}; fetch onnx.tar.gz of {MODEL} anew"
        )

    def _extract(self, file: IO[bytes]) -> None:
        """Write the members that are needed, under names of ours; the directory is there whole or not at all."""
        file.seek(0)
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._directory.parent) as name:
            whole = Path(name) / "whole"
            whole.mkdir()
            with tarfile.open(fileobj=file, mode="r:gz") as archive:
                for member in archive:
                    if member.isreg() and (member_name := Path(member.name).name) in _MEMBERS:
                        _copy(archive.extractfile(member), whole / member_name)
            missing = [each for each in _MEMBERS if not (whole / each).exists()]
            if missing:
                raise BackendUnavailable(f"knowledge.onnx_archive = {self._archive} holds no {', '.join(missing)}")
            if not self._directory.is_dir():  # another process may have been quicker
                whole.rename(self._directory)


def _faults(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """Return what loading may raise; onnxruntime has classes of its own, without one common to them."""
    there = vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    own = (each for each in there if isinstance(each, type) and issubclass(each, Exception))
    return (OSError, ValueError, RuntimeError, *own)


def _copy(source: IO[bytes] | None, target: Path) -> None:
    if source is not None:
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def _vectors(loaded: _Loaded, texts: Sequence[str]) -> list[Vector]:
    """Return the mean of each text's token vectors, padding left out, at length 1."""
    numpy = loaded.numpy
    encoded = loaded.tokenizer.encode_batch(list(texts))
    ids = numpy.array([each.ids for each in encoded], dtype=numpy.int64)
    mask = numpy.array([each.attention_mask for each in encoded], dtype=numpy.int64)
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
    tokens = loaded.session.run(None, given)[0]
    weights = mask[:, :, None].astype(numpy.float32)
    means = (tokens * weights).sum(1) / weights.sum(1).clip(min=1e-9)
    return [normalised(vector) for vector in means.astype(float).tolist()]
