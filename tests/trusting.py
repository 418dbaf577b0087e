"""Cases for tests of what may be left to run alone."""

from datetime import timedelta
from itertools import count
from typing import Any

from ai_sysadmin.actions.policy import Question, rule
from ai_sysadmin.actions.promotion import Case
from ai_sysadmin.core.acting import ActionState, Origin, Risk
from ai_sysadmin.core.policy_settings import Policy
from ai_sysadmin.core.settings import Autonomy
from tests.builders import HOST, NOW, UNIT

_NUMBERS = count(1)


def case(
    state: ActionState = ActionState.SUCCEEDED,
    unit: str = UNIT,
    *,
    action: str = "restart_unit",
    risk: Risk = Risk.REVERSIBLE,
    warranted: bool = True,
    autonomy: Autonomy = Autonomy.SUGGEST,
    units: tuple[str, ...] = (),
    **changes: Any,
) -> Case:
    """Return a case as the policy ruled on it; by itself it was approved after a minute, and helped."""
    asked = Question(action, units or (unit,), HOST, risk, warranted, NOW)
    given: dict[str, Any] = {
        "id": f"a{next(_NUMBERS)}",
        "action": action,
        "subject": unit,
        "host": HOST,
        "origin": Origin.REVIEW,
        "state": state,
        "proposed_at": NOW,
        "decided_at": NOW + timedelta(minutes=1),
        "ruling": rule(asked, autonomy, Policy()),
        "by": "ada" if state in BEGUN else "",
    }
    return Case(**(given | changes))


BEGUN = {ActionState.STARTED, ActionState.SUCCEEDED, ActionState.FAILED, ActionState.REVERTED, ActionState.UNKNOWN}
