"""From a stage to a transient unit's properties; ``tests/system/test_effects.py`` shows that systemd heeds them."""

import importlib
import pkgutil
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.actions import catalogue
from ai_sysadmin.core.acting import Plan, Sandbox, Stage
from ai_sysadmin.executor.sandbox import CAPABILITIES, BadSandbox, properties
from tests.exposure import exposure


def made(*commands: tuple[str, ...], sandbox: Sandbox | None = None, **more: Any) -> dict[str, list[Any]]:
    """Return a stage's properties by name, each with its values in order."""
    stage = Stage(name="run", commands=commands or (("true",),), sandbox=sandbox or Sandbox(), **more)
    found: dict[str, list[Any]] = {}
    for name, variant in properties(stage, ["/bin/true" for _argv in stage.commands], {"AI_ACTION_ID": "x"}, 90):
        found.setdefault(name, []).append(variant.value)
    return found


def test_a_plain_stage_has_nothing():
    found = made()
    assert found["CapabilityBoundingSet"] == [0]
    assert found["ProtectSystem"] == ["strict"]
    for name in ("PrivateNetwork", "PrivateDevices", "PrivateTmp", "NoNewPrivileges", "RemainAfterExit"):
        assert found[name] == [True], name
    assert {"User", "DynamicUser", "ReadWritePaths", "DeviceAllow", "AmbientCapabilities"}.isdisjoint(found)
    assert found["RestrictAddressFamilies"] == [[True, ["AF_UNIX"]]]
    assert found["LogExtraFields"] == [[b"AI_ACTION_ID=x"]]


@pytest.mark.parametrize(
    ("box", "name", "values"),
    [
        ({"user": "dynamic"}, "DynamicUser", [True]),
        ({"user": "dynamic"}, "PrivateUsers", [True]),
        ({"user": "build"}, "User", ["build"]),
        ({"capabilities": ("CAP_KILL", "CAP_CHOWN")}, "CapabilityBoundingSet", [0b100001]),
        ({"user": "build", "capabilities": ("CAP_KILL",)}, "AmbientCapabilities", [0b100000]),
        ({"writable": ("/var/log", "-/srv/a@b")}, "ReadWritePaths", [["/var/log", "-/srv/a@b"]]),
        ({"devices": ("/dev/sda r", "block-*")}, "DeviceAllow", [[["/dev/sda", "r"], ["block-*", "rwm"]]]),
        ({"devices": ("/dev/sda r",)}, "PrivateDevices", [False]),
        ({"devices": ("/dev/sda r",)}, "DevicePolicy", ["closed"]),
        ({"families": ()}, "RestrictAddressFamilies", [[True, []]]),
        ({"sees_home": True}, "ProtectHome", ["read-only"]),
        ({"private_tmp": False}, "PrivateTmp", [False]),
        ({"kernel_logs": True}, "ProtectKernelLogs", [False]),
        ({"executes_memory": True}, "MemoryDenyWriteExecute", [False]),
        ({"seconds": 1.5}, "TimeoutStartUSec", [1_500_000]),
        ({"working_directory": "/srv"}, "WorkingDirectory", ["/srv"]),
        ({"capabilities": ("CAP_SYS_TIME",)}, "ProtectClock", [False]),
    ],
)
def test_what_a_stage_declares_becomes_a_property(box: dict[str, Any], name: str, values: list[Any]):
    assert made(sandbox=Sandbox(**box))[name] == values


@pytest.mark.parametrize("name", ["PrivateNetwork", "IPAddressDeny"])
def test_a_network_is_the_hosts_own(name: str):
    assert name in made()
    assert name not in made(sandbox=Sandbox(network=True))


def test_without_mounts_of_its_own_nothing_makes_some():
    """Each of these makes systemd give the unit a mount namespace: its mounts would not reach the host."""
    found = made(sandbox=Sandbox(own_mounts=False, capabilities=("CAP_SYS_ADMIN",)))
    of_mounts = ("Private", "ProtectSystem", "ProtectHome", "ProtectKernel", "ProtectControl", "ProtectProc", "ReadW")
    assert [name for name in found if name.startswith(of_mounts)] == []
    assert "@mount" in found["SystemCallFilter"][-1][1]
    assert "@mount" not in made(sandbox=Sandbox(capabilities=("CAP_SYS_ADMIN",)))["SystemCallFilter"][-1][1]


def test_a_variable_adds_to_the_path():
    (environment,) = made(sandbox=Sandbox(environment=("HOME=/var/empty",)))["Environment"]
    assert environment[-1] == "HOME=/var/empty"
    assert environment[0].startswith("PATH=/")


def test_input_and_good_statuses():
    found = made(input="a\nb", good_statuses=(0, 4))
    assert (found["StandardInput"], found["StandardInputData"]) == (["data"], [b"a\nb"])
    assert found["SuccessExitStatus"] == [[[0, 4], []]]


@pytest.mark.parametrize(
    "box",
    [
        {"capabilities": ("CAP_NONE",)},
        {"capabilities": ("cap_chown",)},
        {"families": ("AF_INET AF_PACKET",)},
        {"devices": ("/etc/shadow r",)},
        {"devices": ("/dev/../etc rw",)},
        {"devices": ("/dev/sda x",)},
        {"writable": ("srv",)},
        {"writable": ("/srv /etc",)},
        {"writable": ("/srv/..",)},
        {"writable": ("/srv\n/etc",)},
        {"writable": ("/srv/%h",)},
        {"working_directory": "~"},
        {"environment": ("PATH",)},
        {"environment": ('A="b',)},
        {"environment": ("A=b\nUser=root",)},
        {"user": "0"},
        {"user": "root:x"},
        {"seconds": float("inf")},
        {"seconds": float("nan")},
        {"seconds": 0},
        {"seconds": -1},
        {"own_mounts": False, "writable": ("/srv",)},
        {"own_mounts": False, "user": "dynamic"},
    ],
)
def test_what_systemd_could_read_as_something_else_is_refused(box: dict[str, Any]):
    with pytest.raises(BadSandbox):
        made(sandbox=Sandbox(**box))


def test_a_command_that_a_daemon_reload_would_change_stands_alone():
    for word in ("$HOME", "a;b"):
        assert made(("echo", word))
        with pytest.raises(BadSandbox, match="stages"):
            made(("echo", word), ("true",))


def test_what_is_no_unicode_is_refused():
    with pytest.raises(BadSandbox):
        made(("echo", "\udc80"))


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_arguments_reach_the_program_as_they_are_or_not_at_all(words: list[str]):
    try:
        ((command,),) = made(("echo", *words))["ExecStart"]
    except BadSandbox:
        assert any(ord(character) < 32 or ord(character) == 127 for word in words for character in word)
        return
    _path, argv, ignores_failure = command
    # systemd makes $$ a dollar, and expands a dollar that stands alone
    assert [word.replace("$$", "\0") for word in argv[1:]] == [word.replace("$", "\0") for word in words]
    assert not ignores_failure


def test_every_capability_has_the_kernels_number():
    assert [CAPABILITIES.index(name) for name in ("CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE")] == [
        0,
        21,
        40,
    ]
    assert len(set(CAPABILITIES)) == 41


def examples() -> Iterator[tuple[str, Plan]]:
    """Every plan that the catalogue shows on its page, and so every sandbox that it uses."""
    for found in pkgutil.iter_modules(catalogue.__path__):
        module = importlib.import_module(f"{catalogue.__name__}.{found.name}")
        for entry in getattr(module, "ENTRIES", ()):
            if (example := entry.example()) is not None:
                action, seen = example
                yield entry.name, action.plan(seen)


def stages_of(plan: Plan) -> list[Stage]:
    return [stage for stage in (plan.run, *plan.checks, plan.confirm, plan.revert) if stage is not None]


EXAMPLES = dict(examples())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", EXAMPLES)
def test_no_stage_of_the_catalogue_is_exposed(name: str, tmp_path):
    for stage in stages_of(EXAMPLES[name]):
        level = exposure(stage, tmp_path)
        print(f"{name} {stage.name}: exposure {level}")
        assert level <= 4.0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_a_plain_stage_is_hardly_exposed(tmp_path):
    assert exposure(Stage(name="run", commands=(("true",),)), tmp_path) <= 1.0
