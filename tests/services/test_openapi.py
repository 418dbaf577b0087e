"""The served OpenAPI document keeps its word: no status that it does not list, no 500, no hang, whatever is sent.

``AI_SYSADMIN_FUZZ_CASES`` is how many requests are made in all; ``tools/fuzz-api`` makes 10,000.
"""

import asyncio
import json
import os
import threading
from contextlib import contextmanager

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from ai_sysadmin.openai_api_server.gate.keys import ensure_ingest_key
from ai_sysadmin.testing.api import ScriptedChat
from tests.services.api_harness import an_incident, running

CASES = int(os.environ.get("AI_SYSADMIN_FUZZ_CASES", "400"))
SENT = []
SECONDS = 5.0
"""The longest that one answer may take."""


@contextmanager
def served(directory):
    """Serve the API from a loop of its own, for callers that know none."""
    ready, over, found = threading.Event(), threading.Event(), []

    async def serve():
        async with running(directory, chat=ScriptedChat()) as server:
            await an_incident(server)
            ensure_ingest_key(server.settings.ingest_key_file)
            found.append(server)
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield found[0]
    finally:
        over.set()
        thread.join(10)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with served(tmp_path_factory.mktemp("api")) as server:
        yield server


@pytest.fixture(scope="module")
def over_tcp(api):
    headers = {"Authorization": f"Bearer {api.key}"}
    with httpx.Client(base_url=api.url, headers=headers, timeout=SECONDS, trust_env=False) as http:
        yield http


@pytest.fixture(scope="module")
def as_operator(api):
    """Over the Unix socket, where the tests' own user may change what is remembered."""
    transport = httpx.HTTPTransport(uds=str(api.settings.api_socket))
    with httpx.Client(base_url="http://local", transport=transport, timeout=SECONDS) as http:
        yield http


@pytest.fixture(scope="module")
def document(over_tcp):
    return over_tcp.get("/openapi.json").json()


def operations(document):
    return [(path, method) for path, methods in document["paths"].items() for method in methods]


SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]


def quick(cases):
    phases = [Phase.explicit, Phase.generate]
    return settings(max_examples=max(1, cases), deadline=None, database=None, suppress_health_check=SLOW, phases=phases)


def keeps_its_word(response, listed):
    SENT.append(response.status_code)
    told = f"{response.request.method} {response.request.url} → {response.status_code} {response.text[:300]}"
    assert str(response.status_code) in listed, told
    assert response.status_code != 500, told
    assert response.elapsed.total_seconds() <= SECONDS, f"{response.elapsed.total_seconds():.1f} s: {told}"
    if response.is_error:
        assert set(response.json()["error"]) == {"message", "type", "code", "param"}, told


BODILESS = {"/v1/system/checks", "/v1/system/knowledge/index", "/v1/system/notifications/test"}


def test_every_path_is_in_the_document_with_its_body_and_every_status(document):
    described = operations(document)
    for path in ("/chat/completions", "/responses", "/embeddings"):
        for prefix in ("", "/v1"):
            assert "requestBody" in document["paths"][prefix + path]["post"]
    for path, method in (("/health", "get"), ("/ready", "get"), ("/v1/models", "get"), ("/v1/system/status", "get")):
        assert (path, method) in described
    for path, method in described:
        operation = document["paths"][path][method]
        assert {"200", "400", "401", "403", "404", "413", "429", "502", "503"} <= set(operation["responses"])
        assert not {"422", "500"} & set(operation["responses"])
        writes = method == "post" and path not in BODILESS
        assert ("requestBody" in operation) == writes, (path, method)


def send(http, case):
    """Send a generated request; some can be no HTTP request at all."""
    made = case.as_transport_kwargs(base_url="http://unused")
    content = made.get("data") if isinstance(made.get("data"), str | bytes) else None
    if made.get("json") is not None:
        content = json.dumps(made["json"]).encode("utf-8", "surrogatepass")
    try:
        request = http.build_request(
            made["method"], made["url"].removeprefix("http://unused"), params=made.get("params"), content=content
        )
    except (ValueError, TypeError, httpx.InvalidURL):
        return None
    return http.send(request)


def exchanges(http, operation, mode, cases):
    listed = operation.definition.raw["responses"]

    @quick(cases)
    @given(operation.as_strategy(generation_mode=mode))
    def one(case):
        response = send(http, case)
        if response is not None:
            keeps_its_word(response, listed)

    one()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("door", ["over_tcp", "as_operator"])
def test_what_the_document_allows_and_what_it_does_not(request, document, mode, door):
    http = request.getfixturevalue(door)
    found = [each.ok() for each in schemathesis.openapi.from_dict(document).get_all_operations()]
    assert len(found) == len(operations(document))
    if mode is GenerationMode.NEGATIVE:
        found = [each for each in found if each.body or each.query]  # of the others nothing can be wrong
    for operation in found:
        exchanges(http, operation, mode, CASES * 3 // 16 // len(found))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = (
    "messages role content input model stream stop seed tools tool_choice response_format text format type schema"
    " max_tokens temperature n dimensions encoding_format instructions stream_options"
)
FIELDS = st.sampled_from(_FIELDS.split())


def near(inner):
    return st.dictionaries(FIELDS, inner, max_size=8) | st.lists(inner, max_size=4)


NEAR = st.recursive(st.sampled_from(["user", "x", "json_schema", True, 1, 0, -1, 1e400, None, ""]) | JSON, near)


BODIES = st.binary(max_size=200) | NEAR.map(lambda asked: json.dumps(asked).encode("utf-8", "surrogatepass"))
QUESTION = {"messages": [{"role": "user", "content": "x"}], "input": "x"}
ALMOST = st.dictionaries(FIELDS, NEAR, max_size=3).map(lambda asked: json.dumps(QUESTION | asked).encode())


def test_bodies_that_nobody_would_send(over_tcp, document):
    """The last test: it sends what is still missing of so many requests."""
    paths = sorted(path for path, method in operations(document) if method == "post")

    @quick(max(CASES // 4, CASES - len(SENT)))
    @given(st.sampled_from(paths), BODIES | ALMOST)
    def one(path, body):
        path = path.format(template_id="x", incident_id="x", decision="resolve", action_id="x")
        keeps_its_word(over_tcp.post(path, content=body), {"200", "400", "403", "404", "413"})

    one()
    print(f"{len(SENT)} requests sent")
    assert len(SENT) >= CASES * 9 // 10
