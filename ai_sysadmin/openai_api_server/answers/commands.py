"""What a person orders in a chat by one line that begins with a slash, parsed by code and never by a model. Pure.

A command is the last message alone: a person's, text only, and wholly that one line. What stands in the history, in a
pasted file, in an answer of the model or among other words orders nothing.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ai_sysadmin.context.defuse import defuse, quoted
from ai_sysadmin.openai_api_server.wire import ChatRequest

ACTION_ID: Final = r"[2-9a-z]{6}-[0-9a-f]{6}"
MOST_CHARACTERS: Final = 600
_LINE: Final = re.compile(r"/([a-z]+)(?: +(.*))?")
_ID: Final = re.compile(ACTION_ID)
_NAMED: Final = re.compile(rf"(?<![0-9a-z-]){ACTION_ID}(?![0-9a-z-])")
_MOST_READ: Final = 20_000
_BLANKS: Final = " \t\r\n"
_DECIDES: Final = re.compile(r"/(?:approve|reject)\b")
_PATH: Final = re.compile(r"/[^ /]*[/.]")
HELP: Final = """\
These are the commands; each is a message of its own, one line:

- `/actions`: what waits for your approval, and what was done
- `/approve ID`: approve one action; the id is whole, as it is shown, such as `abc234-1f2e3d`
- `/reject ID why not`: reject one; it is never run
- `/incidents`: what is wrong on this host
- `/status`: what is wrong, what waits, and what does not work in full
- `/help`: this text

Anything that does not begin with a slash is a question. To ask about a path, begin with a word.
"""


class Verb(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"
    ACTIONS = "actions"
    INCIDENTS = "incidents"
    STATUS = "status"
    HELP = "help"


@dataclass(frozen=True)
class Command:
    """What is ordered. ``fault`` says why nothing is done; the verb is ``help`` then."""

    verb: Verb
    action_id: str = ""
    reason: str = ""
    fault: str = ""


def command_of(asked: ChatRequest) -> Command | None:
    """Return what the newest message orders; none: it is no command."""
    last = asked.last
    line = last.text.strip(_BLANKS)
    if last.role != "user" or not defuse(line[:MOST_CHARACTERS]).strip().startswith("/") or _PATH.match(line):
        return None
    if not last.is_one_text or asked.files or len(line.splitlines()) != 1:
        alone = "a command is a message of its own: one line, with nothing before or behind it and nothing attached"
        return _faulty(alone) if _DECIDES.match(line) else None
    if len(line) > MOST_CHARACTERS:
        return _faulty("it is too long for a command")
    if defuse(line) != line:
        return _faulty("it has characters in it that cannot be seen: type it instead of pasting it")
    found = _LINE.fullmatch(line)
    if found is None or found[1] not in set(Verb):
        return _faulty(f"there is no command {quoted(line.split()[0], 40)}")
    return _parsed(Verb(found[1]), (found[2] or "").strip())


def _parsed(verb: Verb, rest: str) -> Command:
    if verb not in {Verb.APPROVE, Verb.REJECT}:
        return _faulty(f"`/{verb.value}` stands alone") if rest else Command(verb)
    action_id, _, reason = rest.partition(" ")
    if not _ID.fullmatch(action_id):
        return _faulty(
            f"`/{verb.value}` takes the whole id of one action, such as `abc234-1f2e3d`: `/actions` shows them"
        )
    if verb is Verb.APPROVE and reason:
        return _faulty("`/approve` takes an id and nothing else")
    return Command(verb, action_id, reason.strip())


def _faulty(why: str) -> Command:
    return Command(Verb.HELP, fault=why)


def named_actions(text: str) -> tuple[str, ...]:
    """Return the ids of actions that a text names in its beginning, each once."""
    return tuple(dict.fromkeys(_NAMED.findall(text[:_MOST_READ])))
