"""Nix as the build user uses it: a commit of the clone is evaluated and built, in pure mode, its lock file as it is."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pydantic import Field, ValidationError

from ai_sysadmin.actions.nixos.literals import nix
from ai_sysadmin.actions.nixos.results import SYSTEM, plain
from ai_sysadmin.core.errors import Refused, Unavailable
from ai_sysadmin.core.records import Record
from ai_sysadmin.runtime.commands import CommandMissing, CommandTimedOut, run

# what a flake says of Nix's own settings is not taken: among them are programs that Nix would start
NIX: Final = (
    "nix",
    *("--extra-experimental-features", "nix-command flakes"),
    *("--option", "accept-flake-config", "false"),
    *("--option", "warn-dirty", "false"),
)
LOCKED: Final = ("--no-write-lock-file", "--no-update-lock-file", "--no-use-registries")
_SYSTEM: Final = re.compile(SYSTEM)
_ERROR: Final = re.compile(r"^\s*error: (?P<text>.*)", re.DOTALL | re.MULTILINE)

# An option below a set of submodules is declared once for all names: its options are those of the set's elements. A set
# of plain values, and a submodule that takes what it does not declare, have one type for all names.
_LOOK: Final = """\
h:
let
  path = @path@;
  isOption = o: (o._type or "") == "option";
  isSet = o: builtins.elem (o.type.name or "") [ "attrsOf" "lazyAttrsOf" ];
  below = o: (o.type.getSubOptions or (_: { })) [ ];
  ofAll = o: (o.type.nestedTypes or { }).${if isSet o then "elemType" else "freeformType"} or null;
  free = o: p: if builtins.length p == 1 && ofAll o != null then { type = ofAll o; } else null;
  walk = o: p:
    if isOption o then
      if p == [ ] then o
      else if isSet o && builtins.attrNames (below o) == [ ] then free o p
      else if isSet o then walk (below o) (builtins.tail p)
      else let found = walk (below o) p; in if found == null then free o p else found
    else if p == [ ] then null
    else if o ? ${builtins.head p} then walk o.${builtins.head p} (builtins.tail p)
    else null;
  option = walk h.options path;
  value = builtins.foldl' (set: name: set.${name}) h.config path;
  shown = if builtins.elem (builtins.typeOf value) [ "int" "bool" "string" "null" ] then builtins.toJSON value
    else builtins.typeOf value;
in
if option == null then { exists = false; } else {
  exists = true;
  type = option.type.description or "";
  holds = value == @literal@;
  inherit shown;
  system = h.config.system.build.toplevel.outPath;
}
"""


class Evaluated(Record):
    """What a configuration says of one option. ``holds``: its value is the literal; ``system``: what it builds."""

    exists: bool
    type: str = ""
    holds: bool = False
    shown: str = ""
    system: str = Field(default="", max_length=300)


@dataclass(frozen=True)
class Nix:
    """Evaluates and builds one host of the clone's commits."""

    clone: Path
    attribute: str
    seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)

    async def look(self, ref: str, commit: str, path: tuple[str, ...], literal: str) -> Evaluated:
        """Return what a commit's configuration says of an option. Raises: Refused: it does not evaluate."""
        names = "[ " + " ".join(nix(name) for name in path) + " ]"
        look = _LOOK.replace("@path@", names).replace("@literal@", literal)
        said = await self._run("eval", *LOCKED, "--json", self._host(ref, commit), "--apply", look)
        try:
            return Evaluated.model_validate_json(said)
        except ValidationError as error:
            raise Unavailable("nix eval said something else than it was asked") from error

    async def system(self, ref: str, commit: str) -> str:
        """Return the store path of a commit's system, which need not be built. Raises: Refused, Unavailable."""
        return (await self._run("eval", *LOCKED, "--raw", f"{self._top(ref, commit)}.outPath")).strip()

    async def build(self, ref: str, commit: str, link: Path) -> str:
        """Build a commit's system and keep it by a link, a root of the garbage collector. Return its store path."""
        await self._run("build", *LOCKED, "--out-link", str(link), self._top(ref, commit))
        built = str(link.readlink())
        if not _SYSTEM.fullmatch(built):
            raise Refused(f"what was built is no NixOS system: {plain(built)}")
        return built

    async def evaluates(self, ref: str, commit: str) -> str:
        """Say whether a commit's system evaluates with what is at hand: nothing is fetched, nothing is built for it."""
        strict = ("--offline", "--option", "allow-import-from-derivation", "false")
        try:
            await self._run("eval", *LOCKED, *strict, "--raw", f"{self._top(ref, commit)}.drvPath")
        except Refused as refusal:
            return plain(str(refusal), 500)
        except Unavailable as error:
            return f"it was not evaluated: {plain(str(error), 400)}"
        return "it evaluates"

    async def parses(self, text: str) -> str | None:
        """Say why a text is no Nix; none: it is. Raises: Unavailable."""
        argv = ("nix-instantiate", "--parse", "-")
        try:
            done = await run(
                argv, timeout_seconds=self.seconds, input=text.encode(), env={**os.environ, **self.environment}
            )
        except (CommandMissing, CommandTimedOut) as error:
            raise Unavailable(str(error)) from error
        found = _ERROR.search(done.stderr)
        return plain(found["text"] if found else done.stderr, 300) if done.exit_status else None

    def _host(self, ref: str, commit: str) -> str:
        return f'git+file://{quote(str(self.clone))}?ref={ref}&rev={commit}#nixosConfigurations."{self.attribute}"'

    def _top(self, ref: str, commit: str) -> str:
        return f"{self._host(ref, commit)}.config.system.build.toplevel"

    async def _run(self, *arguments: str) -> str:
        environment = {**os.environ, **self.environment}
        try:
            done = await run((*NIX, *arguments), timeout_seconds=self.seconds, env=environment, cwd=self.clone.parent)
        except (CommandMissing, CommandTimedOut) as error:
            raise Unavailable(str(error)) from error
        if done.exit_status:
            found = _ERROR.search(done.stderr)
            said = plain(found["text"] if found else done.stderr[-800:], 500)
            raise Refused(f"the configuration does not {arguments[0]}: {said}")
        return done.stdout.decode(errors="replace")
