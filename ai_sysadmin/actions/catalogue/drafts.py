"""A free change of the NixOS configuration, left as a branch for people to read."""

import json
from typing import ClassVar, Final, Self

from pydantic import Field

from ai_sysadmin.actions.action import Host
from ai_sysadmin.actions.catalogue.repository import IncidentId, RepositoryAction
from ai_sysadmin.actions.nixos.diffs import MOST_BYTES, diff_fault
from ai_sysadmin.actions.nixos.results import draft_branch, plain
from ai_sysadmin.core.acting import Plan, Risk, Stage
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings

_SECONDS: Final = 600.0
_EXAMPLE: Final = "--- a/web.nix\n+++ b/web.nix\n@@ -1 +1 @@\n-{ }\n+{ services.nginx.enable = true; }\n"


class DraftSeen(Record):
    """Nothing of the host matters for a draft."""


class DraftConfiguration(RepositoryAction[DraftSeen]):
    """Write a free change of the NixOS configuration to a branch for people to read; nothing of it is ever activated.

    ``diff`` is a unified diff with the paths of the repository (a/…, b/…), as git makes them.
    """

    name: ClassVar[str] = "draft_configuration"
    seen: ClassVar[type[Record]] = DraftSeen
    risks: ClassVar[tuple[Risk, ...]] = (Risk.READ_ONLY,)
    needs: ClassVar[str] = "the diff applies to the configuration's branch and touches no secrets and no links"
    diff: str = Field(min_length=10, max_length=MOST_BYTES)
    title: str = Field(min_length=3, max_length=100)
    why: str = Field(default="", max_length=1000)
    incident: IncidentId = ""

    @classmethod
    def example(cls) -> tuple[Self, DraftSeen]:
        settings = Settings.model_validate({"host_name": "host", "actions": {"nixos": {"repository": "/etc/nixos"}}})
        given = {"diff": _EXAMPLE, "title": "Serve pages", "incident": "k7m3x9"}
        return cls.model_validate(given).settle(settings), DraftSeen()

    @property
    def subject(self) -> str:
        return "nixos-drafts"

    @property
    def branch(self) -> str:
        return draft_branch(self.diff, self.incident)

    def refuse(self, settings: Settings) -> str | None:
        return super().refuse(settings) or diff_fault(self.diff)

    async def observe(self, host: Host) -> DraftSeen:
        return DraftSeen()

    def risk(self, seen: DraftSeen) -> Risk:
        return Risk.READ_ONLY

    def obstacle(self, seen: DraftSeen) -> str | None:
        return None

    def warrant(self, seen: DraftSeen) -> str | None:
        return "it only writes a branch for people to read"

    def plan(self, seen: DraftSeen) -> Plan:
        wanted = {"diff": self.diff, "title": self.title, "why": self.why, "incident": self.incident}
        home, remote = self._nixos.build_dir, self._nixos.push_remote
        push = Stage(
            name="push",
            commands=(self.job("push", self.branch),),
            sandbox=self.box(_SECONDS, network=True),
        )
        return Plan(
            does=f"writes a proposed change to the branch {self.branch} of {home}/repository.git",
            # what a model wrote is evaluated where there is no network, so that it can carry nothing out
            run=Stage(
                name="run",
                commands=(self.job("draft"),),
                input=json.dumps(wanted, ensure_ascii=False),
                sandbox=self.box(_SECONDS, network=False),
            ),
            confirm=push if remote else None,
            precondition="nothing of the host matters",
            post_check="the branch is there; nothing is activated",
            undo=f"nothing is active; the branch goes with `git -C {home}/repository.git branch -D {self.branch}`",
            facts=(("diff, unverified", "\n".join(plain(line, 300) for line in self.diff.split("\n"))),),
        )

    def shortfall(self, before: DraftSeen, now: DraftSeen) -> str | None:
        return None
