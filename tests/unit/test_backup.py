"""A backup of stores that are written to; archives that somebody changed; restores that are interrupted anywhere."""

import errno
import gzip
import io
import json
import os
import signal
import sqlite3
import tarfile
import tempfile
import threading
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from ai_sysadmin.core.errors import AiSysadminError, Refused, StoreUnavailable
from ai_sysadmin.runtime.restoring import PLAN, refuse_interrupted
from ai_sysadmin.stores import backup
from ai_sysadmin.stores.backup import Part
from ai_sysadmin.stores.backup.plan import STAGED
from tests.builders import HOST, NOW

SCHEMAS = {"state/ai-sysadmin.db": 8, "executor/executor.db": 4}


class State:
    """A state directory and an executor's, filled with what tells one state from another."""

    def __init__(self, root):
        self.directories = {Part.STATE: root / "state", Part.EXECUTOR: root / "executor"}

    def fill(self, word, rows=10, schema=8):
        for path in self.directories.values():
            path.mkdir(parents=True, exist_ok=True)
        for part, name, version in ((Part.STATE, "ai-sysadmin.db", schema), (Part.EXECUTOR, "executor.db", 4)):
            with closing(sqlite3.connect(self.directories[part] / name, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN")
                connection.execute("CREATE TABLE said (word TEXT)")
                connection.executemany("INSERT INTO said VALUES (?)", [(word,)] * rows)
                connection.execute(f"PRAGMA user_version={version}")
                connection.execute("COMMIT")
        (self.directories[Part.STATE] / "api-key").write_text(f"{word}\n")
        (self.directories[Part.STATE] / "ingest-key").write_text(f"{word}\n")
        (self.directories[Part.STATE] / "notifications.json").write_text(json.dumps(word))
        (self.directories[Part.EXECUTOR] / "audit.jsonl").write_text(f"{word}\n")
        return self

    def words(self):
        """Return which states are seen: more than one is a mix."""
        found = set()
        for part, name in ((Part.STATE, "ai-sysadmin.db"), (Part.EXECUTOR, "executor.db")):
            with closing(sqlite3.connect(self.directories[part] / name)) as connection:
                found |= {word for (word,) in connection.execute("SELECT word FROM said")}
        for part, name in (
            (Part.STATE, "api-key"),
            (Part.STATE, "ingest-key"),
            (Part.STATE, "notifications.json"),
            (Part.EXECUTOR, "audit.jsonl"),
        ):
            found.add((self.directories[part] / name).read_text().strip().strip('"'))
        return found

    def names(self):
        return {str(path.relative_to(at.parent)) for at in self.directories.values() for path in at.iterdir()}


def packed(state, tmp_path, **changes):
    """Return the archive of a state as bytes."""
    copies = tmp_path / "copies"
    copies.mkdir()
    taken = backup.take(state.directories, copies, HOST, "1.0", NOW, **({"with_database": True} | changes))
    file = io.BytesIO()
    backup.write_archive(file, taken.manifest, taken.files)
    for path in copies.iterdir():
        path.unlink()
    copies.rmdir()
    return file.getvalue()


def fitting(manifest):
    backup.check_fits(manifest, HOST, SCHEMAS, host_differs=False)
    return manifest


def restored(archive, state, **changes):
    return backup.restore(io.BytesIO(archive), state.directories, fitting, **changes)


@pytest.fixture
def archive(tmp_path):
    return packed(State(tmp_path / "then").fill("then"), tmp_path)


@pytest.fixture
def state(tmp_path):
    return State(tmp_path / "here").fill("now")


def test_what_was_backed_up_comes_back_and_the_earlier_state_is_beside_it(archive, state):
    (state.directories[Part.STATE] / "models").mkdir()
    (state.directories[Part.STATE] / "spool").mkdir()
    (state.directories[Part.STATE] / "spool/1").write_text("of the later database")
    (state.directories[Part.EXECUTOR] / "halt").write_text("")
    done = restored(archive, state)
    assert state.words() == {"then"}
    assert (state.directories[Part.STATE] / "models").is_dir()
    assert (state.directories[Part.EXECUTOR] / "halt").exists()  # a restore never lets go on what was halted
    assert not (state.directories[Part.STATE] / "spool").exists()
    by_part = dict(zip(("state", "executor"), done.aside, strict=True))
    assert by_part["state"].name.startswith("state.before-restore-")
    assert (by_part["state"] / "spool/1").read_text() == "of the later database"
    earlier = State(state.directories[Part.STATE].parent)
    earlier.directories = {Part.STATE: by_part["state"], Part.EXECUTOR: by_part["executor"]}
    assert earlier.words() == {"now"}


def test_an_empty_place_takes_a_backup_too(archive, tmp_path):
    state = State(tmp_path / "fresh")
    done = restored(archive, state)
    assert (state.words(), done.aside) == ({"then"}, ())
    assert state.names() == {
        *("state/ai-sysadmin.db", "state/api-key", "state/ingest-key", "state/notifications.json"),
        *("executor/executor.db", "executor/audit.jsonl"),
    }


def test_the_database_is_of_one_moment_while_it_is_written_to(tmp_path):
    state = State(tmp_path / "then").fill("then")
    database, stop = state.directories[Part.STATE] / "ai-sysadmin.db", threading.Event()

    def write():
        with closing(sqlite3.connect(database, timeout=10)) as connection:
            while not stop.is_set():
                with connection:  # always by two: an odd number would be half a transaction
                    connection.executemany("INSERT INTO said VALUES (?)", [("then",)] * 2)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        archives = [packed(state, tmp_path) for _ in range(5)]
    finally:
        stop.set()
        writer.join()
    counted = []
    for number, archive in enumerate(archives):
        fresh = State(tmp_path / f"fresh{number}")
        restored(archive, fresh)
        with closing(sqlite3.connect(fresh.directories[Part.STATE] / "ai-sysadmin.db")) as connection:
            counted.append(connection.execute("SELECT count(*) FROM said").fetchone()[0])
    assert counted == sorted(counted)
    assert counted[-1] > counted[0]
    assert all(count % 2 == 0 for count in counted)


def test_a_half_written_line_of_the_audit_is_left_out(tmp_path):
    then = State(tmp_path / "then").fill("then")
    with (then.directories[Part.EXECUTOR] / "audit.jsonl").open("a") as file:
        file.write('{"half')
    fresh = State(tmp_path / "fresh")
    restored(packed(then, tmp_path), fresh)
    assert (fresh.directories[Part.EXECUTOR] / "audit.jsonl").read_text() == "then\n"


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(tmp_path):
    then = State(tmp_path / "then").fill("then", rows=5000)
    database = then.directories[Part.STATE] / "ai-sysadmin.db"
    raw = bytearray(database.read_bytes())
    raw[3 * 4096 : 4 * 4096] = b"\xff" * 4096
    database.write_bytes(raw)
    with pytest.raises(AiSysadminError, match="damaged"):
        packed(then, tmp_path)


def test_a_link_in_the_place_of_a_key_is_not_followed(tmp_path):
    then = State(tmp_path / "then").fill("then")
    (tmp_path / "shadow").write_text("secret of root's")
    key = then.directories[Part.STATE] / "api-key"
    key.unlink()
    key.symlink_to(tmp_path / "shadow")
    with pytest.raises(AiSysadminError, match="no plain file"):
        packed(then, tmp_path)


# --- archives that somebody changed


def untouched(state, archive, says, kind=AiSysadminError):
    before = {path: path.read_bytes() for at in state.directories.values() for path in at.rglob("*") if path.is_file()}
    with pytest.raises(kind, match=says):
        restored(archive, state)
    after = {path: path.read_bytes() for at in state.directories.values() for path in at.rglob("*") if path.is_file()}
    assert after == before
    assert not [path for at in state.directories.values() for path in at.parent.glob("*before-restore*")]


def changed(archive, change):
    """Return an archive with its tar's entries as ``change`` makes them, everything else as it was."""
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=made, mode="w:gz", format=tarfile.GNU_FORMAT) as new,
    ):
        for entry in old:
            content = old.extractfile(entry).read()
            for info, data in change(entry, content):
                new.addfile(info, io.BytesIO(data))
    return made.getvalue()


def entry_of(name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def with_manifest(archive, change):
    def edit(entry, content):
        if entry.name != "manifest.json":
            return [(entry, content)]
        said = json.loads(content)
        change(said)
        return [entry_of("manifest.json", json.dumps(said).encode())]

    return changed(archive, edit)


def in_place_of_the_key(**entry):
    return lambda info, data: [entry_of(**entry)] if info.name == "state/api-key" else [(info, data)]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"name": "../x", "data": b"then\n"}, "'../x'"),
        ({"name": "/etc/cron.d/x", "data": b"then\n"}, "cron"),
        ({"name": "state/api-key", "type": tarfile.SYMTYPE, "linkname": "/etc/shadow"}, "no plain file"),
        ({"name": "state/api-key", "type": tarfile.LNKTYPE, "linkname": "/etc/shadow"}, "no plain file"),
        ({"name": "state/api-key", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 1}, "no plain file"),
        ({"name": "state/api-key", "type": tarfile.FIFOTYPE}, "no plain file"),
        ({"name": "state/api-key", "type": tarfile.DIRTYPE}, "no plain file"),
        ({"name": "state/api-key", "data": b"then\n" * 9}, "claims 45 bytes"),
        ({"name": "state/api-key", "data": b"thEn\n"}, "SHA-256"),
    ],
    ids=["above", "absolute", "symlink", "hard-link", "device", "fifo", "directory", "longer", "other"],
)
def test_only_plain_files_of_the_manifest_come_out(archive, state, entry, says):
    untouched(state, changed(archive, in_place_of_the_key(**entry)), says)


def test_a_member_that_is_named_above_the_directory_in_the_manifest_as_well(archive, state):
    archive = with_manifest(archive, lambda said: said["members"][1].update(path="../x"))
    untouched(state, archive, "'../x', which is no file of this suite's")


def test_a_header_that_claims_ten_gigabytes_costs_neither_memory_nor_disk(archive, state):
    head, _ = entry_of("state/api-key")
    head.size = 10 << 30
    raw = gzip.decompress(archive)
    at = raw.index(b"state/api-key\0")
    bomb = gzip.compress(raw[:at] + head.tobuf(tarfile.GNU_FORMAT) + raw[at + 512 :])
    extended = tarfile.TarInfo("x")
    extended.type, extended.size = tarfile.XHDTYPE, 10 << 30
    tracemalloc.start()
    untouched(state, bomb, "claims 10737418240 bytes")
    untouched(state, gzip.compress(extended.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)), "no backup of this suite's")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
    huge = with_manifest(archive, lambda said: said["members"][2].update(size=1 << 60))
    untouched(state, huge, "make room first")


def unpacked(archive):
    try:
        return gzip.decompress(archive)
    except (EOFError, OSError, zlib.error):
        return None


def test_every_flipped_byte_is_seen(tmp_path):
    then = State(tmp_path / "then").fill("then", rows=1)
    archive, state = packed(then, tmp_path), State(tmp_path / "here").fill("now")
    for at in range(10, len(archive), max(1, len(archive) // 60)):  # before: gzip's own flags and time
        flipped = bytearray(archive)
        flipped[at] ^= 0x10
        if unpacked(flipped) == gzip.decompress(archive):  # a bit of deflate's that nothing reads
            continue
        with pytest.raises(AiSysadminError):
            backup.read_archive(io.BytesIO(flipped), lambda _manifest: None)
    flipped = bytearray(archive)
    flipped[len(archive) // 2] ^= 1
    untouched(state, bytes(flipped), "damaged|cut short")


def test_a_truncated_archive_is_seen_wherever_it_ends(archive, state):
    for end in range(0, len(archive), max(1, len(archive) // 60)):
        with pytest.raises(AiSysadminError):
            backup.read_archive(io.BytesIO(archive[:end]), lambda _manifest: None)
    untouched(state, archive[: len(archive) * 2 // 3], "damaged|cut short")
    untouched(state, archive[:-9], "damaged|cut short")


def test_what_follows_the_last_member_is_nothing(archive, state):
    more = changed(
        archive,
        lambda info, data: [(info, data), *([entry_of("x", b"x")] if info.name == "executor/executor.db" else [])],
    )
    untouched(state, more, "does not end where")


def test_a_newer_schema_another_host_and_a_later_format_are_refused(archive, state):
    newer = with_manifest(archive, lambda said: said["members"][0].update(schema_version=9, schema_needs=9))
    untouched(state, newer, "newer version", Refused)
    untouched(state, with_manifest(archive, lambda said: said.update(host="other")), "--host-differs", Refused)
    untouched(state, with_manifest(archive, lambda said: said.update(format=2)), "format 2", Refused)
    lying = with_manifest(archive, lambda said: said["members"][0].update(schema_version=7))
    untouched(state, lying, "another schema")


def test_the_executors_audit_does_not_come_without_its_journal(archive, state):
    alone = with_manifest(archive, lambda said: said["members"].pop())
    untouched(state, alone, "they go together")


# --- restores that are interrupted


def test_a_database_that_somebody_has_open_is_not_replaced(archive, state):
    with closing(sqlite3.connect(state.directories[Part.EXECUTOR] / "executor.db")) as connection:
        connection.execute("SELECT count(*) FROM said").fetchone()
        with pytest.raises(Refused, match=r"executor\.db is in use"):
            restored(archive, state)
    assert state.words() == {"now"}
    assert not any(PLAN in name or STAGED in name for name in state.names())


def test_a_damaged_database_can_be_replaced(archive, state):
    (state.directories[Part.STATE] / "ai-sysadmin.db").write_bytes(b"this is no database" * 500)
    done = restored(archive, state)
    assert state.words() == {"then"}
    assert (done.aside[0] / "ai-sysadmin.db").read_bytes().startswith(b"this is no database")


def steps_of(archive, state):
    steps = []
    restored(archive, state, at=steps.append)
    return steps


def killed(work, number):
    """Run work in a process that dies before its step of this number; tell whether it got there."""
    child = os.fork()
    if child == 0:
        left = [number]

        def at(_step):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

        work(at)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_any_step_it_is_the_earlier_state_or_the_restored_one(archive, tmp_path):
    steps = steps_of(archive, State(tmp_path / "counted").fill("now"))
    assert len(steps) > 10
    seen = []
    for number in range(len(steps)):
        state = State(tmp_path / f"killed{number}").fill("now")
        assert killed(lambda at, state=state: restored(archive, state, at=at), number)
        if steps[number].startswith("move"):  # it may be a mix now, and nothing begins on it
            with pytest.raises(StoreUnavailable, match="restore --finish"):
                refuse_interrupted(state.directories[Part.STATE])
        finished = backup.finish_restore(state.directories)
        assert state.words() == ({"then"} if finished else {"now"})
        assert not any(PLAN in name or STAGED in name for name in state.names())
        refuse_interrupted(state.directories[Part.STATE])
        assert not backup.finish_restore(state.directories)
        seen.append(finished)
    assert seen == sorted(seen)  # once it is decided on, it is always finished
    assert set(seen) == {False, True}


def test_killed_while_it_is_finished_it_can_be_finished_again(archive, tmp_path):
    steps = steps_of(archive, State(tmp_path / "counted").fill("now"))
    middle = next(number for number, step in enumerate(steps) if step.startswith("move")) + 2
    for number in range(len(steps) - middle):
        state = State(tmp_path / f"killed{number}").fill("now")
        assert killed(lambda at, state=state: restored(archive, state, at=at), middle)
        assert killed(lambda at, state=state: backup.finish_restore(state.directories, at=at), number)
        backup.finish_restore(state.directories)
        assert state.words() == {"then"}


def test_a_step_that_fails_brings_the_earlier_state_back(archive, tmp_path):
    steps = steps_of(archive, State(tmp_path / "counted").fill("now"))
    for number in (number for number, step in enumerate(steps) if step.startswith(("move", "plan"))):
        state, left = State(tmp_path / f"failed{number}").fill("now"), [number]

        def at(_step, left=left):
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        names = state.names()
        with pytest.raises(AiSysadminError, match="Input/output error; the state is as it was"):
            restored(archive, state, at=at)
        assert state.words() == {"now"}
        assert state.names() == names
        assert not [*(tmp_path / f"failed{number}").glob("*before-restore*")]


def test_a_restore_that_was_broken_off_is_neither_backed_up_nor_restored_over(archive, tmp_path):
    state = State(tmp_path / "here").fill("now")
    assert killed(lambda at: restored(archive, state, at=at), 4)
    with pytest.raises(Refused, match="--finish"):
        packed(state, tmp_path)
    with pytest.raises(StoreUnavailable, match="--finish"):
        restored(archive, state)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_another_users_plan_is_not_followed(archive, tmp_path):
    state = State(tmp_path / "here").fill("now")
    assert killed(lambda at: restored(archive, state, at=at), 4)
    os.chown(state.directories[Part.STATE] / PLAN, 65534, 65534)
    with pytest.raises(AiSysadminError, match="uid 65534"):
        backup.finish_restore(state.directories)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_what_is_restored_belongs_to_who_owns_the_directory(archive, tmp_path):
    state = State(tmp_path / "fresh")
    for path in state.directories.values():
        path.mkdir(parents=True)
    os.chown(state.directories[Part.STATE], 65534, 65534)
    restored(archive, state)
    owners = {path.name: path.stat().st_uid for at in state.directories.values() for path in at.iterdir()}
    assert owners == {
        "ai-sysadmin.db": 65534,
        "api-key": 65534,
        "ingest-key": 65534,
        "notifications.json": 65534,
        "executor.db": 0,
        "audit.jsonl": 0,
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_who_may_not_read_the_executors_part_backs_up_the_rest_and_is_told(tmp_path):
    with tempfile.TemporaryDirectory() as open_to_all:
        root = Path(open_to_all)
        root.chmod(0o755)
        then = State(root).fill("then")
        then.directories[Part.EXECUTOR].chmod(0o700)
        for path in (then.directories[Part.STATE], *then.directories[Part.STATE].iterdir()):
            os.chown(path, 65534, 65534)
        (root / "copies").mkdir()
        os.chown(root / "copies", 65534, 65534)
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            taken = backup.take(then.directories, root / "copies", HOST, "1.0", NOW, with_database=True)
            with (root / "copies/archive").open("wb") as file:
                backup.write_archive(file, taken.manifest, taken.files)
            backup.finish_restore(then.directories)  # a look that finds nothing needs no rights of root's
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        archive = (root / "copies/archive").read_bytes()
    state = State(tmp_path / "here").fill("now")
    done = restored(archive, state)
    assert "only root may read" in done.manifest.left_out[0]
    assert (state.directories[Part.EXECUTOR] / "audit.jsonl").read_text() == "now\n"
    assert (state.directories[Part.STATE] / "api-key").read_text() == "then\n"
