"""Files that are never read, since they hold secrets: told by their path. Pure."""

import re
from typing import Final

from ai_sysadmin.sources.path_globs import PathGlobs

PLACES: Final = (
    "/etc/shadow*",
    "/etc/gshadow*",
    "/etc/security/opasswd*",
    "/etc/ssh/ssh_host_*_key",
    "/etc/secrets/**",
    "/etc/sops/**",
    "/etc/ssl/private/**",
    "/etc/pki/**/private/**",
    "/etc/letsencrypt/archive/**",
    "/etc/letsencrypt/accounts/**",
    "/etc/cryptsetup-keys.d/**",
    "/etc/luks*/**",
    "/etc/wireguard/**",
    "/etc/ipsec.d/private/**",
    "/etc/swanctl/private/**",
    "/etc/ipsec.secrets*",
    "/etc/ppp/*-secrets*",
    "/etc/wpa_supplicant/**",
    "/etc/NetworkManager/system-connections/**",
    "/etc/mysql/debian.cnf",
    "/etc/postfix/sasl*",
    "/etc/exim4/passwd.client",
    "/etc/krb5.keytab",
    "/etc/apt/auth.conf*/**",
    "/etc/pve/priv/**",
    "/etc/samba/**/*.tdb",
    "/etc/rancher/**",
    "/etc/kubernetes/*.conf",
    "/etc/kubernetes/pki/**",
    "/run/secrets*/**",
    "/run/agenix*/**",
    "/run/keys/**",
    "/run/credentials/**",
    "/run/NetworkManager/system-connections/**",
    "/run/systemd/ask-password*/**",
    "/var/lib/NetworkManager/**",
    "/var/lib/iwd/**",
    "/var/lib/bluetooth/**",
    "/var/lib/sops-nix/**",
    "/var/lib/systemd/credential.secret",
    "/var/lib/samba/private/**",
    "/var/lib/vault*/**",
    "/root/.ssh/**",
    "/home/*/.ssh/**",
    "/dev/**",
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/keys",
    "/sys/kernel/debug/**",
    "/sys/kernel/tracing/**",
    "/sys/firmware/efi/efivars/**",
)
"""Where secrets lie. Those that are named to the letter can be told by their inode under another name, too."""

_PLACES: Final = PathGlobs(PLACES)

_DIRECTORIES: Final = frozenset(
    """.aws .azure .docker .git-crypt .gnupg .kube .password-store .secrets .ssh agenix credstore credstore.encrypted
    gcloud secrets system-connections""".split()  # noqa: SIM905
)

_NAMES: Final = re.compile(
    r"""
    .*\.(?:key|keys|p12|pfx|jks|keystore|keyring|kdbx?|keytab|ppk|psk|age|gpg|keyfile|luks|ovpn|nmconnection|pwd|token|tdb)
    | id_(?:rsa|dsa|ecdsa|ed25519|xmss)(?!.*\.pub$).*
    | ssh_host_.*_key
    | priv(?:ate)?[_-]?key.*
    | [._]?netrc | \.?pgpass(?:\.conf)? | \.my\.cnf | \.?git-credentials | \.?ht(?:passwd|digest).* | \.?smbpasswd
    | \.?smbcredentials.* | wpa_supplicant.*\.conf | \.?msmtprc | sasl_passwd.* | [gs]shadow-? | shadow-?
    | (?:chap|pap)-secrets | \.vault-token | \.npmrc | \.pypirc | \.docker(?:config)?json
    | crypto_keyfile.* | .*\.kubeconfig | kubeconfig.* | \.?rndc\.key
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_WORDS: Final = re.compile(
    r"(?:^|[._-])(?:pass(?:word|wd|phrase)?|secret|token|credential|api[_-]?key|auth[_-]?key|master[_-]?key)s?"
    r"(?:[._-](?:file|txt|env|ya?ml|json|toml|ini|conf|cfg|bak|old|enc|db))*[~-]?$",
    re.IGNORECASE,
)
_NO_SECRETS: Final = PathGlobs(("/etc/passwd", "/etc/passwd-", "/**/pam.d/**"))

_PROCESS: Final = re.compile(r"/proc/\d+(?:/(?P<file>.*))?", re.DOTALL)
_OF_PROCESSES: Final = frozenset(
    "status stat statm limits cgroup mountinfo mounts comm io sched schedstat wchan oom_score oom_score_adj".split()  # noqa: SIM905
)


def why_secret(path: str) -> str:
    """Say why a file of this path is never read; empty: nothing about the path says so.

    Args:
        path: absolute, without dots and links.
    """
    if process := _PROCESS.fullmatch(path):
        file = process["file"] or ""
        return "" if file in _OF_PROCESSES or file.startswith("net/") else "a process's memory and environment"
    if _NO_SECRETS.fits(path):
        return ""
    *directories, name = path.split("/")
    if not _DIRECTORIES.isdisjoint(directories) or name in _DIRECTORIES or _PLACES.fits(path):
        return "it is where secrets are kept"
    if _NAMES.fullmatch(name) or _WORDS.search(name):
        return "it is named as files with secrets are"
    return ""
