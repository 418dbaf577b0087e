"""Runbooks: what is shipped is whole and safe to follow, and what an operator writes is read or refused in words."""

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.context.knowledge.front_matter import FrontMatterWrong
from ai_sysadmin.context.knowledge.gathered import SHIPPED
from ai_sysadmin.context.knowledge.runbooks import MOST_BYTES, Runbooks, from_directory, parse, shipped
from ai_sysadmin.core.knowledge import DocumentKind
from ai_sysadmin.core.symptom_kinds import SymptomKind

AT = datetime(2026, 11, 20, tzinfo=UTC)
PAIRS = json.loads((Path(__file__).parents[1] / "fixtures/retrieval/pairs.json").read_text())
SECTIONS = ["What it looks like", "First look", "Usual causes", "Remedy", "Risk and undo", "Mended when"]
BOOKS = {document.name: document for document in shipped().documents}


def read(text, name="mine"):
    return parse(text, name=name, source="/srv/runbooks", at=AT)


def a_book(**head):
    lines = "".join(f"{key}: {value}\n" for key, value in {"title": "A title", **head}.items())
    return f"---\n{lines}---\n## Remedy\nDo this.\n"


# --- what is shipped


def test_every_shipped_runbook_can_be_read():
    assert shipped().faults == ()
    assert len(BOOKS) >= 28
    assert {(each.kind, each.source) for each in BOOKS.values()} == {(DocumentKind.RUNBOOK, SHIPPED)}


@pytest.mark.parametrize("name", sorted(BOOKS))
def test_a_shipped_runbook_has_all_its_sections_and_fits_on_a_page(name):
    text = BOOKS[name].text
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert 25 <= len(text.splitlines()) <= 80
    assert max(len(line) for line in text.splitlines()) <= 120
    assert text.count("```") % 2 == 0
    assert BOOKS[name].facts["kinds"]


@pytest.mark.parametrize("name", sorted(BOOKS))
def test_a_remedy_names_the_way_of_nixos_before_any_other(name):
    remedy = BOOKS[name].text.partition("## Remedy")[2].partition("## Risk")[0]
    ways = [at for word in ("NixOS", "nixos-rebuild", "nix-", "```nix") if (at := remedy.find(word)) >= 0]
    assert ways
    elsewhere = remedy.find("Elsewhere")
    assert elsewhere < 0 or min(ways) < elsewhere


# Programs that only look, and for those that can do more, the words that make them do it.
_LOOKS = frozenset(
    re.findall(
        r"\S+",
        (
            "btrfs bootctl busctl cat chronyc coredumpctl curl df dig dmesg docker du ethtool fail2ban-client "
            "find findmnt free getent grep ip iostat journalctl last loginctl ls lsblk lsmod lsof lspci lsusb "
            "mdadm namei networkctl nft nginx nix nix-env nix-store nixos-rebuild nvidia-smi nvme oomctl openssl "
            "pidstat ping pkaction podman ps psql quota ras-mc-ctl readlink repquota resolvectl restic-NAME "
            "rocm-smi sensors smartctl ss sshd swapon sysctl systemctl systemd-analyze systemd-cgls systemd-cgtop "
            "systemd-tmpfiles timedatectl uname uptime vmstat zfs zpool "
        ),
    )
)
_CHANGES = {
    "systemctl": {
        "start",
        "stop",
        "restart",
        "reload",
        "reset-failed",
        "kill",
        "mask",
        "edit",
        "set-property",
        "cancel",
    },
    "journalctl": {"--rotate", "--flush", "--sync"},
    "nixos-rebuild": {"switch", "boot", "test"},
    "nix-env": {"--delete-generations", "--rollback", "--switch-generation", "-i", "-e"},
    "nix-store": {"--delete", "--optimise", "--repair"},
    "find": {"-delete", "-exec"},
    "btrfs": {"balance", "replace", "start", "check", "-z"},
    "zpool": {"clear", "replace", "import", "offline", "add", "upgrade"},
    "zfs": {"destroy", "set", "rollback"},
    "mdadm": {"--add", "--fail", "--remove", "--create", "--assemble", "--re-add"},
    "ip": {"set", "add", "del", "flush"},
    "docker": {"rm", "prune", "restart", "stop", "kill"},
    "podman": {"rm", "prune", "restart", "stop", "kill"},
    "sysctl": {"-w"},
    "nft": {"add", "flush", "delete"},
    "coredumpctl": {"debug"},
    "resolvectl": {"flush-caches", "dns", "domain"},
    "systemd-tmpfiles": {"--create", "--clean", "--remove"},
    "smartctl": {"-t"},
    "ethtool": {"-K", "-G", "-s"},
    "swapon": {"-a"},
    "fail2ban-client": {"set", "unban"},
    "networkctl": {"reconfigure", "up", "down"},
    "timedatectl": {"set-ntp", "set-time"},
    "chronyc": {"makestep"},
    "nvme": {"format", "sanitize"},
    "restic-NAME": {"unlock", "forget", "prune"},
}


def commands(text, section):
    part = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return [line for block in re.findall(r"```sh\n(.*?)```", part, re.DOTALL) for line in block.splitlines() if line]


@pytest.mark.parametrize("name", sorted(BOOKS))
def test_the_first_look_changes_nothing(name):
    first = commands(BOOKS[name].text, "First look")
    assert len(first) >= 4
    for command in first:
        program, *arguments = shlex.split(command)
        assert program in _LOOKS, command
        assert not set(arguments) & _CHANGES.get(program, set()), command
        assert not re.search(r"[;&|>]", re.sub(r'"[^"]*"', "", command)), command


def test_pages_are_not_piped_into_a_pager():
    for book in BOOKS.values():
        for command in commands(book.text, "First look"):
            if re.match(r"(journalctl|systemctl (status|list-)|coredumpctl|timedatectl|networkctl)", command):
                quiet = re.search(r"--no-pager|--disk-usage|--verify|cat-config", command) or "systemctl cat" in command
                assert quiet, command


def test_every_kind_of_symptom_has_a_runbook():
    covered = {kind for book in BOOKS.values() for kind in book.facts["kinds"].split()}
    assert {kind.value for kind in SymptomKind} - covered == set()


def test_the_pairs_name_runbooks_that_there_are():
    assert len(PAIRS) >= 48
    assert {pair["runbook"] for pair in PAIRS} == set(BOOKS)
    assert len({pair["query"] for pair in PAIRS}) == len(PAIRS)


def test_most_pairs_say_it_in_other_words_than_the_title():
    def words(text):
        return set(re.findall(r"[a-z]{4,}", text.lower()))

    same = [pair for pair in PAIRS if len(words(pair["query"]) & words(BOOKS[pair["runbook"]].title)) > 1]
    assert len(same) <= len(PAIRS) // 4


# --- what an operator writes


def test_a_head_becomes_title_and_facts():
    document = read(a_book(kinds="crashed, watchdog", units="[nginx.service, 'acme-*.service']", tags="a b, c"))
    assert document.title == "A title"
    assert document.facts == {
        "kinds": "crashed watchdog",
        "units": "nginx.service acme-*.service",
        "tags": "a b, c",
    }
    assert document.text == "## Remedy\nDo this.\n"
    assert (document.name, document.source, document.updated_at) == ("mine", "/srv/runbooks", AT)


def test_lists_may_stand_one_to_a_line():
    document = read("---\ntitle: T\nkinds:\n  - crashed\n  - watchdog\n# a remark\ntags:\n---\nText\n")
    assert document.facts == {"kinds": "crashed watchdog"}


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# From its heading\ntext", "From its heading"),
        ("no heading at all", "my notes"),
        ("---\nkinds:\n---\n# H\n", "H"),
    ],
)
def test_a_title_is_found_without_the_key(text, title):
    assert read(text, name="sub/my-notes").title == title


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\ntitle: A\nno end", "line 1: the head that begins here is not closed"),
        ("---\ntitle: A\nkind: crashed\n---\n", "line 3: the key 'kind' is not known: is 'kinds' meant?"),
        ("---\ntitle: A\nkinds: crash\n---\n", "line 3: kinds: 'crash' is no kind of symptom: is 'crashed' meant?"),
        ("---\ntitle: A\nkinds: xyz\n---\n", "known are unit_failed, crashed"),
        ("---\ntitle: A\nunits: nginx\n---\n", "line 3: units: 'nginx' names no unit"),
        ("---\ntitle: A\nunits: a/b.service\n---\n", "line 3: units: 'a/b.service' names no unit"),
        ("---\ntitle: A\njust words\n---\n", "line 3: 'just words' is no 'key: value'"),
        ("---\ntitle: A\ntitle: B\n---\n", "line 3: the key 'title' is there twice"),
        ("---\nkinds: crashed\n---\ntext", "the key 'title' is missing"),
    ],
)
def test_a_broken_head_is_refused_with_line_and_key(text, said):
    with pytest.raises(FrontMatterWrong) as raised:
        read(text)
    assert said in str(raised.value)


@given(st.text(max_size=400))
def test_any_text_is_read_or_refused(text):
    for each in (text, f"---\n{text}", f"---\ntitle: {text}\n---\n{text}"):
        try:
            assert read(each).title
        except FrontMatterWrong as wrong:
            assert str(wrong).startswith("line ")


def test_a_broken_file_is_passed_over_and_said(tmp_path):
    (tmp_path / "good.md").write_text(a_book())
    (tmp_path / "broken.md").write_text("---\ntitel: A\n---\n")
    (tmp_path / "binary.md").write_bytes(b"\0\1")
    (tmp_path / "latin.md").write_bytes("für".encode("latin-1"))
    (tmp_path / "large.md").write_bytes(b"x" * (MOST_BYTES + 1))
    gathered = from_directory(tmp_path)
    assert [each.name for each in gathered.documents] == ["good"]
    faults = "\n".join(gathered.faults)
    assert len(gathered.faults) == 4
    for said in (
        f"{tmp_path}/broken.md: line 2: the key 'titel' is not known: is 'title' meant?",
        "binary.md: is not text",
        "latin.md: is not UTF-8",
        f"large.md: has {MOST_BYTES + 1} bytes",
    ):
        assert said in faults


def test_only_ones_own_markdown_files_are_read(tmp_path):
    secret = tmp_path / "secret.md"
    secret.write_text("# elsewhere\n")
    own = tmp_path / "own"
    (own / "sub").mkdir(parents=True)
    (own / ".git").mkdir()
    for name in ("sub/deep.md", ".git/x.md", ".hidden.md", "README.md", "notes.txt"):
        (own / name).write_text("# text\n")
    (own / "link.md").symlink_to(secret)
    (own / "loop").symlink_to(tmp_path)
    assert [each.name for each in from_directory(own).documents] == ["sub/deep"]


def test_a_directory_that_is_not_there_is_said(tmp_path):
    gathered = from_directory(tmp_path / "nowhere")
    assert not gathered.is_known
    assert "is no directory" in gathered.faults[0]


async def test_the_operators_runbook_stands_before_the_shipped_one(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for each in (first, second):
        each.mkdir()
        (each / "disk-full.md").write_text(a_book(title=f"Ours in {each.name}"))
    gathered = await Runbooks([first, second]).gather()
    named = [doc for each in gathered for doc in each.documents if doc.name == "disk-full"]
    assert [doc.title for doc in named] == ["Ours in a"]
    assert [each.source for each in gathered] == [str(first), str(second), SHIPPED]
    assert gathered[1].faults == (f"{second}/disk-full.md is left out: {first} has one of that name",)
    assert gathered[2].faults == ()


async def test_unchanged_directories_are_not_read_again(tmp_path):
    (tmp_path / "one.md").write_text(a_book())
    runbooks = Runbooks([tmp_path])
    before = await runbooks.gather()
    assert await runbooks.gather() is before
    (tmp_path / "two.md").write_text(a_book())
    after = await runbooks.gather()
    assert [each.name for each in after[0].documents] == ["one", "two"]
