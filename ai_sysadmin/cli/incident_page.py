"""One incident as a page: its head for whoever is in a hurry, below it everything that led there."""

from datetime import datetime

from ai_sysadmin.cli.columns import cut, within_width
from ai_sysadmin.cli.incident_head import Now, described, head, who
from ai_sysadmin.cli.layout import fact, heading, table, verbatim, wrapped
from ai_sysadmin.context.defuse import one_line
from ai_sysadmin.core.acting import approving
from ai_sysadmin.core.clock import local
from ai_sysadmin.core.records import Evidence, EvidencePack, Investigation, Review
from ai_sysadmin.openai_api_server.system.views import ActionView, IncidentView
from ai_sysadmin.sources.units import UnitStatus
from ai_sysadmin.stores import TimelineEntry

__all__ = ["described", "evidence_page", "incident_page", "proposer", "who"]


def incident_page(view: IncidentView, unit: UnitStatus | None, now: datetime, *, whole: bool = False) -> str:
    """Render an incident for people; ``unit`` is its unit as systemd sees it at this moment.

    ``whole``: with the evidence's texts, not only their titles.
    """
    lines = [
        *head(view, Now(now, unit)),
        *_pending([action for action in view.actions if action.pending]),
        *_done([action for action in view.actions if not action.pending]),
        *_symptoms(view),
        *_timeline(view.timeline),
        *_reviews(view.reviews),
        *_investigations(view.investigations),
        *_evidence(view.incident.id, view.evidence, whole),
    ]
    return "\n".join(within_width(lines))


def evidence_page(piece: Evidence) -> str:
    """Render one piece of evidence, whole."""
    return "\n".join(within_width(_piece(piece)))


def _pending(actions: list[ActionView]) -> list[str]:
    lines = heading("Waits for you") if actions else []
    for action in actions:
        lines += [f"  {described(action)}", *fact("risk", action.risk or "not ruled yet"), *_plan(action)]
        lines += fact("why", f"{action.why} ({proposer(action.origin)})")
        lines += [f"    {approving(action.id, action.digest)}"]
        lines += [f'    ai-sysadmin actions reject {action.id} --why "…"']
    return lines


def _plan(action: ActionView) -> list[str]:
    """Say what the executor would do, as it said last; nothing: it has not."""
    plan = action.plan
    if plan is None:
        return []
    lines = [*fact("does", plan.does), *fact("observed", plan.precondition)]
    lines += [*fact("must hold", plan.post_check)]
    return [*lines, *fact("if not", "it is taken back by itself" if plan.revert else "a person is told")]


def proposer(origin: str) -> str:
    """Say who proposed an action, and that a model's words are only that."""
    if origin == "chat":
        return "asked for in chat, in the model's words, unverified"
    if origin == "operator":
        return "in an operator's own words"
    return "by rule" if origin == "rules" else f"the {origin} model's words, unverified"


def _done(actions: list[ActionView]) -> list[str]:
    lines = heading("What was done") if actions else []
    for action in actions:
        lines += [f"  {described(action)}"]
        by = f", decided by {action.by}" if action.by else ""
        text = f": {action.text}" if action.text else ""
        lines += wrapped(f"{local(action.updated_at)} {action.state}{by}{text} [{action.id}]", 4)
        lines += [f"    What it wrote: ai-sysadmin actions show {action.id}"] if action.output else []
    return lines


def _symptoms(view: IncidentView) -> list[str]:
    rows = [(str(each.count), each.kind.value, local(each.last_at), each.text or each.why) for each in view.symptoms]
    if not rows:
        return []
    lines = [*heading("Symptoms"), *table(("COUNT", "KIND", "LAST", "TEXT"), rows, indent=2)]
    names = [(each.fingerprint, each.kind.value, each.subject) for each in view.symptoms if each.opens]
    if names:
        lines += ["", "  Fingerprints, for `ai-sysadmin mute FINGERPRINT --for 2h`:"]
        lines += table(("", "", ""), names, indent=4)
    return lines


def _timeline(timeline: tuple[TimelineEntry, ...]) -> list[str]:
    lines = heading("Timeline") if timeline else []
    for entry in timeline:
        lines += wrapped(f"{local(entry.at)}  {entry.text or entry.event} ({entry.by})", 4, "  ")
    return lines


def _reviews(reviews: tuple[Review, ...]) -> list[str]:
    lines = heading("Reviews") if reviews else []
    for each in reviews:
        said = f"{each.verdict.value}, severity {each.severity}, confidence {each.confidence}"
        lines += wrapped(f"{local(each.at)}  {said}, by {who(each.judged_by)}", 4, "  ")
        lines += wrapped(f"cause: {each.cause}", 4)
        lines += wrapped(f"why: {each.why}", 4)
        if each.evidence:
            lines += wrapped(f"rests on {', '.join(each.evidence)}", 4)
        if each.model_calls:
            lines += wrapped(_cost(each), 4)
        lines += [line for note in each.notes for line in wrapped(f"note: {note}", 6, "    ")]
    return lines


def _cost(review: Review) -> str:
    calls = "1 model call" if review.model_calls == 1 else f"{review.model_calls} model calls"
    prompt = f"{review.prompt_tokens} tokens read ({review.cached_tokens} of them from the cache)"
    return f"{calls}, {prompt}, {review.completion_tokens} written"


def _investigations(investigations: tuple[Investigation, ...]) -> list[str]:
    lines = heading("Investigations") if investigations else []
    for each in investigations:
        lines += wrapped(f"{local(each.at)}  confidence {each.confidence}, by {who(each.investigated_by)}", 4, "  ")
        lines += wrapped(f"cause: {each.cause}", 4)
        lines += wrapped(each.diagnosis, 4)
        lines += [line for other in each.ruled_out for line in wrapped(f"ruled out: {other}", 6, "    ")]
        lines += [line for note in each.notes for line in wrapped(f"note: {note}", 6, "    ")]
    return lines


# --- evidence


def _evidence(incident_id: str, pack: EvidencePack | None, whole: bool) -> list[str]:
    if pack is None or not pack.pieces:
        return []
    lines = heading("Evidence")
    if taken := taken_out(pack.redacted):
        lines += wrapped(taken, 2)
    if whole:
        return [*lines, *(line for piece in pack.pieces for line in _piece(piece))]
    lines += [f"  {piece.id}  {cut(one_line(piece.title, 100), 72)}" for piece in pack.pieces]
    return [*lines, f"  In full: ai-sysadmin incidents show {incident_id} --evidence"]


def _piece(piece: Evidence) -> list[str]:
    lines = [f"  {piece.id}  {cut(one_line(piece.title, 100), 44)}, {local(piece.at)}", *verbatim(piece.text)]
    if piece.left_out:
        lines += wrapped(f"left out: {piece.left_out}", 4)
    if taken := taken_out(piece.redacted):
        lines += wrapped(taken, 4)
    return lines


def taken_out(redacted: dict[str, int]) -> str:
    """Say how much was taken out of evidence, by kind of secret; empty: nothing."""
    total = sum(redacted.values())
    if not total:
        return ""
    kinds = ", ".join(
        f"{count} {kind}" for kind, count in sorted(redacted.items(), key=lambda pair: (-pair[1], pair[0]))
    )
    return f"1 thing was taken out: {kinds}" if total == 1 else f"{total} things were taken out: {kinds}"
