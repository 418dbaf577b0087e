"""Who is asking, as the gate found out; it stands in the request's scope."""

from typing import Final

from pydantic import Field
from starlette.types import Scope as AsgiScope

from ai_sysadmin.core.records import Record
from ai_sysadmin.stores.key_store import Scope

_PLACE: Final = "ai_sysadmin_caller"


class Caller(Record):
    """One caller of the API.

    ``uid`` is that of a Unix peer; none over TCP. ``key`` is the secret as it was sent, for the executor to check; it
    is never logged. ``identity`` is the front end's signed word on its user (a JWT), unchecked. ``may_change``: a
    person on this host who may change what is remembered.
    """

    name: str
    scopes: frozenset[Scope]
    uid: int | None = None
    key_id: str = ""
    key: str = Field(default="", repr=False)
    identity: str = Field(default="", repr=False)
    may_change: bool = False


def keep(scope: AsgiScope, caller: Caller) -> None:
    """Write down who is asking."""
    scope[_PLACE] = caller


def caller_of(scope: AsgiScope) -> Caller:
    """Return who is asking."""
    caller: Caller = scope[_PLACE]
    return caller
