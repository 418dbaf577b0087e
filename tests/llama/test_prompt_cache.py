"""The head of the review prompt comes from the server's cache, from incident to incident."""

import pytest

from tests.llama.population import ONE_SLOT, reviews, served
from tests.llama.server import serve

pytestmark = pytest.mark.llama

LEAST_PERCENT = 60


async def test_most_of_each_prompt_but_the_first_comes_from_the_cache(tiny_model, llama):
    del llama  # where there is no model server, this is skipped
    with serve(tiny_model, ONE_SLOT) as url:
        found = await reviews(url, 6)
    assert all(review.model_calls for review in found)
    assert served(found[1:]).percent >= LEAST_PERCENT
