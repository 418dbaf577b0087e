"""A host as it was seen, with something that stands out."""

from datetime import timedelta

from ai_sysadmin.review_model.host_seen import HostSeen, Notable, Section
from tests.builders import NOW

HOUR = timedelta(hours=1)


def seen(*notable, gap="", at=NOW):
    return HostSeen((Section("symptoms", "open incidents", notable), Section("metrics", "figures", gap=gap)), at)


DOWN = Notable("web failed", "web.service failed", 70)
