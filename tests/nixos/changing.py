"""A configuration's repository, the stand-ins for Nix on the path, and the job of building a change of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ai_sysadmin.actions.nixos import changes_file
from ai_sysadmin.actions.nixos.building import Job

HERE = Path(__file__).parent
FILES = {
    "flake.nix": "{ outputs = _: { }; }\n",
    "system.nix": "{ lib }: lib.evalModules { modules = [ ./options.nix ./configuration.nix ./ai/changes.nix ]; }\n",
    "ai/changes.nix": "{ ... }: { }\n",
    "configuration.nix": "{ lib, ... }: {\n  services.web.enable = true;\n  services.web.fixed = lib.mkForce 1;\n}\n",
    "options.nix": """\
{ config, lib, ... }:
let
  option = type: default: lib.mkOption { inherit type default; };
  # what nixpkgs' own types say of what is below them, and the stand-in's do not
  ofAll = type: more: lib.types.attrsOf type // { name = "attrsOf"; } // more;
  ssl = option lib.types.bool false;
  site = lib.types.submodule { options = { inherit ssl; }; } // { getSubOptions = _: { inherit ssl; }; };
in {
  options.services.web = {
    enable = option lib.types.bool false;
    port = option lib.types.port 80;
    size = option lib.types.str "1m";
    fixed = option lib.types.int 0;
    sites = option (ofAll site { inherit (site) getSubOptions; }) { };
    numbers = option (ofAll lib.types.int { nestedTypes.elemType = lib.types.int; }) { };
  };
  options.system.build = lib.mkOption { type = lib.types.raw; };
  config.system.build.toplevel =
    let hash = builtins.hashString "sha256" (builtins.toJSON config.services);
        name = builtins.substring 0 32 (builtins.replaceStrings [ "e" ] [ "z" ] hash);
        path = kind: "/nix/store/${name}-nixos-system-h${kind}";
    in { outPath = path ""; drvPath = path ".drv"; };
}
""",
}


def git(repository: Path, *arguments: str, text: str | None = None) -> str:
    who = ("-c", "user.name=Alice", "-c", "user.email=alice@example.org", "-c", "init.defaultBranch=main")
    argv = ("git", *who, "-C", str(repository), *arguments)
    done = subprocess.run(argv, capture_output=True, text=True, input=text, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(repository: Path, **files: str) -> str:
    for name, text in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "by hand")
    return git(repository, "rev-parse", "HEAD").strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    repository = tmp_path / "configuration"
    repository.mkdir()
    git(repository, "init", "--quiet")
    commit(repository, **FILES)
    return repository


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-ins first on the path; return the file with what they were called with."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("nix", "nix-store"):
        script = programs / name
        script.write_text(f"#!{sys.executable} -S\n{(HERE / 'standin_nix.py').read_text()}")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("STANDIN_LIB", str(HERE / "lib.nix"))
    return tmp_path / "log"


@pytest.fixture
def job(tmp_path: Path, repository: Path, log: Path) -> Job:
    (tmp_path / "build").mkdir()
    (tmp_path / "current").symlink_to("/nix/store/" + "0" * 32 + "-nixos-system-before")
    return Job(
        repository=repository,
        branch="main",
        attribute="h",
        changes_file="ai/changes.nix",
        build_dir=tmp_path / "build",
        seconds=60,
        current_system=tmp_path / "current",
    )


def activate(job: Job, system: str) -> None:
    job.current_system.unlink()
    job.current_system.symlink_to(system)


def shown(job: Job, what: str) -> str:
    return git(job.build_dir / "repository.git", "show", what)


def literals(job: Job, branch: str) -> dict[str, str]:
    return dict(changes_file.parse(shown(job, f"{branch}:ai/changes.nix")))
