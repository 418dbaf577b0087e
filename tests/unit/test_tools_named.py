"""tools/named.py: a name is named whole, in any spelling, and never by a longer one."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.tools.named import is_named
from ai_sysadmin.tools.tool import Told, tool_of
from ai_sysadmin.tools.toolbox import Toolbox


@pytest.mark.parametrize(
    ("target", "text", "named"),
    [
        ("db.example.org", "connection to db.example.org failed", True),
        ("db.example.org", "connection to DB.Example.ORG:5432 failed", True),
        ("db.example.org.", "no route to db.example.org.", True),
        ("db.example.org", "GET https://db.example.org/x", True),
        ("db.example.org", "root@db.example.org: refused", True),
        ("db.example.org", "evil-db.example.org", False),
        ("db.example.org", "db.example.org.evil.com", False),
        ("db.example.org", "db.example.org。evil.com", False),
        ("db.example.org", "x.db.example.org", False),
        ("example.org", "db.example.org", False),
        ("db.example.org:5432", "db.example.org:5432 refused", True),
        ("db.example.org:5432", "db.example.org:54321 refused", False),
        ("db.example.org:5432", "db.example.org refused port 5432", False),
        ("10.0.0.1", "host 10.0.0.1:80 down", True),
        ("10.0.0.1", "host 10.0.0.12 down", False),
        ("10.0.0.1", "host 110.0.0.1 down", False),
        ("10.0.0.1", "version 10.0.0.1.5", False),
        ("10.0.0.1:80", "dial 10.0.0.1:80: refused", True),
        ("10.0.0.1:80", "dial 10.0.0.1:8080: refused", False),
        ("2001:db8::1", "dial [2001:0db8:0::1]:443: refused", True),
        ("[2001:DB8::1]", "ping 2001:db8::1: unreachable", True),
        ("2001:db8::1", "ping 2001:db8::12 and 2001:db8::1:5", False),
        ("[2001:db8::1]:443", "dial tcp [2001:db8:0::1]:443", True),
        ("[2001:db8::1]:44", "dial tcp [2001:db8::1]:443", False),
        ("fe80::1", "via fe80::1%eth0 dev", True),
        ("/var/log/app.log", "open /var/log/app.log: denied", True),
        ("/var/log/app.log", "open /var/log/app.log.1: denied", False),
        ("/var/log", "open /var/log/app.log", False),
        ("/var/log", "open /srv/var/log", False),
        ("/var/log/", 'in "/var/log".', True),
        ("http://a.example/x", "GET http://a.example/x 500", True),
        ("http://a.example/x", "GET http://a.example/xy?z 500", False),
        ("", "anything", False),
        ("a b", "a b", False),
        (".", "a . b", False),
    ],
)
def test_a_target_is_named_whole(target: str, text: str, named: bool) -> None:
    assert is_named(target, text) is named


NAME = st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,8}){1,2}", fullmatch=True)


@given(NAME, st.sampled_from("abc019-_.:/@"), st.sampled_from("abc019-_"), st.sampled_from(["", ".", " ", ":80", "/x"]))
def test_a_longer_name_names_no_shorter_one(name: str, before: str, after: str, end: str) -> None:
    assert is_named(name, f"about {name}{end}")
    assert not is_named(name, f"about {name}{after}{end}")
    assert not is_named(name, f"about {name}.{after.replace('-', 'x')}{end}")
    if before in "abc019-_.":
        assert not is_named(name, f"about {before}{name}{end}")


async def test_what_the_suites_own_services_log_names_no_target() -> None:
    async def look(unit: Annotated[str, Field(max_length=80)]) -> Told:
        """The log of a unit."""
        return Told(f"{unit}: the cause is db.example.org")

    looks = Toolbox([tool_of(look, says="log of {unit}", name="unit_log")], Redactor(), Tools()).open()
    await looks.look(looks.call("unit_log", {"unit": "ai-sysadmin-meta-model.service"}), 1000)
    assert not looks.names("db.example.org")
    await looks.look(looks.call("unit_log", {"unit": "web.service"}), 1000)
    assert looks.names("db.example.org")
