"""trigger_monitor/host/no_space.py: which full file system a unit that lacks space means."""

import pytest

from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.testing.host import FakeClock
from ai_sysadmin.trigger_monitor.host.no_space import NoSpace, meant
from tests.builders import NOW, trigger

FULL = ("/", "/mnt/small", "/mnt/small/deep", "/var")


@pytest.mark.parametrize(
    ("text", "subjects"),
    [
        ("dd: error writing '/mnt/small/fill': No space left on device", ("/mnt/small",)),
        ("/mnt/small/deep/x: No space left on device", ("/mnt/small/deep",)),
        ("/srv/data/x: No space left on device", ("/",)),
        ("could not write: No space left on device", FULL),
    ],
)
def test_a_complaint_is_about_the_file_system_of_its_path(text, subjects):
    assert tuple(meant(text, FULL)) == subjects


def said(unit, text, clock):
    details = {"rule": "no_space"}
    return trigger(SymptomKind.DISK_FULL, unit=unit, template="no_space", text=text, details=details, at=clock.now())


def test_a_unit_joins_the_full_file_system_it_wrote_to_and_is_explained_by_no_other():
    clock = FakeClock(NOW)
    seekers = NoSpace(clock, lambda kind: ["/mnt/small"] if kind is SymptomKind.DISK_FULL else ["/mnt/nodes"])
    seekers.heard([said("fill.service", "cannot write /mnt/small/fill: No space left on device", clock)])
    assert list(seekers.joins("fill.service")) == ["/mnt/small"]
    assert list(seekers.joins("web.service")) == []
    full = trigger(SymptomKind.DISK_FULL, unit="mnt-small.mount", about="/mnt/small", opens=True, details={})
    nodes = trigger(SymptomKind.INODES_FULL, unit="mnt-nodes.mount", about="/mnt/nodes", opens=True, details={})
    assert seekers.related(full).explains == ("fill.service",)
    assert seekers.related(nodes).explains == ()
    clock.advance(600)
    assert seekers.related(full).explains == ()
