"""Look until when a certificate is good."""

from datetime import datetime
from functools import partial

from ai_sysadmin.core.clock import local
from ai_sysadmin.core.probe_settings import CertificateProbe
from ai_sysadmin.sources import certificates
from ai_sysadmin.sources.certificates import CertificateUnreadable, Expiry
from ai_sysadmin.sources.host import Aside, Hung
from ai_sysadmin.sources.probes.seen import ProbeFailed, Seen, plain

_FILES = Aside()
"""One thread for the files of all probes: they may lie on a network file system."""


async def look(probe: CertificateProbe, now: datetime, seen: Seen, files: Aside = _FILES) -> str:
    """Return what is good about it. Raises: ProbeFailed."""
    try:
        expiry = await _expiry(probe, now, files)
    except (CertificateUnreadable, Hung) as error:
        raise ProbeFailed(plain(str(error))) from error
    days = expiry.days_left(now)
    seen.note("subject", expiry.subject)
    seen.note("expires", expiry.at.isoformat())
    seen.note("days_left", f"{days:.1f}")
    if days < 0:
        raise ProbeFailed(f"the certificate expired on {local(expiry.at)}")
    if expiry.fault:
        seen.note("fault", expiry.fault)
        raise ProbeFailed(f"the certificate is not valid: {plain(expiry.fault)}")
    if days < probe.warn_days:
        raise ProbeFailed(f"the certificate expires in {days:.1f} days, on {local(expiry.at)}")
    return f"the certificate is good for {days:.0f} more days"


async def _expiry(probe: CertificateProbe, now: datetime, files: Aside) -> Expiry:
    if probe.path is not None:
        work = partial(certificates.of_file, probe.path)
        return await files.ask(str(probe.path), work, probe.timeout_seconds)
    limit = probe.timeout_seconds  # the check as a whole has the same limit, and began earlier
    return await certificates.of_endpoint(
        probe.host or "", probe.port, now, timeout_seconds=limit, verify=probe.verify_tls
    )
