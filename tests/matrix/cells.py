"""What is proposed in the autonomy matrix, and the table of what must become of it, written down and not computed.

A cell is a class of risk, whether the executor itself sees what the action would mend (``warranted``), and whether it
changes a protected unit. Each is a real entry of the catalogue, or a declared action, on a host that is so.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ai_sysadmin.core.acting import Risk
from ai_sysadmin.core.action_settings import Actions
from ai_sysadmin.core.declared_settings import DeclaredAction, Parameter
from ai_sysadmin.core.probe_settings import TcpProbe
from ai_sysadmin.testing.fake_systemd import FakeSystemd

ALONE, ASKED, RECORDED = "ran alone", "asked", "recorded"

# for what the suite itself proposes: by level, then by class: (warranted, unwarranted)
SUITE: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "observe": {
        "read_only": (ALONE, ALONE),
        "reversible": (RECORDED, RECORDED),
        "disruptive": (RECORDED, RECORDED),
        "destructive": (RECORDED, RECORDED),
    },
    "suggest": {
        "read_only": (ALONE, ALONE),
        "reversible": (ASKED, ASKED),
        "disruptive": (ASKED, ASKED),
        "destructive": (ASKED, ASKED),
    },
    "auto-safe": {
        "read_only": (ALONE, ALONE),
        "reversible": (ALONE, ASKED),
        "disruptive": (ASKED, ASKED),
        "destructive": (ASKED, ASKED),
    },
    "auto-full": {
        "read_only": (ALONE, ALONE),
        "reversible": (ALONE, ASKED),
        "disruptive": (ALONE, ASKED),
        "destructive": (ASKED, ASKED),
    },
}

# what is protected, and what a person asked for: a person approves it
PROTECTED: Final[Mapping[str, Mapping[str, str]]] = {
    "observe": {
        "read_only": ALONE,
        "reversible": RECORDED,
        "disruptive": RECORDED,
        "destructive": RECORDED,
    },
    "suggest": {"read_only": ALONE, "reversible": ASKED, "disruptive": ASKED, "destructive": ASKED},
    "auto-safe": {"read_only": ALONE, "reversible": ASKED, "disruptive": ASKED, "destructive": ASKED},
    "auto-full": {"read_only": ALONE, "reversible": ASKED, "disruptive": ASKED, "destructive": ASKED},
}
A_PERSON: Final = PROTECTED

# who may approve what waits: a key only what is reversible or disruptive and not protected; a person of the host all of
# it; none of the suite's own users anything
KEY_APPROVES: Final = {
    ("reversible", False): True,
    ("reversible", True): False,
    ("disruptive", False): True,
    ("disruptive", True): False,
    ("destructive", False): False,
    ("destructive", True): False,
}

CLASSES: Final = ("read_only", "reversible", "disruptive", "destructive")
TRUE: Final = str(Path(shutil.which("true") or "/bin/true").resolve())
MANY: Final = tuple(f"goes-along-{number}.service" for number in range(25))
"""Units that go down with another: more than a restart may take with it and be less than destructive."""


@dataclass(frozen=True)
class Cell:
    """One square of the matrix, and what is proposed for it."""

    risk: str
    warranted: bool
    protected: bool

    @property
    def unit(self) -> str:
        stem = "sshd-copy" if self.protected else "web"
        return f"{stem}-{self.risk.replace('_', '-')}-{'down' if self.warranted else 'well'}.service"

    @property
    def name(self) -> str:
        if self.risk == "read_only":
            return "look_at_unit"
        if self.warranted:
            return "restart_unit"
        return {"reversible": "touch_unit", "disruptive": "restart_unit", "destructive": "stop_unit"}[self.risk]

    @property
    def arguments(self) -> dict[str, str]:
        is_declared = self.name in {"look_at_unit", "touch_unit"}
        return {"unit": self.unit.removesuffix(".service") if is_declared else self.unit}

    def prepare(self, systemd: FakeSystemd) -> None:
        """Put its unit on the host, in the condition that makes it this cell."""
        failed = self.warranted and self.risk in {"reversible", "destructive"}
        systemd.add(self.unit, active="failed" if failed else "active", result="exit-code" if failed else "success")
        if self.risk == "destructive":
            for unit in MANY:
                systemd.add(unit)
            systemd.units[self.unit] = systemd.units[self.unit].model_copy(update={"takes_along": MANY})


CELLS: Final = tuple(
    Cell(risk, warranted, protected) for risk in CLASSES for warranted in (True, False) for protected in (True, False)
)
FAILING: Final = frozenset(each.unit for each in CELLS if each.warranted and each.risk == "disruptive")
"""Active units whose probe fails."""
PROBES: Final = tuple(
    TcpProbe(type="tcp", name=unit.removesuffix(".service"), units=(unit,), host="127.0.0.1", port=1)
    for unit in sorted(FAILING)
)


def expected(level: str, cell: Cell, *, by_person: bool) -> str:
    """Read the tables."""
    if by_person:
        return A_PERSON[level][cell.risk]
    if cell.protected:
        return PROTECTED[level][cell.risk]
    return SUITE[level][cell.risk][0 if cell.warranted else 1]


def declared() -> Actions:
    """Two actions of the operator's own: one that only reads, one that nothing asks for."""
    unit = {"unit": Parameter(pattern=r"[a-z-]{1,64}")}
    shared = {"parameters": unit, "unit": "{unit}.service", "command": (TRUE, "{unit}.service")}
    look = DeclaredAction(name="look_at_unit", description="Shows what a unit holds.", risk=Risk.READ_ONLY, **shared)
    touch = DeclaredAction(name="touch_unit", description="Writes a unit's stamp.", risk=Risk.REVERSIBLE, **shared)
    return Actions(declared=(look, touch))
