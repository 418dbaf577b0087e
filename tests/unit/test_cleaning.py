"""What a model says is shown without foreign links, images, markup or commands, wherever its stream is split."""

import html
import re
import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ai_sysadmin.openai_api_server.showing.cleaning import ONLY_A_PERSON, Cleaner, cleaned
from ai_sysadmin.openai_api_server.showing.links import Links, data_line, data_text

LINKS = Links(["thishost", "chat.lan"])
MARKDOWN = MarkdownIt("commonmark").enable("table")
BARE = re.compile(r"(?:https?|ftp)://|www\.[a-z]", re.IGNORECASE)
COMMAND = re.compile(r"\s*/(approve|reject)\b", re.IGNORECASE)


def live(text):
    """Return what a renderer would make of a text that leads elsewhere: links, pictures, HTML, bare addresses."""
    found = []
    for block in MARKDOWN.parse(text):
        if block.type == "html_block" or (block.type == "fence" and block.info in {"html", "svg", "mermaid"}):
            found.append(block.content)
        for token in block.children or ():
            if token.type in {"html_inline", "image"}:
                found.append(token.content)
            if token.type == "link_open" and not re.match(r"(?!//)[^:]*$|http://thishost/", token.attrs["href"]):
                found.append(token.attrs["href"])
            if token.type == "text" and BARE.search(re.sub(r"http://thishost/\S*", "", token.content)):
                found.append(token.content)
    return found


def in_pieces(text, cuts):
    cleaner = Cleaner(LINKS)
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    said = [cleaner.feed(text[a:b]) for a, b in pairwise(edges)]
    return "".join([*said, cleaner.end()])


PIECES = [
    *("![x](https://evil.example/a.png)", "[a](http://evil.example)", "[a](<http://evil.example>)", "[a][b]", "[a]: "),
    *("http://evil.example/q", "www.evil.example", "<https://evil.example>", "<img src=//evil.example>", "<b>", "</b>"),
    *("[a](/local)", "[a](//evil.example)", "http://thishost/x", "http://thishost@evil.example/", "&#104;", "&colon;"),
    *(
        "`",
        "``",
        "```",
        "````",
        "~~~",
        "```bash",
        "```html",
        "~~~ x",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        " ",
        "  ",
        "   ",
        "    ",
    ),
    *("\t", "> ", "- ", "1. ", "2) ", "# ", "|", "| a | b |\n|---|---|\n", "\\", "\\`", "\\<", "!", "[", "]", "(", ")"),
    *("/approve abc-12", "/reject x", "/approved", "/app", "\x1b[31m", "\x1b]0;t\x07", "\x1b", "\u200b", "\u202e"),
    *(
        "[t1]",
        "[t2,t3]",
        "[t1](http://evil.example)",
        "<think>",
        "<!--",
        "<?",
        "**",
        "_",
        "$",
        "word",
        "é",
        "'",
        '"',
        ".",
    ),
    *("http", "://", "https:", "//", "evil.example", "]:", "](", "<", ">", "&", ";", "=", "===", "---", "'`'"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)


@settings(max_examples=300, deadline=None)
@given(TEXTS, CUTS)
@example("```" + "x" * 400 + "\n![x](https://evil.example/)", [5, 300])
@example("`" + "x" * 1100 + "`\n", [700, 1024])
@example("x" * 511 + "https://evil.example", [511, 514])
@example("```\n" + "x" * 1490 + "<think>y\n", [1400, 1498])
@example(" " * 300 + "/approve x", [100, 256, 301])
def test_it_is_the_same_wherever_the_text_is_split(text, cuts):
    assert in_pieces(text, cuts) == cleaned(text, LINKS)


@settings(max_examples=600, deadline=None)
@given(TEXTS)
@example("> ```\n![x](https://evil.example)")
@example("- ```\n![x](https://evil.example)")
@example("text\n    ~~~\n    ![x](https://evil.example)")
@example("text\n    ```\n    a ``` ![x](https://evil.example)")
@example(" ```\ncode\n```\n![x](https://evil.example)")
@example("| `a | ![x](https://evil.example) ` |\n|--|--|\n")
@example("[foo`]: http://evil.example '`'\n[foo`] `x`")
@example("[foo\nbar]: http://evil.example\n\n[foo bar]")
@example("`foo\n https://evil.example `")
@example("\\https://evil.example ``x``")
@example("`a`https://evil.example``x``")
@example("<b title='`'> ![x](https://evil.example) `")
@example("http://thishost(@evil.example/")
def test_nothing_of_it_leads_to_another_host(text):
    assert live(cleaned(text, LINKS)) == []


@settings(max_examples=200, deadline=None)
@given(TEXTS)
@example("&#104;/approve abc-12")
def test_no_line_of_it_can_be_copied_as_a_command(text):
    def shown(line):  # an entity that is left is seen as such
        return re.sub(r"&#?\w+;", "x", html.unescape(line))

    for line in cleaned(text, LINKS).splitlines():
        assert not COMMAND.match(shown(line).strip(" >*+-`~\t|#.)\\0123456789_$&;=\"'!")), line


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_a_break_is_one_for_renderers_that_begin_anew_there(before, after):
    cleaner = Cleaner(LINKS)
    first = cleaner.feed(before) + cleaner.part()
    second = cleaner.feed(after) + cleaner.end()
    assert live(first) == live(second) == live(first + second) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("All is **well**: 3 < 4, a_b, C:\\temp, 50 %.", "All is **well**: 3 < 4, a_b, C:\\temp, 50 %."),
        ("See https://evil.example/a, please.", "See `https://evil.example/a`, please."),
        ("See [this](https://evil.example/a).", "See [this] (`https://evil.example/a`)."),
        ("![p](https://evil.example/a.png)", "\\![p] (`https://evil.example/a.png`)"),
        ("[here](/c/1) http://thishost/x https://CHAT.lan/y", "[here](/c/1) http://thishost/x https://CHAT.lan/y"),
        ("http://localhost.evil.example/", "`http://localhost.evil.example/`"),
        # a front end sends what its own ?q= says, as if a person had typed it
        ("[log](/?q=%2Fapprove%20abc)", "[log] (/?q=%2Fapprove%20abc)"),
        ("[log](?q=x)", "[log] (?q=x)"),
        ("[log](http://localhost:3000/?q=x)", "[log] (`http://localhost:3000/?q=x`)"),
        ("http://thishost/?q=x", "`http://thishost/?q=x`"),
        ("[a]: http://evil.example", "[a]\\: `http://evil.example`"),
        ("<script>x</script>", "&lt;script>x&lt;/script>"),
        ("`curl https://x | sh` and ``a`b``", "`curl https://x ¦ sh` and ``a`b``"),
        ("`a | b`", "`a | b`"),
        ("```bash\ncurl https://x | sh <y>\n```\n", "```bash\ncurl https://x | sh <y>\n```\n"),
        ("1. a\n   ```nix\n   url = https://x;\n   ```\n", "1. a\n   ```nix\n   url = https://x;\n   ```\n"),
        ("```mermaid\ngraph\n```\n", "```text\ngraph\n```\n"),
        ("```html\n<script>\n```\n", "```text\n< script>\n```\n"),
        ("/approve abc", f"{ONLY_A_PERSON}/approve abc"),
        ("> - /Reject abc", f"> - {ONLY_A_PERSON}/Reject abc"),
        ("```\n/approve abc\n```", f"```\n{ONLY_A_PERSON}/approve abc\n```"),
        ("To agree, send `/approve abc`.", "To agree, send `/approve abc`."),
        ("/approval and /etc/approve", "/approval and /etc/approve"),
        ("red \x1b[31malert\x1b[0m \u202eback\u200b", "red alert back"),
        ("a\tb\n\tc", "a\tb\n\tc"),
        ("&#104;ttp &lt;b&gt;", "&amp;#104;ttp &lt;b&gt;"),
    ],
)
def test_what_is_shown(text, shown):
    assert cleaned(text, LINKS) == shown


def test_its_own_commands_are_meant():
    cleaner = Cleaner(LINKS)
    said = (
        cleaner.feed("/approve a") + cleaner.feed("/approve b", own=True) + cleaner.feed("/approve c") + cleaner.end()
    )
    assert said == f"{ONLY_A_PERSON}/approve a\n\n/approve b\n\n{ONLY_A_PERSON}/approve c"


def test_marks_of_look_ups_are_cited_where_they_are_text():
    cleaner = Cleaner(LINKS, cite={"t1": "[1]", "t3": "[2]"}.__getitem__)
    said = cleaner.feed("full [t") + cleaner.feed("1], hot [t3,t1] `x[t1]`") + cleaner.end()
    assert said == "full [1], hot [2][1] `x[t1]`"


def test_words_come_at_once_and_little_is_held_back():
    cleaner = Cleaner(LINKS)
    assert [cleaner.feed(each) for each in ("The disk", " is fu", "ll of ht", "ml")] == [
        "The disk",
        " is fu",
        "ll of ",
        "html",
    ]
    assert [cleaner.feed(each) for each in ("磁盘", "满了")] == ["磁盘", "满了"]
    for worst in (
        "`" + "x" * 9000,
        "x" * 9000,
        " " * 9000,
        "```" + "x" * 9000,
        "```\n" + "x" * 9000,
        "\x1b]" + "x" * 9000,
    ):
        cleaner = Cleaner(LINKS)
        said = "".join(cleaner.feed(each) for each in worst)
        assert len(worst) - len(said) < 2100, worst[:5]


def test_a_long_answer_is_cleaned_in_little_time():
    text = "a `b` [c](http://evil.example) <d> " * 3000 + "`" * 3000 + "[" * 3000 + "\\" * 3000 + "a" * 20000
    began = time.process_time()
    cleaned(text, LINKS)
    cleaner = Cleaner(LINKS)
    for start in range(0, len(text), 4):
        cleaner.feed(text[start : start + 4])
    assert time.process_time() - began < 5


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_the_output_of_a_tool_is_nowhere_markup(text):
    shown = data_text(text, 10_000)
    for around in ("{}", "```\n{}\n```\n", "> ```json\n> {}\n> ```\n"):
        assert live(around.format(shown)) == []
    assert "```" not in shown
    assert "\n" not in data_line(text, 100)
    assert len(data_text(text * 50, 100)) <= 100


@pytest.mark.parametrize("text", ["![x](https://e.x)", "[a](//e.x)", "<b>x", "www.e.x", "[a]\n\n[a]: http://e.x"])
def test_the_renderer_of_these_tests_sees_what_it_is_to_see(text):
    assert live(text)
