"""The first survey: what is found wrong, in which order, and how it reads."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ai_sysadmin.cli import findings, survey_look
from ai_sysadmin.cli.findings import Kind, LogTemplate, size, worst_first
from ai_sysadmin.cli.survey_look import JournalLook, Survey, look_around, read_journal
from ai_sysadmin.cli.survey_page import survey_page
from ai_sysadmin.core.errors import JournalUnavailable, SystemdUnavailable
from ai_sysadmin.core.records import JournalEntry
from ai_sysadmin.sources.host import FileSystem, Load, Memory, PendingReboot, Pressure
from ai_sysadmin.sources.units import UnitStatus

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
GIB = 1 << 30


class FixedClock:
    def now(self):
        return NOW


class FixedUnits:
    def __init__(self, *failed, error=None, after_seconds=0.0):
        self._failed, self._error, self._after = failed, error, after_seconds

    async def failed(self):
        await asyncio.sleep(self._after)
        if self._error:
            raise self._error
        return list(self._failed)


def unit(name, result="exit-code"):
    return UnitStatus(name=name, active_state="failed", sub_state="failed", result=result)


def entry(message, *, priority=3, unit="nginx.service", minutes=0):
    return JournalEntry(cursor="c", at=NOW + timedelta(minutes=minutes), message=message, unit=unit, priority=priority)


def file_system(mount_point="/", *, used=50, total=100 * GIB, inodes_used=10, read_only=False):
    return FileSystem(
        mount_point=mount_point,
        device="/dev/sda1",
        type="ext4",
        read_only=read_only,
        total_bytes=total,
        free_bytes=total * (100 - used) // 100,
        inodes_total=1000,
        inodes_free=1000 - inodes_used * 10,
    )


async def batches(*entries, error=None):
    for each in entries:
        yield [each]
    if error:
        raise error


def first_word(message):
    return message.partition(" ")[0]


# --- findings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "kind"),
    [
        (file_system(used=84), None),
        (file_system(used=85), Kind.FILE_SYSTEM_FILLING),
        (file_system(used=95), Kind.FILE_SYSTEM_FULL),
        (file_system(used=100), Kind.FILE_SYSTEM_FULL),
        (file_system(used=20, inodes_used=99), Kind.FILE_SYSTEM_FULL),
        (file_system(used=96, total=4000 * GIB), None),
        (file_system(used=100, read_only=True), None),
    ],
)
def test_a_file_system_is_full_filling_or_neither(each, kind):
    assert [finding.kind for finding in findings.of_file_systems([each])] == ([kind] if kind else [])


def test_memory_load_pressure_and_reboot_have_their_thresholds():
    def memory(used):
        return Memory(total_bytes=100, available_bytes=100 - used, swap_total_bytes=0, swap_used_bytes=0)

    def load(five):
        return Load(one=0, five=five, fifteen=0, processors=2)

    def pressure(resource, full):
        return Pressure(resource=resource, some_10=0, some_60=0, full_10=0, full_60=full)

    assert not findings.of_memory(memory(94))
    assert findings.of_memory(memory(95))
    assert not findings.of_load(load(3.9))
    assert findings.of_load(load(4.0))
    assert not findings.of_pressure([pressure("memory", 9), pressure("cpu", 90)])
    assert "disk" not in findings.of_pressure([pressure("io", 30)])[0].text
    assert not findings.of_reboot(PendingReboot(pending=False, why=""))
    assert findings.of_reboot(PendingReboot(pending=True, why="updated: linux"))


def test_the_worst_comes_first_by_kind_and_then_by_how_much():
    found = worst_first(
        [
            *findings.of_reboot(PendingReboot(pending=True, why="")),
            *findings.of_templates(
                [
                    LogTemplate(unit="a.service", template="t", priority=3, count=5, example="few", last_at=NOW),
                    LogTemplate(unit="b.service", template="t", priority=3, count=50, example="many", last_at=NOW),
                    LogTemplate(unit="c.service", template="t", priority=4, count=500, example="mild", last_at=NOW),
                ]
            ),
            *findings.of_units([unit("x.service")]),
            *findings.of_file_systems([file_system("/a", used=96), file_system("/b", used=99)]),
        ]
    )
    assert [(f.kind, f.text.split()[0]) for f in found] == [
        (Kind.FILE_SYSTEM_FULL, "/b"),
        (Kind.FILE_SYSTEM_FULL, "/a"),
        (Kind.UNIT_FAILED, "x.service"),
        (Kind.ERROR_LOG, "b.service"),
        (Kind.ERROR_LOG, "a.service"),
        (Kind.REBOOT_PENDING, "a"),
    ]


def test_what_stands_in_a_command_is_quoted():
    (finding,) = findings.of_file_systems([file_system("/srv/x; reboot", used=99)])
    assert "'/srv/x; reboot'" in finding.command


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (300 << 20, "300 MiB"), (5 * GIB, "5.0 GiB"), (2e12, "1.8 TiB")],
)
def test_sizes_read_well(number, said):
    assert size(number) == said


# --- looking -------------------------------------------------------------------------------------------------


async def test_log_lines_are_counted_by_unit_and_template():
    entries = [
        entry("timeout 1", minutes=1),
        entry("timeout 2", minutes=2),
        entry("timeout 3", unit="db.service", minutes=3),
        entry("panic", priority=2, minutes=4),
        entry("chatter", priority=6, minutes=5),
    ]
    look = await read_journal(batches(*entries), first_word)
    assert [(t.unit, t.template, t.count, t.priority) for t in look.templates] == [
        ("nginx.service", "panic", 1, 2),
        ("nginx.service", "timeout", 2, 3),
        ("db.service", "timeout", 1, 3),
    ]
    assert (look.entries, look.complete) == (5, True)
    assert look.last_at - look.first_at == timedelta(minutes=4)


async def test_a_journal_too_long_to_read_in_time_is_told_as_far_as_it_was_read(monkeypatch):
    async def endless():
        while True:
            yield [entry("timeout")]
            await asyncio.sleep(0.001)

    monkeypatch.setattr(survey_look, "LIMIT_SECONDS", 0.1)
    look = await read_journal(endless(), first_word)
    assert not look.complete
    assert look.templates[0].count == look.entries > 0
    monkeypatch.setattr(survey_look, "LIMIT_SECONDS", 30)
    monkeypatch.setattr(survey_look, "MOST_ENTRIES", 20)
    look = await read_journal(endless(), first_word)
    assert (look.entries, look.complete) == (20, False)


async def test_a_flood_of_new_templates_is_bounded(monkeypatch):
    monkeypatch.setattr(survey_look, "MOST_TEMPLATES", 3)
    look = await read_journal(batches(*(entry(f"word{number}") for number in range(50))), first_word)
    assert len(look.templates) == 3


async def test_what_cannot_be_read_is_a_line_and_the_rest_goes_on():
    units = FixedUnits(error=SystemdUnavailable("no bus"))
    entries = batches(error=JournalUnavailable("no permission: join the group systemd-journal"))
    seen = await look_around("box", units, entries, first_word, FixedClock())
    assert seen.failed_units is None
    assert seen.journal is None
    assert seen.load is not None
    assert "units: no bus" in seen.unreadable
    assert "journal: no permission: join the group systemd-journal" in seen.unreadable


async def test_a_silent_systemd_does_not_hold_the_survey(monkeypatch):
    monkeypatch.setattr(survey_look, "LIMIT_SECONDS", 0.1)
    seen = await look_around("box", FixedUnits(after_seconds=30), batches(), first_word, FixedClock())
    assert "units: no answer within 0.1 s" in seen.unreadable


async def test_a_survey_ends_with_the_worst_and_one_command():
    seen = await look_around(
        "box", FixedUnits(unit("a.service")), batches(entry("timeout 1")), first_word, FixedClock()
    )
    texts = [finding.text for finding in seen.findings]
    assert "a.service failed (exit-code)" in texts
    assert "nginx.service logged once: timeout 1" in texts
    assert seen.next_command == seen.findings[0].command
    assert Survey.model_validate_json(seen.model_dump_json()) == seen


# --- the page ------------------------------------------------------------------------------------------------


def a_survey(**changes):
    templates = [
        LogTemplate(
            unit="a-service-with-a-rather-long-name@instance.service",
            template="t",
            priority=3,
            count=12345,
            example="connect() to upstream failed \x1b[31mred\x1b[0m \u202etxet " + "x" * 100,
            last_at=NOW,
        )
    ]
    found = worst_first(
        [
            *findings.of_units([unit("nginx.service")]),
            *findings.of_templates(templates),
            *findings.of_file_systems([file_system("/var", used=97, total=10 * GIB)]),
            *findings.of_reboot(PendingReboot(pending=True, why="updated: linux-image")),
        ]
    )
    values = {
        "host": "box",
        "at": NOW,
        "took_seconds": 1.2,
        "failed_units": [unit("nginx.service"), *(unit(f"other-{number}.service") for number in range(20))],
        "file_systems": [file_system("/var", used=97, total=10 * GIB), file_system("/"), file_system("/home")],
        "memory": Memory(total_bytes=8 * GIB, available_bytes=3 * GIB, swap_total_bytes=GIB, swap_used_bytes=0),
        "load": Load(one=0.5, five=0.4, fifteen=0.3, processors=4),
        "pressure": [Pressure(resource="io", some_10=0, some_60=3, full_10=0, full_60=0)],
        "pending_reboot": PendingReboot(pending=True, why="updated: linux-image"),
        "journal": JournalLook(
            entries=54321, first_at=NOW - timedelta(hours=24), last_at=NOW, complete=True, templates=templates
        ),
        "unreadable": ["pressure: this kernel does not report pressure: boot with psi=1 to have it, or do without"],
        "findings": found,
        "next_command": found[0].command,
    }
    return Survey(**(values | changes))


def test_the_page_fits_eighty_columns_and_shows_the_three_worst():
    text = survey_page(a_survey())
    assert max(map(len, text.splitlines())) <= 80
    assert "21 failed: nginx.service (exit-code)" in text
    assert "/var 97 % used" in text
    assert "12345 ×" in text
    worst = text.partition("The worst of it")[2]
    assert [line[:4] for line in worst.splitlines() if line[2:4] in {"1.", "2.", "3.", "4."}] == [
        "  1.",
        "  2.",
        "  3.",
    ]
    assert text.endswith("du -xh -d2 /var | sort -h | tail -20")


def test_the_page_is_defused():
    text = survey_page(a_survey())
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_healthy_host_reads_calmly():
    text = survey_page(a_survey(failed_units=[], findings=[], unreadable=[], next_command=survey_look.ALL_WELL))
    assert "none failed" in text
    assert "Nothing wrong was found." in text
    assert 'ai-sysadmin ask "How is this host?"' in text
    assert "Could not look" not in text
