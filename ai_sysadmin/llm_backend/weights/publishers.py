"""What a file's publisher says of it: its SHA-256 and size, from a model hub's metadata or from ``URL.sha256``."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx

from ai_sysadmin.core.errors import AiSysadminError, SettingsError
from ai_sysadmin.llm_backend.weights.web import ServerAway, Token, Web, origin_of

DEFAULT_ENDPOINT = "https://huggingface.co"
_METADATA_BYTES = 4 << 20
_SHA256_FILE_BYTES = 64 << 10
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RESOLVE = re.compile(r"/(?P<repository>[\w.-]+/[\w.-]+)/(?:resolve|blob)/(?P<revision>[^/]+)/(?P<path>.+)", re.ASCII)


@dataclass(frozen=True)
class Published:
    """What is known of a file beforehand; none: nobody says. ``by`` says who vouches for the SHA-256."""

    sha256: str | None = None
    size: int | None = None
    by: str = ""


@dataclass(frozen=True)
class HubFile:
    """A file on a model hub."""

    repository: str
    path: str
    revision: str = "main"


@dataclass(frozen=True)
class Hub:
    """A model hub that speaks like Hugging Face's."""

    endpoint: str = DEFAULT_ENDPOINT
    token: Token | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Hub":
        """Read ``HF_ENDPOINT`` and ``HF_TOKEN``.

        Raises:
            SettingsError: the endpoint is no URL.
        """
        endpoint = (environment.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(f"HF_ENDPOINT = {endpoint!r}: must be a URL such as {DEFAULT_ENDPOINT}")
        secret = environment.get("HF_TOKEN", "").strip()
        return cls(endpoint, Token(origin_of(endpoint), secret) if secret else None)

    def url(self, file: HubFile) -> str:
        return f"{self.endpoint}/{file.repository}/resolve/{quote(file.revision, safe='')}/{quote(file.path)}"

    def file_at(self, url: str) -> HubFile | None:
        """Return which of the hub's files a URL names, also where this hub is a mirror; none: it is no such file."""
        for endpoint in (self.endpoint, DEFAULT_ENDPOINT):
            if url.startswith(endpoint + "/"):
                found = _RESOLVE.fullmatch(urlsplit(url).path.removeprefix(urlsplit(endpoint).path))
                return HubFile(*map(unquote, found.group("repository", "path", "revision"))) if found else None
        return None


def published_by_hub(web: Web, hub: Hub, file: HubFile) -> Published:
    """Ask the hub for a file's SHA-256 and size: its large-file metadata, else the header of the file's redirect.

    Raises:
        ServerAway: the hub does not answer.
        NotFound: it has no such file.
        ModelFileError: it does not let this be read.
    """
    by = f"{urlsplit(hub.endpoint).netloc}'s metadata"
    try:
        listed = _in_tree(_get(web, _tree_url(hub, file), _METADATA_BYTES), file.path)
    except ServerAway:
        raise
    except AiSysadminError:  # a mirror without that interface; the redirect below says whether the file is there
        listed = None
    if listed is not None:
        return Published(*listed, by)
    with web.stream("HEAD", hub.url(file), {"Accept-Encoding": "identity"}, stay=True) as response:
        sha256 = response.headers.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        size = response.headers.get("x-linked-size", "")
    return Published(
        sha256 if _SHA256.fullmatch(sha256) else None, int(size) if re.fullmatch(r"\d{1,15}", size) else None, by
    )


def published_beside(web: Web, url: str) -> Published:
    """Look for ``URL.sha256`` on the file's own server, as ``sha256sum`` writes it; nothing known where there is none.

    Raises:
        ServerAway: the server does not answer.
    """
    parsed = httpx.URL(url)
    beside = str(parsed.copy_with(path=f"{parsed.path}.sha256"))
    try:
        text = _get(web, beside, _SHA256_FILE_BYTES)
    except ServerAway:
        raise
    except AiSysadminError:
        return Published()
    sha256 = sha256_in(text.decode(errors="replace"), unquote(parsed.path).rpartition("/")[2])
    return Published(sha256=sha256, by=beside) if sha256 else Published()


def sha256_in(text: str, file_name: str) -> str | None:
    """Return a file's hash out of a list as ``sha256sum`` writes it, or out of a file that holds one hash only."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    hashes = [(words[0].lower(), " ".join(words[1:]).lstrip("*")) for words in lines]
    named = [sha256 for sha256, name in hashes if name.rpartition("/")[2] == file_name]
    alone = [sha256 for sha256, name in hashes if not name] if len(hashes) == 1 else []
    return next((sha256 for sha256 in named + alone if _SHA256.fullmatch(sha256)), None)


def _tree_url(hub: Hub, file: HubFile) -> str:
    directory = file.path.rpartition("/")[0]
    tree = f"{hub.endpoint}/api/models/{file.repository}/tree/{quote(file.revision, safe='')}"
    return f"{tree}/{quote(directory)}" if directory else tree


def _in_tree(document: bytes, path: str) -> tuple[str, int] | None:
    """Return SHA-256 and size of a file out of a hub's list; none: it is not there, or its hash is no SHA-256."""
    try:
        entries: Any = json.loads(document)
    except ValueError:
        return None
    for entry in entries if isinstance(entries, list) else []:
        match entry:
            case {"path": str(name), "lfs": {"oid": str(oid), "size": int(size)}} if name == path:
                return (oid.lower(), size) if _SHA256.fullmatch(oid.lower()) else None
    return None


def _get(web: Web, url: str, limit: int) -> bytes:
    """Return a small document; of a larger one only its beginning."""
    body = b""
    with web.stream("GET", url, {"Accept-Encoding": "identity"}) as response:
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > limit:
                break
    return body[:limit]
