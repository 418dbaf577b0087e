"""How keys look on a terminal. Pure."""

from datetime import datetime

from ai_sysadmin.actions.protocol import ApprovalKey
from ai_sysadmin.cli.layout import fact, table, wrapped
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.records import Record
from ai_sysadmin.openai_api_server.system.key_views import KeyView
from ai_sysadmin.stores.key_store import Scope


class Made(Record):
    """A key that was just made; ``key`` is the key itself, which is kept nowhere."""

    key: str
    about: KeyView


class Listing(Record):
    """All keys. ``approving`` are those that the executor takes a yes from; none: it does not answer."""

    keys: tuple[KeyView, ...]
    approving: tuple[ApprovalKey, ...] | None


class Revoked(Record):
    """What revoking came to; ``approved`` tells whether the executor knew the key too."""

    id: str
    name: str
    approved: bool


def made_page(made: Made, url: str) -> str:
    """Render a key that was just made, and where to put it."""
    about = made.about
    ends = f"expires {local(about.expires_at)}" if about.expires_at else "does not expire"
    lines = [f"Key {about.name} ({about.id}), for {', '.join(about.scopes)}; it {ends}.", "", f"  {made.key}", ""]
    lines += wrapped("It is shown this once: only its hash is kept. Whoever has it may do the above.")
    if Scope.APPROVE in about.scopes:
        lines += wrapped(
            "It approves reversible and disruptive actions. Destructive ones, and protected units, need an operator on "
            "this host: ai-sysadmin actions approve ID."
        )
    lines += ["", "In Open WebUI: Admin Panel, Settings, Connections, OpenAI API, +"]
    lines += [*fact("URL", url, 8), *fact("Key", "the line above", 8)]
    return "\n".join([*lines, "", f"To take it back: ai-sysadmin keys revoke {about.name}"])


def listing_page(found: Listing, now: datetime) -> str:
    """Render all keys, and what the API and the executor do not agree on."""
    if not found.keys and not found.approving:
        return "No keys were made. STATE_DIR/api-key holds one for chat and read, STATE_DIR/ingest-key one for ingest."
    heads = ("ID", "NAME", "STATE", "MADE", "BY", "EXPIRES", "SCOPES")
    rows = [
        (
            key.id,
            key.name,
            _state(key, now),
            local(key.at),
            key.by,
            local(key.expires_at) if key.expires_at else "never",
            " ".join(key.scopes),
        )
        for key in found.keys
    ]
    lines = table(heads, rows, width=120) if rows else []
    for said in disagreements(found):
        lines += ["", *wrapped(said)]
    return "\n".join(lines)


def _state(key: KeyView, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= now else "live"


def disagreements(found: Listing) -> list[str]:
    """Say which keys approve though they should not, and which should and do not."""
    if found.approving is None:
        some = any(Scope.APPROVE in key.scopes for key in found.keys)
        return ["The executor does not answer: whether it takes a yes from these keys is not known."] if some else []
    live = {key.id for key in found.keys if not key.revoked_at}
    taken = {key.id for key in found.approving if not key.revoked_at}
    said = [
        f"The executor still takes a yes from {key.name} ({key.id}), which is no key of the API any more: "
        f"ai-sysadmin keys revoke {key.id}"
        for key in found.approving
        if key.id in taken - live
    ]
    said += [
        f"{key.name} ({key.id}) approves nothing, since the executor does not know it: make another"
        for key in found.keys
        if Scope.APPROVE in key.scopes and key.id in live - taken
    ]
    return said


def revoked_page(revoked: Revoked) -> str:
    """Render what was revoked."""
    approved = ", and the executor takes no yes from it any more" if revoked.approved else ""
    return f"Key {revoked.name} ({revoked.id}) opens nothing any more{approved}."
