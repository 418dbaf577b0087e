"""The catalogue takes a name and arguments that validate, and nothing else; no entry's page or plan holds surprises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions.catalogue import CATALOGUE, certificates, diagnostics, processes, unit_files, units, validate
from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.errors import Refused

ENTRIES = (*units.ENTRIES, *unit_files.ENTRIES, *certificates.ENTRIES, *processes.ENTRIES, *diagnostics.ENTRIES)
OF_A_UNIT = (*units.ENTRIES, *unit_files.ENTRIES)
DANGEROUS = ["$(reboot)", "a b", "a\nb", "--force", ";reboot", "../x", "a\0b", "´", "*"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"unit": "-web.service"},
        {"unit": "--force"},
        {"unit": "web.service; reboot"},
        {"unit": "web.service\n"},
        {"unit": "*.service"},
        {"unit": "../web.service"},
        {"unit": "web"},
        {"unit": ""},
        {"unit": "a" * 300 + ".service"},
        {},
        {"unit": "web.service", "mode": "force"},
        {"service": "web.service"},
    ],
)
@pytest.mark.parametrize("entry", OF_A_UNIT, ids=lambda entry: entry.name)
def test_arguments_that_do_not_fit_are_refused(entry, arguments):
    with pytest.raises(ValueError, match=entry.__name__):
        entry.model_validate(arguments)


def test_a_refusal_says_what_the_action_does_not_take():
    with pytest.raises(Refused, match=r"restart_unit does not take unit = 'web'"):
        validate("restart_unit", {"unit": "web"})


@pytest.mark.parametrize(
    "unit_name", ["web.service", "getty@tty1.service", "dev-disk-by\\x2duuid.swap", "a_b:c-d.timer"]
)
def test_the_names_of_real_units_are_taken(unit_name):
    assert validate("restart_unit", {"unit": unit_name}).subject == unit_name


def test_an_action_that_is_not_in_the_catalogue_is_refused_with_what_is():
    with pytest.raises(Refused, match=r"reset_failed_unit, .*restart_unit, .*start_unit"):
        validate("run_shell", {"command": "true"})


def test_names_are_the_fields_of_the_catalogue():
    assert all(CATALOGUE[name].name == name for name in CATALOGUE)
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(
    ("entry", "good", "bad"),
    [
        (processes.KillProcess, {"pid": "4711", "start_time": "5", "unit": "a.service"}, {"pid": "1"}),
        (processes.KillProcess, {"pid": "4711", "start_time": "5", "unit": "a.service"}, {"pid": "-5"}),
        (processes.KillProcess, {"pid": "4711", "start_time": "5", "unit": "a.service"}, {"pid": "4711.0"}),
        (processes.KillProcess, {"pid": "4711", "start_time": "5", "unit": "a.service"}, {"pid": "٤٧"}),
        (processes.KillProcess, {"pid": "4711", "start_time": "5", "unit": "a.service"}, {"start_time": "-1"}),
        (processes.KillProcess, {"pid": "4711", "start_time": "5", "unit": "a.service"}, {"unit": "a"}),
        (diagnostics.SmartReport, {"device": "/dev/nvme0n1"}, {"device": "/dev/sda1"}),
        (diagnostics.SmartReport, {"device": "/dev/sda"}, {"device": "/dev/../etc/shadow"}),
        (diagnostics.SmartReport, {"device": "/dev/sda"}, {"device": "/dev/sda\n"}),
        (diagnostics.SmartReport, {"device": "/dev/sda"}, {"device": "--all"}),
        (diagnostics.KernelLog, {"lines": "300", "level": "err"}, {"lines": "301"}),
        (diagnostics.KernelLog, {}, {"lines": "0"}),
        (diagnostics.KernelLog, {}, {"level": "0"}),
        (diagnostics.SocketOwners, {"port": "443"}, {"port": "65536"}),
        (diagnostics.SocketOwners, {}, {"port": "443 or 1=1"}),
        (
            certificates.RenewCertificate,
            {"unit": "acme-a.service", "certificate": "/a/b.pem"},
            {"certificate": "b.pem"},
        ),
        (certificates.RenewCertificate, {"unit": "acme-a.service", "certificate": "/a"}, {"certificate": "/a/../b"}),
        (certificates.RenewCertificate, {"unit": "acme-a.service", "certificate": "/a"}, {"certificate": "/a//b"}),
        (certificates.RenewCertificate, {"unit": "acme-a.service", "certificate": "/a"}, {"certificate": "/a\n"}),
    ],
)
def test_each_argument_has_its_bounds(entry, good, bad):
    entry.model_validate(good)
    with pytest.raises(ValueError, match=entry.__name__):
        entry.model_validate({**good, **bad})


WORDS = st.sampled_from(DANGEROUS) | st.text(max_size=20)
LIKELY = {
    "unit": st.from_regex(r"\A[A-Za-z0-9:_\\@][A-Za-z0-9:_.\\@-]{0,20}\.service\Z"),
    "certificate": st.from_regex(r"\A(/[A-Za-z0-9 _.,:@+*=~-]{1,8}){1,3}\Z"),
    "device": st.from_regex(r"\A/dev/(sd[a-z]|nvme[0-9]n[0-9])\Z"),
    "level": st.sampled_from(["err", "info"]),
}


@given(st.sampled_from(ENTRIES), st.data())
def test_no_argument_is_read_as_an_option_or_as_more_than_one_word(entry, data):
    number = st.integers(-5, 70_000).map(str)
    arguments = {name: data.draw(LIKELY.get(name, number) | WORDS) for name in entry.model_fields}
    try:
        action = entry.model_validate(arguments)
    except ValueError:
        return
    plan = action.plan(entry.example()[1])
    for argv in (command for stage in (plan.run, *plan.checks) for command in stage.commands):
        assert not any(word.startswith("-") for word in argv if word in arguments.values())
        assert not any(sign in word for word in argv for sign in "\n\0")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_has_a_whole_example(entry):
    action, seen = entry.example()
    assert action.obstacle(seen) is None
    assert action.risk(seen) in entry.risks
    plan = action.plan(seen)
    assert plan.run.commands
    assert all((plan.does, plan.precondition, plan.post_check, plan.undo, entry.needs))
    assert entry.seen.model_validate(seen.model_dump(mode="json")) == seen
    assert action.read(seen.model_dump(mode="json")) == seen
    assert (plan.run.name, *[check.name for check in plan.checks]).count("run") == 1


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_risks_are_said_the_lowest_first(entry):
    assert list(entry.risks) == sorted(entry.risks, key=lambda risk: risk.level)
    assert (Risk.READ_ONLY in entry.risks) == (entry in diagnostics.ENTRIES)
