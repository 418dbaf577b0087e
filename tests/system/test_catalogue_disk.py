"""Making room, collecting garbage and mounting for real: on a real systemd, with the executor's own view and sandboxes.

The age of temporary files cannot be made up (nobody sets a file's ctime back), so that the line which systemd-tmpfiles
reads is given a second in place of days; all else is as the entry plans it. Nix is Debian's, with its daemon.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.system.machine import Machine
from tests.system.suite import Suite

SUITE = Suite(start=())
PROGRAM = Path(__file__).with_name("acting_program.py")
EXECUTORS_VIEW = (
    *("CapabilityBoundingSet=", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateDevices=yes"),
    *("PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "PrivateMounts=yes", "MemoryDenyWriteExecute=yes"),
)


@pytest.fixture(scope="module")
def machine(suite_machine: Machine) -> Machine:
    wrapper = suite_machine.path("/opt/bin/ai-sysadmin").read_text()
    suite_machine.put(wrapper.replace("-P -m ai_sysadmin", "-P /opt/acting.py"), "/opt/bin/acting", mode=0o755)
    suite_machine.put(PROGRAM, "/opt/acting.py")
    return suite_machine


def act(machine: Machine, name: str, **request: Any) -> Any:
    box = [word for each in EXECUTORS_VIEW for word in ("-p", each)]
    argv = ["systemd-run", "-q", "--wait", "--pipe", *box, "/opt/bin/acting", json.dumps({"name": name, **request})]
    return json.loads(machine.run(argv, timeout=90).ok().stdout.splitlines()[-1])


def shell(machine: Machine, script: str) -> str:
    return machine.run(["sh", "-euc", script]).ok().stdout


def well(said: Any) -> None:
    assert said["obstacle"] is None, said
    assert (said["run"]["result"], said["shortfall"]) == ("success", None), said
    assert all(check["exit_status"] == 0 for check in said["checks"]), said


def test_archived_journal_files_go_and_the_journal_is_read_afterwards(machine: Machine) -> None:
    directory = f"/var/log/journal/{shell(machine, 'cat /etc/machine-id').strip()}"
    shell(
        machine, f"mkdir -p {directory}; journalctl --flush; for i in 1 2 3; do logger x$i; journalctl --rotate; done"
    )
    archived = shell(machine, f"ls {directory} | grep @").split()
    assert len(archived) >= 3
    actions = {"journal_keep_megabytes": 1, "journal_keep_days": 2}
    assert "no archived file" in act(machine, "vacuum_journal", actions=actions)["obstacle"]
    since = {"keep_since": shell(machine, "date -Is -d -1hour").strip()}
    cited = act(machine, "vacuum_journal", actions=actions, days=5, arguments=since)
    assert "no archived file" in cited["obstacle"]

    well(act(machine, "vacuum_journal", actions=actions, days=5))
    left = shell(machine, f"ls {directory}").split()
    assert "system.journal" in left
    assert len(set(archived) & set(left)) <= 1  # as soon as it is small enough, nothing more goes
    shell(machine, "logger afterwards; journalctl --sync; journalctl -q | grep -q afterwards")


TRAPS = """
rm -rf /srv/scratch /srv/outside; mkdir -p /srv/scratch/deep/deeper /srv/scratch/closed /srv/outside
chmod 1777 /srv/scratch
echo keep > /srv/outside/file; echo keep > /etc/trap-target
ln -s /etc /srv/scratch/to-etc; ln -s /srv/outside /srv/scratch/deep/out; ln -s /etc/trap-target /srv/scratch/link
mkfifo /srv/scratch/fifo
ln /srv/outside/file /srv/scratch/hard
echo x > /srv/scratch/deep/deeper/old; echo x > "/srv/scratch/a b
c"; echo x > /srv/scratch/--help; echo x > /srv/scratch/closed/old
touch /srv/scratch/locked; mkdir /srv/scratch/held; touch /srv/scratch/held/in
chown -R nobody /srv/scratch/closed /srv/scratch/deep; chmod 700 /srv/scratch/closed
mkdir /srv/scratch/mounted; mount -t tmpfs tmpfs /srv/scratch/mounted; echo keep > /srv/scratch/mounted/file
"""
SCRATCH = {"temporary_paths": [{"path": "/srv/scratch"}, {"path": "/srv/link"}, {"path": "/tmp"}]}


def clean(machine: Machine, path: str) -> Any:
    return act(
        machine,
        "clean_temporary_path",
        actions=SCRATCH,
        arguments={"path": path},
        instead=(f"e {path} - - - 864000s", f"e {path} - - - 1s"),
    )


def test_traps_in_a_temporary_directory_lead_nowhere(machine: Machine) -> None:
    shell(machine, TRAPS)
    machine.run(["systemd-run", "-q", "--unit=listener", "/usr/bin/perl", "-MSocket", "-e", PERL_LISTENER]).ok()
    lock = ["systemd-run", "-q", "--unit=locker", "flock", "/srv/scratch/held", "sleep", "60"]
    machine.run(lock).ok()
    machine.eventually(lambda: machine.path("/srv/scratch/live").exists(), "the socket is there")
    shell(machine, "echo x > /srv/scratch/dead; sleep 1.5")
    before = shell(machine, "stat -c '%a %u %g %i' /srv/scratch")
    machine.put("young", "/srv/scratch/young")

    said = clean(machine, "/srv/scratch")
    well(said)
    left = set(shell(machine, "find /srv/scratch -mindepth 1 -printf '%P\\n'").split("\n")) - {""}
    assert {"live", "held", "held/in", "mounted", "mounted/file"} <= left
    assert not left & {"deep/deeper/old", "closed/old", "--help", "link", "to-etc", "hard", "dead"}, left
    shell(machine, "grep keep /etc/trap-target /srv/outside/file; test -d /etc/systemd")
    assert shell(machine, "stat -c '%a %u %g %i' /srv/scratch") == before
    shell(machine, "umount /srv/scratch/mounted; systemctl stop listener locker")


PERL_LISTENER = (
    "socket(S,PF_UNIX,SOCK_STREAM,0); bind(S,pack_sockaddr_un('/srv/scratch/live')) or die; listen(S,1); sleep 60"
)


SWAP = """
my ($dir, $link) = ("/srv/scratch/race", "/srv/scratch/race-link");
syscall(316, -100, $dir, -100, $link, 2) while 1;  # renameat2, RENAME_EXCHANGE
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of renameat2 is that of x86_64")
def test_a_user_who_swaps_a_directory_for_a_link_meanwhile_deletes_nothing_of_others(machine: Machine) -> None:
    shell(machine, "mkdir -p /srv/scratch /srv/outside; rm -rf /srv/scratch/* /srv/outside/*; chmod 1777 /srv/scratch")
    shell(machine, "for i in $(seq 3000); do echo keep > /srv/outside/$i; done")
    shell(machine, "cp -r /srv/outside /srv/scratch/race; ln -s /srv/outside /srv/scratch/race-link; sleep 1.2")
    shell(machine, "chown -hR nobody /srv/scratch/race /srv/scratch/race-link")
    shell(machine, "sleep 1.2")
    machine.run(["systemd-run", "-q", "--unit=swapper", "--uid=nobody", "perl", "-e", SWAP]).ok()
    for _ in range(4):
        said = clean(machine, "/srv/scratch")
        assert said["obstacle"] is None, said
    machine.systemctl("is-active", "swapper").ok()
    machine.systemctl("stop", "swapper").ok()
    assert shell(machine, "ls /srv/outside | wc -l; sort -u /srv/outside/*").split() == ["3000", "keep"]


def test_nothing_young_goes_by_the_age_that_is_planned(machine: Machine) -> None:
    shell(machine, "mkdir -p /srv/scratch; touch -d '90 days ago' /srv/scratch/seems-old; touch /srv/scratch/young")
    well(act(machine, "clean_temporary_path", actions=SCRATCH, arguments={"path": "/srv/scratch"}))
    shell(machine, "test -e /srv/scratch/seems-old && test -e /srv/scratch/young")  # made today, whatever it says


def test_a_declared_path_that_is_a_link_is_not_cleaned(machine: Machine) -> None:
    shell(machine, "rm -rf /srv/link; ln -s /etc /srv/link")
    assert "is a link" in clean(machine, "/srv/link")["obstacle"]


def test_what_services_hold_in_tmp_is_left_alone(machine: Machine) -> None:
    machine.run(["systemd-run", "-q", "--unit=private", "-p", "PrivateTmp=yes", "sleep", "60"]).ok()
    shell(machine, "echo x > /tmp/old; sleep 1.5")
    well(clean(machine, "/tmp"))
    shell(machine, "test ! -e /tmp/old; ls -d /tmp/systemd-private-*-private.service-*/tmp")
    machine.systemctl("stop", "private").ok()


def test_of_two_directories_on_a_full_disk_room_is_made(machine: Machine) -> None:
    shell(machine, "mkdir -p /srv/full; mount -t tmpfs -o size=20m,mode=755 tmpfs /srv/full; mkdir /srv/full/scratch")
    shell(machine, "head -c 19M /dev/zero > /srv/full/scratch/big; sleep 1.5")
    said = act(
        machine,
        "free_disk_space",
        actions={"temporary_paths": [{"path": "/srv/full/scratch"}, {"path": "/tmp"}]},
        arguments={"path": "/srv/full"},
        instead=("864000s", "1s"),
    )
    well(said)
    assert "95.0 % full" in said["warrant"]
    assert "--prefix=/tmp" not in said["commands"][0], "that is another file system"
    again = act(machine, "free_disk_space", arguments={"path": "/srv/full"})
    assert "that is enough" in again["obstacle"]
    assert again["warrant"] is None
    shell(machine, "umount /srv/full")


NIX = """
mkdir -p /nix/var/nix/daemon-socket /nix/var/nix/gcroots/ai-sysadmin; export NIX_REMOTE=daemon
for i in 1 2 3 4 5 6 7; do
  mkdir -p /root/gen/$i; echo generation $i > /root/gen/$i/file; eval "p$i=$(nix-store --add /root/gen/$i)"
  eval "nix-env --profile /nix/var/nix/profiles/system --set \\$p$i"
done
ln -sfn $p7 /run/current-system; ln -sfn $p3 /run/booted-system
ln -sfn /run/current-system /nix/var/nix/gcroots/current-system
ln -sfn /run/booted-system /nix/var/nix/gcroots/booted-system
ln -sfn $p5 /nix/var/nix/gcroots/ai-sysadmin/last-good
echo junk > /root/junk; nix-store --add /root/junk; echo $p1
"""


def test_garbage_goes_and_every_rollback_target_stays(machine: Machine) -> None:
    machine.run(["systemd-run", "-q", "--unit=nix-daemon", "nix-daemon"]).ok()
    machine.eventually(lambda: machine.path("/nix/var/nix/daemon-socket/socket").exists(), "the daemon listens")
    junk, first = shell(machine, NIX).split()[-2:]
    said = act(machine, "collect_nix_garbage", actions={"nixos": {"keep_generations": 1}})
    well(said)
    assert said["commands"][0][-1:] == ["1"]  # 3 was booted, 5 was good, 7 runs; 2, 4 and 6 are what they go back to
    links = shell(machine, "ls /nix/var/nix/profiles").split()
    assert [name for name in links if name.startswith("system-")] == [f"system-{number}-link" for number in range(2, 8)]
    shell(machine, f"test ! -e {junk}; test ! -e {first}; readlink -e /run/booted-system /run/current-system")
    shell(machine, "for l in /nix/var/nix/profiles/system-*-link; do test -e $l; done")


def test_a_mount_that_failed_is_made_and_a_read_only_one_is_made_writable_by_systemd(machine: Machine) -> None:
    shell(
        machine, "mkdir -p /srv/data; echo 'tmpfs /srv/data tmpfs size=4m 0 0' >> /etc/fstab; systemctl daemon-reload"
    )
    actions, arguments = {"mount_points": ["/srv/data"]}, {"path": "/srv/data"}
    well(act(machine, "mount_file_system", actions=actions, arguments=arguments))
    shell(machine, "findmnt -n -t tmpfs /srv/data")
    assert "mounted already" in act(machine, "mount_file_system", actions=actions, arguments=arguments)["obstacle"]
    assert "is writable" in act(machine, "remount_file_system", actions=actions, arguments=arguments)["obstacle"]

    shell(machine, "echo kept > /srv/data/file; mount -o remount,ro /srv/data; ! touch /srv/data/x")
    said = act(machine, "remount_file_system", actions=actions, arguments=arguments)
    well(said)
    assert said["warrant"] is None  # nobody counts errors of a tmpfs
    shell(
        machine, "touch /srv/data/x; grep -q kept /srv/data/file; findmnt -n -o OPTIONS /srv/data | grep -q size=4096k"
    )
    shell(machine, "umount /srv/data")
