"""ZFS pools: their state by the kernel module's own word, how full they are by asking zpool."""

from pathlib import Path

from ai_sysadmin.core.records import Sample
from ai_sysadmin.sources.host.asking import Tool
from ai_sysadmin.sources.host.reading import HostUnreadable, attribute, children


class ZfsPools:
    """The state of pools needs no process: zpool may hang just when a pool is suspended."""

    def __init__(self, proc: Path = Path("/proc"), program: str = "zpool", timeout_seconds: float = 10.0) -> None:
        self._states = proc / "spl/kstat/zfs"
        self._tool = Tool(program, timeout_seconds)

    async def sample(self) -> list[Sample]:
        """Return whether each pool is unhealthy and how full it is. Raises: HostUnreadable: there are no pools."""
        if not self._states.parent.is_dir():
            raise HostUnreadable("this host has no ZFS")
        states = {file.parent.name: attribute(file) for file in children(self._states, "*/state")}
        used: dict[str, float] = {}
        try:
            listed = await self._listed()
        except HostUnreadable:
            if not states:
                raise
        else:
            states = {name: health for name, health, _ in listed} | states
            used = {name: float(percent.rstrip("%")) for name, _, percent in listed if percent.rstrip("%").isdigit()}
        if not states:
            raise HostUnreadable("this host has no ZFS pools")
        unhealthy = [
            Sample("zfs_pool_unhealthy", float(state != "ONLINE"), pool, "bool") for pool, state in states.items()
        ]
        return unhealthy + [Sample("zfs_pool_used_percent", value, pool, "percent") for pool, value in used.items()]

    async def _listed(self) -> list[tuple[str, str, str]]:
        """Return name, health and capacity of each pool. Raises: HostUnreadable."""
        answer = await self._tool.ask("list", "-H", "-p", "-o", "name,health,capacity")
        if answer.exit_status != 0:
            raise HostUnreadable(f"zpool does not list its pools: {answer.stderr.strip()}")
        rows = (line.split("\t") for line in answer.stdout.decode(errors="replace").splitlines())
        return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]
