"""tools/hardware, sources/gpus and machine: what is told of a made-up machine."""

from pathlib import Path

import pytest

from ai_sysadmin.sources import machine
from ai_sysadmin.sources.gpus import gpus_in_sysfs, nvidia_gpus, nvidia_processes
from ai_sysadmin.sources.host import HostUnreadable
from ai_sysadmin.tools.hardware import hardware_tools
from tests.looking import looked, tree

NONE = ("/nowhere/nvidia-smi",)
MACHINE = {
    "proc/cpuinfo": "processor: 0\nmodel name : Some CPU\ncpu MHz : 1000.0\nflags : fpu hypervisor\n\n"
    "processor: 1\nmodel name : Some CPU\ncpu MHz : 3000.0\nflags : fpu hypervisor\n",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 2000000 kB\nSwapTotal: 0 kB\n",
    "proc/uptime": "360000.0 1.0\n",
    "proc/sys/kernel/osrelease": "6.12.1\n",
    "proc/sys/kernel/arch": "x86_64\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "powersave\n",
    "sys/class/dmi/id/sys_vendor": "Some Maker\n",
    "sys/class/dmi/id/product_name": "Box 3000\x1b[31m\nkernel: 9.9\n",
    "sys/class/dmi/id/bios_version": "1.2\n",
    "sys/firmware/efi/fw_platform_size": "64\n",
    "sys/block/nvme0n1/size": "2000000\n",
    "sys/block/md0/md/metadata_version": "1.2\n",
    "sys/block/md0/md/degraded": "1\n",
    "sys/class/hwmon/hwmon0/name": "coretemp\n",
    "sys/class/hwmon/hwmon0/temp1_input": "61000\n",
    "sys/class/hwmon/hwmon0/temp1_crit": "100000\n",
    "run/reboot-required": "",
    "run/reboot-required.pkgs": "linux-image\n",
}
AMD = {
    "sys/class/drm/card1/device/vendor": "0x1002\n",
    "sys/class/drm/card1/device/device": "0x744c\n",
    "sys/class/drm/card1/device/mem_info_vram_total": "24000000000\n",
    "sys/class/drm/card1/device/mem_info_vram_used": "12000000000\n",
    "sys/class/drm/card1/device/gpu_busy_percent": "37\n",
    "sys/class/drm/card1/device/hwmon/hwmon3/temp1_input": "71000\n",
    "sys/class/drm/card1/device/hwmon/hwmon3/power1_average": "150000000\n",
    "sys/class/drm/card1-DP-1/status": "connected\n",
}
INTEL = {
    "sys/class/drm/card0/device/vendor": "0x8086\n",
    "sys/class/drm/card0/device/device": "0x4680\n",
    "sys/class/drm/card0/gt_act_freq_mhz": "300\n",
}


def _smi(directory: Path, script: str) -> tuple[str]:
    program = directory / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return (str(program),)


ANSWERS = """case "$1" in
--query-gpu=*) echo "0, RTX 4090, 550.1, 24564, 20000, 97, 83, 401.22"
  echo "1, Tesla, 550.1, [N/A], [N/A], [Not Supported], 40, [N/A]";;
--query-compute-apps=*) echo "4711, 19000, /usr/bin/llama-server, -m x";;
esac"""


async def test_a_machine_in_full(tmp_path: Path) -> None:
    tree(tmp_path, MACHINE | AMD | INTEL)
    (tmp_path / "sys/class/drm/card1/device/driver").symlink_to("/sys/bus/pci/drivers/amdgpu")
    lines = (await looked(hardware_tools(tmp_path, NONE))).text.splitlines()
    assert lines[:7] == [
        "machine: Some Maker Box 3000 kernel: 9.9 (virtual machine)",
        "firmware: UEFI 1.2",
        "processors: 2 of Some CPU, now at 2000 MHz on average, governor powersave",
        "memory: 8.19 GB, swap none",
        "kernel: 6.12.1 x86_64",
        "uptime: 4 days",
        "reboot needed: yes: updated: linux-image",
    ]
    assert "software RAID: md0: DEGRADED" in lines
    assert "temperatures: coretemp temp1: 61 °C (61 % of critical)" in lines
    assert any(line.startswith("SMART: not known: ") for line in lines)
    assert lines[-2:] == [
        "GPU card0: Intel [4680], no driver, busy: not known, 300 MHz",
        "GPU card1: AMD [744c], driver amdgpu, memory 12 GB of 24 GB used, 37 % busy, 71 °C, 150 W",
    ]


async def test_nvidias_own_program_is_asked(tmp_path: Path) -> None:
    card = {"sys/class/drm/card0/device/vendor": "0x10de\n", "sys/class/drm/card0/device/device": "0x2684\n"}
    tree(tmp_path, MACHINE | card)
    lines = (await looked(hardware_tools(tmp_path, _smi(tmp_path, ANSWERS)))).text.splitlines()
    assert lines[-3:] == [
        "GPU 0: RTX 4090, driver nvidia 550.1, memory 21 GB of 25.8 GB used, 97 % busy, 83 °C, 401 W",
        "GPU 1: Tesla, driver nvidia 550.1, busy: not known, 40 °C",
        "computing on it: /usr/bin/llama-server, -m x (4711) 19.9 GB",
    ]
    text = (await looked(hardware_tools(tmp_path, NONE))).text
    assert "NVIDIA: nvidia-smi is not on this host" in text
    assert "GPU card0: NVIDIA [2684], no driver" in text


async def test_a_card_whose_device_is_hidden_is_not_said_to_have_no_working_driver(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.1\nGCC version: 13\n",
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA RTX 4090\nIRQ: 7\n",
        },
    )
    refuses = _smi(tmp_path, "echo NVIDIA-SMI has failed; exit 9")
    line = (await looked(hardware_tools(tmp_path, refuses))).text.splitlines()[-1]
    assert line == (
        "NVIDIA: NVIDIA UNIX x86_64 Kernel Module 550.1, NVIDIA RTX 4090; how it is used is hidden from this service:"
        " its sandbox leaves devices out"
    )
    tree(tmp_path, {"dev/nvidiactl": ""})
    assert "NVIDIA: nvidia-smi says: NVIDIA-SMI has failed" in (await looked(hardware_tools(tmp_path, refuses))).text


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('echo "Failed to initialize NVML: Driver/library version mismatch"; exit 18', "version mismatch"),
        ("exit 9", "exit status 9"),
    ],
)
async def test_what_nvidia_smi_refuses_is_said(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(HostUnreadable, match=said):
        await nvidia_gpus(_smi(tmp_path, script))


async def test_nonsense_of_nvidia_smi_is_left_out(tmp_path: Path) -> None:
    programs = _smi(tmp_path, 'echo "a, b"; echo; echo "No running processes found"')
    assert await nvidia_gpus(programs) == []
    assert await nvidia_processes(programs) == []


async def test_a_host_that_tells_nothing(tmp_path: Path) -> None:
    text = (await looked(hardware_tools(tmp_path, NONE))).text
    assert "machine: not known" in text
    assert "GPU: none that the kernel or nvidia-smi shows" in text
    assert "this host has no temperature sensor" in text
    assert "whether a reboot is pending is not known" in text


def test_no_cards(tmp_path: Path) -> None:
    assert gpus_in_sysfs(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"run/systemd/container": "lxc\n"}, "container (lxc)"),
        ({"sys/class/dmi/id/product_name": "VMware7,1\n"}, "virtual machine (VMware)"),
        ({"sys/class/dmi/id/sys_vendor": "QEMU\n"}, "virtual machine (QEMU)"),
        ({"sys/hypervisor/type": "xen\n"}, "virtual machine (xen)"),
        ({"proc/cpuinfo": "processor: 0\nflags\t: fpu hypervisor\n"}, "virtual machine"),
        ({"proc/cpuinfo": "processor: 0\nflags\t: fpu\n"}, ""),
    ],
)
def test_what_holds_the_machine(tmp_path: Path, files: dict[str, str], said: str) -> None:
    assert machine.virtualisation(tree(tmp_path, files)) == said
