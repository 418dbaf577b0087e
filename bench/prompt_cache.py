"""How much of the review prompts the model server's cache serves: different incidents, one after the other.

Evidence packs of ordinary size, the real llama-server, one slot. Limit: at least 60 % of all prompt tokens come from
the cache, the first prompt counted in. Argument: how many incidents (20).
"""

import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.llama import make_tiny_gguf
from tests.llama.population import CASES, ONE_SLOT, reviews, served
from tests.llama.server import serve

LEAST_PERCENT = 60


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else len(CASES)
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "tiny.gguf"
        make_tiny_gguf.main([str(model)])
        with serve(model, ONE_SLOT) as url:
            found = asyncio.run(reviews(url, count))
    for number, each in enumerate(found):
        share = 100 * each.cached_tokens / max(1, each.prompt_tokens)
        unit = CASES[number % len(CASES)][0]
        print(
            f"  {unit:26} {each.prompt_tokens:6} tokens {each.cached_tokens:6} cached {share:5.1f} %  {each.judged_by}"
        )
    total = served(found)
    print(f"{count} reviews: {total.prompt_tokens} prompt tokens, {total.cached_tokens} from the cache")
    print(
        f"  {total.percent:.1f} % from the cache, {total.percent / LEAST_PERCENT:.2f} of the {LEAST_PERCENT} % wanted"
    )


if __name__ == "__main__":
    main()
