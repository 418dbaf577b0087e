"""A free change of the configuration: a branch that people can read, or nothing at all; and what is pushed."""

import json
from pathlib import Path

import pytest

from ai_sysadmin.actions.nixos import drafting
from ai_sysadmin.actions.nixos.building import Job, build
from ai_sysadmin.actions.nixos.drafting import Draft, draft, push
from ai_sysadmin.core.errors import Refused
from tests.nixos.changing import commit, git, shown

GOOD = """\
--- a/configuration.nix
+++ b/configuration.nix
@@ -1,4 +1,5 @@
 { lib, ... }: {
   services.web.enable = true;
+  services.web.port = 81;
   services.web.fixed = lib.mkForce 1;
 }
"""


def new_file(name: str, mode: str = "100644", line: str = "{ }") -> str:
    return f"diff --git a/{name} b/{name}\nnew file mode {mode}\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+{line}\n"


def drafted(diff: str, **more: str) -> Draft:
    return Draft(**{"diff": diff, "title": "Another port", "why": "80 is taken", "incident": "k7m3x9", **more})


async def test_a_free_change_becomes_a_branch_that_people_can_read(job: Job, log: Path):
    found = await draft(job, drafted(GOOD, why="because \x1b[31m\nSigned-off-by: root", title="Port\n\nIncident: none"))
    message = git(job.build_dir / "repository.git", "log", "-1", "--format=%B", found.branch)
    assert message.splitlines()[0] == "Proposal: Port Incident: none"
    assert "\n    because Signed-off-by: root" in message
    assert "k7m3x9" in message
    assert "services.web.port = 81;" in shown(job, f"{found.branch}:configuration.nix")
    assert found.evaluates == "it evaluates"
    assert "configuration.nix" in found.stat[0]
    assert found.look.endswith(found.branch)
    (argv,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"--offline", "allow-import-from-derivation", "--no-update-lock-file"} <= set(argv)
    assert "build" not in argv


@pytest.mark.parametrize(
    ("diff", "said"),
    [
        (GOOD.replace("= 81;", "= ;"), "is no Nix"),
        (GOOD.replace("= 81;", "= 70000;"), "does not eval"),
    ],
)
async def test_whether_it_evaluates_is_said(job: Job, diff, said):
    assert said in (await draft(job, drafted(diff))).evaluates


async def test_without_nix_the_branch_is_there_all_the_same(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "only").mkdir()
    for name in ("git",):
        (tmp_path / "only" / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "only"))
    assert "not evaluated" in (await draft(job, drafted(GOOD))).evaluates


LINK = new_file("x", "120000", "/etc/passwd")


@pytest.mark.parametrize(
    "diff",
    [
        LINK,
        new_file("sub", "160000", "Subproject commit " + "a" * 40),
        new_file("../outside.nix"),
        new_file("/etc/outside.nix"),
        new_file(".git/hooks/post-checkout", "100755"),
        new_file(".GIT/config"),
        new_file("a/.git/config"),
        new_file(".gitattributes"),
        new_file(".gitmodules"),
        new_file("secrets/x.nix"),
        new_file("hosts/tls.key"),
        new_file("wifi-password.txt"),
        new_file("a.age"),
        GOOD.replace("= true", "= false"),
        GOOD.replace("configuration.nix", "none.nix"),
        "--- a/l\n+++ b/l\n@@ -1 +1 @@\n-configuration.nix\n\\ No newline at end of file\n+/etc/passwd\n",
        "diff --git a/x b/x\nnew file mode 100644\nGIT binary patch\nliteral 1\nIc${NkU\n\n" + GOOD,
        "diff --git a/s b/s\ndeleted file mode 120000\n" + GOOD,
        GOOD + "\x1b[2J",
        "no diff at all",
        GOOD + "#" * 13000,
    ],
)
async def test_what_a_draft_may_not_do_is_refused_and_leaves_no_branch(job: Job, diff, tmp_path: Path):
    (job.repository / "l").symlink_to("configuration.nix")
    commit(job.repository)
    with pytest.raises(Refused):
        await draft(job, drafted(diff))
    assert not (tmp_path / "outside.nix").exists()
    if (job.build_dir / "repository.git").exists():
        assert "draft" not in git(job.build_dir / "repository.git", "for-each-ref")


async def test_a_diff_that_hides_a_link_is_found_by_what_it_makes(job: Job):
    """The mode is said in another way than the first look knows."""
    with pytest.raises(Refused, match="link"):
        await draft(job, drafted(LINK.replace("new file mode 120000", "new file mode  120000").replace("  ", " 0")))


async def test_drafts_do_not_pile_up(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drafting, "KEPT", 2)
    for number in range(4):
        await draft(job, drafted(new_file(f"n{number}.nix")))
    assert len(git(job.build_dir / "repository.git", "for-each-ref", "refs/heads").splitlines()) == 2


# --- pushing


async def test_branches_are_pushed_only_where_that_is_configured(job: Job, tmp_path: Path):
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    git(job.repository, "remote", "add", "forge", str(remote))
    await build(job, "services.web.port", 8080, "k7m3x9")
    assert not git(remote, "for-each-ref")
    pushing = job.model_copy(update={"push_remote": "forge"})
    built = await build(pushing, "services.web.port", 8081, "k7m3x9")
    assert built.pushed == "pushed to forge"
    found = await draft(pushing, drafted(GOOD))
    assert await push(pushing, found.branch) == "pushed to forge"
    assert {line.split("\t")[1] for line in git(remote, "for-each-ref").splitlines()} == {
        *(f"refs/heads/{built.branch}", f"refs/heads/{found.branch}")
    }


@pytest.mark.parametrize(
    "address", ["ext::sh -c 'touch SPRUNG'", "--upload-pack=touch", "fd::3", "git://example.org/x"]
)
async def test_no_other_address_is_pushed_to(job: Job, address, tmp_path: Path):
    git(job.repository, "config", "remote.forge.url", address.replace("SPRUNG", str(tmp_path / "sprung")))
    built = await build(job.model_copy(update={"push_remote": "forge"}), "services.web.port", 8080, "k7m3x9")
    assert built.pushed.startswith("not pushed")
    assert not (tmp_path / "sprung").exists()
