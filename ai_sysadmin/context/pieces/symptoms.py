"""What was noticed, with counts: the symptoms of an incident, those that opened it first."""

from collections.abc import Sequence
from typing import Final

from ai_sysadmin.context.pieces.drafts import Cleaner, Draft, iso
from ai_sysadmin.core.records import Symptom

MOST_SYMPTOMS: Final = 20


def draft(symptoms: Sequence[Symptom], clean: Cleaner) -> Draft:
    ranked = sorted(symptoms, key=lambda s: (not s.opens, s.priority, s.first_at, s.fingerprint))
    lines = [clean.line(_said(symptom)) for symptom in ranked[:MOST_SYMPTOMS]]
    more = len(ranked) - MOST_SYMPTOMS
    return Draft(
        kind="symptoms",
        title="what was noticed, with counts",
        lines=tuple(lines) or ("(none)",),
        left_out=f"{more} more kinds of symptom" if more > 0 else "",
        identity=tuple(sorted(symptom.fingerprint for symptom in symptoms)),
    )


def _said(symptom: Symptom) -> str:
    said = f"{symptom.kind.value}, {symptom.count} times since {iso(symptom.first_at)}: {symptom.why}"
    if symptom.text and symptom.text not in symptom.why:
        said += f" | for example: {symptom.text}"
    return said
