"""Breakers: how often something is done to a unit, and on the host, before a person is asked. Pure.

A rate that is reached asks a person; between two deeds on one subject nothing is asked, the next one waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final

from ai_sysadmin.core.clock import local
from ai_sysadmin.core.policy_settings import Breakers

_MOST_DOUBLINGS: Final = 32


@dataclass(frozen=True)
class Deed:
    """An action that was begun and changes something. ``alone``: nobody approved it.

    ``subject`` is what it was done to, by its true name; ``helped`` is none while it is under way, and where
    nobody knows.
    """

    name: str
    subject: str
    at: datetime
    alone: bool
    helped: bool | None


@dataclass(frozen=True)
class _Open:
    until: datetime
    why: str


def open_breaker(deeds: Sequence[Deed], name: str, subject: str, limits: Breakers, now: datetime) -> str | None:
    """Say which breaker keeps an action from running alone, and until when; none: no breaker is open.

    Args:
        deeds: what was begun, in any order. Rates count those of the last ``limits.within_seconds``.
        name: the action's name in the catalogue.
        subject: what it would be done to, by its true name.
    """
    within = timedelta(seconds=limits.within_seconds)
    ordered = sorted(deeds, key=lambda deed: deed.at)
    alone = [deed for deed in ordered if deed.alone and deed.at > now - within]
    alone_here = [deed for deed in alone if deed.subject == subject]
    span = f"within {_span(limits.within_seconds)}"
    per_unit, all_units = f"per_unit = {limits.per_unit}", f"all_units = {limits.all_units}"
    found = (
        _rate(alone_here, limits.per_unit, within, f"on {subject} {span} (policy.breakers.{per_unit})"),
        _rate(alone, limits.all_units, within, f"on this host {span} (policy.breakers.{all_units})"),
    )
    last = max((each for each in found if each and each.until > now), key=lambda each: each.until, default=None)
    return f"{last.why}; until {local(last.until)} a person decides over {name}" if last else None


def resting(deeds: Sequence[Deed], subject: str, limits: Breakers, now: datetime) -> str | None:
    """Say why the next deed on a subject waits, where it runs alone, and until when; none: it need not.

    Args:
        deeds: what was begun, in any order: how often in a row something did not help is counted over all of it.
        subject: what it would be done to, by its true name.
    """
    here = sorted((deed for deed in deeds if deed.subject == subject), key=lambda deed: deed.at)
    last = _back_off(here, limits)
    return f"{last.why}; it waits until {local(last.until)}" if last and last.until > now else None


def _rate(alone: Sequence[Deed], most: int, within: timedelta, where: str) -> _Open | None:
    """Return the breaker of a rate: open until fewer are left than may be."""
    if len(alone) < most:
        return None
    return _Open(alone[-most].at + within, f"{_times(len(alone))} something was done alone {where}")


def _back_off(deeds: Sequence[Deed], limits: Breakers) -> _Open | None:
    """Return the breaker that keeps two deeds on one subject apart, longer with each in a row that did not help.

    What may have helped, but nobody knows, did not: not knowing is no good news.
    """
    if not deeds:
        return None
    vain = len(list(takewhile(lambda deed: not deed.helped, reversed(deeds))))
    seconds = min(limits.back_off_seconds * 2 ** min(vain, _MOST_DOUBLINGS), limits.within_seconds)
    last = deeds[-1]
    vainly = {0: "", 1: ", and that did not help"}.get(vain, f", and the last {vain} times did not help")
    setting = f"policy.breakers.back_off_seconds = {limits.back_off_seconds:g}"
    why = f"{last.subject} was last acted on at {local(last.at)} ({last.name}){vainly} ({setting})"
    return _Open(last.at + timedelta(seconds=seconds), why)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 120 else f"{seconds:g} s"
