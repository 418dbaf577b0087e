"""docs/actions.md says what the code says."""

from pathlib import Path

from ai_sysadmin.actions.catalogue import CATALOGUE, certificates, diagnostics, processes, unit_files, units
from ai_sysadmin.actions.describing import page

PAGE = Path(__file__).parents[2] / "docs/actions.md"
ENTRIES = (*units.ENTRIES, *unit_files.ENTRIES, *certificates.ENTRIES, *processes.ENTRIES, *diagnostics.ENTRIES)


def test_the_page_is_fresh():
    assert PAGE.read_text() == page(CATALOGUE.values()), "run tools/describe-actions"


def test_the_page_says_of_each_entry_what_it_takes_costs_runs_and_takes_back():
    text = page(ENTRIES)
    parts = dict(each.split("\n", 1) for each in text.split("\n## ")[1:])
    assert list(parts) == sorted(entry.name for entry in ENTRIES)
    stop = parts["stop_unit"]
    assert "**Risk:** disruptive, destructive" in stop
    assert "`systemctl stop -- web.service`; as root, without capabilities, without a network" in stop
    assert "**Taken back by:** `systemctl start -- web.service`" in stop
    assert "`pid` (whole number from 2 to 4194304)" in parts["kill_process"]
    assert "with CAP_KILL" in parts["kill_process"]
    assert "`lines` (whole number from 1 to 300, by default 100)" in parts["kernel_log"]
    assert "one of emerg, alert" in parts["kernel_log"]
    assert "**Without root:** `ReloadUnit(web.service)`" in parts["reload_unit"]
    assert "**Without root:** unavailable" in stop


def test_the_page_says_nothing_of_the_machine_that_made_it():
    text = page(ENTRIES)
    assert str(Path(__file__).parents[2]) not in text
    assert "`python3 -I -S …/ai_sysadmin/actions/standalone/end_process.py" in text
