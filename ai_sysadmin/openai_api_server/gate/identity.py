"""The front end's signed word on who its user is: carried to the executor as it came, which alone can check it."""

from typing import Final

from starlette.datastructures import Headers

HEADER: Final = "x-openwebui-user-jwt"
MAX_CHARACTERS: Final = 8192


def identity_of(headers: Headers) -> str:
    """Return what the front end signed, unchecked; empty where it says nothing, or says two things."""
    given = headers.getlist(HEADER)
    return given[0].strip() if len(given) == 1 and len(given[0]) <= MAX_CHARACTERS else ""
