"""What an option is set to: values go into Nix as they are, and come out the same."""

import json
import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_sysadmin.actions.nixos import changes_file
from ai_sysadmin.actions.nixos.literals import attributes, is_literal, misfit, nix, scalar
from ai_sysadmin.core.action_settings import AllowedOption
from ai_sysadmin.core.errors import Refused

NASTY = st.sampled_from(
    ["${", "$${", "$", "\\", '"', "''", "\n", "\r\n", "\r", "\t", "{", "}", ";", "#", "/*", "\x85", "\x1b"]
)
TEXTS = st.lists(NASTY | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)).map(
    "".join
)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS


def evaluated(source: str) -> object:
    """Evaluate a text with the real Nix."""
    if not shutil.which("nix-instantiate"):
        reason = "nix-instantiate not found: on Debian, apt-get install nix-bin"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    argv = ("nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json", "-")
    done = subprocess.run(argv, input=source.encode(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SCALARS, min_size=20, max_size=120))
def test_what_goes_into_nix_comes_out(values):
    literals = {f"a.v{number}": nix(value) for number, value in enumerate(values)}
    found = evaluated(f"({changes_file.render(literals)}) {{ }}")["a"]
    assert [found[f"v{number}"] for number in range(len(values))] == values
    assert [type(found[f"v{number}"]) for number in range(len(values))] == [type(value) for value in values]


@given(SCALARS)
def test_a_literal_is_one_line_and_known_as_one(value):
    literal = nix(value)
    assert is_literal(literal)
    assert "\n" not in literal
    assert "\r" not in literal


@given(st.dictionaries(st.sampled_from(["a.b", "a.c", 'x."y.z".w', "b.a"]), SCALARS.map(nix)))
def test_the_file_of_changes_is_read_as_it_is_written(literals):
    assert changes_file.parse(changes_file.render(literals)) == literals


@given(SCALARS)
def test_json_is_read_as_json(value):
    assert scalar(json.dumps(value)) == value
    assert type(scalar(json.dumps(value))) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "nginx", "10m", "'a'", "True", "null", "[1]", '{"a": 1}', "1.5", "1e3", "NaN", "Infinity", "--", "true;"),
        *(str(2**63), str(-(2**63) - 1), '"\\u0000"', '"\\ud800"', '"a" "b"', '"a\nb"', "[" * 5000, "9" * 5000),
        json.dumps("a" * 2001),
    ],
)
def test_other_values_are_refused(text):
    with pytest.raises(Refused):
        scalar(text)


@pytest.mark.parametrize(
    "text",
    [
        *('"${builtins.readFile /etc/passwd}"', '"a" + "b"', '"a"; b = "c"', "import ./x.nix", "[ 1 ]", "{ }", "null"),
        *('"\\${" + x', '"$${a}"', '"unclosed', "1; b = 2", "''a''", "./x", "<nixpkgs>", "- 1", "9" * 20, '"a\nb"'),
    ],
)
def test_code_is_no_literal(text):
    assert not is_literal(text)


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("services.nginx.enable", ("services", "nginx", "enable")),
        (
            'services.nginx.virtualHosts."a.example".forceSSL',
            ("services", "nginx", "virtualHosts", "a.example", "forceSSL"),
        ),
        ('boot.kernel.sysctl."net.ipv4.tcp_rmem"', ("boot", "kernel", "sysctl", "net.ipv4.tcp_rmem")),
        ("a.b'c", ("a", "b'c")),
    ],
)
def test_the_path_of_an_option(option, names):
    assert attributes(option) == names


@pytest.mark.parametrize(
    "option",
    ["", ".", "a.", ".a", "a..b", "a b", "a.${b}", 'a."${b}"', 'a."b', "a.b; c", "a.1b", 'a."b"c', "a\n.b", "a = b"],
)
def test_what_is_no_path_of_an_option_is_refused(option):
    with pytest.raises(Refused):
        attributes(option)


@pytest.mark.parametrize(
    "text",
    [
        "{ config, ... }: {\n  a.b = true;\n}\n",
        "{ ... }: {\n  a.b = true;\n",
        "{ ... }: {\n  a.b = config.c;\n}\n",
        "{ ... }: {\n  a.b = true; c = 1;\n}\n",
        "{ ... }: {\n  imports = [ ./x.nix ];\n}\n",
        "{ ... }: {\n  a.b = true;\n  a.b = false;\n}\n",
        "{ ... }: {\n  a.${b} = true;\n}\n",
        "{ ... }: {\n  a.b = true;\n}\n}\n",
        "root:x:0:0::/root:/bin/sh\n",
    ],
)
def test_a_file_that_holds_anything_else_is_left_alone(text):
    with pytest.raises(Refused, match=r"file of changes|option.s path"):
        changes_file.parse(text)


def test_an_empty_file_holds_nothing():
    assert changes_file.parse("") == changes_file.parse("# a remark\n\n") == {}


BOOLEAN = AllowedOption(option="a.b", type="boolean")
INTEGER = AllowedOption(option="a.b", type="integer", minimum=1, maximum=10)
TEXT = AllowedOption(option="a.b", type="text", pattern="[0-9]+[km]")
CHOICE = AllowedOption(option="a.b", type="choice", choices=("on", "off"))


@pytest.mark.parametrize(
    ("allowed", "fits", "others"),
    [
        (BOOLEAN, [True, False], [0, 1, "true"]),
        (INTEGER, [1, 10], [0, 11, True, "5"]),
        (TEXT, ["10m", "1k"], ["10", "10m; x", "10m\n", 10, True, ""]),
        (CHOICE, ["on", "off"], ["On", "", True, "on "]),
    ],
)
def test_an_option_takes_what_is_declared(allowed, fits, others):
    assert [misfit(allowed, value) for value in fits] == [None] * len(fits)
    assert all("a.b takes" in (misfit(allowed, value) or "") for value in others)


@pytest.mark.parametrize("option", ["a", "a.b c", "a.${x}", 'a."${x}"', "a.b\n", "a.b;", 'a."x\\"', "a.b = 1"])
def test_an_option_that_is_no_path_cannot_be_allowed(option):
    with pytest.raises(ValueError, match="option"):
        AllowedOption(option=option, type="boolean")
