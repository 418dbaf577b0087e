"""What is noticed while the store is away waits on disk, in order, and is written once the store answers.

commit ──▶ store                       as long as it answers and nothing waits
   └─────▶ notices-*.jsonl ──▶ store   behind all that waits; each piece exactly once, by its number
figures ─▶ metrics-*.jsonl ──▶ store   the same; writing figures twice changes nothing
"""

from ai_sysadmin.trigger_monitor.spool.spool import Spool
from ai_sysadmin.trigger_monitor.spool.stores import Spooling, SpoolingMetrics, SpoolingNotices

__all__ = ["Spool", "Spooling", "SpoolingMetrics", "SpoolingNotices"]
