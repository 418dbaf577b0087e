"""Secrets that are known by what is said before them: a header, an address, a command's option, a sentence. Pure."""

import re
from typing import Final

from ai_sysadmin.context.secret_names import PASSWORDS, is_plain, is_secret
from ai_sysadmin.context.secret_shapes import Holds, is_basic, is_random, shape

_OPEN: Final = r"(?:\\{0,3}[\"'])?"
_ARGUMENT: Final = r"""(?:"([^"\n]*+)|'([^'\n]*+)|([^\s"'-][^\s"']*+))"""
_WORD: Final = r"""(?:"([^"\n]*+)|'([^'\n]*+)|([^\s"'-](?:[^\s"',.;!?)]|[,.;!?)](?!["')]?(?:\s|$)))*))"""


def _any(_match: re.Match[str], value: str) -> bool:
    return not is_plain(value)


# --- headers and addresses

_SCHEMES: Final = r"(?:basic|bearer|digest|token|apikey|negotiate|ntlm|aws4-hmac-sha256|hawk|key)"
_SCHEME: Final = re.compile(_SCHEMES, re.IGNORECASE)


def _authorization(match: re.Match[str], value: str) -> bool:
    return not is_plain(value) and (len(value) >= 16 or is_random(value) or _SCHEME.search(match[0]) is not None)


def _cookie(_match: re.Match[str], value: str) -> bool:
    return "=" in value[1:] or (len(value) >= 16 and is_random(value))


def _bearer(_match: re.Match[str], value: str) -> bool:
    return any(each.isdigit() for each in value)


def _random(_match: re.Match[str], value: str) -> bool:
    return is_random(value)


HEADERS: Final = (
    shape("cookie", "cookie",
          rf"""(?i:cookies?2?){_OPEN}[ \t]{{0,3}}[:=][ \t]{{0,3}}{_OPEN}([^"'\\\n]{{1,8192}})""", _cookie),
    shape("credentials", "authorization",
          rf"""(?i:authorization){_OPEN}\]?
          (?:[ \t]{{0,3}}(?:=>|[:=])[ \t]{{0,3}}|[ \t]{{0,2}},[ \t]{{0,2}}(?=["']))\[?{_OPEN}
          (?:(?i:basic|bearer|token|apikey|negotiate|ntlm|key)[ ]{{1,3}}([^\s"'\\,]{{1,8192}})
            |(?i:{_SCHEMES}[ ]{{1,3}})?([^"'\\\n]{{1,8192}}))""", _authorization),
    shape("token", "bearer", r"(?<![A-Za-z])(?i:bearer)(?:[ ]{1,3}|%20|\+)([\w.~+/=-]{12,}+)", _bearer),
    shape("credentials", "basic", r"(?<![A-Za-z])(?i:basic)[ ]{1,3}([A-Za-z0-9+/]{6,}+={0,2})", is_basic),
    shape("credentials", "auth",
          r"""(?i:\bAUTH[ ](?:PLAIN|LOGIN|XOAUTH2)[ ]{1,3}|"AUTH"[ ](?:"[^"\n]{1,64}"[ ])?")
          ([\w+/=-]{8,512}|[^"\s]{1,256}(?="))"""),
    shape("password", "://", r"://[^\s/:@?#\"'<>]{0,128}+:([^\s/?#\"'<>]{1,256})@(?=[\w\[.*$-])", _any),
    shape("token", "://", r"://([A-Za-z0-9_.-]{16,200}+)@", _random),
    shape("password", "@tcp( @unix(", r"(?<![\w.-])[\w.-]{1,64}:([^\s@]{1,128}+)@(?:tcp|unix)\("),
    shape("signature", "x-amz- sig= signature= x-goog-",
          r"""(?i:[?&;](?:x-(?:amz|goog)-(?:signature|security-token|credential)|sig|signature)=
          |x-(?:amz|goog)-(?:signature|security-token)\W{1,4})([^&\s"'<>#\\]{4,4096}+)"""),
    shape("token", "key= code= auth= assertion=",
          r"(?i:[?&](?:key|code|auth|authkey|apikey|assertion)=)([^&\s\"'<>#\\]{8,4096}+)"),
)  # fmt: skip

# --- what is given to commands and databases

_SECRET_OPTION: Final = r"(?:token|secret|api-?key|access-?key|secret-?key|auth-?key|preshared-?key|credentials?)"  # noqa: S105
_COMMAND_WITHIN: Final = 400


def _of(*commands: str) -> Holds:
    """Return what tells whether one of these commands stands not far before an option."""
    named = re.compile(rf"(?i:\b(?:{'|'.join(commands)}))")

    def holds(match: re.Match[str], value: str) -> bool:
        at = match.start()
        return not is_plain(value) and named.search(match.string, max(0, at - _COMMAND_WITHIN), at) is not None

    return holds


_ASKS_FOR_P: Final = _of(
    "sshpass", r"mongo\w{0,10}", "7za?", r"(?:docker|podman|helm|skopeo|buildah|oras|az|oc)\b[^\n]{0,200}\blogin"
)  # fmt: skip

COMMANDS: Final = (
    shape("password", "pass pwd psk",
          rf"(?<![\w-])--?[\w-]{{0,30}}?(?i:{PASSWORDS}|pass)[ \t]{{1,3}}{_ARGUMENT}", _any),
    shape("token", "token secret key cred",
          rf"(?<![\w-])--?[\w-]{{0,30}}?(?i:{_SECRET_OPTION})[ \t]{{1,3}}{_ARGUMENT}", _any),
    shape("password", "mysql mariadb", rf"(?<=[ \t])-p{_ARGUMENT}", _of("mysql", "mariadb")),
    shape("password", "-p", rf"(?<![\w-])-p(?=[\"']){_ARGUMENT}", _any),
    shape("password", "sshpass login mongo 7z", rf"(?<=[ \t])-p[ \t]{{0,3}}{_ARGUMENT}", _ASKS_FOR_P),
    shape("password", "curl wget http",
          r"""(?<=[ \t])(?:-u|--user|--proxy-user|-U|-a)[ \t=]{0,3}["']?[\w.@%+-]{1,64}:([^\s"']{1,256}+)""",
          _of("curl", "wget", "http")),
    shape("password", "redis-cli ldap", rf"(?<=[ \t])-[aw][ \t]{{0,3}}{_ARGUMENT}", _of("redis-cli", "ldap")),
    shape("password", "smbclient", r"(?<=[ \t])-U[ \t]?[\w\\.]{1,64}%([^\s\"']{1,128}+)", _any),
    shape("password", "snmp", rf"(?<=[ \t])-[AXc][ \t]{{0,3}}{_ARGUMENT}", _of("snmp")),
    shape("password", "zip sqlcmd", rf"(?<=[ \t])-P[ \t]{{0,3}}{_ARGUMENT}", _of("zip", "sqlcmd")),
    shape("password", "htpasswd", r"\bhtpasswd[ ]-[A-Za-z]{0,6}b[A-Za-z]{0,6}[ ]\S{1,128}[ ]\S{1,64}[ ](\S{1,128}+)"),
    shape("password", "chpasswd",
          r"\becho\b[^\n]{0,20}?[\"']?[\w.-]{1,40}:([^\s\"']{1,256}+)[\"']?[ ]{0,3}\|[^\n]{0,40}?chpasswd"),
    shape("password", "nmcli machine login", rf"(?i:\bpassword)[ ]{_ARGUMENT}", _of("nmcli", r"machine[ ]\S+[ ]login")),
    shape("password", "__construct connect( ldap_bind auth=(",
          r"""(?:(?:PDO|mysqli)(?:->|::)__construct|mysqli?_p?connect|pg_connect|ldap_bind)\([^'"\n)]{0,40}
          (?:['"][^'"\n]{0,200}['"],[ ]?)?['"][^'"\n]{0,200}['"],[ ]?['"]([^'"\n]{1,200})
          |\bauth=\(['"][^'"\n]{1,200}['"],[ ]?['"]([^'"\n]{1,200})""", _any),
    shape("password", "bindpw rootpw community",
          rf"(?i:\b(?:bindpw|rootpw|rootbindpw|r[ow]community6?|community))[ \t]{{1,3}}{_ARGUMENT}", is_secret),
    shape("password", "identified password",
          rf"""(?i:\bIDENTIFIED[ ]{{1,9}}(?:WITH[ ]{{1,9}}[\w'"]{{1,40}}[ ]{{1,9}})?(?:BY|AS)[ ]{{1,9}}
            (?:PASSWORD[ ]{{1,9}})?
          |\bPASSWORD(?:[ ]{{1,2}}|[ ]?\([ ]?)(?=['"])
          |\bSET[ ]PASSWORD\b[^\n=]{{0,80}}=[ ]{{0,3}}){_ARGUMENT}""", _any),
)  # fmt: skip

# --- sentences


def _said(_match: re.Match[str], value: str) -> bool:
    word = value.rstrip(".,;:!?)")
    return not is_plain(word) and len(word) >= 4 and not (word.isalpha() and (word.islower() or word.istitle()))


def _near(_match: re.Match[str], value: str) -> bool:
    return is_random(value) and not value.startswith("/") and value.count("-") < 3 and not re.match(r"(?i)sha\d", value)


SENTENCES: Final = (
    shape("password", "password", r"(?i:\bpassword[ ]is[ ]generated[ ]for[ ])[^\s:]{1,80}:[ ](\S{4,128}+)"),
    shape("password", "pass",
          rf"""(?i:\b(?:password|passphrase|passcode|passwd)[ ]
            (?:is|was[ ]set[ ]to|set[ ]to|=|to)(?:[ ]now)?[ :]{{1,3}}){_WORD}""", _said),
    shape("password", "pass",
          r"""(?i:\b(?:password|passphrase)[ ])(?:"([^"\n]{1,128})"|'([^'\n]{1,128})'|`([^`\n]{1,128})`)""", _any),
    shape("one-time code", "otp code one-time",
          r"""(?i:\b(?:otp|one[- ]time[ ](?:code|password|pin)
          |(?:verification|login|security|2fa|mfa|recovery|confirmation)[ ]code))\W{1,3}(?i:(?:is|:)\W{1,3})?
          (\d{4,8}|[A-Z0-9]{4,5}(?:-[A-Z0-9]{4,5}){1,7})(?![\w-])"""),
    shape("secret", "pass secret token key cred",
          r"""(?i:\b(?:password|passphrase|passcode|passwd|secret|token|api[ _-]?key|access[ _-]?key|credentials?
          |private[ ]key))\b[\w ,:='"(\[-]{0,24}?(?<![\w/+=.-])([A-Za-z0-9+/_=-]{20,512}+)""", _near),
)  # fmt: skip
