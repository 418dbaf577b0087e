"""The locked requirements: complete, hashed, and naming no index."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LOCKS = ("base", "build", "dev")


def locked(name: str) -> dict[str, str]:
    """Return each package of a lock file with its version."""
    text = (PROJECT / f"requirements/{name}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_a_hash_and_no_index_is_named(name: str):
    text = (PROJECT / f"requirements/{name}.txt").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert "--find-links" not in text


def test_the_tools_are_locked_beside_the_same_base():
    base, dev = locked("base"), locked("dev")
    assert base.items() <= dev.items()


def test_what_the_project_declares_is_locked():
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project, tools = declared["project"], declared["dependency-groups"]["dev"]
    for requirements, name in ((project["dependencies"], "base"), (tools, "dev"), (["hatchling"], "build")):
        names = {re.split(r"[<>=~! ;\[]", requirement)[0] for requirement in requirements}
        assert names <= set(locked(name))
