"""What is said of a model server: each sentence names the layer and the place, and what to do."""

import re
import ssl
import time
from dataclasses import dataclass, field

from ai_sysadmin.core.errors import BackendUnavailable
from ai_sysadmin.llm_backend import BackendAway, BackendBusy, BackendFailed, BackendLoading, ModelMissing, PromptTooLong

_MOST_QUOTED = 300
_MOST_NAMED = 8
_CONTEXT = re.compile(r"(?:context (?:length|size|window)[^0-9]{0,40}|n_ctx\D{0,4})(\d+)", re.IGNORECASE)
_PROMPT = re.compile(r"(?:resulted in|requested|contains|has|n_prompt_tokens\D{0,4})\D{0,12}(\d+)", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|exceeds? the (?:available )?context"
    r"|context (?:length|size|window) (?:is )?exceeded|greater than the context length",
    re.IGNORECASE,
)


@dataclass
class ServerWords:
    """One model server in sentences. ``speaks`` is what it should be, ``start`` what to do where nobody answers."""

    name: str
    url: str
    speaks: str
    start: str
    _loading_since: float | None = field(default=None, init=False)

    @property
    def it(self) -> str:
        return f"{self.name} model at {self.url}"

    def answered(self) -> None:
        """Note that it is not loading (any more)."""
        self._loading_since = None

    def loading(self) -> BackendLoading:
        now = time.monotonic()
        self._loading_since = self._loading_since or now
        return BackendLoading(f"{self.it} is loading, {now - self._loading_since:.0f} s so far")

    def away(self, reason: BaseException) -> BackendAway:
        self._loading_since = None
        if _is_about_tls(reason):
            return BackendAway(
                f"{self.it} is away (TLS: {_quoted(str(reason))}): put the authority that signed its certificate into"
                f" this host's trust store, or name it as its certificate does in backends.{self.name}.url"
            )
        why = _quoted(str(reason)) or type(reason).__name__
        return BackendAway(f"{self.it} is away ({why}): {self.start}, or set backends.{self.name}.url")

    def silent(self, seconds: float) -> BackendAway:
        return BackendAway(f"{self.it} does not answer: no reply in {seconds:.0f} s")

    def too_slow(self, seconds: float) -> BackendUnavailable:
        return BackendUnavailable(
            f"{self.it} did not finish its answer in {seconds:.0f} s: set backends.{self.name}.timeout_seconds higher,"
            " or use a smaller model"
        )

    def broke_off(self) -> BackendFailed:
        return BackendFailed(f"{self.it} broke off its answer")

    def odd(self) -> BackendFailed:
        return BackendFailed(f"{self.it} answers, but not as {self.speaks} does: is backends.{self.name}.url right?")

    def failed(self, message: str) -> BackendFailed:
        return BackendFailed(f"{self.it} failed: {_quoted(message)}")

    def busy(self, message: str) -> BackendBusy:
        return BackendBusy(f"{self.it} is busy: {_quoted(message)}")

    def refused(self, status: int, message: str) -> BackendUnavailable:
        """Say what an HTTP status means that has no meaning of its own for this kind of server."""
        if status in {401, 403}:
            return BackendUnavailable(
                f"{self.it} refuses the API key: set backends.{self.name}.api_key_file to the file with its key"
            )
        said = f"{self.it} answers HTTP {status}" + (f": {_quoted(message)}" if message else "")
        return BackendFailed(said) if status >= 500 else BackendUnavailable(said)

    def refuses_tools(self, message: str) -> BackendUnavailable:
        return BackendUnavailable(
            f"{self.it} does not take the tools that it was offered ({_quoted(message)}): set meta_model.native_tools ="
            ' false and api.client_tools = "ignore", or use a model that can call tools'
        )

    def without_model(self, model: str, cure: str) -> ModelMissing:
        return ModelMissing(f"{self.it} does not have the model {model}: {cure}")

    def which_model(self, models: list[str]) -> ModelMissing:
        if not models:
            return ModelMissing(f"{self.it} has no model")
        some = ", ".join(models[:_MOST_NAMED]) + (", …" if len(models) > _MOST_NAMED else "")
        return ModelMissing(f"{self.it} has {len(models)} models ({some}): set backends.{self.name}.model to one")


def too_long(message: str, code: str = "") -> PromptTooLong | None:
    """Return what a server's refusal says of a prompt that is too long; none: it says something else.

    The numbers are 0 where the server does not say them.
    """
    if not _TOO_LONG.search(f"{code} {message}"):
        return None
    context, prompt = _CONTEXT.search(message), _PROMPT.search(message)
    return PromptTooLong(int(prompt[1]) if prompt else 0, int(context[1]) if context else 0)


def _is_about_tls(reason: BaseException | None) -> bool:
    while reason is not None:
        if isinstance(reason, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(reason):
            return True
        reason = reason.__cause__ or reason.__context__
    return False


def _quoted(text: str) -> str:
    """Return a server's own words on one line, and not too many of them."""
    line = "".join(each if each.isprintable() else "?" for each in " ".join(text[: 2 * _MOST_QUOTED].split()))
    return line if len(line) <= _MOST_QUOTED else f"{line[:_MOST_QUOTED]}…"
