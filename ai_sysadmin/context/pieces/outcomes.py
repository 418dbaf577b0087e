"""What was tried for these symptoms before, and whether it helped: measured by the executor, never a model's word."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from ai_sysadmin.context.pieces.drafts import Cleaner, Draft, lasting
from ai_sysadmin.core.records import Symptom
from ai_sysadmin.stores.outcome_store import OutcomeStore, Tried

SPENT: Final = "spent"
"""The name of the fact that says which actions are not proposed alone again."""

_MOST_ACTIONS: Final = 12
_MOST_COUNTED: Final = 3
"""Failures beyond so many are no news to a judgement."""


class SpentAction(NamedTuple):
    """An action that failed so often for one symptom that a person is asked before it is taken again."""

    action: str
    subject: str
    in_vain: int


async def look(
    noticed: Sequence[Symptom], store: OutcomeStore, failures: int, now: datetime, clean: Cleaner
) -> Draft | None:
    """Return what was tried for the symptoms that opened an incident; none: nothing. Raises: StoreUnavailable."""
    fingerprints = sorted({symptom.fingerprint for symptom in noticed if symptom.opens})
    tried = worst(await store.outcomes(fingerprints))
    if not tried:
        return None
    told = sorted(tried[:_MOST_ACTIONS], key=lambda each: (each.action, each.subject))
    spent = [SpentAction(each.action, each.subject, each.in_vain) for each in told if each.in_vain >= failures]
    more = len(tried) - len(told)
    return Draft(
        kind="outcomes",
        title="what was tried for these symptoms before",
        lines=tuple(clean.line(sentence(each, now)) for each in told),
        facts={SPENT: json.dumps(spent)} if spent else {},
        left_out=f"{more} more actions" if more else "",
        identity=tuple(
            f"{each.action} {each.subject} {min(each.in_vain, _MOST_COUNTED)}" for each in told if each.in_vain
        ),
    )


def worst(tried: Iterable[Tried]) -> list[Tried]:
    """Return each action once, as it stands for the symptom for which it failed most often; the worst first."""
    found: dict[tuple[str, str], Tried] = {}
    for each in tried:
        key = (each.action, each.subject)
        kept = found.get(key)
        if kept is None or (each.in_vain, each.tried) > (kept.in_vain, kept.tried):
            found[key] = each
    return sorted(found.values(), key=lambda each: (-each.in_vain, -each.tried, each.action, each.subject))


def sentence(tried: Tried, now: datetime) -> str:
    """Say what an action came to: ``restart_unit web.service: tried 3 times, helped 1, failed 2, last 2 h ago: …``."""
    counts = [f"tried {tried.tried} {'time' if tried.tried == 1 else 'times'}", f"helped {tried.helped}"]
    counts += [f"failed {tried.failed}"] if tried.failed else []
    counts += [f"taken back {tried.reverted}"] if tried.reverted else []
    ago = lasting(max(0.0, (now - tried.last_at).total_seconds()))
    end = f": {tried.last_text}" if tried.last_text else ""
    return f"{tried.action} {tried.subject}: {', '.join(counts)}, last {ago} ago{end}"
