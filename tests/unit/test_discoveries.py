"""What is found on a host: ports and who has them, enabled units, hardware; on trees made up, and on this machine."""

import os
import socket
from pathlib import Path

import pytest

from ai_sysadmin.context.knowledge.discoveries import Discoveries
from ai_sysadmin.core.knowledge import DocumentKind
from ai_sysadmin.sources.discoveries import discover
from ai_sysadmin.sources.hardware import hardware
from ai_sysadmin.sources.host import HostUnreadable
from ai_sysadmin.sources.listening import Listening, Port, address_of
from ai_sysadmin.sources.unit_files import enabled
from ai_sysadmin.testing.host import FakeClock, FakeUnits
from tests.builders import NOW

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def a_row(local: str, state: str = "0A", peer: str = "00000000:0000", uid: int = 0, inode: int = 1) -> str:
    return f"   0: {local} {peer} {state} 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0 100\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    made = tmp_path / "proc"
    put(made / "net/tcp", HEAD)
    put(tmp_path / "etc/passwd", "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/srv:/bin/false\n")
    return made


def a_process(proc: Path, pid: int, comm: str, cgroup: str, inode: int) -> None:
    put(proc / f"{pid}/comm", f"{comm}\n")
    put(proc / f"{pid}/cgroup", cgroup)
    link(proc / f"{pid}/fd/3", f"socket:[{inode}]")
    link(proc / f"{pid}/fd/4", "/dev/null")


# --- ports


@pytest.mark.parametrize(
    ("digits", "byteorder", "said"),
    [
        ("0100007F", "little", "127.0.0.1"),
        ("7F000001", "big", "127.0.0.1"),
        ("00000000", "little", "0.0.0.0"),
        ("00000000000000000000000001000000", "little", "[::1]"),
        ("B80D0120000000000000000001000000", "little", "[2001:db8::1]"),
        ("20010DB8000000000000000000000001", "big", "[2001:db8::1]"),
    ],
)
def test_addresses_are_read_as_the_kernel_writes_them(digits: str, byteorder: str, said: str) -> None:
    assert address_of(digits, byteorder) == said


def test_a_port_is_told_with_its_unit_and_process(proc: Path, tmp_path: Path) -> None:
    put(proc / "net/tcp", HEAD + a_row("00000000:0050", uid=33, inode=7) + a_row("0100007F:0050", uid=33, inode=8))
    a_process(proc, 41, "nginx", "0::/system.slice/nginx.service\n", 7)
    a_process(proc, 42, "nginx", "0::/system.slice/nginx.service\n", 8)
    (owner,) = Listening(tmp_path).look()
    assert (owner.unit, owner.process, owner.user) == ("nginx.service", "nginx", "www")
    assert owner.ports == (Port("tcp", 80, "0.0.0.0"), Port("tcp", 80, "127.0.0.1"))


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/system-app.slice/app@1.service/worker\n", "app@1.service"),
        ("9:name=systemd:/system.slice/old.service\n8:pids:/\n", "old.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n", "user@1000.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", ""),
        ("", ""),
    ],
)
def test_a_process_belongs_to_the_service_of_its_cgroup(proc: Path, tmp_path: Path, cgroup: str, unit: str) -> None:
    put(proc / "net/tcp", HEAD + a_row("00000000:0050", inode=7))
    a_process(proc, 41, "app", cgroup, 7)
    assert [each.unit for each in Listening(tmp_path).look()] == [unit]


def test_of_a_process_that_may_not_be_seen_the_user_is_told(proc: Path, tmp_path: Path) -> None:
    put(proc / "net/tcp", HEAD + a_row("00000000:0050", uid=33, inode=7) + a_row("00000000:0051", uid=61234, inode=9))
    found = {(each.unit, each.process, each.user) for each in Listening(tmp_path).look()}
    assert found == {("", "", "www"), ("", "", "uid 61234")}


def test_connections_and_clients_are_no_services(proc: Path, tmp_path: Path) -> None:
    put(proc / "net/tcp", HEAD + a_row("0100007F:0050", "01", "0100007F:9C40") + a_row("0100007F:0016", "06"))
    put(
        proc / "net/udp",
        HEAD
        + a_row("00000000:0035", "07", inode=5)
        + a_row("00000000:0044", "07", "0100007F:0043", inode=6)
        + a_row("00000000:0000", "07", inode=7)
        + "broken\n",
    )
    assert [each.ports for each in Listening(tmp_path).look()] == [(Port("udp", 53, "0.0.0.0"),)]


def test_a_port_that_clients_get_counts_once_it_stays(proc: Path, tmp_path: Path) -> None:
    looking = Listening(tmp_path)
    put(proc / "net/udp", HEAD + a_row("00000000:CA6C", "07", inode=5))
    assert looking.look() == []
    put(proc / "net/udp", HEAD + a_row("00000000:CA6C", "07", inode=5) + a_row("00000000:CA6D", "07", inode=6))
    assert [each.ports for each in looking.look()] == [(Port("udp", 51820, "0.0.0.0"),)]


def test_without_the_kernels_tables_it_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(HostUnreadable, match="who listens"):
        Listening(tmp_path).look()


def test_on_this_machine_a_port_of_ones_own_is_found() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        looking = Listening()
        looking.look()
        found = {each: (owner.process, owner.user) for owner in looking.look() for each in owner.ports}
    assert Port("tcp", port, "127.0.0.1") in found


# --- units

NGINX = """[Unit]
Description=Web server
[Service]
User=www
; a remark
ExecStart=@/nix/store/x-nginx/bin/nginx \\
  --token hunter2
ExecStart=
"""


def test_enabled_units_are_told_with_what_their_file_says(tmp_path: Path) -> None:
    etc = tmp_path / "etc/systemd/system"
    put(tmp_path / "nix/store/u/nginx.service", NGINX)
    link(etc / "nginx.service", "/nix/store/u/nginx.service")
    link(etc / "multi-user.target.wants/nginx.service", "../nginx.service")
    link(etc / "network.target.requires/nginx.service", "../nginx.service")
    put(etc / "backup.timer", "[Timer]\nOnCalendar=03:00\nOnCalendar=15:00\nPersistent=true\n")
    link(etc / "timers.target.wants/backup.timer", "../backup.timer")
    put(tmp_path / "usr/lib/systemd/system/app@.socket", "[Socket]\nListenStream=8080\n")
    link(etc / "sockets.target.wants/app@1.socket", "/usr/lib/systemd/system/app@.socket")
    link(etc / "multi-user.target.wants/remote-fs.target", "/lib/systemd/system/remote-fs.target")
    link(etc / "multi-user.target.wants/gone.service", "/nowhere/gone.service")
    found = {unit.name: unit for unit in enabled(tmp_path)}
    assert set(found) == {"nginx.service", "backup.timer", "app@1.socket", "gone.service"}
    nginx = found["nginx.service"]
    assert (nginx.description, nginx.user, nginx.path) == ("Web server", "www", "/nix/store/u/nginx.service")
    assert nginx.wanted_by == ("multi-user.target", "network.target")
    assert nginx.commands == ("/nix/store/x-nginx/bin/nginx",)
    assert found["backup.timer"].schedule == ("OnCalendar=03:00", "OnCalendar=15:00")
    assert found["app@1.socket"].sockets == ("8080",)
    assert found["gone.service"].path == ""


def test_links_do_not_lead_out_of_the_tree(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(tmp_path / "secret.service", "[Unit]\nDescription=secret\n")
    link(root / "etc/systemd/system/a.service", "../../../../secret.service")
    link(root / "etc/systemd/system/b.service", "b.service")
    for name in ("a", "b"):
        link(root / f"etc/systemd/system/x.target.wants/{name}.service", f"../{name}.service")
    assert [unit.description for unit in enabled(root)] == ["", ""]


# --- hardware


def test_hardware_is_read_from_sysfs(tmp_path: Path) -> None:
    sys_ = tmp_path / "sys"
    gpu = sys_ / "bus/pci/devices/0000:01:00.0"
    for name, value in {"class": "0x030000", "vendor": "0x10de", "device": "0x2684"}.items():
        put(gpu / name, f"{value}\n")
    link(gpu / "driver", "../../../bus/pci/drivers/nvidia")
    usb = sys_ / "bus/usb/devices"
    for name, value in {"idVendor": "1d6b", "idProduct": "0002", "product": "hub"}.items():
        put(usb / "usb1" / name, value)
    for name, value in {"idVendor": "1050", "idProduct": "0407", "manufacturer": "Yubico", "product": "Key"}.items():
        put(usb / "1-2" / name, value)
    put(sys_ / "class/net/enp3s0/device/vendor", "0x8086")
    link(sys_ / "class/net/enp3s0/device/driver", "../drivers/igc")
    put(sys_ / "class/net/lo/mtu", "65536")
    for name, value in {
        "size": "1953525168",
        "queue/rotational": "0",
        "device/model": "Disk X",
        "removable": "0",
    }.items():
        put(sys_ / "block/nvme0n1" / name, value)
    put(sys_ / "block/loop0/size", "100")
    put(sys_ / "block/dm-0/size", "2048000")
    put(sys_ / "block/dm-0/dm/name", "root")
    found = {part.name: part.lines for part in hardware(tmp_path)}
    assert found["hardware graphics"] == ("0000:01:00.0: graphics controller, NVIDIA [10de:2684], driver nvidia",)
    assert found["hardware usb"] == ("1-2: Yubico Key [1050:0407]",)
    assert found["hardware network"] == ("enp3s0: wired, driver igc",)
    assert found["hardware disks"] == ("dm-0 (root): 1.0 GB", "nvme0n1: 1.0 TB, solid state, Disk X")


def test_a_host_without_any_of_it_is_no_fault(tmp_path: Path) -> None:
    assert hardware(tmp_path) == []


# --- all together


@pytest.fixture
def host(proc: Path, tmp_path: Path) -> Path:
    put(tmp_path / "etc/os-release", 'NAME=NixOS\nPRETTY_NAME="NixOS 25.11 (Xantusia)"\n')
    put(proc / "sys/kernel/osrelease", "6.12.58\n")
    put(proc / "cpuinfo", "processor\t: 0\nmodel name\t: A chip\n\nprocessor\t: 1\nmodel name\t: A chip\n")
    put(proc / "meminfo", "MemTotal: 8388608 kB\nMemAvailable: 1 kB\nSwapTotal: 0 kB\n")
    put(proc / "1/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    put(proc / "net/tcp", HEAD + a_row("00000000:0050", uid=33, inode=7))
    link(tmp_path / "etc/localtime", "/etc/zoneinfo/Europe/Berlin")
    put(tmp_path / "etc/systemd/system/a.service", "[Unit]\nDescription=The app\n")
    link(tmp_path / "etc/systemd/system/multi-user.target.wants/a.service", "../a.service")
    return tmp_path


def test_what_the_host_is_stands_in_words(host: Path) -> None:
    seen = discover(host)
    assert seen.faults == ()
    what, disks = seen.system
    for line in (
        "operating system: NixOS 25.11 (Xantusia)",
        "kernel: 6.12.58",
        "processors: 2 × A chip",
        "memory: 8.0 GiB",
        "swap: none",
        "time zone: Europe/Berlin",
    ):
        assert line in what.lines
    assert disks.lines[0].startswith("/: ext4 on /dev/sda1, ")
    assert {each.title for each in seen.found} == {
        "a.service: The app",
        "a process of user www listens on port 80",
    }


def test_what_cannot_be_looked_at_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    put(tmp_path / "etc/os-release", "NAME=Linux\n")
    seen = discover(tmp_path)
    assert seen.system[0].lines[0] == "operating system: Linux"
    assert len(seen.faults) == 3  # mounts, units, ports


def test_a_unit_of_several_processes_is_told_once(host: Path, proc: Path) -> None:
    put(proc / "net/tcp", HEAD + a_row("00000000:0050", inode=7) + a_row("00000000:01BB", inode=8))
    a_process(proc, 41, "master", "0::/system.slice/web.service\n", 7)
    a_process(proc, 42, "worker", "0::/system.slice/web.service\n", 8)
    (web,) = [each for each in discover(host).found if each.name == "listening web.service"]
    assert web.title == "web.service listens on port 80, 443"
    assert web.lines == (
        "web.service listens on tcp port 80, on every address of the host",
        "web.service listens on tcp port 443, on every address of the host",
        "its process is master",
        "its process is worker",
    )


async def test_they_become_documents_that_stay_while_nothing_changes(host: Path) -> None:
    units = FakeUnits()
    units.put("web.service", description="The web")
    gatherer = Discoveries(FakeClock(NOW), units.failed, host)
    system, found = await gatherer.gather()
    assert {each.kind for each in system.documents} == {DocumentKind.SYSTEM}
    (failed,) = [each for each in found.documents if each.name == "failed units"]
    assert failed.text == "web.service is failed (exit-code): The web"
    put(host / "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4000 kB\nSwapTotal: 0 kB\n")
    os.utime(host / "etc/os-release", ns=(5, 5))
    again = await gatherer.gather()
    assert [each.hash for each in again[0].documents] == [each.hash for each in system.documents]
    units.put("web.service", "active")
    assert "failed units" not in {each.name for each in (await gatherer.gather())[1].documents}


async def test_when_systemd_is_away_that_is_said(host: Path) -> None:
    units = FakeUnits(is_away=True)
    _, found = await Discoveries(FakeClock(NOW), units.failed, host).gather()
    assert "which units are failed is not known" in found.faults[0]
    assert found.documents


def test_this_machine_can_be_looked_at() -> None:
    seen = discover()
    assert any("kernel: " in line for line in seen.system[0].lines)
    assert len({each.name for each in seen.found}) == len(seen.found)
