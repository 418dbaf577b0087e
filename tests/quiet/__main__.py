"""Run layer 1 through simulated weeks and print what it came to, day by day.

``python -m tests.quiet [--profile server] [--seed 1] [--days 7] [--scale 1.0] [--faults]``
"""

import argparse
import logging
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from tests.quiet.days import faults
from tests.quiet.harness import Week, week
from tests.quiet.plan import Profile

FAULTS = {
    "server": faults(
        ("unit-fails", 1, 10.2, "gitea.service"),
        ("start-limit", 1, 13.3, "mosquitto.service"),
        ("disk-error", 1, 16.4, ""),
        ("out-of-memory", 2, 9.3, "jellyfin.service"),
        ("unit-crashes", 2, 11.6, "syncthing.service"),
        ("error-burst", 2, 17.8, "mysql.service"),
    ),
    "desktop": faults(
        ("unit-fails", 1, 9.5, "cups.service"),
        ("disk-error", 1, 14.1, ""),
        ("out-of-memory", 2, 11.0, "libvirtd.service"),
        ("error-burst", 2, 15.0, "avahi-daemon.service"),
    ),
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.quiet", description=__doc__)
    parser.add_argument("--profile", choices=("server", "desktop"), help="by default both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--faults", action="store_true", help="put real faults into the first two days")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    profiles: tuple[Profile, ...] = (given.profile,) if given.profile else ("server", "desktop")
    for profile in profiles:
        began = time.perf_counter()
        wrong = FAULTS[profile] if given.faults else ()
        with tempfile.TemporaryDirectory() as folder:
            found = week(Path(folder) / "state.db", profile, given.seed, given.scale, wrong, given.days)
        print(f"\n{profile}, seed {given.seed}, scale {given.scale:g}: {time.perf_counter() - began:.0f} s")
        show(found)


def show(found: Week) -> None:
    """Print each day: entries, templates first seen, triggers by kind, incidents. The first day is the history."""
    for day in sorted(found.entries):
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found.triggers.get(day, {}).items()))
        print(f"{day:%a %d}  {found.entries[day]:6} entries  {found.templates.get(day, 0):4} new templates  {kinds}")
        for each in found.incidents:
            if each.opened_at.date() == day:
                print(f"        {each.opened_at:%H:%M:%S}  {each.kind.value}  {each.subject}: {each.title}")
    for kind, title in found.of_unrest():
        print(f"    opened in a {kind}: {title}")
    total, days = len(found.incidents), max(1, len(found.entries) - 1)
    print(f"{total} incidents in {days} days, {timedelta(days=days) / total if total else 'none'} between them")


if __name__ == "__main__":
    main()
