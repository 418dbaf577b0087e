"""The tools on a host whose names may be any bytes, asked for anything: harmless results, plain errors."""

import asyncio
import os
import unicodedata
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import AiSysadminError
from ai_sysadmin.core.noticing_settings import TriggerMonitor
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.sources.readable_files import ReadableFiles
from ai_sysadmin.sources.units import UnitState
from ai_sysadmin.testing.changes import FakeChanges
from ai_sysadmin.testing.host import FakeClock, FakeUnits
from ai_sysadmin.testing.tools import FixedCoreDumps, FixedJournal, FixedUnitLists
from ai_sysadmin.tools.certificates import certificate_tools
from ai_sysadmin.tools.disks import disk_tools
from ai_sysadmin.tools.files import file_tools
from ai_sysadmin.tools.hardware import hardware_tools
from ai_sysadmin.tools.logs import log_tools
from ai_sysadmin.tools.memory import memory_tools
from ai_sysadmin.tools.nixos import nixos_tools
from ai_sysadmin.tools.processes import process_tools
from ai_sysadmin.tools.reachability import reachability_tools
from ai_sysadmin.tools.sockets import socket_tools
from ai_sysadmin.tools.tool import Tool
from ai_sysadmin.tools.toolbox import Toolbox
from ai_sysadmin.tools.units import unit_tools
from tests.looking import Naming, tree
from tests.serving import NOW

NASTY = [
    "\x1b[2J",
    "\x1b]0;x\x07",
    "\u202e",
    "\u200b",
    "\n",
    "\r",
    "\t",
    "\0",
    "|",
    ")",
    "(",
    " ",
    "\x9b",
    "²",
    "\udcff",
]
NAMES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.lists(st.sampled_from([*NASTY, "a", "9", "-", "."]), min_size=1, max_size=12).map(
        lambda parts: "".join(parts).encode(errors="surrogateescape")
    ),
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from([*NASTY, *"a9/.:[]*%"]), max_size=12).map("".join))
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
TCP = b"  sl  local_address rem_address   st\n   0: 00000000:0050 00000000:0000 0A 0:0 00:0 0 0 0 7 1 0\n"


def host_of(root: Path, name: bytes) -> Path:
    """Make a host on which a process, its unit and command, a mount, a user, a swap and a file have this name."""
    plain = os.fsdecode(name.replace(b"\0", b"").replace(b"/", b"")[:40]) or "x"
    plain = "x" if plain in {".", ".."} else plain
    inner = name.replace(b"\0", b"")
    point = b"".join(b"\\%03o" % byte for byte in inner)
    stat = b"7 (" + inner[:15] + b") S 1 " + b"0 " * 18 + b"5 0 0 0\n"
    mounts = b"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:50 / /" + point + b" rw - nfs4 " + point + b" rw\n"
    tree(
        root,
        {
            "proc/7/stat": stat,
            "proc/7/status": b"Name:\t" + inner + b"\nUid:\t1\t1\t1\t1\n",
            "proc/7/cgroup": b"0::/system.slice/" + inner + b".service\n",
            "proc/7/cmdline": name,
            "proc/7/comm": inner,
            "proc/7/io": inner,
            "proc/uptime": b"100.0 1.0\n",
            "proc/loadavg": b"1.0 1.0 1.0 1/1 1\n",
            "proc/meminfo": b"MemTotal: 100 kB\nMemAvailable: 50 kB\n" + inner,
            "proc/swaps": b"Filename Type Size Used\n" + point + b" partition 1 1 1\n",
            "proc/net/tcp": TCP,
            "proc/1/mountinfo": mounts,
            "proc/self/mountinfo": mounts,
            "proc/sys/kernel/hostname": inner,
            "etc/passwd": inner + b":x:1:1::/:/bin/sh\n",
            "etc/hosts": b"127.0.0.1 " + inner,
            "etc/resolv.conf": b"nameserver " + inner,
            "etc/os-release": b'PRETTY_NAME="' + inner,
            "sys/class/dmi/id/sys_vendor": inner,
            f"sys/fs/cgroup/memory/{plain}.service/memory.usage_in_bytes": b"4096\n",
            f"etc/dir/{plain}": inner * 40,
            f"etc/dir/{plain}.pem": inner,
        },
    )
    return root


def tools_of(root: Path) -> tuple[Tool, ...]:
    lists = FixedUnitLists([UnitState("web.service", "\x1b[2Jweb\u202e", "loaded", "failed", "failed")])
    clock = FakeClock(NOW)

    async def resolve(name: str) -> list[str]:
        del name
        return ["169.254.169.254"]

    return (
        *unit_tools(FakeUnits(), lists, clock),
        *log_tools(FixedJournal(), lists, clock, FixedCoreDumps()),
        *process_tools(root, 0.0),
        *memory_tools(root),
        *disk_tools(root),
        *socket_tools(root),
        *reachability_tools(Settings(), clock, root, resolve),
        *hardware_tools(root, ()),
        *certificate_tools(TriggerMonitor(), clock, root, resolve),
        *file_tools(ReadableFiles(["/etc/**"], root=root), Redactor()),
        *nixos_tools(FakeChanges(), clock, root),
    )


ASKED: dict[str, dict[str, object]] = {
    "units": {},
    "processes": {"sort": "io"},
    "memory_and_pressure": {},
    "disk_usage": {},
    "disk_usage ": {"path": "/etc"},
    "listening": {},
    "hardware": {},
    "certificates": {"path_or_host": "/etc/dir"},
    "read_file": {"path": "/etc/dir"},
    "reachable": {"target": "localhost:80", "how": "tcp"},
}


async def look(tool: Tool, arguments: dict[str, object]) -> None:
    """Call a tool without the net that the toolbox holds below it."""
    await tool.look(tool.parsed(arguments).model_dump(), Naming())


def is_harmless(text: str, *, one_line: bool) -> bool:
    allowed = set() if one_line else {"\n"}
    return not any(unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in set(text) - allowed)


@settings(FEW, max_examples=30)
@given(name=NAMES)
def test_whatever_things_are_called_the_tools_answer_and_their_results_are_harmless(name: bytes) -> None:
    async def work(root: Path) -> None:
        made = tools_of(root)
        looks = Toolbox(made, Redactor(), Tools()).open()
        by_name = {tool.name: tool for tool in made}
        for tool, given_ in ASKED.items():
            with suppress(AiSysadminError):
                await look(by_name[tool.strip()], given_)
            result = await looks.look(looks.call(tool.strip(), given_), 3000)
            assert is_harmless(result.text, one_line=False), result.text
            assert is_harmless(result.left_out + result.title, one_line=True)

    with TemporaryDirectory() as root:
        asyncio.run(work(host_of(Path(root), name)))


STRINGS = [
    ("unit_status", "unit"),
    ("units", "matching"),
    ("unit_log", "unit"),
    ("journal_search", "contains"),
    ("processes", "matching"),
    ("disk_usage", "path"),
    ("listening", "matching"),
    ("certificates", "path_or_host"),
    ("read_file", "path"),
    ("nixos_generations", "compare"),
    ("what_changed", "unit"),
]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools_of(host_of(tmp_path_factory.mktemp("host"), b"x"))}


@settings(FEW, max_examples=60)
@given(asked=st.tuples(*[TEXTS] * len(STRINGS)), beginning=st.sampled_from(["", "/", "/etc/"]))
@example(asked=("²",) * len(STRINGS), beginning="")
@example(asked=("[",) * len(STRINGS), beginning="")
@example(asked=("\udcff\0",) * len(STRINGS), beginning="/etc/")
def test_whatever_is_asked_for_the_tools_answer_or_say_why_not(
    tools: dict[str, Tool], asked: tuple[str, ...], beginning: str
) -> None:
    async def work() -> None:
        for (name, argument), value in zip(STRINGS, asked, strict=True):
            try:
                await look(tools[name], {argument: beginning + value})
            except AiSysadminError as error:
                assert str(error)

    asyncio.run(work())


@settings(FEW, max_examples=60)
@given(target=TEXTS, how=st.sampled_from(["tcp", "dns", "http"]))
def test_what_nobody_names_is_not_asked(tools: dict[str, Tool], target: str, how: str) -> None:
    with pytest.raises(AiSysadminError):
        asyncio.run(look(tools["reachable"], {"target": f"x{target}", "how": how}))
