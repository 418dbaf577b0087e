"""The look-ups of one conversation: checked, in time, without secrets, cut to size, read on in by a handle.

call → what the tool found → kept whole → a page of it, numbered t1, t2, …
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field

from ai_sysadmin.context.defuse import defuse, one_line
from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import AiSysadminError, Refused
from ai_sysadmin.tools.named import is_named
from ai_sysadmin.tools.pages import Kept, Page, Shelf, keep
from ai_sysadmin.tools.tool import Arguments, Contains, Told, Tool, ToolResult, tool_of

log = logging.getLogger(__name__)

MORE: Final = "more"
MOST_KEPT_SIZES: Final = 4
"""How many of the longest texts that may be kept are kept at a time, or as many shorter ones as fit."""

_IN_A_THREAD: Final = 128 << 10
_MOST_TITLE: Final = 200
_MOST_HINT: Final = 300
_MOST_WHY: Final = 4000
_MOST_ARGUMENTS: Final = 8
_BROKEN: Final = (OSError, ValueError, LookupError)
"""What a host that is not as it should be makes of a tool: an undecodable name, a file that goes while it is read."""

Handle = Annotated[str, Field(min_length=1, max_length=8, description="of an earlier result, such as t3")]
FromLine = Annotated[int, Field(ge=1, le=100_000_000, description="first line")]


async def _more(handle: Handle, from_line: FromLine = 1, contains: Contains = "") -> Told:
    """Read on in an earlier result that was cut, or search all of it."""
    del from_line, contains
    raise Refused(f"there is no {handle} outside of a conversation")


MORE_TOOL: Final = tool_of(_more, says="more of {handle} {contains}", name=MORE)


class Call(NamedTuple):
    """A look-up that may be made; ``title`` says for people what is being looked at."""

    tool: Tool
    arguments: Arguments
    title: str


class Looks:
    """The look-ups of one conversation, in their order. It is the tools' Scene."""

    def __init__(
        self,
        tools: Mapping[str, Tool],
        redactor: Redactor,
        kept_bytes: int,
        named: Sequence[str],
        absent: Mapping[str, str],
    ) -> None:
        self._tools = tools
        self._absent = absent
        self._redactor = redactor
        self._kept_bytes = kept_bytes
        self._named = tuple(named)
        self._number = 0
        self._results: dict[int, ToolResult] = {}
        self._given: dict[int, str] = {}
        self._asked: dict[str, str] = {}
        self._shelf = Shelf(MOST_KEPT_SIZES * kept_bytes)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """What the look-ups that have ended came to."""
        return tuple(self._results[number] for number in sorted(self._results))

    def call(self, name: str, arguments: Mapping[str, object]) -> Call:
        """Return a call that may be made.

        Raises:
            Refused: there is no such tool, its arguments do not fit, or the very same was asked before.
        """
        tool = self._tools.get(name)
        if why := self._absent.get(name):
            raise Refused(f"{name} is of no use here: {why}")
        if tool is None:
            close = get_close_matches(name[:100], self._tools, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            known = f"There are: {', '.join(self._tools)}." if self._tools else "There are no tools."
            raise Refused(f"there is no tool {one_line(name, 60)!r}{meant} {known}")
        parsed = tool.parsed({name: value for name, value in arguments.items() if value is not None})
        if earlier := self._asked.get(_identity(tool, parsed)):
            raise Refused(f"you have asked this already: {earlier}. Use what it says, or look at something else.")
        return Call(tool, parsed, self._line(tool.title(parsed), _MOST_TITLE))

    async def look(self, call: Call, most_characters: int) -> ToolResult:
        """Make a call, and return what came of it: a failed result says why. Only being cancelled ends it otherwise."""
        handle, began = self._next(), time.monotonic()
        if call.tool.name != MORE:
            self._asked[_identity(call.tool, call.arguments)] = handle
        given = call.arguments.model_dump()
        self._given[self._number] = defuse(" ".join(str(value) for value in given.values()))
        fields = {**self._about(call.tool.name, given), "id": handle, "title": call.title}
        try:
            text, left_out, redacted = await self._shown(handle, call, most_characters)
            result = ToolResult(**fields, text=text, left_out=left_out, redacted=redacted, seconds=_since(began))
        except AiSysadminError as error:
            result = self._failed(fields, str(error), most_characters, began)
        except _BROKEN as error:
            log.exception("the tool %s broke", call.tool.name, extra={"event": "tool_broke", "tool": call.tool.name})
            why = f"this could not be read: {type(error).__name__}: {error}"
            result = self._failed(fields, why, most_characters, began)
        # not in the message: what a model asks for is then not read back from our own log as if the host had named it
        about = {"event": "tool_failed" if result.failed else "tool_called", "title": result.title}
        log.info("looked with %s in %.1f s", call.tool.name, result.seconds, extra=about)
        return self._recorded(result)

    def refused(self, name: str, arguments: Mapping[str, object], why: str) -> ToolResult:
        """Record a call that was not made, and return it as a failed result."""
        fields = {**self._about(name, arguments), "id": self._next(), "title": f"{self._line(name, 60)} (refused)"}
        return self._recorded(self._failed(fields, why, _MOST_HINT * 4, time.monotonic()))

    def names(self, target: str) -> bool:
        """Tell whether a text of this conversation or an earlier result names a target, whole.

        A result does not count for what stands in its own arguments: a model would only have to ask for it to have
        named it. Nor does what this suite's own services log: they tell of what models said.
        """
        if any(is_named(target, text) for text in self._named):
            return True
        return any(
            is_named(target, result.text) and not _holds(self._given.get(number, ""), target)
            for number, result in self._results.items()
            if not (result.failed or _is_of_own_log(result))
        )

    async def _shown(self, handle: str, call: Call, most: int) -> tuple[str, str, dict[str, int]]:
        """Return a result's text, what is left out of it, and how many secrets were taken out of it."""
        given = call.arguments.model_dump()
        if call.tool.name == MORE:
            return await self._read_on(handle, str(given["handle"]), given["from_line"], given["contains"], most)
        try:
            async with asyncio.timeout(call.tool.seconds):
                told = await call.tool.look(given, self)
        except TimeoutError as error:
            raise Refused(f"{call.tool.name} took longer than {call.tool.seconds:g} s: ask for less") from error
        kept = await self._keep(handle, told.text, newest_last=told.newest_last)
        page = kept.last_page(most) if told.newest_last else kept.page(1, most)
        return page.text or "(nothing)", self._left_out(handle, page, kept, told), _counted(page, kept)

    async def _read_on(
        self, handle: str, earlier: str, from_line: int, contains: str, most: int
    ) -> tuple[str, str, dict[str, int]]:
        earlier = earlier.strip("[]() ")
        kept = self._shelf.get(earlier)
        if from_line > kept.lines:
            raise Refused(f"{earlier} has only {kept.lines} lines")
        if contains:
            text, found = await asyncio.to_thread(kept.matching, contains, from_line, self._kept_bytes)
            if not found:
                return f"(none of the lines {from_line} to {kept.lines} of {earlier} contains that)", "", {}
            kept, from_line, earlier = await self._keep(handle, text), 1, handle
        else:
            self._shelf.put(handle, kept)
        page = kept.page(from_line, most)
        return page.text or "(nothing)", self._left_out(earlier, page, kept, Told("")), _counted(page, kept)

    async def _keep(self, handle: str, text: str, *, newest_last: bool = False) -> Kept:
        make = partial(keep, text, self._redactor, self._kept_bytes, newest_last=newest_last)
        kept = await asyncio.to_thread(make) if len(text) > _IN_A_THREAD else make()
        self._shelf.put(handle, kept)
        return kept

    def _left_out(self, handle: str, page: Page, kept: Kept, told: Told) -> str:
        """Say what there is beyond a page and exactly how to read on; empty: that was all."""
        said: list[str] = []
        if page.last - page.first + 1 < kept.lines:
            said.append(f"lines {page.first} to {page.last} of {kept.lines} are shown")
            if MORE in self._tools:
                said.append(f"{_where(page, kept)}: {MORE}(handle={handle!r}, from_line={_next_line(page, kept)})")
        if page.is_cut:
            said.append(f"line {page.first} is longer than what is shown of it")
        if kept.dropped:
            said.append("there was even more, which was not kept")
        said += [told.truncated] if told.truncated else []
        said += [f"to see less: {told.narrow}"] if said and told.narrow else []
        return "; ".join(self._line(each, _MOST_HINT) for each in said)

    def _next(self) -> str:
        self._number += 1
        return f"t{self._number}"

    def _line(self, text: str, most: int) -> str:
        """Return a text on one line and without secrets."""
        return one_line(self._redactor.redact(one_line(text, 4 * most)).text, most)

    def _about(self, name: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        """Return a result's tool and arguments, as they may be shown."""
        given = {
            one_line(key, 60): value if isinstance(value, bool | int | None) else self._line(_said(value), _MOST_TITLE)
            for key, value in list(arguments.items())[:_MOST_ARGUMENTS]
        }
        return {"tool": one_line(name, 60), "arguments": given}

    def _failed(self, fields: Mapping[str, Any], why: str, most: int, began: float) -> ToolResult:
        page = keep(why, self._redactor, _MOST_WHY).page(1, most)
        return ToolResult(**fields, text=page.text, failed=True, redacted=dict(page.counts), seconds=_since(began))

    def _recorded(self, result: ToolResult) -> ToolResult:
        self._results[int(result.id[1:])] = result
        return result


def _next_line(page: Page, kept: Kept) -> int:
    """Return where to read on: after a page, or where it ends the text, as much before it."""
    return page.last + 1 if page.last < kept.lines else max(1, 2 * page.first - page.last - 1)


def _where(page: Page, kept: Kept) -> str:
    return "the next ones" if page.last < kept.lines else "those before"


def _counted(page: Page, kept: Kept) -> dict[str, int]:
    return {**page.counts, **({"private key": kept.keys} if kept.keys else {})}


def _identity(tool: Tool, arguments: Arguments) -> str:
    return "" if tool.name == MORE else f"{tool.name} {arguments.model_dump_json()}"


def _is_of_own_log(result: ToolResult) -> bool:
    return str(result.arguments.get("unit") or "").startswith("ai-sysadmin")


def _holds(given: str, target: str) -> bool:
    """Tell whether what a model asked for holds a target, in any of its spellings."""
    return target.strip().strip("[].").casefold() in given.casefold() or is_named(target, given)


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
