"""The flake, checked with the stand-in for nixpkgs in a store of its own: nothing is built and nothing is fetched."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


class Flake:
    def __init__(self, directory: Path) -> None:
        self.source = directory / "source"
        self.store = directory / "store"
        self.stand_in = directory / "nixpkgs"
        self.environment = {**os.environ, "HOME": str(directory), "XDG_CACHE_HOME": str(directory / "cache")}
        self.source.mkdir()
        for name in ("flake.nix", "module.nix", "pyproject.toml"):
            shutil.copy(PROJECT / name, self.source / name)
        shutil.copytree(PROJECT / "nixos", self.source / "nixos")
        shutil.copytree(PROJECT / "tests/nixos", self.stand_in, ignore=shutil.ignore_patterns("*.py", "__pycache__"))

    def nix(self, *command: str) -> subprocess.CompletedProcess[str]:
        argv = ["nix", "--extra-experimental-features", "nix-command flakes", "--store", str(self.store), *command]
        argv += ["--offline", "--no-write-lock-file", "--override-input", "nixpkgs", f"path:{self.stand_in}"]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def check(self) -> subprocess.CompletedProcess[str]:
        return self.nix("flake", "check", "--no-build", f"path:{self.source}")


@pytest.fixture
def flake(tmp_path: Path) -> Flake:
    return Flake(tmp_path)


def test_every_output_evaluates(flake: Flake):
    done = flake.check()
    assert done.returncode == 0, done.stderr


def test_the_outputs_are_those_that_are_promised(flake: Flake):
    done = flake.nix("flake", "show", "--json", f"path:{flake.source}")
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)
    assert {"nixosModules", "overlays", "packages", "apps", "devShells", "checks"} <= set(outputs)
    for system in ("x86_64-linux", "aarch64-linux"):
        assert set(outputs["checks"][system]) == {"package", "settings", "units"}


@pytest.mark.parametrize(("right", "wrong"), [("pkgs.ruff", "pkgs.rough"), ("sysadmin.operators", "sysadmin.operator")])
def test_a_mistake_in_an_output_is_noticed(flake: Flake, right: str, wrong: str):
    text = flake.source / "flake.nix"
    text.write_text(text.read_text().replace(right, wrong))
    assert flake.check().returncode != 0


def test_the_package_has_every_dependency_of_the_project():
    project = (PROJECT / "pyproject.toml").read_text()
    declared = project.partition("dependencies = [")[2].partition("]")[0]
    reader = project.partition("journal = [")[2].partition("]")[0]
    lines = [*declared.strip().splitlines(), reader]
    names = {line.strip(' ",').partition(">=")[0] for line in lines}
    # nixpkgs has psycopg's extras as packages of their own, and its C library is always there
    assert 'postgres = ["psycopg[binary,pool]>=' in project
    names |= {"psycopg", "psycopg-pool"}
    packaged = (PROJECT / "nixos/dependencies.nix").read_text().partition("with python; [")[2].partition("]")[0].split()
    assert set(packaged) == names
