"""Find, read and check the settings file. Every mistake becomes one sentence: key, value, what is allowed."""

import json
import os
import socket
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ai_sysadmin.core.errors import SettingsError
from ai_sysadmin.core.settings import Settings

SYSTEM_FILES = (Path("/etc/ai-sysadmin/settings.json"), Path("/etc/ai-sysadmin/settings.toml"))


def user_config_dir() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ai-sysadmin"


def user_state_dir() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ai-sysadmin"


def find() -> Path | None:
    """Return the settings file in the usual places: the system's, else the user's, else none."""
    home = user_config_dir()
    for path in (*SYSTEM_FILES, home / "settings.json", home / "settings.toml"):
        if path.exists():
            return path
    return None


def load(path: Path | None = None, state_dir: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        path: JSON or TOML; none: the usual places, else all defaults.
        state_dir: keep everything below this directory, whatever the file says. Without it, and without a system's
            settings file, an ordinary user gets a directory of their own.

    Raises:
        SettingsError: the file cannot be read, or something in it is not allowed.
    """
    path = path or find()
    given = _read(path) if path else {}
    if state_dir is None and path not in SYSTEM_FILES and "state_dir" not in given and os.geteuid() != 0:
        state_dir = user_state_dir()
    if state_dir is not None:
        given = _below(given, state_dir.absolute())
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(explain(error, path)) from error
    if not settings.host_name:
        settings = settings.model_copy(update={"host_name": socket.gethostname()})
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error}") from error
    try:
        parsed = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise SettingsError(f"the settings file {path} is not valid {kind}: {error}") from error
    if not isinstance(parsed, dict):
        raise SettingsError(f"the settings file {path} must hold one object, not a {type(parsed).__name__}")
    return parsed


def _below(given: dict[str, Any], state_dir: Path) -> dict[str, Any]:
    executor = given.get("executor", {})
    moved = {"state_dir": str(state_dir), "runtime_dir": str(state_dir / "run")}
    if isinstance(executor, dict):
        moved_executor = {**executor, "state_dir": str(state_dir / "executor")}
        return {**given, **moved, "executor": moved_executor}
    return {**given, **moved}


def explain(error: ValidationError, path: Path | None) -> str:
    """Say each mistake in a settings file as key, value and what is allowed."""
    lines = [f"{path or 'the settings'} cannot be used:"]
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        match fault["type"]:
            case "extra_forbidden":
                known = ", ".join(_keys_beside(fault["loc"]))
                lines.append(f"  {key} = {fault['input']!r}: there is no such setting; known here: {known}")
            case "value_error":
                said = fault["msg"].removeprefix("Value error, ")
                lines.append(
                    f"  {key} = {fault['input']!r}: {said}"
                    if key and not isinstance(fault["input"], dict)
                    else f"  {key + ': ' if key else ''}{said}"
                )
            case _:
                lines.append(f"  {key} = {fault['input']!r}: {fault['msg']}")
    return "\n".join(lines)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Settings
    for part in location[:-1]:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        model = field.annotation if field else None
    return sorted(model.model_fields) if hasattr(model, "model_fields") else []
