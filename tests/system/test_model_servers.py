"""The model servers as the module starts them: a real llama-server on a tiny model, in its own sandbox."""

import json

import pytest

from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=("llama-trigger", "llama-review", "llama-meta"), models=("trigger", "review", "meta"))
PORTS = {"trigger": 8080, "review": 8081, "meta": 8082}
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


def get(machine: Machine, port: int, path: str) -> dict[str, object] | None:
    done = machine.run(["python3", "-c", FETCH, f"http://127.0.0.1:{port}{path}"])
    return dict(json.loads(done.stdout)) if done.exit_status == 0 else None


@pytest.mark.parametrize("layer", PORTS)
def test_each_layer_has_a_model_on_its_port(suite_machine: Machine, layer: str):
    port = PORTS[layer]
    answer = suite_machine.eventually(lambda: get(suite_machine, port, "/health"), f"llama-{layer} is healthy", 30)
    assert answer == {"status": "ok"}
    properties = get(suite_machine, port, "/props")
    assert properties
    assert properties["model_alias"] == "tiny"
    assert properties["total_slots"] == (2 if layer == "meta" else 1)
    assert properties["default_generation_settings"]["n_ctx"] == 4096  # type: ignore[index]


def test_they_run_as_users_of_their_own_in_our_slice(suite_machine: Machine):
    users = set()
    for layer in PORTS:
        shown = suite_machine.show(f"llama-{layer}", "ActiveState", "NRestarts", "Slice", "MainPID")
        assert (shown["ActiveState"], shown["NRestarts"], shown["Slice"]) == ("active", "0", "ai-sysadmin.slice")
        users.add(suite_machine.run(["ps", "-o", "user=", "-p", shown["MainPID"]]).ok().stdout.strip())
    assert len(users) == 3
    assert "root" not in users
