"""The suite on a machine whose three models say what a test wrote down, and requests to its API from inside."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system.machine import Machine
from tests.system.suite import PROGRAMS

HERE = Path(__file__).parent
API = "http://127.0.0.1:8083"
UNIT = f"[Service]\nExecStart={PROGRAMS}/scripted-models\n"
Step = tuple[str, Mapping[str, object]]


def course(match: str, *steps: Step, **more: Any) -> dict[str, Any]:
    """Write down what a model does where a prompt has these words in it, see ``scripted_models``."""
    return {"match": match, "steps": [{"do": name, **arguments} for name, arguments in steps], **more}


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    text: str
    seconds: float = 0.0
    was_running: bool = False
    was_busy: bool = False
    gone_after: float = 0.0
    free_after: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    def frames(self) -> Iterator[dict[str, Any]]:
        """Yield the chunks of a stream."""
        for line in self.text.splitlines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data: "))

    @property
    def said(self) -> str:
        """Return the answer's words."""
        if not self.text.startswith("data: "):
            return str(self.json["choices"][0]["message"]["content"])
        choices = (choice for frame in self.frames() for choice in frame.get("choices", ()))
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def finish_reason(self) -> str | None:
        reasons = [choice["finish_reason"] for frame in self.frames() for choice in frame.get("choices", ())]
        return next(filter(None, reasons), None)

    @property
    def cards(self) -> dict[str, tuple[str, str]]:
        """Return what was looked up: by its call's id the tool's name, and what came out."""
        items = [frame["item"] for frame in self.frames() if "item" in frame]
        names = {each["call_id"]: each["name"] for each in items if each["type"] == "function_call"}
        outputs = {each["call_id"]: each for each in items if each["type"] == "function_call_output"}
        return {call: (names[call], each["output"][0]["text"]) for call, each in outputs.items()}


@dataclass(frozen=True)
class Scripted:
    """The machine, its models' script, and the way in for clients."""

    machine: Machine

    def start(self, *courses: Mapping[str, Any], slots: int = 1) -> None:
        """Start the models, then the suite."""
        wrapper = self.machine.path(str(PROGRAMS / "ai-sysadmin")).read_text()
        own = wrapper.replace("-P -m ai_sysadmin", "-P /opt/scripted_models.py")
        self.machine.put(own, str(PROGRAMS / "scripted-models"), mode=0o755)
        for name in ("scripted_models.py", "http_client.py"):
            self.machine.put(HERE / name, f"/opt/{name}")
        self.machine.put(UNIT, "/etc/systemd/system/scripted-models.service")
        self.say(*courses, slots=slots)
        self.machine.systemctl("daemon-reload").ok()
        self.machine.systemctl("start", "scripted-models.service").ok()
        self.machine.eventually(lambda: self.http("http://127.0.0.1:8082/busy").status == 200, "the models answer")
        self.machine.systemctl("start", "ai-sysadmin.target", timeout=120).ok()

    def say(self, *courses: Mapping[str, Any], slots: int = 1) -> None:
        """Write down what the models say from now on."""
        self.machine.put(json.dumps({"slots": slots, "courses": courses}), "/opt/courses.json")

    def offered(self) -> set[str]:
        """Return the tools that the model was offered last."""
        return set(json.loads(self.machine.path("/opt/offered.json").read_text()))

    def units(self, units: Mapping[str, str]) -> None:
        for name, text in units.items():
            self.machine.put(text, f"/etc/systemd/system/{name}")
        self.machine.systemctl("daemon-reload").ok()

    def http(self, url: str, timeout: float = 70, **asked: Any) -> Answer:
        """Make one request from inside the machine; ``asked`` as in ``http_client``."""
        argv = ["/usr/bin/python3", "/opt/http_client.py", json.dumps({"url": url, **asked})]
        done = self.machine.run(argv, timeout=timeout)
        return Answer(**json.loads(done.stdout)) if done.exit_status == 0 else Answer(0, done.stderr)

    def ask(self, question: str | Sequence[Mapping[str, str]], key: str = "", **asked: Any) -> Answer:
        """Ask in chat, streaming, with the key that the API made for itself unless another is given."""
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
        body = {"model": "ai-sysadmin", "messages": messages, "stream": True}
        asked["headers"] = {"X-AI-Sysadmin-Progress": "events", **asked.get("headers", {})}
        return self.http(f"{API}/v1/chat/completions", key=key or self.own_key, body=body, **asked)

    @property
    def own_key(self) -> str:
        return self.machine.path("/var/lib/ai-sysadmin/api-key").read_text().split()[0]

    def nothing_broke(self) -> None:
        """Fail the test if one of the suite's services logged a bug."""
        told = self.machine.run(["journalctl", "-q", "--no-pager", "-o", "cat", "_SYSTEMD_SLICE=ai-sysadmin.slice"])
        bad = [line for line in told.stdout.splitlines() if "Traceback" in line or " broke" in line]
        assert not bad, told.stdout[-8000:]
