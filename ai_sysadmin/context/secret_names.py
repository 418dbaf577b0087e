"""Secrets that are known by the name they stand under: ``password=…``, ``"api_key": "…"``, ``DB_PASS=…``. Pure."""

import re
from typing import Final

from ai_sysadmin.context.secret_shapes import Holds, Shape, is_hex, is_random, shape, unrest

# --- how a name and its value are written

_SUFFIX: Final = r"""
    s?\d{0,2}(?:[_-]?(?:confirm(?:ation)?|new|old|current|value|hash|b64|base(?:64)?|enc(?:rypted)?|plain(?:text)?|text
    |again|repeat|verify|string))?
"""
_COLOUR: Final = r"(?:\x1b\[[\d;]{0,8}m)?"
_SIGN: Final = rf"""
    (?:\\{{0,3}}["'`])?\]?{_COLOUR}
    (?: [ \t]{{0,3}}(?:=>|:=|==?|:|%3[Dd])[ \t]{{0,3}}{_COLOUR}
      | >(?=[^<\s])
      | [ \t]{{0,3}},?[ \t]{{0,3}}(?:\\{{0,3}}["'])?value(?:\\{{0,3}}["'])?[ \t]{{0,3}}[:=][ \t]{{0,3}}
      | (?<=["'])[ \t]{{0,2}},[ \t]{{0,2}}(?=\\{{0,3}}["'])
    )
"""
"""``=``, ``:``, an XML tag's end, ``"name": NAME, "value":``, a pair's comma."""

_QUOTED: Final = r"""
    [bBuUrRf]?"([^"\\\n]*+(?:\\.[^"\\\n]*+)*)
  | [bBuUrRf]?'([^'\\\n]*+(?:\\.[^'\\\n]*+)*)
  | `([^`\n]*+)
  | \\{1,3}["']([^"'\\\n]*+(?:\\{1,4}[^"'\\\n][^"'\\\n]*+)*)
"""
_BARE: Final = r"""
    [^\s"'`<>,;&)\]}\\]*+
    (?:(?: [,;&)\]}](?!$|[\s"'`)\]},;<]|[\w.%-]{1,40}[=:])
         | \\(?!["'])
         | (?<=[^\s=:])['"`](?=[\w!#$%^*+.-])(?![\w.-]{1,40}["'=:])
       )[^\s"'`<>,;&)\]}\\]*+
    )*
"""
"""A value without quotes; a comma, semicolon or ampersand ends it only before what looks like the next name."""

_VALUE: Final = rf"(?:{_QUOTED}|({_BARE}))"

# --- the names

PASSWORDS: Final = r"""(?:pass[ _-]?(?:word|wort|phrase|code)
    |(?<!/)(?<!ht)(?<!ch)(?<!vnc)(?<!smb)(?<!mk)(?<!\bk)(?<!\bg)(?<!yp)passwd|passw(?!d)
    |(?<![a-z])(?:psk|pwd)|masterauth)"""
_PASSES: Final = r"(?<!by)(?<!com)(?<!sur)(?<!tres)pass"
_TOKENS: Final = r"(?:token|(?<![a-z])jwt)"
_SESSIONS: Final = r"(?:sess(?:ion)?[_-]?id|sessid|(?<![a-z])sid|asp\.net_sessionid|xsrf|csrf)"
_SECRETS: Final = r"""(?:secret|(?<!load)(?<!encrypted)(?<!import)credential|(?<![a-z])creds?|(?<![a-z])t?otp
    |seed[ _-]?phrase|mnemonic|recovery[ _-]?code|(?<![a-z])community6?)"""
_KEYS: Final = r"""(?:(?:api|access|secret|private|pre-?shared|account|shared|shared[ _-]?access|encryption|signing
    |master|auth|license|session|deploy|hmac|stream|storage|application|app|client|admin|service|service[_-]?account|webhook)
    [ _.-]?key(?:[_-]data)?|tls\.key|shared[ _-]?access[ _-]?signature)"""
_ENVIRONMENT: Final = r"(?<![A-Za-z])(?!PUBLIC|PRIMARY|FOREIGN|CACHE|HOST|SORT)[A-Z][A-Z0-9_]{1,60}_KEY"

# --- values that are no secrets

_HARMLESS: Final = frozenset(
    """a access accepted account again an and any api argument as at auth authentication authorization bad be been but
    by can cannot changed chauthtok check command confirmation contains could credentials denied deprecated did
    disabled does ecdsa ed25519 empty enabled enter entered error errors exists expected expired expires expiry false
    failed failure file for forbidden format found from got has have identifier if ignored in incorrect input instead
    invalid is it just key length line login malformed may missing mismatch more must n/a need new nil no none not null
    of off ok okay old on only operation option optional or parse parsing pass password passwords permission please
    policy prompt prompts rejected refused request required reset revoked rsa secret see session set should stdin
    string success successful successfully than that the this to token too true type unable undefined unexpected
    unknown unset unspecified unsupported updated use used user using valid validation value verification via was when
    while will with without wrong y yes you your""".split()  # noqa: SIM905
)
_COVERED: Final = re.compile(
    r"[*x•·.#_?-]{3,}|[\[<({]*(?:redacted|filtered|hidden|masked|removed|secret)[\])>}]*", re.IGNORECASE
)
_PATH: Final = re.compile(r"~?(?:/[\w.@:+-]+)+/?|/|[A-Za-z]:\\.*")
_UNREST_OF_PATHS: Final = 0.4
_FINGERPRINTS: Final = ("SHA256:", "MD5:", "sha256:", "sha256-", "sha512-")


def is_plain(value: str) -> bool:
    """Tell whether a value says something that is no secret: a word of status, a path, a fingerprint, nothing."""
    bare = value.strip(" .!?,:;()").lower()
    return (
        not bare
        or bare in _HARMLESS
        or _COVERED.fullmatch(value) is not None
        or (_PATH.fullmatch(value) is not None and (unrest(value) < _UNREST_OF_PATHS or "/nix/store/" in value))
        or value.startswith(_FINGERPRINTS)
    )


def _password(_match: re.Match[str], value: str) -> bool:
    return not is_plain(value) and not (value.isdigit() and len(value) < 4)


def _pass(match: re.Match[str], value: str) -> bool:
    """Tell whether it is a password and no count of what passed."""
    return _password(match, value) and not (value.rstrip("%s").replace(".", "").isdigit() and len(value) < 7)


def _token(match: re.Match[str], value: str) -> bool:
    """Tell whether the value of a name such as ``token`` is one; parsers speak of tokens too."""
    if is_plain(value) or len(value) < 6 or (value.isdigit() and len(value) < 10):
        return False
    said = match[0][: match[0].rfind(value)].rstrip("\"'` \\")
    word = value.strip("\"'`()[].,;:")
    return not (said.endswith(":") and word.isalpha() and (word.islower() or word.istitle()) and len(word) < 20)


def is_secret(_match: re.Match[str], value: str) -> bool:
    return not is_plain(value) and len(value) >= 4


def _key(_match: re.Match[str], value: str) -> bool:
    return not is_plain(value) and len(value) >= 8 and not (value.isalpha() and value.islower())


def _session(_match: re.Match[str], value: str) -> bool:
    is_windows_account = value.startswith("S-1-")
    return len(value) >= 12 and not is_plain(value) and (is_random(value) or is_hex(value)) and not is_windows_account


# --- the table


def _named(kind: str, hints: str, name: str, holds: Holds) -> Shape:
    return shape(kind, hints, rf"(?i:{name}{_SUFFIX}){_SIGN}{_VALUE}", holds)


NAMED: Final = (
    _named(
        "password", "password passwd passw passphrase passcode pass- pass_ pwd psk masterauth", PASSWORDS, _password
    ),
    _named("password", "pw= pw: pw\" pw' pw> pw]", r"(?:(?<![a-z])|bind|root|user|db)pw", _password),
    _named("password", "pass", _PASSES, _pass),
    _named("token", "token jwt", _TOKENS, _token),
    _named("session", 'essid session_id session-id sessionid sid= sid: sid" xsrf csrf', _SESSIONS, _session),
    _named("secret", "secret cred otp seed mnemonic recovery community", _SECRETS, is_secret),
    _named("key", "key signature", _KEYS, _key),
    shape("key", "_key", rf"{_ENVIRONMENT}{_SIGN}{_VALUE}", _key),
)

_KINDS: Final = tuple(
    (kind, re.compile(rf"(?i:(?:{name}){_SUFFIX})\]?$", re.VERBOSE), holds)
    for kind, name, holds in (
        ("password", PASSWORDS, _password),
        ("password", _PASSES, _pass),
        ("password", "pw", _password),
        ("token", _TOKENS, _token),
        ("session", _SESSIONS, _session),
        ("secret", _SECRETS, is_secret),
        ("key", _KEYS, _key),
        ("credentials", "authorization", _password),
        ("cookie", "(?:set-)?cookie", _password),
    )
)


def kind_of(name: str, value: str) -> str:
    """Return what kind of secret the value of such a name is; empty: none."""
    for kind, pattern, holds in _KINDS:
        match = pattern.search(name)
        if match and holds(match, value):
            return kind
    return ""
