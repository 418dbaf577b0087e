"""Which rule a line hits, and what it then speaks of. Pure.

A rule is matched once, with the first line of a template; only the lines of a template that it named are matched
again, for the subject that they speak of.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from ai_sysadmin.core.noticing_settings import LogRule
from ai_sysadmin.core.symptom_kinds import SymptomKind
from ai_sysadmin.trigger_monitor.lines.log_rule import Believed, Rule
from ai_sysadmin.trigger_monitor.lines.log_rules import RULES

_NUMBERED = re.compile(r"(?<![\\{,\d])\d(?![\d,]*\})|\\d")


def of_operator(rule: LogRule) -> Rule:
    """Return an operator's rule: of the lines of the units it names, about those units."""
    return Rule(
        name=rule.name,
        kind=SymptomKind.LOG_RULE,
        opens=rule.opens,
        severity=rule.severity,
        why=rule.why or f"it matches the rule {rule.name}",
        hints=(),
        pattern=re.compile(rule.pattern, re.IGNORECASE),
        believed=Believed.ANYONE,
        speakers=(rule.unit,),
        by_line=bool(_NUMBERED.search(rule.pattern)),
    )


class RuleBook:
    """The table with the operator's rules before it; those of the same name replace the built-in ones."""

    def __init__(self, own: Iterable[LogRule] = ()) -> None:
        operators = [of_operator(each) for each in own]
        names = {each.name for each in operators}
        self._rules = (*operators, *(each for each in RULES if each.name not in names))
        self._by_name = {each.name: each for each in self._rules}

    def __getitem__(self, name: str) -> Rule:
        return self._by_name[name]

    def by_line(self, names: Sequence[str]) -> tuple[Rule, ...]:
        """Return the rules that have to see every line of a writer of these names."""
        return tuple(rule for rule in self._rules if rule.by_line and rule.is_of(*names))

    def match(self, message: str, names: Sequence[str], *, is_kernel: bool, is_anyone: bool = False) -> Rule | None:
        """Return the first rule that a message by a writer of these names hits.

        Args:
            is_kernel: the kernel wrote it.
            is_anyone: nothing is known of who wrote it, and a person vouches for the file: all rules are tried.
        """
        lowered = message.lower()
        for rule in self._rules:
            if rule.hints and not any(hint in lowered for hint in rule.hints):
                continue
            if (is_anyone or _is_believed(rule, names, is_kernel)) and rule.pattern.search(message):
                return rule
        return None


def _is_believed(rule: Rule, names: Sequence[str], is_kernel: bool) -> bool:
    if rule.believed is Believed.KERNEL:
        return is_kernel
    return rule.is_of(*names) and not (is_kernel and rule.believed is Believed.WRITER)


_PARTITION = re.compile(
    r"^(?P<disk>dm-\d+(?=-\d+$)|(?:nvme\d+n\d+|mmcblk\d+|md\w+?|nbd\d+)(?=p\d+(?:-\d+)?$)|(?:[shv]d|xvd)[a-z]+(?=\d+(?:-\d+)?$))"
)


def disk_of(device: str) -> str:
    """Return the disk that a device name is a partition of, or the name itself."""
    match = _PARTITION.match(device)
    return match["disk"] if match else device


def named(rule: Rule, message: str) -> dict[str, str]:
    """Return what a rule's pattern names in a message; the same name with underscores behind it is the same thing."""
    match = rule.pattern.search(message)
    if match is None:
        return {}
    found: dict[str, str] = {}
    for name, text in match.groupdict().items():
        if text:
            found.setdefault(name.rstrip("_"), disk_of(text) if name.startswith("disk") else text[:80])
    return found


_UNNAMED = {"disk ": "storage", "process ": "kernel", "pool ": "storage pool", "": "kernel"}


def about(rule: Rule, names: Mapping[str, str]) -> str:
    """Say what a hit is about where that is not its writer: ``disk sda``, ``kernel``; empty: its writer."""
    first, brace, rest = rule.about.partition("{")
    if not brace:
        return rule.about
    found = names.get(rest.rstrip("}"), "")
    return f"{first}{found}" if found else _UNNAMED.get(first, first.strip())
