"""What :8083 costs over the bare llama-server behind it: time to the first token, and tokens a second.

In one run, in turn: the bare server, LiteLLM's proxy before the same server (the peer), and the API as a process of its
own, on its three roads: the default one, where the model may look something up (only answers without a look-up count),
``meta_model.max_steps = 0``, and ``ai-sysadmin-fast``. Their prompts are longer, by the system prompt,
the tools and the host's state: the very request of each road is sent to the bare server, too.

The model is a tiny one of some thousand tokens a second, so that next to nothing of it hides what is ours. Limits: p50
of the first token 30 ms over that of the bare question, what the longer prompt takes counted in; tokens a second 0.9 of
the same request's sent bare (a tiny model writes several times slower after a long prompt), over whole answers.

    python bench/api_overhead.py [--asks 60] [--answers 30] [--install-peer] [--peer PATH]

The peer is the program ``litellm``: PATH, or bin/litellm below LITELLM_VENV, or below .cache/litellm, where
--install-peer installs it. Without one it is left out.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from _api import PROJECT, Answer, Served, api, ask, client, free_port, process, until_it_answers

from tests.llama.server import serve
from tests.scripted_llama import scripted_llama
from tests.suite_up import LAYERS, MODEL_FLAGS, talkative_model

PEER_VERSION = "1.106.2"
MOST_MORE_MS, LEAST_SHARE = 30.0, 0.9
WARM, EACH, FIRST_TOKENS, ANSWER_TOKENS = 1, 6, 16, 200
MOST_TRIES = 6
QUESTION = "How is this host? Answer question {} in a few words."
PEER_KEY = "sk-bench"
BARE, PEER, SENT_BARE = "bare llama-server", "LiteLLM proxy (peer)", ", its request sent bare"
DEFAULT, NO_STEPS, FAST = "ai-sysadmin", "max_steps = 0", "ai-sysadmin-fast"
ROADS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    DEFAULT: ("ai-sysadmin", {"meta_model": {"max_steps": 1}}),  # one that does look something up is soon over
    NO_STEPS: ("ai-sysadmin", {"meta_model": {"max_steps": 0}}),
    FAST: ("ai-sysadmin-fast", {"meta_model": {"max_steps": 1}}),
}


@dataclass
class Asked:
    """One way to ask, and what came of it. ``asks`` counts answers that do not count, too."""

    served: Served
    body: Callable[[int], dict[str, Any]]
    counts: Callable[[Answer], bool] = field(default=lambda _: True)
    answers: list[Answer] = field(default_factory=list)
    asks: int = 0

    def ask(self, http: httpx.Client, number: int) -> Answer | None:
        """Ask a question; return none where the answer does not count."""
        answer = ask(http, self.served, self.body(number))
        return answer if self.counts(answer) else None


def question(model: str, tokens: int) -> Callable[[int], dict[str, Any]]:
    def body(number: int) -> dict[str, Any]:
        said = QUESTION.format(number)
        more = {"max_tokens": tokens, "temperature": 0.6, "seed": number}
        return {"model": model, "messages": [{"role": "user", "content": said}], **more}

    return body


def sent_for(models: Mapping[str, str], model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the API sends to its model server for an answer on one of its roads."""
    with (
        scripted_llama(models["meta"]) as (script, url),
        api(dict.fromkeys(LAYERS, url), settings) as ours,
        client() as http,
    ):
        script.course("How is this host", "Well.")
        ask(http, ours, question(model, FIRST_TOKENS)(0))
        return script.asked[-1]


def again(sent: dict[str, Any], tokens: int) -> Callable[[int], dict[str, Any]]:
    """Return what sends a request of ours to the bare server, another question in it each time."""

    def body(number: int) -> dict[str, Any]:
        told = [
            each | {"content": each["content"].replace(QUESTION.format(0), QUESTION.format(number))}
            for each in sent["messages"]
        ]
        return sent | {"messages": told, "seed": number, "max_tokens": tokens}

    return body


@contextmanager
def talkative_servers() -> Iterator[dict[str, str]]:
    """Run llama-servers on a tiny model that ends no answer by itself: one for fast answers, one for the rest."""
    with tempfile.TemporaryDirectory() as made, ExitStack() as exits:
        model = talkative_model(Path(made) / "model.gguf")
        meta, review = (exits.enter_context(serve(model, MODEL_FLAGS)) for _ in range(2))
        yield {"meta": meta, "review": review, "trigger": review}


@contextmanager
def peer(program: Path | None, model_url: str) -> Iterator[Served | None]:
    """Run LiteLLM's proxy before a llama-server."""
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as made:
        directory, port = Path(made), free_port()
        (directory / "config.yaml").write_text(
            "model_list:\n- model_name: tiny\n  litellm_params:\n    model: openai/tiny\n"
            f"    api_base: {model_url}/v1\n    api_key: none\ngeneral_settings:\n  master_key: {PEER_KEY}\n"
        )
        environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
        argv = [str(program), "--config", str(directory / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)]
        with process([*argv, "--telemetry", "False"], directory / "log", environment) as pid:
            url = f"http://127.0.0.1:{port}"
            until_it_answers(f"{url}/health/liveliness", directory / "log", within=120)
            yield Served(url, PEER_KEY, pid)


@contextmanager
def everybody(models: Mapping[str, str], program: Path | None, tokens: int) -> Iterator[dict[str, Asked]]:
    """Run all that is asked; yield the ways to ask. Before each of our roads its request goes to the bare server."""
    bare = Served(models["meta"])
    asked = {BARE: Asked(bare, question("tiny", tokens))}
    with ExitStack() as exits:
        if (proxy := exits.enter_context(peer(program, models["meta"]))) is not None:
            asked[PEER] = Asked(proxy, question("tiny", tokens))
        for name, (model, settings) in ROADS.items():
            sent = sent_for(models, model, settings)
            served = Served(models["review"]) if name == FAST else bare
            asked[name + SENT_BARE] = Asked(served, again(sent, tokens))
            ours = exits.enter_context(api(models, settings))
            asked[name] = Asked(ours, question(model, tokens), looked_nothing_up if name == DEFAULT else _any)
        yield asked


def _any(_: Answer) -> bool:
    return True


def looked_nothing_up(answer: Answer) -> bool:
    """Tell whether the model answered at once: nothing was written but the answer."""
    return answer.tokens <= FIRST_TOKENS and not answer.text.lstrip().startswith("> ")


def measure(asked: Mapping[str, Asked], count: int, each: int) -> None:
    """Ask everybody in turn, some questions each time; the first of each turn brings the prompt into the cache."""
    number = 0
    with client() as http:
        while min(len(one.answers) for one in asked.values()) < count:
            for name, one in asked.items():
                got: list[Answer] = []
                for _ in range(MOST_TRIES * (WARM + each)):
                    number, one.asks = number + 1, one.asks + 1
                    got += filter(None, [one.ask(http, number)])
                    if len(got) == WARM + each:
                        break
                else:
                    raise SystemExit(f"{name}: too few answers count, {len(got)}")
                one.answers += got[WARM:]


def first_tokens(program: Path | None, count: int) -> bool:
    """Print the times to the first token; return whether they are within the limit."""
    with talkative_servers() as models, everybody(models, program, FIRST_TOKENS) as asked:
        measure(asked, count, EACH)
    times = {name: sorted(answer.first for answer in one.answers) for name, one in asked.items()}
    medians = {name: statistics.median(each) for name, each in times.items()}
    print(f"milliseconds to the first token, {count} answers each, in turn:")
    for name, each in times.items():
        p95 = each[int(len(each) * 0.95)]
        print(
            f"  {name:40} p50 {medians[name]:6.1f}   p95 {p95:6.1f}   {medians[name] - medians[BARE]:+6.1f} over bare"
        )
    more = {name: medians[name] - medians[BARE] for name in ROADS}
    for name, each in more.items():
        prompt = medians[name + SENT_BARE] - medians[BARE]
        print(f"  {name}: {each:+.1f} ms, {each / MOST_MORE_MS:.2f} of {MOST_MORE_MS:.0f} ms", end="; ")
        print(f"its longer prompt alone, sent bare, {prompt:+.1f}, and so :8083 itself {each - prompt:+.1f}")
    print(f"  ({DEFAULT}: {asked[DEFAULT].asks} asked; counted is what looked nothing up)")
    return max(more.values()) <= MOST_MORE_MS


def rates(program: Path | None, count: int) -> bool:
    """Print tokens a second; return whether they are within the limit."""
    with talkative_servers() as models, everybody(models, program, ANSWER_TOKENS) as asked:
        asked[DEFAULT].counts = lambda answer: answer.tokens <= ANSWER_TOKENS
        measure(asked, count, 2)
    medians = {name: statistics.median(answer.rate for answer in one.answers) for name, one in asked.items()}
    print(f"tokens a second, {count} answers of {ANSWER_TOKENS} tokens each, in turn, median:")
    for name, rate in medians.items():
        print(f"  {name:40} {rate:7.1f}   {rate / medians[BARE]:5.2f} of bare")
    shares = {name: medians[name] / medians[name + SENT_BARE] for name in ROADS}
    for name, share in shares.items():
        print(f"  {name}: {share:.2f} of its request's sent bare, of which {LEAST_SHARE} are wanted")
    return min(shares.values()) >= LEAST_SHARE


def peer_program(given: str, *, install: bool) -> Path | None:
    """Return where LiteLLM is; none: it is not installed."""
    cached = PROJECT / ".cache" / "litellm"
    if install and not (cached / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(cached)], check=True)
        pip = [str(cached / "bin" / "pip"), "install", "-q", f"litellm[proxy]=={PEER_VERSION}"]
        subprocess.run(pip, check=True)
    places = [Path(given)] if given else []
    places += [Path(venv) / "bin" / "litellm" for venv in (os.environ.get("LITELLM_VENV"), cached) if venv]
    return next((place for place in places if place.exists()), None)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--asks", type=int, default=60)
    parser.add_argument("--answers", type=int, default=30)
    parser.add_argument("--install-peer", action="store_true")
    parser.add_argument("--peer", default="")
    given = parser.parse_args()
    program = peer_program(given.peer, install=given.install_peer)
    if program is None:
        print("without the peer: --install-peer installs it")
    soon = first_tokens(program, given.asks)
    fast = rates(program, given.answers)
    return 0 if soon and fast else 1


if __name__ == "__main__":
    sys.exit(main())
