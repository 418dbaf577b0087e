"""Which paths fit a glob, which name a secret, and what of a private key is masked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_sysadmin.sources.file_lines import KeyMask, masked_lines
from ai_sysadmin.sources.path_globs import PathGlobs
from ai_sysadmin.sources.secret_files import why_secret
from tests.unit.test_tools_files import KEY


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/pam.d/common-password",
        "/etc/ssh/sshd_config",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/etc/app/id_rsa.pub",
        "/usr/lib/systemd/system/systemd-ask-password-console.service",
        "/etc/sudoers.d/wheel",
        "/etc/keyboard",
        "/etc/default/keyboard",
        "/etc/NetworkManager/NetworkManager.conf",
        "/var/log/auth.log",
        "/etc/ssl/certs/ca.pem",
    ],
)
def test_what_only_sounds_like_a_secret_is_read(path):
    assert why_secret(path) == ""


def test_a_key_on_one_line_and_one_without_an_end_are_masked():
    escaped = KEY.replace("\n", "\\n")
    assert masked_lines(f'{{"key": "{escaped}", "b": 1}}') == ['{"key": "[redacted: private key]", "b": 1}']
    lines = masked_lines("\n".join(["-----BEGIN PRIVATE KEY-----", *["A" * 64] * 1000]))
    assert lines[1] == "[redacted: private key]"
    assert lines[-1] == "A" * 64  # what is that far from its beginning is no key


@given(st.lists(st.sampled_from([*KEY.split("\n"), "plain", ""]), max_size=30))
def test_lines_are_never_lost_by_masking(lines):
    mask = KeyMask()
    masked = [mask(line.encode()) for line in lines]
    assert len(masked) == len(lines)
    assert all(line == b"plain" or b"plain" not in line for line in masked)


@pytest.mark.parametrize(
    ("glob", "fitting", "others"),
    [
        ("/etc/**", ["/etc", "/etc/a", "/etc/a/b"], ["/etcetera", "/etc2/a", "/"]),
        ("/etc/*", ["/etc/a", "/etc/.b"], ["/etc", "/etc/a/b"]),
        ("/home/*/logs/**/*.log", ["/home/a/logs/x.log", "/home/a/logs/b/c/x.log"], ["/home/a/b/logs/x.log"]),
        ("/a/[bc]?", ["/a/bx", "/a/c1"], ["/a/b", "/a/dx", "/a/b/"]),
        ("/a/[!b]", ["/a/c"], ["/a/b", "/a//"]),
        ("/a/x[1]", ["/a/x1"], ["/a/x[1]"]),
        ("*.env", ["/srv/app/x.env", "/x.env"], ["/x.env/y"]),
        ("/a.b/(c)", ["/a.b/(c)"], ["/axb/(c)"]),
    ],
)
def test_globs_stay_within_a_name_unless_they_are_double(glob, fitting, others):
    globs = PathGlobs([glob])
    assert [path for path in fitting if not globs.fits(path)] == []
    assert [path for path in others if globs.fits(path)] == []
