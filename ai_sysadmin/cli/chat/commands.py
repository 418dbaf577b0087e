"""What a person orders in the terminal chat by a line that begins with a slash. Pure."""

from enum import StrEnum
from typing import Final, NamedTuple

from ai_sysadmin.context.defuse import defuse, one_line

HELP: Final = """\
Anything that does not begin with a slash is a question. To ask about a path,
begin with a word.
Esc-Enter begins another line, Ctrl-C stops an answer, Ctrl-D leaves.

  /actions            what waits for your approval, and what was done
  /approve ID         show what would be done, ask once more, and do it
  /reject ID [why]    an action is never run
  /incidents          what is wrong on this host
  /status             how the suite is
  /new                begin a new conversation; this one is forgotten
  /save FILE          write this conversation to a file, as Markdown
  /help               this text
  /quit               leave"""


class Verb(StrEnum):
    """What can be ordered."""

    HELP = "help"
    NEW = "new"
    QUIT = "quit"
    SAVE = "save"
    APPROVE = "approve"
    REJECT = "reject"
    ACTIONS = "actions"
    INCIDENTS = "incidents"
    STATUS = "status"


_TAKES: Final = {Verb.SAVE: "a file's name", Verb.APPROVE: "an action's id", Verb.REJECT: "an action's id"}


class Order(NamedTuple):
    """A command: ``argument`` is its first word, ``rest`` what follows. ``fault``: it is none, and why."""

    verb: Verb
    argument: str = ""
    rest: str = ""
    fault: str = ""


def order_of(text: str) -> Order | None:
    """Return what a line orders; none: it is a question. Whatever begins with a slash is never a question."""
    line = defuse(text).strip()
    if not line.startswith("/"):
        return None
    if "\n" in line:
        return _faulty("a command is one line")
    word, _, rest = line[1:].partition(" ")
    if word not in set(Verb):
        return _faulty(f"there is no command /{one_line(word, 40)}")
    verb, rest = Verb(word), rest.strip()
    if verb not in _TAKES:
        return _faulty(f"/{word} stands alone") if rest else Order(verb)
    if not rest:
        return _faulty(f"/{word} takes {_TAKES[verb]}")
    if verb is Verb.SAVE:
        return Order(verb, rest)
    argument, _, more = rest.partition(" ")
    if more and verb is Verb.APPROVE:
        return _faulty(f"/{word} takes {_TAKES[verb]} and nothing else")
    return Order(verb, argument, more.strip())


def _faulty(why: str) -> Order:
    return Order(Verb.HELP, fault=why)
