"""Calling a tool as a toolbox does, and small trees that stand for a host."""

from collections.abc import Collection, Mapping
from pathlib import Path

from ai_sysadmin.tools.tool import Told, Tool


class Naming:
    """A scene that names these targets and no others."""

    def __init__(self, named: Collection[str] = ()) -> None:
        self._named = named

    def names(self, target: str) -> bool:
        return target in self._named


async def looked(tools: tuple[Tool, ...], /, *, named: Collection[str] = (), **arguments: object) -> Told:
    """Call the only tool of these with arguments that are checked first."""
    (tool,) = tools
    return await tool.look(tool.parsed(arguments).model_dump(), Naming(named))


def tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a directory and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))
    return root
