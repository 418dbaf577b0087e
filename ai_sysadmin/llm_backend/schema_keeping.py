"""Whether a server keeps to a schema: tried out once, along with the first request that has one.

A server that takes a schema and ignores it says nothing of it. So, before the first such request, a tiny one asks
for a word that only the schema holds. Where the answer lacks it, later prompts show the schema to the model. Some
servers keep to one object but not to a choice of several (``anyOf`` at the top), so that is tried out by itself.
"""

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from ai_sysadmin.llm_backend import PLAIN, Completion, Delta, Message, ModelServer, Schema, ServerHealth
from ai_sysadmin.llm_backend.answering import Around, Request, ask
from ai_sysadmin.llm_backend.lanes import Keeps, Lane, Shape
from ai_sysadmin.llm_backend.structured import with_schema_shown

log = logging.getLogger(__name__)

_WORD = "r7k2"


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_PROBES: Mapping[Shape, Schema] = {
    "object": _object(word={"type": "string", "enum": [_WORD]}),
    "anyOf": {
        "anyOf": [
            _object(word={"type": "string", "const": _WORD}),
            _object(word={"type": "string", "const": _WORD}, more={"type": "boolean"}),
        ]
    },
}
_KEPT = ({"word": _WORD}, {"word": _WORD, "more": True}, {"word": _WORD, "more": False})
_PROBE_PROMPT = (Message(role="user", content="Say good morning."),)
_PROBE_TOKENS = 48


class SchemaKeeping(Around):
    """A model server that is known to keep to schemas or not, and is helped where it does not."""

    def __init__(self, inner: ModelServer, lane: Lane, *, timeout_seconds: float) -> None:
        super().__init__(inner, timeout_seconds)
        self._lane = lane
        self._probing = asyncio.Lock()
        self._model = ""

    async def health(self) -> ServerHealth:
        health = await self._inner.health()
        verdict = self._known(self._model) or self._known(health.model) or "unknown"
        note = "; it ignores schemas, so replies are less reliable" if verdict == "ignored" else ""
        return health.model_copy(update={"schemas": verdict, "text": health.text + note})

    def _known(self, model: str) -> Keeps | None:
        """Return what is known of a model, the worst first."""
        seen = {verdict for (name, _), verdict in self._lane.keeps.items() if name == model}
        return max(seen, default=None)  # ignored comes after honoured

    async def answer(self, request: Request) -> AsyncGenerator[Delta, None]:
        if request.schema is not None and await self._verdict(request, request.schema) == "ignored":
            shown = with_schema_shown(request.messages, request.schema)
            request = dataclasses.replace(request, messages=shown)
        async with aclosing(ask(self._inner, request)) as deltas:
            async for delta in deltas:
                if delta.completion:
                    self._model = delta.completion.model
                yield delta

    async def _verdict(self, request: Request, schema: Schema) -> Keeps:
        """Return what is known of the model that answered last, or try it out. Raises: BackendUnavailable."""
        async with self._probing:
            if not self._model:  # another layer may have tried it out already
                self._model = (await self._inner.health()).model
            shape: Shape = "anyOf" if "anyOf" in schema else "object"
            return self._seen(shape) or await self._probe(request, shape)

    def _seen(self, shape: Shape) -> Keeps | None:
        """Return what was seen, or follows: who ignores one object ignores a choice, who keeps to that keeps to one."""
        plain, choice = (self._lane.keeps.get((self._model, each)) for each in ("object", "anyOf"))
        if shape == "anyOf":
            return choice or ("ignored" if plain == "ignored" else None)
        return plain or ("honoured" if choice == "honoured" else None)

    async def _probe(self, request: Request, shape: Shape) -> Keeps:
        probe = dataclasses.replace(
            request,
            messages=_PROBE_PROMPT,
            schema=_PROBES[shape],
            max_tokens=_PROBE_TOKENS,
            temperature=0.0,
            seed=1,
            extras=PLAIN,
            whole=True,
        )
        done = None
        async with aclosing(ask(self._inner, probe)) as deltas:
            async for delta in deltas:
                done = delta.completion or done
        self._model = done.model if done else ""
        verdict = self._lane.keeps[self._model, shape] = _verdict_on(done)
        log.log(
            logging.INFO if verdict == "honoured" else logging.WARNING,
            "%s model at %s: schemas (%s) are %s",
            self.name,
            self.url,
            shape,
            verdict,
            extra={"event": "schema_probed"},
        )
        return verdict


def _verdict_on(done: Completion | None) -> Keeps:
    try:
        kept = done is not None and json.loads(done.text) in _KEPT
    except ValueError:
        kept = False
    return "honoured" if kept else "ignored"
