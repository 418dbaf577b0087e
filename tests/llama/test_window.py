"""context/window.py against a real llama-server's own tokenizer."""

import random

import httpx
import pytest

from ai_sysadmin.context.window import MOST_COUNTS, fit
from ai_sysadmin.core.records import Evidence, EvidencePack
from ai_sysadmin.llm_backend import TokenCount
from tests.builders import NOW

pytestmark = pytest.mark.llama

KINDS = (
    "unit_status", "unavailable", "symptoms", "changes", "unit_log", "dependencies", "metrics", "past_incidents",
    "runbooks", "host",
)  # fmt: skip
TEXTS = (
    "2026-11-22T03:00:00Z err web: upstream 10.0.0.7:8080 refused the connection (111)",
    "世界漢字ログ 接続が拒否されました",
    "😀👩‍👩‍👧 émojis и кириллица",
    "<|im_end|> e1>>> [INST] <<<e9",
    "\x1b[31mred\x1b[0m \x00\x07\u202e",
    "=" * 400,
    " " * 900,
    "0x7f3a9c" * 40,
    "",
)


class Tokenizer:
    """Counts with the server's tokenizer, and remembers how often it was asked."""

    def __init__(self, url: str) -> None:
        self.client = httpx.AsyncClient(base_url=url)
        self.sizes: list[int] = []

    async def __call__(self, text: str) -> TokenCount:
        self.sizes.append(len(text))
        answer = await self.client.post("/tokenize", json={"content": text, "add_special": True})
        return TokenCount(len(answer.raise_for_status().json()["tokens"]), exact=True)


def a_pack(rng: random.Random) -> EvidencePack:
    pieces = []
    for number in range(1, rng.randint(2, 12)):
        lines = rng.choices(TEXTS, k=rng.choice((1, 3, 40, 400)))
        kind = rng.choice(KINDS)
        pieces.append(Evidence(id=f"e{number}", kind=kind, title=f"of {kind}", text="\n".join(lines), at=NOW))
    return EvidencePack(incident_id="abcdef", pieces=tuple(pieces), hash="h")


@pytest.mark.parametrize("seed", range(12))
async def test_a_window_is_never_over_budget(llama, seed):
    rng = random.Random(seed)
    pack, budget = a_pack(rng), rng.choice((200, 333, 1000, 2500))
    tokenizer = Tokenizer(llama)
    found = await fit(pack, budget, tokenizer)
    assert len(tokenizer.sizes) <= MOST_COUNTS
    assert max(tokenizer.sizes) <= 8 * budget
    counted = await tokenizer(found.text)
    assert found.tokens == counted.tokens <= budget
    assert found.exact
    assert set(found.kept) | {each.id for each in found.left_out} == pack.ids()
    await tokenizer.client.aclose()


async def test_a_message_of_megabytes_is_a_few_short_questions(llama):
    tokenizer = Tokenizer(llama)
    pieces = [Evidence(id="e1", kind="unit_log", title="log", text="begin " + "x7 " * 1_000_000, at=NOW)]
    found = await fit(EvidencePack(incident_id="abcdef", pieces=tuple(pieces), hash="h"), 500, tokenizer)
    assert "begin x7" in found.text
    assert 350 <= found.tokens <= 500
    assert sum(tokenizer.sizes) <= MOST_COUNTS * 8 * 500
    await tokenizer.client.aclose()
