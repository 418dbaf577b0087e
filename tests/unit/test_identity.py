"""The front end's word on its user is carried, not believed."""

import pytest
from starlette.datastructures import Headers

from ai_sysadmin.openai_api_server.gate.identity import MAX_CHARACTERS, identity_of


@pytest.mark.parametrize(
    ("raw", "carried"),
    [
        ([], ""),
        ([(b"x-openwebui-user-jwt", b" a.b.c ")], "a.b.c"),
        ([(b"x-openwebui-user-jwt", b"a.b.c"), (b"x-openwebui-user-jwt", b"d.e.f")], ""),
        ([(b"x-openwebui-user-jwt", b"a" * (MAX_CHARACTERS + 1))], ""),
        ([(b"x-openwebui-user-email", b"ada@example.org")], ""),
    ],
)
def test_one_signed_word_is_carried_as_it_came(raw, carried):
    assert identity_of(Headers(raw=raw)) == carried
