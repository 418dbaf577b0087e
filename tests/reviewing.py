"""What tests of judgements share: a good reply, states of a unit, evidence with something in it."""

from dataclasses import replace

from ai_sysadmin.context.window import Window
from ai_sysadmin.core.errors import SystemdUnavailable
from ai_sysadmin.core.records import Evidence, ProposedAction
from ai_sysadmin.llm_backend import Completion
from ai_sysadmin.review_model import decide
from tests.builders import NOW, UNIT
from tests.judging import FAILED

GOOD = {
    "evidence": ["e1", "e2"],
    "cause": "the configuration is missing",
    "why": "It exits at once.",
    "verdict": "act",
    "action": "restart_unit",
    "severity": 60,
    "confidence": 80,
}
GONE = FAILED.model_copy(update={"load_state": "not-found"})
WAITING = FAILED.model_copy(update={"active_state": "activating", "sub_state": "auto-restart"})
AWAY = SystemdUnavailable("no bus")
RESTART = ProposedAction(name="restart_unit", arguments={"unit": UNIT})


WHOLE = Window(text="", tokens=0, exact=True, kept=(), left_out=())


def reply(facts, **changes):
    return decide.reply_model(facts).model_validate(GOOD | changes)


def judged_by_m(facts, window=WHOLE, tokens=None, **changes):
    return decide.judged(facts, reply(facts, **changes), tokens or Completion(text="", model="m"), 1, NOW, window)


def window_of(text):
    return Window(text=text, tokens=1, exact=True, kept=(), left_out=())


def with_piece(facts, named, text="", /, **of):
    """Return the facts with one more piece of evidence."""
    piece = Evidence(id=f"e{len(facts.pack.pieces) + 1}", kind=named, title=named, text=text, at=NOW, facts=of)
    return replace(facts, pack=facts.pack.model_copy(update={"pieces": (*facts.pack.pieces, piece)}))


def with_log(facts, *lines):
    pieces = tuple(
        piece.model_copy(update={"text": "\n".join(lines)}) if piece.kind == "unit_log" else piece
        for piece in facts.pack.pieces
    )
    return replace(facts, pack=facts.pack.model_copy(update={"pieces": pieces}))
