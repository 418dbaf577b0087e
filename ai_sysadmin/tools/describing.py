"""How a tool reads in a system prompt. Pure."""

import json
from typing import Any, Final

from pydantic_core import PydanticUndefined

from ai_sysadmin.tools.tool import Tool

_KINDS: Final = {"integer": "number", "boolean": "true or false", "number": "number"}


def described(tool: Tool) -> str:
    """Return a tool on one line: ``name(argument: bounds = default (meaning), …): purpose``."""
    fields = tool.arguments.model_json_schema().get("properties", {})
    return f"{tool.name}({', '.join(_told(tool, name, field) for name, field in fields.items())}): {tool.purpose}"


def _told(tool: Tool, name: str, field: dict[str, Any]) -> str:
    bounds, default = _bounds(field), tool.arguments.model_fields[name].default
    said = f"{name}: {bounds}" if bounds else name
    if default is not PydanticUndefined:
        said += f" = {json.dumps(default, ensure_ascii=False)}"
    meant = field.get("description", "").removesuffix(".")
    return f"{said} ({meant})" if meant else said


def _bounds(field: dict[str, Any]) -> str:
    if "enum" in field or "const" in field:
        return "|".join(str(each) for each in field.get("enum", [field.get("const")]))
    if "minimum" in field and "maximum" in field:
        return f"{field['minimum']} to {field['maximum']}"
    return _KINDS.get(field.get("type", ""), "")
