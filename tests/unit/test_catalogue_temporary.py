"""Cleaning temporary directories, and telling how full a disk is: what a hostile directory cannot bring about."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.fullness import room_of
from ai_sysadmin.actions.catalogue.temporary_paths import CleanTemporaryPath, TemporarySeen
from ai_sysadmin.core.settings import Settings
from tests.acting import host_at


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/srv/scratch", None),
        ("/srv/other", "is not declared"),
        ("/srv/scratch/below", "is not declared"),
        ("/etc/x", "the system lives in it"),
        ("/", "the system lives in it"),
        ("/var", "the system lives in it"),
        ("/nix/store", "the system lives in it"),
        ("/var/lib/ai-sysadmin/old", "what this suite remembers"),
        ("/run/ai-sysadmin", "what this suite remembers"),
    ],
)
def test_only_what_is_declared_and_no_place_of_the_system_is_ever_cleaned(path, why):
    declared = [each for each in ("/srv/scratch", "/etc/x", "/", "/var", "/nix/store") if each]
    declared += ["/var/lib/ai-sysadmin/old", "/run/ai-sysadmin"]
    settings = Settings.model_validate({"actions": {"temporary_paths": [{"path": each} for each in declared]}})
    said = CleanTemporaryPath(path=path).refuse(settings)
    assert (said is None) if why is None else (why in (said or ""))


async def look(root: Path, path: str, **declared: object) -> tuple[CleanTemporaryPath, TemporarySeen, Host]:
    host = host_at(root, {"temporary_paths": [{"path": path, **declared}]})
    action = CleanTemporaryPath(path=path)
    return action, await action.observe(host), host


async def test_a_declared_directory_is_cleaned_by_its_age_and_nothing_else_is_writable(tmp_path):
    (tmp_path / "srv/scratch").mkdir(parents=True)
    action, seen, _ = await look(tmp_path, "/srv/scratch", older_than_days=12)
    assert action.obstacle(seen) is None
    stage = action.plan(seen).run
    assert stage.input == "e /srv/scratch - - - 1036800s\nx /srv/scratch/systemd-private-*\n"
    assert stage.commands[0][:3] == ("systemd-tmpfiles", "--clean", "--prefix=/srv/scratch")
    assert stage.sandbox.writable == ("/srv/scratch",)
    assert not stage.sandbox.private_tmp
    assert "printf" in action.plan(seen).by_hand


async def test_nothing_younger_than_a_day_is_deleted_whatever_is_declared(tmp_path):
    (tmp_path / "srv/scratch").mkdir(parents=True)
    action, seen, _ = await look(tmp_path, "/srv/scratch", older_than_days=0.01)
    assert action.plan(seen).run.input.startswith("e /srv/scratch - - - 86400s\n")


async def test_a_way_that_others_could_change_is_an_obstacle(tmp_path):
    for name in ("open", "linked", "theirs"):
        (tmp_path / "srv" / name / "scratch").mkdir(parents=True)
    (tmp_path / "srv/linked/file").touch()
    (tmp_path / "srv/open").chmod(0o777)
    os.chown(tmp_path / "srv/theirs", 1000, 1000)
    (tmp_path / "srv/link").symlink_to("linked")
    (tmp_path / "srv/last").symlink_to("linked/scratch")
    for path, why in (
        ("/srv/open/scratch", "others than root"),
        ("/srv/theirs/scratch", "others than root"),
        ("/srv/link/scratch", "is a link"),
        ("/srv/last", "is a link"),
        ("/srv/absent", "No such file"),
        ("/srv/" + "a" * 300, "name too long"),
        ("/srv/linked/file", "is no directory"),
    ):
        action, seen, _ = await look(tmp_path, path)
        assert why in (action.obstacle(seen) or ""), path
    action, seen, _ = await look(tmp_path, "/srv/linked/scratch")
    assert action.obstacle(seen) is None


async def test_another_directory_in_its_place_fails_the_check(tmp_path):
    place = tmp_path / "srv/scratch"
    place.mkdir(parents=True)
    action, before, host = await look(tmp_path, "/srv/scratch")
    assert action.shortfall(before, await action.observe(host)) is None
    place.chmod(0o700)
    assert "mode" in (action.shortfall(before, await action.observe(host)) or "")
    place.rmdir()
    assert "not as it was" in (action.shortfall(before, await action.observe(host)) or "")


async def test_only_what_is_old_by_every_time_is_reckoned(tmp_path):
    place = tmp_path / "srv/scratch"
    (place / "deep").mkdir(parents=True)
    (place / "deep/file").write_bytes(b"x" * 100_000)
    (place / "link").symlink_to("/etc/passwd")
    os.utime(place / "deep/file", (0, 0))  # its ctime is now
    _, seen, host = await look(tmp_path, "/srv/scratch")
    assert seen.old_bytes == 0
    host.clock.at = datetime.now(UTC) + timedelta(days=11)
    assert (await CleanTemporaryPath(path="/srv/scratch").observe(host)).old_bytes >= 100_000
    mounts = tmp_path / "proc/1/mountinfo"
    mounts.write_text(mounts.read_text() + "60 21 0:90 / /srv/scratch/deep rw - nfs4 server:/x rw\n")
    assert (await CleanTemporaryPath(path="/srv/scratch").observe(host)).old_bytes == 0  # asking it could hang


def test_a_file_system_that_may_hang_or_is_hidden_is_never_asked(tmp_path):
    host = host_at(tmp_path, mounts="30 21 0:50 / /mnt/share rw - nfs4 server:/x rw\n")
    (tmp_path / "mnt").mkdir()
    (tmp_path / "home").mkdir()
    assert "may hang" in room_of(host, "/mnt/share/a").unknown
    (tmp_path / "way").symlink_to("mnt/share")
    assert "is a link" in room_of(host, "/way/a").unknown
    (tmp_path / "proc/self/mountinfo").write_text(
        (tmp_path / "proc/1/mountinfo").read_text() + "40 21 0:60 / /home rw - tmpfs tmpfs rw\n"
    )
    assert "sandbox" in room_of(host, "/home").unknown
    assert not room_of(host, "/").unknown


def test_a_private_directory_in_place_of_the_true_one_is_seen(tmp_path):
    host = host_at(tmp_path)
    line = (tmp_path / "proc/1/mountinfo").read_text()
    private = line.replace(" / / ", " /tmp/systemd-private-x/tmp /tmp ")
    (tmp_path / "proc/self/mountinfo").write_text(line + private)
    (tmp_path / "tmp").mkdir()
    assert "sandbox" in room_of(host, "/tmp").unknown
