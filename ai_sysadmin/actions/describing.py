"""The catalogue's page, made of the entries themselves: what each takes, may cost, needs, runs, checks and takes back.

``python -m ai_sysadmin.actions.describing FILE`` writes it.
"""

import inspect
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from ai_sysadmin.actions.action import Action
from ai_sysadmin.core.acting import Plan, Sandbox, Stage

AnyAction = Action[Any]
_PACKAGE: Final = str(Path(__file__).resolve().parents[1])
_HEAD: Final = """# Actions

Every action there is, as its code says; nothing else ever runs. A model names one and gives arguments that validate;
the risk, the command and its sandbox come from the entry and from what the executor itself sees of the host. What an
operator declares in the setting `actions.declared` comes to it. What runs is shown for an example; `ai-sysadmin policy
explain NAME ARGUMENT=VALUE` shows it for this host, with the line of the policy that decides.

Any change to a protected unit is destructive, whatever stands below. A read-only action runs at every level of
autonomy; every other only where the executor itself sees what it would mend, or where a person approved it.

This page is written by `tools/describe-actions`.
"""


def page(entries: Iterable[type[AnyAction]]) -> str:
    """Return the page of all these entries, in Markdown, by name."""
    listed = sorted(entries, key=lambda entry: entry.name)
    table = ["| action | risk | what it does |", "|---|---|---|"]
    table += [f"| [`{each.name}`](#{each.name}) | {_risks(each)} | {_first(each)} |" for each in listed]
    return "\n".join([_HEAD, *table, "", *("\n".join(_entry(each)) for each in listed)])


def _entry(entry: type[AnyAction]) -> Iterator[str]:
    yield f"## {entry.name}\n"
    yield f"{_words(inspect.getdoc(entry))}\n"
    yield f"- **Risk:** {_risks(entry)}"
    yield from _arguments(entry)
    if entry.needs:
        yield f"- **Needs:** {entry.needs[0].upper()}{entry.needs[1:].rstrip('.')}."
    shown = entry.example()
    if shown is None:
        yield "- **Runs:** what the host's condition asks for; `ai-sysadmin policy explain` shows it."
    else:
        action, seen = shown
        yield from _plan(action.plan(seen), action.warrant(seen))
    yield ""


def _arguments(entry: type[AnyAction]) -> Iterator[str]:
    schema = entry.model_json_schema()
    wanted = schema.get("required", ())
    described = [
        f"`{name}` ({_type(about, schema)}{_bounds(entry.model_fields[name])}"
        f"{'' if name in wanted else _default(about)})"
        for name, about in schema.get("properties", {}).items()
    ]
    yield f"- **Arguments:** {'; '.join(described) or 'none'}"


def _default(about: Mapping[str, Any]) -> str:
    default = about.get("default")
    return ", may be left out" if default in {None, ""} else f", by default {default}"


def _type(about: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Say in words what an argument may be, from its JSON schema."""
    if "$ref" in about:
        return _type(schema["$defs"][about["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in about:
        return " or ".join(_type(each, schema) for each in about["anyOf"] if each.get("type") != "null")
    if "enum" in about:
        return "one of " + ", ".join(map(str, about["enum"]))
    if about.get("type") == "integer":
        return "whole number"
    if about.get("pattern") and len(about["pattern"]) <= 100:
        return f"text that matches `{about['pattern']}`".replace("|", "\\|")
    return "a unit's full name" if "service" in about.get("pattern", "") else "text"


def _bounds(field: FieldInfo) -> str:
    """Say a number's bounds, which the schema of an argument that came as a text does not hold."""
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    found = [(word, getattr(bound, sign, None)) for bound in field.metadata for sign, word in words.items()]
    return "".join(f" {word} {value}" for word, value in found if value is not None)


def _plan(plan: Plan, warrant: str | None) -> Iterator[str]:
    yield f"- **For example:** {_plain(plan.does)}; seen: {_plain(plan.precondition)}"
    yield f"- **Seen to be needed:** {_plain(warrant) if warrant else 'not in this example: a person has to want it'}"
    yield from _stage("Runs", plan.run)
    if plan.calls:
        calls = ", ".join(f"`{method}({unit})`" for method, unit in plan.calls)
        yield f"- **Without root:** {calls}"
    else:
        yield "- **Without root:** unavailable"
    yield f"- **Afterwards must hold:** {_plain(plan.post_check)}" + _hold(plan)
    for check in plan.checks:
        yield from _stage("Checked by", check)
    if plan.confirm is not None:
        yield from _stage("Made to last by", plan.confirm)
    if plan.revert is not None:
        yield from _stage("Taken back by", plan.revert)
    yield f"- **Taken back by hand:** {_plain(plan.undo)}"


def _hold(plan: Plan) -> str:
    if plan.hold_seconds is None:
        return ", for `executor.post_check_seconds`"
    return f", for {plan.hold_seconds:g} s" if plan.hold_seconds else ""


def _stage(title: str, stage: Stage) -> Iterator[str]:
    commands = " then ".join(f"`{_plain(shlex.join(argv))}`" for argv in stage.commands)
    reads = f", which reads `{_plain(' / '.join(stage.input.splitlines()))}`" if stage.input else ""
    yield f"- **{title}:** {commands or 'nothing'}{reads}; {_sandbox(stage.sandbox)}"


def _sandbox(sandbox: Sandbox) -> str:
    """Say in words what a unit may do beyond nothing at all."""
    said = [f"as {'a user of its own' if sandbox.user == 'dynamic' else sandbox.user or 'root'}"]
    said += [f"with {', '.join(sandbox.capabilities)}" if sandbox.capabilities else "without capabilities"]
    said += [f"may write {', '.join(sandbox.writable)}"] if sandbox.writable else []
    said += [f"may use {', '.join(sandbox.devices)}"] if sandbox.devices else []
    said += ["in the host's network" if sandbox.network else "without a network"]
    said += ["sees homes"] if sandbox.sees_home and not _in_a_home() else []
    said += ["sees all processes"] if sandbox.sees_processes else []
    said += [] if sandbox.own_mounts else ["in the host's own mounts"]
    said += ["reads the kernel's log"] if sandbox.kernel_logs else []
    said += [f"for {sandbox.seconds:g} s at most"] if sandbox.seconds is not None else []
    return ", ".join(said)


def _in_a_home() -> bool:
    """Tell whether this installation lies in a home: its own programs see homes then, which is none of the action's."""
    return any(place.startswith(("/home/", "/root/")) for place in (_PACKAGE, sys.executable))


def _risks(entry: type[AnyAction]) -> str:
    return ", ".join(risk.value for risk in entry.risks)


def _first(entry: type[AnyAction]) -> str:
    return _words(inspect.getdoc(entry)).partition(". ")[0].rstrip(".").replace("|", "\\|")


def _words(doc: str | None) -> str:
    return " ".join((doc or "").split()).replace("``", "`")


def _plain(text: str) -> str:
    """Return a text without where this installation and its Python lie."""
    return text.replace(_PACKAGE, "…/ai_sysadmin").replace(sys.executable or "\0", "python3")


if __name__ == "__main__":
    from ai_sysadmin.actions.catalogue import CATALOGUE

    Path(sys.argv[1]).write_text(page(CATALOGUE.values()))
