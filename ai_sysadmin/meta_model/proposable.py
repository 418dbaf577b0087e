"""What a model may propose on this host: each action on a line, with its arguments as a decoder keeps to them. Pure.

What the settings or the host's kind rule out is not offered. Arguments that the code fills in are not asked for.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ai_sysadmin.actions.catalogue import AnyAction, Catalogue
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings
from ai_sysadmin.llm_backend import Schema
from ai_sysadmin.tools.diagnose import only_looks

MOST_UNIT: Final = 120
_MOST_TEXT: Final = 200
_MOST_FREE: Final = 1500
"""Of a text without a pattern: decoders of servers refuse to count much further, and a step has to hold it."""
_MOST_WHOLE: Final = 10**15 - 1
_MOST_LINE: Final = 110
_FILLED_IN: Final = frozenset({"keep_since", "why"})
_RESERVED: Final = frozenset({"plan", "do", "action", "why"})
_NIXOS: Final = frozenset({"collect_nix_garbage", "switch_to_generation", "roll_back_generation"})
_REPOSITORY: Final = frozenset({"apply_configuration", "draft_configuration"})
_KEPT: Final = ("type", "enum", "maxLength", "minLength")


class Proposable(Record):
    """One action that may be proposed. ``arguments`` are the schemas of its arguments, ``optional`` those of them that
    may stay empty (``""`` or 0).
    """

    name: str
    says: str
    arguments: dict[str, Schema]
    optional: frozenset[str] = frozenset()

    @property
    def line(self) -> str:
        """Return it as it is told to a model: ``restart_unit(unit): Restart one unit``."""
        return f"{self.name}({', '.join(map(self._argument, self.arguments))}): {self.says}"

    def _argument(self, name: str) -> str:
        choices = self.arguments[name].get("enum")
        shown = "|".join(map(str, choices)) if choices and len(choices) <= 4 else ""
        return f"{name}: {shown}" if shown else name

    def given(self, arguments: Mapping[str, object]) -> dict[str, str]:
        """Return what of a model's arguments is the action's, as texts; what may stay empty and is, is left out."""
        taken = {name: arguments[name] for name in self.arguments if name in arguments}
        return {
            name: str(value).strip()
            for name, value in taken.items()
            if not (name in self.optional and value in {"", 0, "0", None})
        }


def proposables(catalogue: Catalogue, settings: Settings, *, is_nixos: bool) -> tuple[Proposable, ...]:
    """Return what makes sense to propose on this host, in the catalogue's order."""
    found = (_proposable(entry, settings) for entry in _sensible(catalogue.entries.values(), settings, is_nixos))
    return tuple(each for each in found if each is not None)


def _sensible(entries: Iterable[type[AnyAction]], settings: Settings, is_nixos: bool) -> Iterable[type[AnyAction]]:
    actions = settings.actions
    out = set() if is_nixos else set(_NIXOS)
    out |= set() if actions.nixos.repository else _REPOSITORY
    out |= set() if actions.nixos.options else {"apply_configuration"}
    out |= set() if actions.temporary_paths else {"clean_temporary_path"}
    out |= set() if actions.mount_points else {"mount_file_system", "remount_file_system"}
    out |= set() if _certificates(settings) else {"renew_certificate"}
    out |= set() if actions.reboot else {"reboot_host"}
    by_polkit = settings.executor.rights == "polkit"
    return (
        entry
        for entry in entries
        if entry.name not in out and not only_looks(entry) and (not by_polkit or _has_calls(entry))
    )


def _has_calls(entry: type[AnyAction]) -> bool:
    shown = entry.example()
    return shown is not None and bool(shown[0].plan(shown[1]).calls)


def _certificates(settings: Settings) -> tuple[str, ...]:
    return tuple(each for each in settings.trigger_monitor.certificates if each.startswith("/"))


def _proposable(entry: type[AnyAction], settings: Settings) -> Proposable | None:
    schema = entry.model_json_schema()
    filled_in = _FILLED_IN & entry.model_fields.keys()  # those of an operator's own actions have names of their own
    asked = {name: about for name, about in schema.get("properties", {}).items() if name not in filled_in}
    if asked.keys() & _RESERVED:  # an operator's own argument of such a name: a step could not tell it apart
        return None
    choices = _choices(entry.name, settings)
    optional = frozenset(asked) - set(schema.get("required", ()))
    arguments = {
        name: {"type": "string", "enum": list(choices[name])}
        if choices.get(name)
        else _bounded(about, may_be_empty=name in optional)
        for name, about in asked.items()
    }
    return Proposable(name=entry.name, says=_first(entry), arguments=arguments, optional=optional)


def _choices(name: str, settings: Settings) -> Mapping[str, Sequence[str]]:
    """Return the values of an action's arguments that the settings allow at all."""
    actions = settings.actions
    match name:
        case "clean_temporary_path":
            return {"path": [str(each.path) for each in actions.temporary_paths]}
        case "mount_file_system" | "remount_file_system":
            return {"path": [str(each) for each in actions.mount_points]}
        case "apply_configuration":
            return {"option": [each.option for each in actions.nixos.options]}
        case "renew_certificate":
            plain = [each for each in _certificates(settings) if not set(each) & set("*?[")]
            return {"certificate": plain if len(plain) == len(_certificates(settings)) else []}
        case _:
            return {}


def _bounded(about: Mapping[str, Any], *, may_be_empty: bool) -> dict[str, Any]:
    """Return an argument's schema with a bound on all that it may be. A decoder of servers knows no more than this."""
    known = next((each for each in about.get("anyOf", ()) if each.get("type") != "null"), about)
    kept = {key: known[key] for key in _KEPT if key in known}
    if kept.get("type") == "integer":
        least, most = known.get("minimum", known.get("ge", 0)), known.get("maximum", known.get("le", _MOST_WHOLE))
        return {"type": "integer", "minimum": min(0, least) if may_be_empty else least, "maximum": most}
    if "enum" in kept or "const" in known:
        return {"type": "string", "enum": list(kept.get("enum", [known.get("const")]))}
    most = min(kept.get("maxLength", _MOST_TEXT), _MOST_TEXT if "pattern" in known else _MOST_FREE)
    most = MOST_UNIT if "service" in known.get("pattern", "") else most
    return {"type": "string", "maxLength": most}


def _first(entry: type[AnyAction]) -> str:
    words = " ".join((inspect.getdoc(entry) or "").split()).replace("``", "").partition(". ")[0].rstrip(".")
    return words if len(words) <= _MOST_LINE else f"{words[: _MOST_LINE - 1]}…"
