"""A change of the configuration: committed, evaluated, built. Git and Nix's evaluator are real; ``nix`` is stood in."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from ai_sysadmin.actions.nixos import building, changes_file
from ai_sysadmin.actions.nixos.building import Job, build
from ai_sysadmin.actions.nixos.git import change
from ai_sysadmin.actions.nixos.results import SYSTEM, as_line, last_line
from ai_sysadmin.core.errors import Refused, Unavailable
from tests.nixos.changing import FILES, activate, commit, git, literals, shown


async def base_system(job: Job) -> str:
    """Return what the branch builds without any change."""
    with change(job.build_dir, job.repository) as clone:
        tip = await building.fetched(clone, job)
        return await job.nix(clone).system(f"refs/ai-sysadmin/base/{job.branch}", tip)


async def test_an_option_is_set_on_the_incidents_branch_and_built(job: Job):
    activate(job, await base_system(job))
    built = last_line(building.Built, "fetching …\n" + as_line(await build(job, "services.web.port", 8080, "k7m3x9")))
    assert (built.option, built.literal, built.type) == ("services.web.port", "8080", "16-bit unsigned integer (port)")
    assert built.branch == "ai-sysadmin/k7m3x9"
    assert shown(job, f"{built.branch}:ai/changes.nix").splitlines()[1:] == [
        *("{ ... }: {", "  services.web.port = 8080;", "}")
    ]
    assert "services.web.port = 8080\n" in shown(job, built.commit)
    assert "k7m3x9" in shown(job, built.commit)
    assert re.fullmatch(SYSTEM, built.store_path)
    assert (built.running, built.alone) == (str(job.current_system.readlink()), True)
    assert (job.build_dir / "roots" / built.commit).readlink() == Path(built.store_path)
    assert (job.repository / "ai/changes.nix").read_text() == "{ ... }: { }\n", "the operator's own tree is not touched"


async def test_a_configuration_that_changed_since_is_told(job: Job):
    activate(job, await base_system(job))
    commit(job.repository, **{"configuration.nix": '{ services.web.size = "2m"; }\n'})
    assert not (await build(job, "services.web.port", 8080, "k7m3x9")).alone


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("services.web.prot", 8080, "no option of this configuration"),
        ("services.wbe.port", 8080, "no option of this configuration"),
        ("services.web", True, "no option of this configuration"),
        ("services.web.port.high", 1, "no option of this configuration"),
        ('services.web.sites."a.example".tls', True, "no option of this configuration"),
        ('services.web.sites."a.example"', True, "no option of this configuration"),
        ("services.web.numbers.a.b", 1, "no option of this configuration"),
        ("services.web.port", 70000, "is not of type"),
        ("services.web.port", "80", "is not of type"),
        ("services.web.fixed", 2, "would be 1, not 2"),
        ("services.web.enable", False, "conflicting definitions"),
    ],
)
async def test_what_the_configuration_does_not_take_is_refused(job: Job, option, value, said):
    with pytest.raises(Refused, match=said):
        await build(job, option, value, "k7m3x9")
    assert not (job.build_dir / "roots").exists()


@pytest.mark.parametrize(
    ("option", "value"), [('services.web.sites."a.example".ssl', True), ("services.web.numbers.a-b", 7)]
)
async def test_an_option_below_a_set_of_names_is_known(job: Job, option, value):
    assert (await build(job, option, value, "k7m3x9")).option == option


async def test_what_stands_there_already_is_no_change(job: Job):
    commit(job.repository, **{"ai/changes.nix": changes_file.render({"services.web.port": "8080"})})
    with pytest.raises(Refused, match="already"):
        await build(job, "services.web.port", 8080, "k7m3x9")


async def test_the_same_incident_again_replaces_its_branch(job: Job):
    first = await build(job, "services.web.port", 8080, "k7m3x9")
    second = await build(job, "services.web.port", 9090, "k7m3x9")
    assert first.branch == second.branch
    assert first.store_path != second.store_path
    assert literals(job, second.branch) == {"services.web.port": "9090"}
    again = await build(job, "services.web.port", 9090, "k7m3x9")
    assert again.store_path == second.store_path


async def test_what_is_active_for_another_incident_stays_set(job: Job):
    activate(job, await base_system(job))
    first = await build(job, "services.web.port", 8080, "k7m3x9")
    activate(job, first.store_path)
    second = await build(job, "services.web.size", "9m", "p2q4r6")
    assert literals(job, second.branch) == {"services.web.port": "8080", "services.web.size": '"9m"'}
    assert (second.alone, second.carried) == (True, ())
    commit(job.repository, README="a person goes on\n")
    third = await build(job, "services.web.size", "8m", "p2q4r7")
    assert literals(job, third.branch) == {"services.web.port": "8080", "services.web.size": '"8m"'}
    assert (third.alone, third.carried) == (True, ("services.web.port",))


async def test_a_change_that_was_never_activated_is_not_carried_on(job: Job):
    await build(job, "services.web.port", 8080, "k7m3x9")
    second = await build(job, "services.web.size", "9m", "p2q4r6")
    assert literals(job, second.branch) == {"services.web.size": '"9m"'}


async def test_two_incidents_at_once_do_not_meet(job: Job):
    changes = {f"inc-{number}": 8000 + number for number in range(4)}
    built = await asyncio.gather(*(build(job, "services.web.port", port, name) for name, port in changes.items()))
    assert len({each.store_path for each in built}) == len(changes)
    for each, port in zip(built, changes.values(), strict=True):
        assert literals(job, each.branch) == {"services.web.port": str(port)}


async def test_only_the_newest_builds_are_kept(job: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(building, "KEPT", 2)
    built = [await build(job, "services.web.port", 8000 + number, f"inc-{number}") for number in range(4)]
    assert {link.name for link in (job.build_dir / "roots").iterdir()} == {each.commit for each in built[-2:]}


async def test_nix_takes_nothing_from_the_flake_but_its_outputs(job: Job, log: Path):
    await build(job, "services.web.port", 8080, "k7m3x9")
    for line in log.read_text().splitlines():
        _, *argv, home = json.loads(line)
        joined = " ".join(argv)
        assert "--option accept-flake-config false" in joined
        assert "--no-write-lock-file --no-update-lock-file" in joined
        assert "--impure" not in joined
        assert home == str(job.build_dir)


@pytest.mark.parametrize("incident", ["../main", "a b", "UP", "-x/../..", "x" * 60, "a\n"])
async def test_an_incident_that_is_none_names_no_branch(job: Job, incident):
    with pytest.raises(Refused):
        await build(job, "services.web.port", 8080, incident)


# --- a repository that means harm


def trap(tmp_path: Path) -> tuple[Path, Path]:
    """Return a script and the file that it makes where anybody runs it."""
    sprung, script = tmp_path / "sprung", tmp_path / "trap"
    script.write_text(f'#!/bin/sh\necho "$0" >> {sprung}\ncat\n')
    script.chmod(0o755)
    return script, sprung


async def test_no_hook_no_filter_and_no_setting_of_the_repository_is_run(job: Job, tmp_path: Path):
    script, sprung = trap(tmp_path)
    commit(
        job.repository,
        **{
            ".gitattributes": "* filter=trap diff=trap\n*.nix merge=trap\n",
            ".gitmodules": f'[submodule "x"]\n\tpath = x\n\turl = {tmp_path}/x\n\tupdate = !{script}\n',
        },
    )
    for name in (
        "post-checkout",
        "reference-transaction",
        "post-commit",
        "pre-commit",
        "post-index-change",
        "pre-push",
    ):
        (job.repository / ".git/hooks" / name).symlink_to(script)
    for key in ("filter.trap.smudge", "filter.trap.clean", "diff.trap.textconv", "core.fsmonitor", "core.sshCommand"):
        git(job.repository, "config", key, str(script))
    git(job.repository, "config", "uploadpack.packObjectsHook", str(script))
    await build(job, "services.web.port", 8080, "k7m3x9")
    for name in ("post-checkout", "reference-transaction", "update"):
        (job.build_dir / "repository.git/hooks").mkdir(exist_ok=True)
        (job.build_dir / "repository.git/hooks" / name).symlink_to(script)
    await build(job, "services.web.port", 8081, "k7m3x9")
    assert not sprung.exists()


async def test_a_file_of_changes_that_is_a_link_is_not_followed(job: Job, tmp_path: Path):
    aim = tmp_path / "passwd"
    aim.write_text("{ ... }: { }\n")
    (job.repository / "ai/changes.nix").unlink()
    (job.repository / "ai/changes.nix").symlink_to(aim)
    commit(job.repository)
    with pytest.raises(Refused, match="link"):
        await build(job, "services.web.port", 8080, "k7m3x9")
    assert aim.read_text() == "{ ... }: { }\n"


async def test_a_directory_of_the_file_that_is_a_link_is_not_followed(job: Job, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (job.repository / "ai/changes.nix").unlink()
    (job.repository / "ai").rmdir()
    (job.repository / "ai").symlink_to(outside)
    commit(job.repository)
    with pytest.raises(Refused, match="cannot be a file of this repository"):
        await build(job, "services.web.port", 8080, "k7m3x9")
    assert not list(outside.iterdir())


async def test_a_file_of_changes_with_code_in_it_is_left_alone(job: Job):
    commit(
        job.repository, **{"ai/changes.nix": "{ ... }: {\n  services.web.size = builtins.readFile /etc/passwd;\n}\n"}
    )
    with pytest.raises(Refused, match="no option = literal"):
        await build(job, "services.web.port", 8080, "k7m3x9")


async def test_a_branch_that_moves_meanwhile_changes_nothing(job: Job, monkeypatch: pytest.MonkeyPatch):
    look = building.Nix.look

    async def moved(self, ref, found, path, literal):
        commit(job.repository, **{"configuration.nix": "{ services.web.port = 1; }\n"})
        git(job.build_dir / "repository.git", "update-ref", "refs/heads/ai-sysadmin/k7m3x9", found + "^")
        return await look(self, ref, found, path, literal)

    monkeypatch.setattr(building.Nix, "look", moved)
    built = await build(job, "services.web.port", 8080, "k7m3x9")
    assert shown(job, f"{built.commit}:configuration.nix") == FILES["configuration.nix"]


async def test_a_repository_that_is_not_there_is_said(job: Job, tmp_path: Path):
    with pytest.raises(Refused, match=r"branch main of .* cannot be fetched"):
        await build(job.model_copy(update={"repository": tmp_path / "none"}), "services.web.port", 8080, "k7m3x9")
    with pytest.raises(Refused, match=r"branch other of .* cannot be fetched"):
        await build(job.model_copy(update={"branch": "other"}), "services.web.port", 8080, "k7m3x9")


async def test_nix_that_is_missing_is_said(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "only").mkdir()
    (tmp_path / "only/git").symlink_to("/usr/bin/git")
    monkeypatch.setenv("PATH", str(tmp_path / "only"))
    with pytest.raises(Unavailable, match="there is no nix"):
        await build(job, "services.web.port", 8080, "k7m3x9")
