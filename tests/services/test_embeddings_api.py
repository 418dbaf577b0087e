"""Embeddings over a real socket, driven by the official package."""

import openai
import pytest

from ai_sysadmin.core.errors import BackendUnavailable
from tests.services.api_harness import running


class Fixed:
    """Makes the same short vectors always."""

    id = "tiny-embed"

    def __init__(self, failure=None):
        self.failure = failure
        self.texts = []

    async def identify(self):
        return self.id

    async def asleep(self):
        return False

    async def embed(self, texts, kind):
        if self.failure:
            raise self.failure
        self.texts += texts
        return [[1.0, 0.25, -0.5] for _ in texts]

    async def close(self):
        pass


@pytest.fixture
async def api(tmp_path):
    async with running(tmp_path, embedder=Fixed()) as server:
        yield server


@pytest.mark.parametrize("form", ["float", "base64"])
async def test_texts_become_vectors(api, form):
    async with api.openai() as client:
        made = await client.embeddings.create(model="ai-sysadmin", input=["one", "two"], encoding_format=form)
    vectors = [each.embedding for each in made.data]
    if form == "base64":
        assert vectors == ["AACAPwAAgD4AAAC/"] * 2
    else:
        assert vectors == [[1.0, 0.25, -0.5]] * 2
    assert (made.model, [each.index for each in made.data]) == ("tiny-embed", [0, 1])
    assert made.usage.prompt_tokens > 0


async def test_one_text_is_a_list_of_one_and_the_packages_own_way_works(api):
    async with api.openai() as client:
        made = await client.embeddings.create(model="ai-sysadmin", input="one", dimensions=3)
    assert made.data[0].embedding == [1.0, 0.25, -0.5]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ["x"] * 65}, "input"),
        ({"input": ["x", ""]}, "input"),
        ({"input": "x" * 8193}, "input"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({}, "input"),
        ({"input": "x", "dimensions": 4}, "dimensions"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_what_cannot_be_embedded_is_400(api, body, param):
    async with api.http() as http:
        response = await http.post("/v1/embeddings", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_without_an_embedder_it_says_what_to_set(tmp_path):
    async with running(tmp_path) as api, api.openai() as client:
        with pytest.raises(openai.NotFoundError, match=r"backends\.embedding") as caught:
            await client.embeddings.create(model="ai-sysadmin", input="x")
    assert caught.value.code == "no_embedder"


async def test_an_embedder_that_is_away_is_503(tmp_path):
    async with running(tmp_path, embedder=Fixed(BackendUnavailable("it is away"))) as api, api.http() as http:
        response = await http.post("/embeddings", json={"input": "x"})
    assert (response.status_code, "retry-after" in response.headers) == (503, True)
