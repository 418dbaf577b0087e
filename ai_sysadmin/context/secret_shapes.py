"""Secrets that are known by their own shape: tokens, keys, hashes, numbers with a check digit, addresses. Pure.

Every pattern is linear in the length of a line: what it repeats without a bound cannot begin again within itself.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Holds = Callable[[re.Match[str], str], bool]


def _always(_match: re.Match[str], _value: str) -> bool:
    return True


@dataclass(frozen=True)
class Shape:
    """What a kind of secret looks like.

    ``hints``: lower-case texts one of which a line must contain. ``least``: how long its
    longest word must be. The secret is the pattern's last matched group, or else the whole match; ``holds`` tells
    whether it is one after all.
    """

    kind: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    holds: Holds = _always
    least: int = 0


def shape(kind: str, hints: str, pattern: str, holds: Holds = _always, least: int = 0) -> Shape:
    """Return a table's row: ``hints`` blank-separated, the pattern verbose."""
    return Shape(kind, tuple(hints.split()) or ("",), re.compile(pattern, re.VERBOSE), holds, least)


# --- what looks random

_HEX: Final = re.compile(r"[0-9a-fA-F-]+")
_CLASSES: Final = {
    **dict.fromkeys(map(ord, "abcdefghijklmnopqrstuvwxyz"), "a"),
    **dict.fromkeys(map(ord, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "A"),
    **dict.fromkeys(map(ord, "0123456789"), "0"),
}
_BORDER: Final = re.compile(r"(?=(?:a[^a]|A[^A]|0[^0]|[^aA0][aA0]))")
_LOOKED_AT: Final = 200


def unrest(text: str) -> float:
    """Return how often the kind of character changes, 0 to 1: about 0.6 in base64, 0.2 in words and paths."""
    head = text[:_LOOKED_AT].translate(_CLASSES)
    return len(_BORDER.findall(head)) / max(1, len(head) - 1)


def is_random(text: str, least: float = 0.25) -> bool:
    """Tell whether a text has letters and digits that alternate as in no word."""
    return (
        any(each.isdigit() for each in text) and any(each.isalpha() for each in text) and unrest(text) >= least
    )  # fmt: skip


def is_hex(text: str) -> bool:
    return _HEX.fullmatch(text) is not None


def _random(_match: re.Match[str], value: str) -> bool:
    return is_random(value, 0.15)


def _key_material(_match: re.Match[str], value: str) -> bool:
    mixed = any(each.islower() for each in value) and any(each.isupper() for each in value)
    return mixed and is_random(value, 0.4) and not value.startswith("AAAA")  # that is a public key's beginning


def is_basic(_match: re.Match[str], value: str) -> bool:
    """Tell whether it is ``name:password`` in base64."""
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        return False


# --- numbers that check themselves

_CARDS: Final = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}"
)


def _is_card(match: re.Match[str], value: str) -> bool:
    digits = [int(each) for each in value if each.isdigit()]
    doubled = sum(sum(divmod(2 * each, 10)) for each in digits[-2::-2])
    counted = match.string[max(0, match.start() - 24) : match.start()].lower().rstrip("\"' ")
    named = not counted.endswith(("=", ":")) or re.search(r"card|cc|pan|num|acc|pay", counted) is not None
    return (
        (named or len(digits) != len(value))
        and _CARDS.fullmatch("".join(map(str, digits))) is not None
        and (sum(digits[-1::-2]) + doubled) % 10 == 0
    )


def _is_iban(_match: re.Match[str], value: str) -> bool:
    bare = value.replace(" ", "")
    return 15 <= len(bare) <= 34 and int("".join(str(int(each, 36)) for each in bare[4:] + bare[:4])) % 97 == 1


# --- addresses

_NO_DOMAINS: Final = frozenset(
    """service socket device mount automount swap target path timer slice scope conf cfg ini json toml txt log jar js
    yaml yml xml png html sock pid lock nix drv gz xz zst tgz img iso sqlite patch bak tmp""".split()  # noqa: SIM905
)


def _is_address(_match: re.Match[str], value: str) -> bool:
    name, _, domain = value.partition("@")
    return name != "git" and not re.match(r"\d+\.\d", domain) and domain.rpartition(".")[2].lower() not in _NO_DOMAINS


_FRONT = r"(?<![A-Za-z0-9])"
_END = r"(?![A-Za-z0-9])"


def _token(kind: str, hints: str, pattern: str, holds: Holds = _always, least: int = 20) -> Shape:
    return shape(kind, hints, f"{_FRONT}(?:{pattern})", holds, least)


_AWS: Final = "akia asia aroa agpa aida anpa anva aipa"
_AWS_ID: Final = r"(?:AKIA|ASIA|AROA|AIDA|AGPA|AIPA|ANPA|ANVA)[A-Z0-9]{16}"

TOKENS: Final = (
    _token("AWS key", _AWS, rf"{_AWS_ID}[\s:,;|\"']{{1,3}}([A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+])"),
    _token("AWS key", _AWS, rf"{_AWS_ID}{_END}"),
    _token("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
           r"gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}"),
    _token("GitLab token", "glpat- gldt- glrt- glcbt- glptt- glft- glsoat- gloas- glimt- glagent- glffct-",
           r"(?:glpat|gldt|glrt|glcbt|glptt|glft|glsoat|gloas|glimt|glagent|glffct)-[\w.-]{16,255}"),
    _token("Slack token", "xox xapp- xwfp-", r"(?:xox[abeoprs](?:\.xox[bp])?|xapp|xwfp)-[A-Za-z0-9-]{15,255}"),
    _token("webhook address", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/([\w/]{20,200})"),
    _token("webhook address", "/api/webhooks/",
           r"discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/\d{5,25}/([\w-]{20,200})"),
    _token("webhook address", "webhook.office.com", r"[\w-]{1,63}\.webhook\.office\.com/(webhookb2/[\w@/-]{20,400})"),
    _token("Stripe key", "sk_live_ rk_live_ sk_test_ rk_test_ whsec_",
           r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,255}|whsec_[\w+/=]{16,255}"),
    _token("API key", "sk-", r"(?<![\w-])sk-[\w-]{20,255}", _random),
    _token("Google key", "aiza", r"AIza[\w-]{35}"),
    _token("Google token", "ya29. gocspx- 1//0", r"ya29\.[\w-]{20,512}|GOCSPX-[\w-]{20,64}|1//0[\w-]{30,200}"),
    _token("npm token", "npm_", r"npm_[A-Za-z0-9]{30,64}"),
    _token("PyPI token", "pypi-ag", r"pypi-Ag[\w-]{30,512}"),
    _token("RubyGems token", "rubygems_", r"rubygems_[0-9a-f]{32,64}"),
    _token("Docker token", "dckr_", r"dckr_(?:pat|oat)_[\w-]{20,64}"),
    _token("Telegram token", ":aa", r"(?:bot)?(\d{8,10}:AA[\w-]{33})"),
    _token("Tailscale key", "tskey-", r"tskey-[A-Za-z0-9-]{12,128}"),
    _token("Vault token", "hvs. hvb. hvr.", r"hv[sbr]\.[\w-]{20,255}"),
    _token("Vault token", "s.", r"s\.[A-Za-z0-9]{24}(?![\w.])", _random, 26),
    _token("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[0-9a-f]{32,64}"),
    _token("Cloudflare token", "v1.0- cfut_ cfat_", r"v1\.0-[0-9a-f]{20,32}-[0-9a-f]{100,160}|cf[ua]t_[\w-]{30,80}"),
    _token("SendGrid key", "sg.", r"SG\.[\w-]{16,32}\.[\w-]{30,64}"),
    _token("Twilio key", "sk", rf"SK[0-9a-f]{{32}}{_END}", least=34),
    _token("Mailgun key", "key-", rf"(?<![\w-])key-[0-9a-f]{{32}}{_END}"),
    _token("Mailchimp key", "-us", r"[0-9a-f]{32}-us\d{1,2}(?!\d)"),
    _token("Shopify token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    _token("Hugging Face token", "hf_", r"hf_[A-Za-z0-9]{30,64}"),
    _token("Grafana token", "glsa_ glc_", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/]{32,400}={0,2}"),
    _token("New Relic key", "nrak-", r"NRAK-[A-Z0-9]{27}"),
    _token("Sentry token", "sntrys_ sntryu_", r"sntry[su]_[\w+/=.-]{30,400}"),
    _token("API key", "lin_api_ gsk_ r8_ figd_ phx_", r"(?:lin_api|gsk|r8|figd|phx)_[\w=+/-]{24,400}", _random),
    _token("API key", "pplx- pmak- sq0atp- sq0csp- pul- xai-",
           r"(?:pplx|PMAK|sq0atp|sq0csp|pul|xai)-[\w=+/-]{24,400}", _random),
    _token("API key", "atatt3 dapi eaac", r"(?:ATATT3|dapi|EAAC)[\w=+/-]{24,400}", _random),
    _token("Azure secret", "q~", r"[\w.-]{3}\dQ~[\w~.-]{31,34}"),
    _token("Discord token", ".", r"[MNO][\w-]{23,27}\.[\w-]{6,7}\.[\w-]{27,40}", _random, 57),
    shape("JWT", "eyj", r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+){0,3}"),
    _token("private key", "age-", r"AGE-(?:SECRET-KEY|PLUGIN-[A-Z0-9]{1,20})-1[0-9A-Z]{40,80}"),
    shape("private key", "==", r"(?<![\w.-])[\w.-]{1,64}:([A-Za-z0-9+/]{86}==)"),
    shape("password hash", "$",
          r"""\$(?:[1567yPH]|gy|2[abxy]?|sha1|apr1|md5|argon2(?:id|i|d)|scrypt|pbkdf2[\w-]{0,16}|bcrypt[\w-]{0,12})
          \$[./A-Za-z0-9$=,+-]{16,256}"""),
    shape("password hash", "pbkdf2 scram-sha argon2 bcrypt_ scrypt",
          r"(?:pbkdf2_sha\d{1,3}|SCRAM-SHA-\d{1,3}|argon2|bcrypt_sha256|scrypt)\$[A-Za-z0-9$=,.:+/-]{16,256}"),
    shape("password hash", "sha} sha256} sha512} crypt} md5}",
          r"\{(?i:s?sha(?:256|512)?|s?md5|crypt|argon2)\}[A-Za-z0-9+/=.$,-]{8,256}"),
    _token("password hash", ":", rf"[0-9a-fA-F]{{32}}:[0-9a-fA-F]{{32}}{_END}", least=65),
    shape("password hash", ":::", r"(?<=:)[./A-Za-z0-9]{13}(?=:\d{1,6}:\d{0,6}:\d{0,6}:)"),
    shape("password hash", "*", rf"(?<=['\"\s])\*[0-9A-F]{{40}}{_END}", least=41),
    shape("key material", "",
          r"(?:^|(?<=[\s\"':]))[A-Za-z0-9+/]{60,}+={0,2}(?=[\"'\\]{0,2}\s*$)", _key_material, 60),
    shape("key material", "", r"^\s{0,8}([A-Za-z0-9+/]{20,}+={0,2})\s{0,8}$", _key_material, 20),
)  # fmt: skip
"""Long words; only lines that have one are searched for them."""

NUMBERS: Final = (
    shape("card number", "",
          r"(?<![\w.-])[2-6]\d{3}[ -]?\d{4,6}[ -]?\d{4,5}(?:[ -]?\d{1,4})?(?![\w-]|\.\d)", _is_card),
    shape("IBAN", "",
          r"""(?<![A-Za-z0-9])[A-Z]{2}\d{2}[ ]?[A-Z0-9]{4}(?:[ ]?[A-Z0-9]{4}){1,6}(?:[ ]?[A-Z0-9]{1,3})?
          (?![A-Za-z0-9])""", _is_iban),
)  # fmt: skip

ADDRESSES: Final = (
    shape("e-mail address", "@",
          r"""(?<![\w.+%-])(?<!//)[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}
          (?![\w@-]|\.[A-Za-z0-9])""", _is_address),
)  # fmt: skip
