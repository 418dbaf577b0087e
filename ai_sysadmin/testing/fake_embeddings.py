"""An embedding model that needs no file: words are hashed into directions, alike texts share words."""

import hashlib
import random
import re
from collections.abc import Sequence

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend.embeddings import TextKind, Vector, normalised


class FakeEmbeddings:
    """``Embedder`` on nothing. ``away`` says why it does not answer; ``asked`` holds every text that was embedded."""

    def __init__(self, model: str = "fake", dimensions: int = 64) -> None:
        self.id = model
        self.away = ""
        self.sleeps = False
        self.asked: list[str] = []
        self._dimensions = dimensions

    async def identify(self) -> str:
        self._answer()
        return self.id

    async def asleep(self) -> bool:
        return self.sleeps

    async def embed(self, texts: Sequence[str], kind: TextKind) -> list[Vector]:  # noqa: ARG002 - one for both
        self._answer()
        self.sleeps = False
        self.asked += texts
        return [self._vector(text) for text in texts]

    async def close(self) -> None:
        return

    def _vector(self, text: str) -> Vector:
        words = re.findall(r"[^\W_]+", text.lower()) or [""]
        directions = [self._direction(word) for word in words]
        return normalised([sum(column) for column in zip(*directions, strict=True)])

    def _direction(self, word: str) -> Vector:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8])
        rng = random.Random(seed)  # noqa: S311 - nothing secret
        return [rng.gauss(0, 1) for _ in range(self._dimensions)]

    def _answer(self) -> None:
        if self.away:
            raise BackendUnavailable(self.away)
