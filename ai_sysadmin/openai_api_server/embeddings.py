"""``POST /v1/embeddings``: texts as vectors, where an embedding model is set."""

import base64
import struct
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BeforeValidator, Field
from starlette.responses import JSONResponse, Response

from ai_sysadmin.llm_backend.embeddings import Embedder, Vector
from ai_sysadmin.openai_api_server import wire
from ai_sysadmin.openai_api_server.errors import Fault, Faulty
from ai_sysadmin.openai_api_server.showing.streaming import CLIENT_CLOSED, ClientGone, while_connected

MOST_TEXTS: Final = 64
LONGEST_TEXT: Final = 8 << 10


def _texts(given: object) -> object:
    """Read one text as a list of one. Raises: ValueError, for tokens."""
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts, list | tuple) and any(not isinstance(each, str) for each in texts):
        raise ValueError("is to be a text or a list of texts; tokens are not taken, their model may be another")
    return texts


class EmbeddingRequest(wire.Lenient):
    """Texts to embed."""

    input: Annotated[tuple[str, ...], BeforeValidator(_texts), Field(min_length=1, max_length=MOST_TEXTS)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=1 << 20)] | None = None


def router(embedder: Embedder | None) -> APIRouter:
    """Return the path; it stands below ``/v1`` and at the root."""
    paths = APIRouter()

    @paths.post("/embeddings")
    async def embeddings(request: Request) -> Response:
        asked = wire.parse(EmbeddingRequest, await request.body())
        _check(asked)
        if embedder is None:
            text = "no embedding model is set on this host: set backends.embedding to one"
            raise Faulty(Fault(404, text, code="no_embedder"))
        try:
            vectors = await while_connected(request.receive, embedder.embed(asked.input, "document"))
        except ClientGone:
            return Response(status_code=CLIENT_CLOSED)
        if asked.dimensions not in {None, len(vectors[0])}:
            text = f"dimensions: the model's vectors have {len(vectors[0])}, and no other number can be had"
            raise Faulty(Fault(400, text, code="invalid_dimensions", param="dimensions"))
        return JSONResponse(_body(embedder.id, asked, vectors))

    return paths


def _check(asked: EmbeddingRequest) -> None:
    for number, text in enumerate(asked.input):
        if not text or len(text.encode()) > LONGEST_TEXT:
            wrong = f"input.{number}: a text has 1 to {LONGEST_TEXT} bytes, this one has {len(text.encode())}"
            raise Faulty(Fault(400, wrong, code="invalid_body", param="input"))


def _body(model: str, asked: EmbeddingRequest, vectors: list[Vector]) -> dict[str, Any]:
    """Return the answer. Embedding models count no tokens for us: their number is estimated, four bytes each."""
    tokens = sum(-(-len(text.encode()) // 4) for text in asked.input)
    rows = [
        {"object": "embedding", "index": index, "embedding": _written(vector, asked.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    counted = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": model or wire.MODEL_ID, "usage": counted}


def _written(vector: Vector, encoding: Literal["float", "base64"] | None) -> Vector | str:
    if encoding != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
