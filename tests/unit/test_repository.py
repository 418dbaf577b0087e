"""A configuration repository: every line is in a piece, each piece says where it is, and no secret is kept."""

import json
import os
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_sysadmin.context.knowledge import repository
from ai_sysadmin.context.knowledge.nix_chunks import MOST_LINES, OVERLAP_LINES, lines_of, markdown_chunks, nix_chunks
from ai_sysadmin.context.knowledge.repository import MOST_BYTES, Repository, chunks, lock_chunk, same_lines
from ai_sysadmin.context.redact import Redacted, Redactor
from ai_sysadmin.core.context_settings import RedactionRule
from ai_sysadmin.core.knowledge import DocumentKind
from ai_sysadmin.sources.readable_files import ReadableFiles

MODULE = """{ config, pkgs, lib, ... }:
let
  cfg = config.services.app;
in
{
  imports = [ ./hardware.nix ];

  # The web server.
  services.nginx = {
    enable = true;
    virtualHosts."example.org" = {
      forceSSL = true;
      enableACME = true;
      locations."/" = {
        root = "/srv/www";
      };
    };
    appendConfig = ''
      # not a comment of Nix: { [ (
      worker_processes 4;
    '';
  };

  services.postgresql = {
    enable = true;
    package = pkgs.postgresql_15;
    settings = {
      max_connections = 200;
    };
  };

  /* a remark with a { in it */
  config = lib.mkIf cfg.enable {
    networking.firewall.allowedTCPPorts = [
      80
      443
    ];
  };
}
"""


def numbered(count):
    return "\n".join(f"  option{n} = {n};" for n in range(count))


def test_a_module_is_cut_at_its_attributes_and_every_piece_names_the_one_it_begins_with():
    text = MODULE.replace("max_connections = 200;", "\n".join(f"      a{n} = {n};" for n in range(30)))
    found = {chunk.about: chunk for chunk in nix_chunks(text)}
    assert any(about.startswith("services.postgresql") for about in found)
    assert "networking.firewall.allowedTCPPorts" in "\n".join(chunk.text for chunk in found.values())


def test_a_piece_inside_an_attribute_says_the_whole_path():
    inner = "\n".join(f'      "v{n}.example.org" = {{ port = {n}; }};' for n in range(120))
    text = f"{{\n  config = {{\n    services.nginx.virtualHosts = {{\n{inner}\n    }};\n  }};\n}}\n"
    abouts = [chunk.about for chunk in nix_chunks(text)]
    assert abouts[1].startswith('services.nginx.virtualHosts."v')


def test_what_stands_in_strings_and_comments_does_not_open_anything():
    text = "{\n" + MODULE.split("{\n", 1)[1] + numbered(60)
    text = (
        "{\n  a = ''\n"
        + "    { [ ( ''${x} \n" * 5
        + "  '';\n"
        + '  b = "{ \\" {";\n  /* { */ # {\n'
        + numbered(40)
        + "\n}\n"
    )
    assert all(re.fullmatch(r"a|b|option\d+", chunk.about) for chunk in nix_chunks(text))


@pytest.mark.parametrize("cut", [nix_chunks, markdown_chunks])
@given(
    text=st.one_of(
        st.lists(st.sampled_from(["", "a = {", "};", "# x", "''", '"', "/*", "*/", "let", "in", "  b.c = [", "]"])).map(
            "\n".join
        ),
        st.text(max_size=300),
    )
)
@settings(max_examples=60)
def test_every_line_is_in_a_piece_and_no_piece_is_too_long(cut, text):
    lines = lines_of(text)
    covered = set()
    for chunk in cut(text):
        assert 1 <= chunk.first <= chunk.last <= len(lines)
        assert chunk.last - chunk.first < MOST_LINES
        assert chunk.text == "\n".join(lines[chunk.first - 1 : chunk.last])
        covered |= set(range(chunk.first, chunk.last + 1))
    assert {number for number, line in enumerate(lines, start=1) if line.strip()} <= covered


def test_lines_are_counted_as_an_editor_counts_them():
    assert lines_of("a\x0cb\u2028c\r\nd\n") == ["a\x0cb\u2028c", "d"]


def test_a_long_block_is_cut_into_overlapping_windows():
    body = "\n".join(f"word{n} word" for n in range(150))
    found = nix_chunks(f"{{\n  a = ''\n{body}\n  '';\n}}\n")
    for one, other in pairwise(found):
        assert other.first <= one.last + 1
    assert any(other.first == one.last + 1 - OVERLAP_LINES for one, other in pairwise(found))


def test_small_files_are_one_piece():
    assert [(chunk.first, chunk.last) for chunk in nix_chunks("{\n  a = 1;\n\n  b = 2;\n}\n")] == [(1, 5)]
    assert nix_chunks("") == [] == markdown_chunks("\n\n")


def test_a_readme_is_cut_at_its_headings():
    text = "\n".join(f"# Part {n}\n" + "words\n" * 25 for n in range(3))
    assert [chunk.about for chunk in markdown_chunks(text)] == ["Part 0", "Part 1", "Part 2"]


LOCK = {
    "nodes": {
        "nixpkgs": {
            "locked": {
                "lastModified": 1763000000,
                "owner": "NixOS",
                "repo": "nixpkgs",
                "rev": "a" * 40,
                "type": "github",
            },
            "original": {"ref": "nixos-25.11"},
        },
        "here": {"locked": {"type": "path", "path": "./x"}},
        "root": {"inputs": {"nixpkgs": "nixpkgs"}},
    },
    "version": 7,
}


def test_a_lock_becomes_its_inputs_with_dates():
    (chunk,) = chunks("sub/flake.lock", json.dumps(LOCK, indent=1))
    assert "nixpkgs: github NixOS/nixpkgs, branch nixos-25.11, revision aaaaaaaaaaaa, of 2025-11-13" in chunk.text
    assert "here: path ./x" in chunk.text
    assert "root" not in chunk.text


@pytest.mark.parametrize(
    "text", ["", "[]", '{"nodes": 3}', '{"nodes": {"a": 1}}', "{", '{"nodes": {"a": {"locked": 1}}}']
)
def test_a_lock_that_is_none_is_no_piece(text):
    assert lock_chunk(text) == []


# --- directories


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts/web.nix").write_text(MODULE)
    (tmp_path / "flake.lock").write_text(json.dumps(LOCK))
    (tmp_path / "README.md").write_text("# My hosts\n\nThe web server is called anna.\n")
    return tmp_path


def look(directory, redactor=None, never=()):
    return Repository(directory, redactor or Redactor(), ReadableFiles((), never).why_never).look()


def test_pieces_name_file_and_lines(tree):
    gathered = look(tree)
    assert gathered.faults == ()
    assert gathered.kind is DocumentKind.CONFIGURATION
    assert {each.source for each in gathered.documents} == {str(tree)}
    lines = MODULE.splitlines()
    for each in (each for each in gathered.documents if each.facts["path"] == "hosts/web.nix"):
        first, last = int(each.facts["first"]), int(each.facts["last"])
        assert each.name == f"hosts/web.nix:{first}-{last}"
        assert each.text == "\n".join(lines[first - 1 : last])
        assert each.title.startswith("hosts/web.nix")
    assert [each.title for each in gathered.documents if "md" in each.name] == ["README.md: My hosts"]


def test_only_what_belongs_to_the_tree_is_read(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret.nix").write_text("{ a = 1; }")
    for name in (".git", "result-1", ".direnv", "node_modules"):
        (tree / name).mkdir()
        (tree / name / "x.nix").write_text("{ b = 1; }")
    (tree / "result").symlink_to(elsewhere)
    (tree / "link.nix").symlink_to(elsewhere / "secret.nix")
    (tree / "other.py").write_text("c = 1")
    (tree / "binary.nix").write_bytes(b"{\0}")
    (tree / "large.nix").write_text("#" * (MOST_BYTES + 1))
    gathered = look(tree)
    assert {each.facts["path"] for each in gathered.documents} == {"hosts/web.nix", "flake.lock", "README.md"}
    assert gathered.faults == (f"{tree}: 1 files left out: not text", f"{tree}: 1 files left out: over 512 KiB")


def test_a_tree_that_is_not_there_leaves_what_was_known(tmp_path):
    gathered = look(tmp_path / "nowhere")
    assert not gathered.is_known
    assert "is no directory" in gathered.faults[0]


def test_the_number_of_pieces_is_bounded(tree, monkeypatch):
    monkeypatch.setattr(repository, "MOST_CHUNKS", 2)
    gathered = look(tree)
    assert len(gathered.documents) == 2
    assert gathered.faults == (f"{tree}: left out what is beyond 2 pieces, from hosts/web.nix on",)


def test_secrets_are_taken_out_before_anything_is_kept(tree):
    (tree / "secret.nix").write_text('{\n  services.app.apiKey = "zq-TOPSECRET-1";\n}\n')
    redactor = Redactor([RedactionRule(name="own", pattern="zq-[A-Z]+-[0-9]")])
    texts = "\n".join(each.text for each in look(tree, redactor).documents)
    assert "TOPSECRET" not in texts
    assert "services.app.apiKey" in texts


def test_files_that_are_never_read_are_not_indexed(tree):
    for name in ("secrets/all.nix", "hosts/private.nix", "hosts/secret.nix"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text('{ pin = "4711"; }')
    gathered = look(tree, never=[f"{tree}/**/private.nix"])
    assert {each.facts["path"] for each in gathered.documents} >= {"hosts/web.nix", "hosts/secret.nix"}
    assert not [each for each in gathered.documents if each.facts["path"] in ("secrets/all.nix", "hosts/private.nix")]
    assert gathered.faults == (f"{tree}: 2 files left out: never read",)


class _Collapsing(Redactor):
    """Takes a key of many lines out as one mark."""

    def redact(self, text):
        return Redacted(re.sub(r"BEGIN.*?END", "[redacted: key]", text, flags=re.DOTALL), {"key": 1})


def test_lines_stay_where_they_are_when_a_key_of_many_lines_is_taken_out():
    text = "a = 1;\nkey = ''\nBEGIN\nxx\nyy\nEND\n'';\nb = 2;"
    kept = same_lines(text, _Collapsing()).split("\n")
    assert len(kept) == len(text.split("\n"))
    assert (kept[0], kept[6], kept[7]) == ("a = 1;", "'';", "b = 2;")
    assert "[redacted: key]" in kept
    assert not {"xx", "yy"} & set(kept)


class _Counting(Redactor):
    def __init__(self):
        super().__init__()
        self.texts = 0

    def redact(self, text):
        self.texts += 1
        return super().redact(text)


async def test_only_what_changed_is_read_again(tree):
    redactor = _Counting()
    kept = Repository(tree, redactor)
    (before,) = await kept.gather()
    assert redactor.texts == 3
    (again,) = await kept.gather()
    assert again.documents is before.documents
    path = tree / "hosts/web.nix"
    path.write_text(MODULE.replace("postgresql_15", "postgresql_16"))
    os.utime(path, ns=(1, 1))
    (tree / "README.md").unlink()
    (after,) = await kept.gather()
    assert redactor.texts == 4
    assert "postgresql_16" in "".join(each.text for each in after.documents)
    assert "README.md" not in {each.facts["path"] for each in after.documents}
