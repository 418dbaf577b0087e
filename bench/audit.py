"""What the audit costs: a line written, the whole of it verified, and the executor's start on a long one.

Peers in the same run: a bare loop that appends and syncs the same bytes to a file that stays open, rounds in turn; and
SHA-256 over the same lines. Then 50,000 lines of 10,000 actions: how soon a journal opens on them, `audit verify` in a
machine with a real systemd, and the executor's start there, beside one with nothing to read. Limit: 0.7 of the bare
loop. The machine needs root and what the system tests need; without them it is left out.

Argument: where to write (a directory on the disk in question).
"""

import asyncio
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from _machine import Machine, Suite, booted, why_not

from ai_sysadmin.actions.audit_chain import START, line_after, verify
from ai_sysadmin.core.acting import (
    ActionRequest,
    ActionState,
    Approval,
    Decision,
    ExecutorEvent,
    ExecutorEventKind,
    Origin,
    Outcome,
    OutcomeKind,
    Plan,
    Risk,
    Ruling,
    Stage,
)
from ai_sysadmin.core.records import ProposedAction
from ai_sysadmin.executor.audit import Audit
from ai_sysadmin.executor.journal import Entry, Journal
from ai_sysadmin.runtime.logs import PlainHandler

WHERE = sys.argv[1] if len(sys.argv) > 1 else None
ROUNDS, LINES_A_ROUND, SHARE = 12, 50, 0.7
LINES, ACTIONS, DAYS = 50_000, 10_000, 90
NOW = datetime.now(UTC)
KINDS = (
    ExecutorEventKind.ASKED,
    ExecutorEventKind.APPROVED,
    ExecutorEventKind.STARTED,
    ExecutorEventKind.RAN,
    ExecutorEventKind.FINISHED,
)
EXECUTOR, STATE = "ai-sysadmin-executor.service", "/var/lib/ai-sysadmin-executor"


# --- one action, as it ends


def an_entry() -> Entry:
    arguments = {"unit": "web7.service"}
    commands = (("systemctl", "reset-failed", "--", "web7.service"), ("systemctl", "restart", "--", "web7.service"))
    action = ProposedAction(name="restart_unit", arguments=arguments)
    request = ActionRequest.propose("bench", "incident7", action, Origin.REVIEW, "it failed", NOW)
    reason = "it is reversible; autonomy suggest asks for that"
    text = "web7.service held for 10 s"
    return Entry(
        request=request,
        state=ActionState.SUCCEEDED,
        text=text,
        ruling=Ruling(decision=Decision.ASK, risk=Risk.REVERSIBLE, reason=reason, units=("web7.service",)),
        boot_id="0" * 32,
        expires_boottime=7200.0,
        subject="web7.service",
        plan=Plan(
            does="restarts web7.service",
            run=Stage(name="run", commands=commands),
            precondition="web7.service is failed (exit-code)",
            post_check="web7.service was started anew, is active and stays so, and its probes pass",
            undo="sudo systemctl stop web7.service",
        ),
        approval=Approval(action_id=request.id, digest=request.digest, by="alice", uid=1000, at=NOW),
        before={"status": {"name": "web7.service", "active_state": "failed"}},
        started_at=NOW,
        exit_status=0,
        outcome=Outcome(kind=OutcomeKind.SUCCEEDED, exit_status=0, post_check_passed=True, text=text, output=""),
    )


async def record_one(directory: Path) -> None:
    """Write the story of one action."""
    journal, entry = Journal(directory, Audit(directory)), an_entry()
    await journal.open()
    for kind in KINDS:
        await journal.record(entry, kind, NOW)
    await journal.close()


# --- writing


def lines_of(audit: Path, most: int) -> Iterator[bytes]:
    """Return lines as long as the audit's own, again and again."""
    kept = audit.read_bytes().splitlines(keepends=True)
    return (kept[number % len(kept)] for number in range(most))


async def events_to(audit: Audit, request: ActionRequest, events: list[ExecutorEvent], first: int) -> float:
    began = time.perf_counter()
    for number in range(LINES_A_ROUND):
        event = events[number % len(events)]
        await audit.event(event.model_copy(update={"sequence": first + number}), request)
    return time.perf_counter() - began


def bare(path: Path, lines: list[bytes]) -> float:
    began = time.perf_counter()
    with path.open("ab", buffering=0) as file:
        for line in lines:
            file.write(line)
            os.fsync(file.fileno())
    return time.perf_counter() - began


async def writing(directory: Path) -> None:
    one = directory / "one"
    one.mkdir()
    await record_one(one)
    events = _events(one)
    audit, request = Audit(directory / "appended"), an_entry().request
    ours, peer = [], []
    for number in range(ROUNDS):
        first = number * LINES_A_ROUND + 1
        ours.append(await events_to(audit, request, events, first))
        written = audit.path.read_bytes().splitlines(keepends=True)[-LINES_A_ROUND:]
        peer.append(bare(directory / "bare", written))
    rate, peer_rate = (LINES_A_ROUND / statistics.median(each) for each in (ours, peer))
    size = audit.path.stat().st_size / (ROUNDS * LINES_A_ROUND)
    print(f"{ROUNDS} rounds of {LINES_A_ROUND} lines of {size:.0f} bytes, each synced, lines per second at the median:")
    print(f"  bare append and fsync (peer) {peer_rate:8,.0f}")
    print(f"  the audit                    {rate:8,.0f}   {rate / peer_rate:.2f} of the peer, limit {SHARE}", end="; ")
    print(f"{1000 / rate - 1000 / peer_rate:.2f} ms a line more, most of it the way to a thread and back")


def _events(directory: Path) -> list[ExecutorEvent]:
    with sqlite3.connect(directory / "executor.db") as connection:
        bodies = [body for (body,) in connection.execute("SELECT body FROM events ORDER BY sequence")]
    return [ExecutorEvent.model_validate_json(body) for body in bodies]


# --- a long history: one action's story again and again, under other ids, over the last ninety days


def multiply(one: Path, many: Path) -> None:
    """Make a journal and its audit, of which ``one`` holds the first action."""
    shutil.copytree(one, many)
    database = sqlite3.connect(many / "executor.db")
    (action,) = _rows(database, "SELECT * FROM actions")
    events = [json.loads(row["body"]) for row in _rows(database, "SELECT body FROM events ORDER BY sequence")]
    lines = [json.loads(raw) for raw in (many / "audit.jsonl").read_bytes().splitlines()]
    database.execute("DELETE FROM events")
    database.execute("DELETE FROM actions")
    head, sequence = START, 0
    with (many / "audit.jsonl").open("wb") as audit, database:
        for number in range(ACTIONS):
            known, at = f"{number:06d}".translate(str.maketrans("01", "yz")), _at(number)
            new = action["id"].replace(action["id"][:6], known)
            row = {**action, "id": new, "started_at": at, "body": _moved(action["body"], action["id"], new, at)}
            _insert(database, "actions", row)
            for event, line in zip(events, lines, strict=True):
                sequence += 1
                body = json.dumps({**event, "sequence": sequence, "at": at, "action_id": new})
                _insert(database, "events", {"sequence": sequence, "action_id": new, "body": body})
                fields = {**line, "sequence": sequence, "at": at, "action_id": new}
                bare_fields = {name: fields[name] for name in fields.keys() - {"number", "previous", "hash"}}
                raw, head = line_after(head, bare_fields)
                audit.write(raw)
    database.close()


def _at(number: int) -> str:
    """Return when an action was, as the journal writes it: the last one a moment ago."""
    return (NOW - timedelta(days=DAYS) * (1 - number / ACTIONS) * 0.99).isoformat(timespec="microseconds")


def _moved(body: str, action_id: str, new: str, at: str) -> str:
    return json.dumps({**json.loads(body.replace(action_id, new)), "started_at": at})


def _rows(database: sqlite3.Connection, asked: str) -> list[dict[str, object]]:
    cursor = database.execute(asked)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _insert(database: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    places = ",".join("?" * len(row))
    database.execute(f"INSERT INTO {table} ({','.join(row)}) VALUES ({places})", tuple(row.values()))


def best(work: Callable[[], object]) -> float:
    found = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def verifying(many: Path) -> None:
    lines = (many / "audit.jsonl").read_bytes().splitlines(keepends=True)

    def checked() -> None:
        report = verify(lines)
        if report.fault or report.head.number != LINES:
            raise SystemExit(f"the audit that was made is not whole: {report}")

    def hashed() -> None:
        for line in lines:
            hashlib.sha256(line).hexdigest()

    def parsed() -> None:
        for line in lines:
            json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"))

    ours, peer, json_too = best(checked), best(hashed), best(parsed)
    print(f"{LINES:,} lines verified in {ours:.2f} s, {LINES / ours:,.0f} lines a second; of the same lines:")
    print(f"  SHA-256 (peer) {peer:.2f} s: {ours / peer:.1f} times that;", end=" ")
    print(f"json.loads and json.dumps alone {json_too:.2f} s: {ours / json_too:.1f} times that")


def opening(many: Path, empty: Path) -> None:
    async def opened(directory: Path) -> None:
        journal = Journal(directory, Audit(directory))
        await journal.open()
        await journal.close()

    long, short = (best(lambda directory=each: asyncio.run(opened(directory))) for each in (many, empty))
    print(f"a journal of {ACTIONS:,} actions and its audit opened in {long:.2f} s; of one action {short:.3f} s")


# --- in a machine


def in_a_machine(many: Path) -> None:
    with booted(Suite(start=(EXECUTOR,))) as machine:
        short, resident = started(machine), megabytes(machine)
        machine.systemctl("stop", EXECUTOR).ok()
        for file in many.iterdir():
            if file.is_file():
                machine.put(file, f"{STATE}/{file.name}", mode=0o600)
        machine.run(["rm", "-f", f"{STATE}/executor.db-wal", f"{STATE}/executor.db-shm"]).ok()
        long, swollen = started(machine), megabytes(machine)
        began = time.perf_counter()
        found = machine.run(["/opt/bin/ai-sysadmin", "audit", "verify", "--json"], timeout=120)
        took = time.perf_counter() - began
    verified = found.json
    print("in a machine, by systemd:")
    print(f"  the executor starts in {long:.2f} s and {swollen:.1f} MB;", end=" ")
    print(f"{long / short:.2f} times as long as on an empty state ({short:.2f} s, {resident:.1f} MB)")
    print(f"  `audit verify` over its socket: {verified['lines']:,} lines in {took:.2f} s;", end=" ")
    print(f"fault: {verified['fault'] or 'none'}")


def started(machine: Machine) -> float:
    def once() -> float:
        began = time.perf_counter()
        machine.systemctl("restart", EXECUTOR, timeout=120).ok()
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(3))


def megabytes(machine: Machine) -> float:
    pid = machine.show(EXECUTOR, "MainPID")["MainPID"]
    pages = int(machine.run(["cat", f"/proc/{pid}/statm"]).ok().stdout.split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


def main() -> None:
    root = logging.getLogger()
    root.setLevel("INFO")  # a line is told to the system journal too, and that has its cost
    with tempfile.TemporaryDirectory(dir=WHERE) as name, (Path(name) / "log").open("w") as log:
        sys.stderr, stderr = log, sys.stderr
        root.addHandler(PlainHandler())
        asyncio.run(writing(Path(name)))
        sys.stderr = stderr
        root.handlers.clear()
        root.setLevel("WARNING")
        one, many = Path(name) / "one", Path(name) / "many"
        multiply(one, many)
        verifying(many)
        opening(many, one)
        if reason := why_not():
            print(f"nothing measured in a machine: {reason}")
            return
        in_a_machine(many)


if __name__ == "__main__":
    main()
