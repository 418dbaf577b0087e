"""What all actions on the configuration's repository share: the build user, its sandbox, its command line."""

import re
from typing import Annotated, Final, Self, TypeVar

from pydantic import PrivateAttr, StringConstraints

from ai_sysadmin.actions.action import Action
from ai_sysadmin.actions.standalone import needs_home
from ai_sysadmin.core.acting import Sandbox
from ai_sysadmin.core.action_settings import NixosChanges
from ai_sysadmin.core.errors import Refused
from ai_sysadmin.core.records import Record
from ai_sysadmin.core.settings import Settings

Argv = tuple[str, ...]
IncidentId = Annotated[str, StringConstraints(pattern=r"^([0-9a-z][0-9a-z-]{0,23})?$")]
PROGRAM: Final = ("ai-sysadmin", "build-configuration")
_NETWORK: Final = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK")
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_Seen = TypeVar("_Seen", bound=Record)


class RepositoryAction(Action[_Seen]):
    """An action on the configuration's repository, which takes what it needs of the settings before it is asked."""

    _nixos: NixosChanges = PrivateAttr(default=NixosChanges())
    _host_name: str = PrivateAttr(default="")

    def refuse(self, settings: Settings) -> str | None:
        nixos = settings.actions.nixos
        if nixos.repository is None:
            return "actions.nixos.repository is not set: this host's configuration is nobody's to change"
        if not _HOST.fullmatch(nixos.attribute or settings.host_name):
            return f"{settings.host_name!r} can be no name below nixosConfigurations: set actions.nixos.attribute"
        return None

    def settle(self, settings: Settings) -> Self:
        settled = self.model_copy()
        settled._nixos = settings.actions.nixos  # noqa: SLF001 — its own class
        settled._host_name = settings.host_name  # noqa: SLF001
        return settled

    def job(self, verb: str, *arguments: str) -> Argv:
        """Return the build user's command; all that it needs stands in it, for people to read."""
        nixos = self._nixos
        if nixos.repository is None:
            raise Refused("actions.nixos.repository is not set")
        where = {
            "repository": str(nixos.repository),
            "branch": nixos.branch,
            "attribute": nixos.attribute or self._host_name,
            "changes-file": str(nixos.changes_file),
            "build-dir": str(nixos.build_dir),
            "push-remote": nixos.push_remote,
            "seconds": f"{nixos.build_seconds:g}",
        }
        return (*PROGRAM, verb, *(f"--{name}={value}" for name, value in where.items() if value), *arguments)

    def box(self, seconds: float, *, network: bool) -> Sandbox:
        nixos = self._nixos
        home = str(nixos.build_dir)
        return Sandbox(
            user=nixos.build_user,
            writable=(home,),
            network=network,
            families=_NETWORK if network else ("AF_UNIX",),
            sees_home=needs_home(home, str(nixos.repository)),
            environment=(f"HOME={home}", "NIX_REMOTE=daemon"),
            working_directory=home,
            seconds=seconds,
        )
