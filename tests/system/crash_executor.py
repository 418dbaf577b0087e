"""The executor, ended by SIGKILL at chosen writes of its journal: a program inside a machine, in place of the suite's.

The file ``crash-at`` beside the journal says where, one ``WHAT WHEN`` a line, in order, each for one kill. Of an event,
by its kind, and of ``kept``, a change that no event tells: ``uncommitted``, ``committed``. Of a line of the audit, by
its kind: ``torn`` (half of it is written), ``told`` (all of it). Of a stage's unit, by the stage's name: ``begun``.
"""

import json
import os
import runpy
import signal
import sqlite3
from functools import partial
from pathlib import Path

from ai_sysadmin.executor import audit
from ai_sysadmin.executor.systemd import SystemdEffects

ARMED = Path("/var/lib/ai-sysadmin-executor/crash-at")
write_line, start_stage = audit._write, SystemdEffects.start


def dies(what, when):
    armed = ARMED.read_text().splitlines() if ARMED.exists() else []
    if armed[:1] == [f"{what} {when}"]:
        ARMED.write_text("".join(f"{each}\n" for each in armed[1:]))
        return True
    return False


def at(what, when):
    if dies(what, when):
        os.kill(os.getpid(), signal.SIGKILL)


class Connection(sqlite3.Connection):
    """A connection whose transactions end at a point."""

    writes = ""

    def execute(self, sql, parameters=()):
        if sql.startswith("INSERT INTO actions"):
            self.writes = "kept"
        elif sql.startswith("INSERT INTO events"):
            self.writes = json.loads(parameters[2])["kind"]
        return super().execute(sql, parameters)

    def __exit__(self, *raised):
        what, self.writes = self.writes, ""
        at(what, "uncommitted")
        super().__exit__(*raised)
        at(what, "committed")


def write(path, data):
    kind = json.loads(data)["kind"]
    if dies(kind, "torn"):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write_line(path, data)
    at(kind, "told")


async def start(self, unit_id, stage, about, calls=()):
    await start_stage(self, unit_id, stage, about, calls)
    at(stage.name, "begun")


if __name__ == "__main__":
    sqlite3.connect = partial(sqlite3.connect, factory=Connection)
    audit._write = write
    SystemdEffects.start = start
    runpy.run_module("ai_sysadmin", run_name="__main__", alter_sys=True)
