"""What the journal forgets: actions that are long over, once all that they had to tell has been told.

The audit keeps its line of everything. What has not come to the courier, or has no line yet, is never forgotten; nor is
what a breaker still counts, however much is proposed.
"""

import asyncio
import logging
import sqlite3
from datetime import datetime, timedelta
from typing import Final

from ai_sysadmin.core.acting import ActionState, Risk
from ai_sysadmin.core.clock import Clock
from ai_sysadmin.core.errors import Unavailable
from ai_sysadmin.executor.journal import Journal

log = logging.getLogger(__name__)

KEPT_DAYS: Final = 90.0
KEPT_ACTIONS: Final = 10_000
ALWAYS_KEPT: Final = 1000
AT_ONCE: Final = 200
EVERY_SECONDS: Final = 600.0
_ENDED: Final = ",".join(f"'{state.value}'" for state in ActionState if state.ended)
# the newest event's own time: of what ended, when that was; as text, to the second, in UTC
_LONG_OVER: Final = f"""
SELECT actions.id FROM actions
JOIN events ON events.sequence = (SELECT max(sequence) FROM events WHERE action_id = actions.id)
WHERE actions.state IN ({_ENDED}) AND events.sequence <= :told
AND actions.rowid NOT IN (SELECT rowid FROM actions ORDER BY rowid DESC LIMIT :always)
AND (
    substr(json_extract(events.body, '$.at'), 1, 19) < :before
    OR (actions.rowid NOT IN (SELECT rowid FROM actions ORDER BY rowid DESC LIMIT :most)
        AND (actions.started_at = '' OR json_extract(actions.body, '$.ruling.risk') = '{Risk.READ_ONLY.value}'))
)
ORDER BY actions.rowid LIMIT :at_once
"""  # noqa: S608


async def forget_forever(journal: Journal, clock: Clock, remembered: timedelta) -> None:
    """Now and then, forget what is long over. ``remembered`` is how long breakers count what was begun."""
    while True:
        before = clock.now() - max(timedelta(days=KEPT_DAYS), remembered)
        try:
            while forgotten := await forget(journal, before):
                log.info("%d actions forgotten", forgotten, extra={"event": "actions_forgotten"})
        except Unavailable as error:
            log.warning("nothing can be forgotten: %s", error, extra={"event": "retention_waits"})
        await asyncio.sleep(EVERY_SECONDS)


async def forget(journal: Journal, before: datetime, most: int = KEPT_ACTIONS, always: int = ALWAYS_KEPT) -> int:
    """Forget some of what ended before a moment, or is more than is kept; return how many actions that were.

    What was begun and changed something goes by its age only; of all others there are ``most``. The newest ``always``
    stay. Raises: StoreUnavailable.
    """
    given = {
        "told": journal.told(),
        "before": before.strftime("%Y-%m-%dT%H:%M:%S"),
        "most": most,
        "always": max(always, 1),  # events are numbered after the newest one
        "at_once": AT_ONCE,
    }

    def work(connection: sqlite3.Connection) -> int:
        ids = [(row["id"],) for row in connection.execute(_LONG_OVER, given)]
        connection.executemany("DELETE FROM events WHERE action_id = ?", ids)
        connection.executemany("DELETE FROM actions WHERE id = ?", ids)
        return len(ids)

    return await journal.write(work)
