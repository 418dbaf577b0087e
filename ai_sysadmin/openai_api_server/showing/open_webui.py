"""Who understands Open WebUI's extensions of a stream, and the shapes of those that are sent.

Every frame is made of the suite's own fields, cleaned, and is one of three: a line of status, a card of a look-up, a
source. Open WebUI would run the code of an ``execute`` event in the person's browser, so nothing else is ever built.
"""

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal

from ai_sysadmin.meta_model.talk import LookBegan
from ai_sysadmin.openai_api_server.showing.links import data_line, data_text
from ai_sysadmin.openai_api_server.wire import ChatRequest
from ai_sysadmin.tools.tool import ToolResult

PROGRESS_HEADER: Final = "x-ai-sysadmin-progress"
"""The command line asks with it for ``events``: the same frames."""

ASK_USER: Final = "ask_user"
LONGEST_OUTPUT: Final = 4000
_LONGEST_LINE: Final = 200
_LONGEST_ARGUMENT: Final = 300
_AIOHTTP: Final = re.compile(r"python/[\d.]+ aiohttp/", re.IGNORECASE)
_CUT_SHORT: Final = "It is not known what this came to: the answer ended before."

Body = dict[str, Any]


class Style(StrEnum):
    """How a person is shown what is being looked at."""

    CARDS = "cards"
    TEXT = "text"
    OFF = "off"


def style_of(
    setting: Literal["auto", "open-webui", "text", "off"], headers: Mapping[str, str], asked: ChatRequest
) -> Style:
    """Return the style for a client: what it asks for itself, what is set, or what it is seen to be."""
    if setting == "off":
        return Style.OFF
    if headers.get(PROGRESS_HEADER, "") == "events" or setting == "open-webui":
        return Style.CARDS
    return Style.CARDS if setting == "auto" and is_open_webui(headers, asked) else Style.TEXT


def is_open_webui(headers: Mapping[str, str], asked: ChatRequest) -> bool:
    """Tell whether Open WebUI asks: by headers of its own, or by its HTTP client together with a tool of its own."""
    if any(name.lower().startswith(("x-openwebui-", "x-owui-")) for name in headers):
        return True
    return _AIOHTTP.match(headers.get("user-agent", "")) is not None and asked.offers(ASK_USER)


def status(text: str, *, done: bool) -> Body:
    """Return the line above an answer that says what is being done."""
    return _event("status", {"description": data_line(text, _LONGEST_LINE), "done": done})


def source(result: ToolResult) -> Body:
    """Return a look-up as a source. Its name is told from every other's by its handle, and is never an address."""
    name = f"{result.id}: {data_line(result.title, _LONGEST_LINE)}"
    about = [{"source": name, "name": name}]
    return _event("source", {"source": {"name": name}, "document": [_output(result)], "metadata": about})


def _event(kind: Literal["status", "source"], data: Body) -> Body:
    return {"choices": [], "event": {"type": kind, "data": data}}


class Card:
    """A look-up as a card, while it runs and when it has ended."""

    def __init__(self, answer_id: str, began: LookBegan) -> None:
        given = {name: value for name, value in began.arguments.items() if value is not None}
        shown = {
            data_line(name, 64): data_line(value, _LONGEST_ARGUMENT) if isinstance(value, str) else value
            for name, value in given.items()
        }
        call_id = f"call_{answer_id}_{began.number}"
        self._call = {
            "type": "function_call",
            "id": call_id,
            "call_id": call_id,
            "name": data_line(began.tool, 64),
            "arguments": json.dumps(shown, ensure_ascii=False),
        }

    def opened(self) -> Body:
        return _item({**self._call, "status": "in_progress"})

    def closed(self, result: ToolResult | None) -> tuple[Body, Body]:
        """Return the two frames that end it, always both: Open WebUI would make a call without output itself."""
        said = _CUT_SHORT if result is None else _output(result)
        output = {
            "type": "function_call_output",
            "id": f"out_{self._call['call_id']}",
            "call_id": self._call["call_id"],
            "output": [{"type": "input_text", "text": said}],
            "status": "failed" if result is None or result.failed else "completed",
        }
        return _item({**self._call, "status": "completed"}), _item(output)


def _item(item: Body) -> Body:
    # without an output_index: Open WebUI appends, and replaces by id; with one it inserts amid the text
    return {"choices": [], "type": "response.output_item.added", "item": item}


def _output(result: ToolResult) -> str:
    left_out = f"\n({data_line(result.left_out, _LONGEST_ARGUMENT)})" if result.left_out else ""
    return data_text(result.text, LONGEST_OUTPUT - len(left_out)) + left_out
