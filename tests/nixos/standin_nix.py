"""Stands in for ``nix`` and ``nix-store``, where neither nixpkgs nor a store is at hand.

A commit of the clone is evaluated by the real ``nix-instantiate`` with the stand-in for nixpkgs' ``lib``; building
makes the link that Nix would make, to a path that is a hash of the configuration, and nothing else. Not stood in:
fetching of inputs, the lock file, derivations, substitutes, the sandbox. What it was called with goes to
``$STANDIN_LOG``.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

REF = re.compile(
    r'git\+file://(?P<clone>[^?]+)\?ref=(?P<ref>[^&]+)&rev=(?P<rev>[0-9a-f]{40})#nixosConfigurations\."(?P<host>[^"]+)"'
    r"(?P<rest>.*)"
)


def main() -> None:
    arguments = sys.argv[1:]
    with Path(os.environ["STANDIN_LOG"]).open("a") as log:
        log.write(json.dumps([Path(sys.argv[0]).name, *arguments, str(os.environ.get("HOME"))]) + "\n")
    if Path(sys.argv[0]).name == "nix-store":
        sys.exit(0 if arguments[1] in os.environ.get("STANDIN_VALID", "") else 1)
    if "diff-closures" in arguments:
        print("\x1b[1mnginx\x1b[0m: 1.26.1 → 1.26.2, \x1b[31;1m+12.3 KiB\x1b[0m")
        return
    found = next(filter(None, map(REF.fullmatch, arguments)))
    assert_ref(found)
    with tempfile.TemporaryDirectory() as checkout:
        archive = git(found, "archive", found["rev"])
        subprocess.run(("tar", "-x", "-C", checkout), input=archive, check=True)
        if "build" in arguments:
            link = Path(arguments[arguments.index("--out-link") + 1])
            link.unlink(missing_ok=True)
            link.symlink_to(evaluate(checkout, f"h: h{found['rest']}.outPath"))
        elif "--raw" in arguments:
            print(evaluate(checkout, f"h: h{found['rest']}"), end="")
        else:
            print(json.dumps(evaluate(checkout, arguments[arguments.index("--apply") + 1])))


def assert_ref(found: re.Match[str]) -> None:
    """Fail as Nix does where the commit is not one of the ref's."""
    tip = git(found, "rev-parse", found["ref"]).decode().strip()
    if git(found, "rev-list", "-n", "1", found["rev"], f"^{tip}").strip():
        sys.exit(f"error: Cannot find Git revision '{found['rev']}' in ref '{found['ref']}'")


def git(found: re.Match[str], *arguments: str) -> bytes:
    argv = ("git", f"--git-dir={unquote(found['clone'])}", *arguments)
    return subprocess.run(argv, capture_output=True, check=True).stdout


def evaluate(checkout: str, apply: str) -> object:
    lib = os.environ["STANDIN_LIB"]
    source = f"({apply}) (import {checkout}/system.nix {{ lib = import {lib}; }})"
    argv = ("nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json", "-")
    done = subprocess.run(argv, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        sys.exit(1)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
