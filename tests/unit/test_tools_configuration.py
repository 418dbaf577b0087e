"""The operator's configuration: lines with file and number, and whether that is what runs."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ai_sysadmin.context.redact import Redactor
from ai_sysadmin.core.errors import NotFound, Refused, StoreUnavailable
from ai_sysadmin.core.knowledge import Document, DocumentKind, Found, Hit
from ai_sysadmin.sources.configuration_search import search
from ai_sysadmin.sources.configuration_state import RepositoryState, against_running, changed_files, state_of
from ai_sysadmin.sources.readable_files import ReadableFiles
from ai_sysadmin.tools.configuration import configuration_tools
from tests.builders import NOW
from tests.unit.test_changes_generations import store
from tests.unit.test_tools_nixos import COMMIT, ask, host

__all__ = ["host"]


class FixedSearch:
    def __init__(self, *found: Document, degraded: str = "", error: Exception | None = None) -> None:
        self.found, self.degraded, self.error = found, degraded, error

    async def search(self, query, kinds=(), limit=5) -> Found:
        if self.error:
            raise self.error
        assert kinds == [DocumentKind.CONFIGURATION]
        hits = tuple(Hit(document=each, score=1.0, by="vectors") for each in self.found)
        return Found(hits=hits, degraded=self.degraded)


def git(directory: Path, *words: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *settings, "-C", str(directory), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    base = tmp_path / "nixos"
    (base / "hosts").mkdir(parents=True)
    (base / "configuration.nix").write_text(
        '{\n  services.nginx = {\n    enable = true;\n  };\n  password = "hunter2-x";\n}\n'
    )
    (base / "hosts/web.nix").write_text("{\n  # nginx behind it\n  networking.firewall.allowedTCPPorts = [ 80 ];\n}\n")
    (base / "secrets").mkdir()
    (base / "secrets/db.nix").write_text("nginx secret\n")
    (base / "never.nix").write_text("services.nginx excluded\n")
    (base / "enc.yaml").write_text("nginx: ENC[AES256_GCM,data:xx]\nsops: {}\n")
    (base / "outside.nix").symlink_to("/etc/passwd")
    git(base, "init", "-q")
    git(base, "add", ".")
    git(base, "commit", "-q", "-m", "nginx on the web host")
    return base


async def looked(repository: Path | None, words: str, root: Path, knowledge: FixedSearch | None = None) -> str:
    files = ReadableFiles((), ["/**/never.nix"])
    tools = configuration_tools(repository, knowledge or FixedSearch(), files, Redactor(), root)
    return await ask(tools, "nixos_configuration", words=words)


async def test_lines_are_found_with_file_and_number(repository, tmp_path):
    text = await looked(repository, "services.nginx", tmp_path)
    assert "configuration.nix:2\n" in text
    assert "  > 2:   services.nginx = {" in text
    assert "    3:     enable = true;" in text
    assert "nginx on the web host" in text
    assert "an encrypted file" in text
    assert "2 x a file that is never read" in text
    assert "excluded" not in text
    assert "root:" not in text


async def test_words_may_stand_apart_and_what_is_not_there_is_said(repository, tmp_path):
    assert "hosts/web.nix:3\n" in await looked(repository, "firewall ports 80", tmp_path)
    assert "no line has 'quantum'" in await looked(repository, "quantum", tmp_path)
    assert "no line has 'hunter2'" in await looked(repository, "hunter2", tmp_path)  # not even by guessing


async def test_the_running_generation_is_compared_with_the_commit(repository, host):
    assert "DIFFERS from the running generation" in await looked(repository, "nginx", host.root)
    head = git(repository, "rev-parse", "HEAD")
    host.write(f"{store('system-path', '142')}/bin/nixos-version", f'{{"configurationRevision":"{head}"}}')
    assert f"built from exactly this: commit {head[:12]}" in await looked(repository, "nginx", host.root)
    (repository / "hosts/web.nix").write_text("{ nginx }\n")
    (repository / "added.nix").write_text("nginx\n")
    text = await looked(repository, "nginx", host.root)
    assert "2 files are changed and not committed (hosts/web.nix, added.nix)" in text
    assert "MAY DIFFER" in text
    assert "hosts/web.nix:1 (this file is changed and not committed)" in text


async def test_without_a_revision_times_are_compared(repository, host):
    host.write(f"{store('system-path', '142')}/bin/nixos-version", "nothing")
    text = await looked(repository, "nginx", host.root)
    assert "system.configurationRevision is not set" in text
    assert "WERE CHANGED SINCE" in text


async def test_without_git_the_commit_is_read_from_its_files(repository, tmp_path, monkeypatch):
    head = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    state = await state_of(repository)
    assert state.commit == head
    assert state.changed is None
    assert "there is no git here" in state.gap
    monkeypatch.undo()
    git(repository, "pack-refs", "--all")
    git(repository, "worktree", "add", "-q", str(tmp_path / "beside"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert (await state_of(repository)).commit == head
    assert (await state_of(tmp_path / "beside")).commit == head
    assert (await state_of(tmp_path)).commit == ""


async def test_git_starts_nothing_that_the_repository_names(repository, tmp_path):
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(trap))
    git(repository, "config", "core.pager", str(trap))
    git(repository, "config", "filter.trap.clean", str(trap))
    git(repository, "config", "filter.trap.process", str(trap))
    git(repository, "config", "diff.external", str(trap))
    (repository / ".git/info/attributes").write_text("* filter=trap\n")
    (repository / ".gitattributes").write_text("* filter=trap\n")
    for hook in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
        shutil.copy(trap, repository / f".git/hooks/{hook}")
    (repository / "configuration.nix").write_text("changed")
    state = await state_of(repository)
    assert state.changed == ("configuration.nix", ".gitattributes")
    assert not (tmp_path / "sprung").exists()


async def test_a_directory_within_a_repository_is_looked_at_alone(repository):
    (repository / "hosts/web.nix").write_text("changed")
    (repository / "configuration.nix").write_text("changed")
    (repository / ".git/info/exclude").write_text("*.log\n")
    (repository / "hosts/x.log").write_text("")
    state = await state_of(repository / "hosts")
    assert state.changed == ("web.nix",)
    assert state.subject == "nginx on the web host"
    assert not list((repository / ".git").glob("*.lock"))


async def test_a_repository_of_another_user_is_read(repository):
    if os.geteuid() != 0:
        pytest.skip("needs root to give files away")
    for each in (repository, repository / ".git", *repository.rglob("*")):
        os.chown(each, 12345, 12345, follow_symlinks=False)
    assert (await state_of(repository)).changed == ()


async def test_what_was_found_by_meaning_is_added_once(repository, tmp_path):
    def document(name: str, path: str, first: int, last: int) -> Document:
        facts = {"path": path, "first": str(first), "last": str(last)}
        return Document(
            kind=DocumentKind.CONFIGURATION,
            name=name,
            title=name,
            text="by meaning",
            source="/x",
            facts=facts,
            updated_at=NOW,
        )

    same, other = document("configuration.nix:1-6", "configuration.nix", 1, 6), document("b.nix:1-9", "b.nix", 1, 9)
    text = await looked(repository, "services.nginx", tmp_path, FixedSearch(same, other, degraded="full text only"))
    assert "configuration.nix:1-6" not in text
    assert "b.nix:1-9 (b.nix:1-9)\n    by meaning" in text
    assert "(full text only)" in text
    away = FixedSearch(error=StoreUnavailable("the database is away"))
    assert "the database is away" in await looked(repository, "services.nginx", tmp_path, away)


async def test_without_a_repository_the_setting_is_named(tmp_path):
    with pytest.raises(Refused, match=r"knowledge\.configuration_repository"):
        await looked(None, "nginx", tmp_path)
    with pytest.raises(NotFound, match=r"knowledge\.configuration_repository"):
        await looked(tmp_path / "nothing", "nginx", tmp_path)


def test_places_close_together_are_one(tmp_path):
    (tmp_path / "a.nix").write_text("\n".join("hit" if n in {3, 5, 20} else f"line {n}" for n in range(1, 30)))
    found = search(tmp_path, "hit")
    assert [(place.first, place.hits) for place in found.places] == [(1, (3, 5)), (18, (20,))]


@pytest.mark.parametrize(
    ("revision", "state", "says"),
    [
        ("", RepositoryState(COMMIT, changed=()), "records none"),
        ("dirty", RepositoryState(COMMIT, changed=()), "is not known: it says 'dirty'"),
        (COMMIT, RepositoryState(COMMIT, changed=()), "built from exactly this"),
        (COMMIT[:12], RepositoryState(COMMIT, changed=()), "built from exactly this"),
        (f"{COMMIT}-dirty", RepositoryState(COMMIT, changed=()), "built with uncommitted changes"),
        (COMMIT, RepositoryState(COMMIT, changed=("a.nix",)), "MAY DIFFER"),
        (COMMIT, RepositoryState("9" * 40, changed=()), "DIFFERS"),
        (COMMIT, RepositoryState(COMMIT, gap="not known (no git)"), "not known (no git)"),
        (COMMIT, RepositoryState(gap="its commit is not known (x)"), "its commit is not known (x)"),
    ],
)
def test_it_is_never_said_to_be_the_same_where_that_is_not_known(revision, state, says):
    said = against_running(state, revision, datetime(2026, 1, 1, tzinfo=UTC), 0.0)
    assert says in said
    assert ("exactly" in said) == ("exactly" in says)


def test_changed_files_are_named_as_they_are_now():
    assert changed_files("R  new name\0old name\0 M a.nix\0?? b\0") == ("new name", "a.nix", "b")
    assert changed_files("") == ()
