"""The probes that an operator declares: what is asked, and what answer is good. They run nothing: no command probes.

``sources.probes.check`` carries one out. A probe that monitors and one that proves an action's success are the same.
"""

import re
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, StringConstraints, model_validator

from ai_sysadmin.core.section import Section

ProbeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:%-]+$", max_length=253)]
Port = Annotated[int, Field(ge=1, le=65535)]
StatusRange = Annotated[str, StringConstraints(pattern=r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?$")]
RecordType = Literal["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"]

_HTTP_URL = re.compile(r"https?://[^\s]+")


FAILS: Final = 10
"""The exit status of `ai-sysadmin probe run` where the probe fails: a program that breaks down ends otherwise."""


class _Probe(Section):
    """What all probes share."""

    name: ProbeName = Field(description="The probe's name in incidents: lower-case letters, digits and dashes.")
    every_seconds: PositiveFloat = Field(30, description="Time between two checks.")
    timeout_seconds: PositiveFloat = Field(10, description="The longest that one check may take in all.")
    failures: PositiveInt = Field(3, description="So many failed checks of the last `of` open an incident.")
    of: PositiveInt = Field(3, description="How many of the last checks are looked at.")
    severity: int = Field(60, ge=0, le=100, description="How much it matters that this fails, 0 to 100.")
    units: tuple[str, ...] = Field(
        (),
        description="The units that it is of, or globs of them: one that fails for a single unit offers to restart it,"
        " and after an action on any of them it must pass, or the action has failed.",
    )

    @model_validator(mode="after")
    def _can_fail(self) -> "_Probe":
        if self.failures > self.of:
            raise ValueError(f"failures = {self.failures} can never be reached by the last {self.of} checks (`of`)")
        return self


class HttpProbe(_Probe):
    """A web page, or any other resource over HTTP, asked for without a body."""

    type: Literal["http"] = Field(description="Ask for a URL.")
    url: str = Field(max_length=2048, description="An http:// or https:// URL, without a user's name or password.")
    method: Literal["GET", "HEAD"] = Field("GET", description="How it is asked for.")
    expect_status: tuple[StatusRange, ...] = Field(
        ("200-399",), min_length=1, description="Good statuses: numbers and ranges, such as 204 or 200-299."
    )
    expect_text: str = Field("", description="A text that the first 64 KiB of the body must hold; empty: any body.")
    verify_tls: bool = Field(True, description="Whether the server's certificate must be valid.")
    follow_redirects: bool = Field(False, description="Whether the answer at the end of redirects is judged.")

    @model_validator(mode="before")
    @classmethod
    def _statuses_may_be_numbers(cls, given: object) -> object:
        if not isinstance(given, dict) or not isinstance(statuses := given.get("expect_status"), list | tuple):
            return given
        return {**given, "expect_status": tuple(str(each) if type(each) is int else each for each in statuses)}

    @model_validator(mode="after")
    def _makes_sense(self) -> "HttpProbe":
        if not _HTTP_URL.fullmatch(self.url) or not urlsplit(self.url).hostname:
            raise ValueError("url must be an http:// or https:// URL such as https://example.org/health")
        parts = urlsplit(self.url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("url must not hold a user's name or password: settings are readable to many")
        if self.method == "HEAD" and self.expect_text:
            raise ValueError("expect_text needs method = GET: an answer to HEAD has no body")
        return self

    def accepts(self, status: int) -> bool:
        """Tell whether a status is a good one."""
        bounds = (each.partition("-") for each in self.expect_status)
        return any(int(low) <= status <= int(high or low) for low, _, high in bounds)


class TcpProbe(_Probe):
    """A port that takes connections, and perhaps greets."""

    type: Literal["tcp"] = Field(description="Connect to a port.")
    host: Host = Field(description="A host's name or address.")
    port: Port = Field(description="The port.")
    expect_banner: str = Field("", max_length=256, description="What the server must say first; empty: nothing.")


class DnsProbe(_Probe):
    """A name that resolves."""

    type: Literal["dns"] = Field(description="Resolve a name.")
    query: Host = Field(description="The name to resolve.")
    record: RecordType = Field("A", description="The type of record to ask for.")
    server: Host | None = Field(None, description="The DNS server's address; none: those of /etc/resolv.conf.")
    server_port: Port = Field(53, description="The DNS server's port.")
    expect: str = Field("", description="One of the answers must be this; empty: any answer.")


class CertificateProbe(_Probe):
    """A certificate that is good for some time yet: a server's, or one in a file."""

    type: Literal["certificate"] = Field(description="Look until when a certificate is good.")
    every_seconds: PositiveFloat = Field(600, description="Time between two checks.")
    host: Host | None = Field(None, description="The server that shows the certificate.")
    port: Port = Field(443, description="The server's port.")
    path: Path | None = Field(None, description="A file with the certificate, in place of a server.")
    warn_days: PositiveFloat = Field(14, description="With fewer days left the check fails.")
    verify_tls: bool = Field(True, description="Whether a server's certificate must verify, too.")

    @model_validator(mode="after")
    def _is_of_one_place(self) -> "CertificateProbe":
        if (self.host is None) == (self.path is None):
            raise ValueError("give either host (and port) or path")
        if self.path is not None and not self.path.is_absolute():
            raise ValueError("path must be absolute")
        return self


ProbeSettings = Annotated[HttpProbe | TcpProbe | DnsProbe | CertificateProbe, Field(discriminator="type")]
