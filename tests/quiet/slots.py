"""What varies within a line: ``{ip}``, ``{hex8}``, ``{3-90}``, ``{this|that}``; ``{X=3-90}`` is drawn once a story."""

import random
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Final

Draw = Callable[[random.Random, datetime], str]
Memory = dict[str, str]

_SLOT = re.compile(r"\{([\w.=/-]+|[^{}\"]*\|[^{}\"]*)\}")
_RANGE = re.compile(r"^(\d+)-(\d+)$")
_FLOAT = re.compile(r"^(\d+)-(\d+)\.(\d)$")
_BASE32: Final = "0123456789abcdfghijklmnpqrsvwxyz"
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

_USERS = ("anna", "ben", "chris", "dora", "emil", "root", "deploy", "git")
_GUESSED = (
    "admin", "test", "ubuntu", "oracle", "guest", "ftpuser", "pi", "user", "postgres", "minecraft", "hadoop",
    "support", "steam", "www", "backup", "ansible", "jenkins", "nagios", "tomcat", "sysadmin", "dev", "es",
)  # fmt: skip
_WORDS = (
    "index", "about", "photos", "news", "garden", "recipes", "archive", "music", "notes", "contact", "feed",
    "search", "albums", "calendar", "files", "invoice", "holiday", "report", "projects", "bicycle", "kitchen",
    "library", "market", "office", "plan", "river", "school", "summer", "travel", "winter", "budget", "letters",
)  # fmt: skip
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.example.net/about)",
    "Nextcloud-android/3.30.0",
    "curl/8.9.1",
)
_SCANNED = (
    "/wp-login.php", "/.env", "/xmlrpc.php", "/phpmyadmin/index.php", "/.git/config", "/cgi-bin/luci", "/boaform/admin",
    "/vendor/phpunit/phpunit/src/Util/PHP/eval-stdin.php", "/actuator/health", "/owa/auth/logon.aspx", "/robots.txt",
)  # fmt: skip


def _ip(rng: random.Random) -> str:
    return f"{rng.randrange(11, 223)}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def _from(alphabet: str, rng: random.Random, length: int) -> str:
    return "".join(rng.choices(alphabet, k=length))


def _hex(rng: random.Random, length: int) -> str:
    return f"{rng.getrandbits(4 * length):0{length}x}"


def _uuid(rng: random.Random) -> str:
    text = _hex(rng, 32)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_NAMED: Final[dict[str, Draw]] = {
    "ip": lambda rng, _: _ip(rng),
    "lan": lambda rng, _: f"192.168.1.{rng.randrange(20, 60)}",
    "pod": lambda rng, _: f"10.42.0.{rng.randrange(2, 90)}",
    "port": lambda rng, _: str(rng.randrange(32768, 60999)),
    "pid": lambda rng, _: str(rng.randrange(800, 400_000)),
    "mac": lambda rng, _: ":".join(_hex(rng, 2) for _ in range(6)),
    "uuid": lambda rng, _: _uuid(rng),
    "nix": lambda rng, _: _from(_BASE32, rng, 32),
    "b64": lambda rng, _: _from(_BASE64, rng, 43),
    "queue": lambda rng, _: f"{rng.getrandbits(40):010X}",
    "device": lambda rng, _: "-".join(_from(_UPPER, rng, 7) for _ in range(8)),
    "user": lambda rng, _: rng.choice(_USERS),
    "guess": lambda rng, _: rng.choice(_GUESSED),
    "word": lambda rng, _: rng.choice(_WORDS),
    "agent": lambda rng, _: rng.choice(_AGENTS),
    "scan": lambda rng, _: rng.choice(_SCANNED),
    "ms": lambda rng, _: f"{rng.expovariate(1 / 20):.3f}",
    "clf": lambda _, at: f"{at:%d/%b/%Y:%H:%M:%S +0000}",
    "iso": lambda _, at: f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
    "stamp": lambda _, at: f"{at:%Y-%m-%d %H:%M:%S}",
    "hms": lambda _, at: f"{at:%H:%M:%S}",
    "day": lambda _, at: f"{at:%Y-%m-%d}",
    "slashed": lambda _, at: f"{at:%Y/%m/%d %H:%M:%S}",
    "epoch": lambda _, at: str(int(at.timestamp())),
    "weekday": lambda _, at: f"{at:%a %b %e %H:%M:%S %Y}",
}


def _draw_of(spec: str) -> Draw:
    """Return how a slot is drawn. Raises: ValueError for a slot that there is none of."""
    if spec in _NAMED:
        return _NAMED[spec]
    if "|" in spec:
        choices: Sequence[str] = spec.split("|")
        return lambda rng, _: rng.choice(choices)
    if match := _RANGE.match(spec):
        least, most = int(match[1]), int(match[2])
        return lambda rng, _: str(rng.randint(least, most))
    if match := _FLOAT.match(spec):
        low, high, digits = int(match[1]), int(match[2]), int(match[3])
        return lambda rng, _: f"{rng.uniform(low, high):.{digits}f}"
    if match := re.match(r"^hex(\d+)$", spec):
        length = int(match[1])
        return lambda rng, _: _hex(rng, length)
    raise ValueError(f"there is no slot {{{spec}}}")


Part = str | tuple[str, Draw | None]


@cache
def _compiled(text: str) -> tuple[Part, ...]:
    """Return a text's parts: words, or a slot's name (empty: not remembered) with how it is drawn (none: recalled)."""
    pieces = _SLOT.split(text)
    parts: list[Part] = []
    for literal, spec in zip(pieces[::2], [*pieces[1::2], None], strict=True):
        parts.append(literal)
        if spec is None:
            continue
        name, equals, given = spec.partition("=")
        if equals:
            parts.append((name, _draw_of(given)))
        elif re.match(r"^[A-Z][A-Z0-9]*$", spec):
            parts.append((spec, None))
        else:
            parts.append(("", _draw_of(spec)))
    return tuple(parts)


def filled(text: str, rng: random.Random, at: datetime, memory: Memory) -> str:
    """Return a line's text with its slots drawn; what a story has drawn before is recalled from its memory."""
    parts = _compiled(text)
    if len(parts) == 1:
        return text
    said: list[str] = []
    for part in parts:
        if isinstance(part, str):
            said.append(part)
            continue
        name, draw = part
        if draw is None:
            said.append(memory[name])
        elif name:
            said.append(memory.setdefault(name, draw(rng, at)))
        else:
            said.append(draw(rng, at))
    return "".join(said)
