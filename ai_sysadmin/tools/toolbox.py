"""The tools there are on a host, described to a model, and opened for one conversation."""

from collections.abc import Mapping, Sequence

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.core.tool_settings import Tools
from ai_sysadmin.tools.describing import described
from ai_sysadmin.tools.looks import MORE, MORE_TOOL, Call, Looks
from ai_sysadmin.tools.tool import Tool

__all__ = ["MORE", "Call", "Looks", "Toolbox"]


class Toolbox:
    """The tools there are on a host. Raises: SettingsError, where one that is switched off does not exist."""

    def __init__(self, tools: Sequence[Tool], redactor: Redactor, settings: Tools) -> None:
        names = [tool.name for tool in tools]
        if twice := next((name for name in [*names, MORE] if [*names, MORE].count(name) > 1), ""):
            raise SettingsError(f"two tools are called {twice!r}: rename the one in `tools.declared`")
        if unknown := sorted(set(settings.off) - {*names, MORE}):
            raise SettingsError(f"tools.off names {unknown[0]!r}, which is no tool; there are: {', '.join(names)}")
        kept = [tool for tool in tools if tool.name not in settings.off and not tool.absent]
        if kept and MORE not in settings.off:
            kept.append(MORE_TOOL)
        self._tools = {tool.name: tool for tool in kept}
        self._absent = {tool.name: tool.absent for tool in tools if tool.absent}
        self._described = "\n".join(described(tool) for tool in self._tools.values())
        self._redactor = redactor
        self._kept_bytes = settings.kept_bytes

    @property
    def tools(self) -> Mapping[str, Tool]:
        """Those that are offered by name, in a stable order."""
        return self._tools

    def described(self) -> str:
        """Return a line a tool for a system prompt: its name, its arguments with their bounds, its purpose."""
        return self._described

    def open(self, named: Sequence[str] = ()) -> "Looks":
        """Begin a conversation; ``named`` are its texts (evidence, questions) that name what may be reached."""
        return Looks(self._tools, self._redactor, self._kept_bytes, named, self._absent)
