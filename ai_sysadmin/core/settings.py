"""Every setting, its meaning, and its default; defaults stand nowhere else.

One frozen tree, ``extra="forbid"``. The NixOS option path below ``services.ai-sysadmin.settings``, the path in the
file and the attribute path are the same.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ai_sysadmin.core.action_settings import Actions
from ai_sysadmin.core.context_settings import Context, Knowledge
from ai_sysadmin.core.database_settings import Database
from ai_sysadmin.core.noticing_settings import TriggerMonitor
from ai_sysadmin.core.notification_settings import Notifications
from ai_sysadmin.core.policy_settings import Policy
from ai_sysadmin.core.retention_settings import Retention
from ai_sysadmin.core.section import Section
from ai_sysadmin.core.tool_settings import Tools

Port = Annotated[int, Field(ge=1, le=65535)]
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class Autonomy(StrEnum):
    OBSERVE = "observe"
    SUGGEST = "suggest"
    AUTO_SAFE = "auto-safe"
    AUTO_FULL = "auto-full"


class Backend(Section):
    """Where one layer's model is served."""

    type: Literal["llama-cpp", "ollama", "openai"] = Field(
        "llama-cpp", description="What kind of server answers at the URL; openai: anything that speaks like OpenAI's."
    )
    url: str = Field(description="The server's base URL, without /v1.")
    model: str = Field(
        "", description="The model's name on that server; empty: the one it serves, or the only one it has."
    )
    context_tokens: PositiveInt | None = Field(
        None, description="The model's context, where the server does not say (openai), or to use less of it."
    )
    api_key_file: Path | None = Field(None, description="A file with the server's API key.")
    allow_remote: bool = Field(False, description="Log text may leave this host: the URL may name another machine.")
    timeout_seconds: PositiveFloat = Field(120, description="The longest that one answer may take.")
    waiting: PositiveInt = Field(8, description="How many requests may wait for this server; one more is refused.")

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL such as http://127.0.0.1:8081")
        return url.rstrip("/").removesuffix("/v1")

    @model_validator(mode="after")
    def _stays_here(self) -> "Backend":
        host = urlsplit(self.url).hostname
        if host not in LOOPBACK_HOSTS and not self.allow_remote:
            raise ValueError(
                f"{self.url} is not on this host, so log text would leave it: set allow_remote = true if it may"
            )
        return self

    @property
    def loopback_port(self) -> int | None:
        parts = urlsplit(self.url)
        if parts.hostname not in LOOPBACK_HOSTS:
            return None
        return parts.port or (443 if parts.scheme == "https" else 80)


class Backends(Section):
    trigger: Backend = Field(Backend(url="http://127.0.0.1:8080"), description="The 1B model that labels templates.")
    review: Backend = Field(Backend(url="http://127.0.0.1:8081"), description="The 4B model that judges incidents.")
    meta: Backend = Field(
        Backend(url="http://127.0.0.1:8082"), description="The 14B model that investigates and talks."
    )
    embedding: Backend | None = Field(
        None, description="A server of embeddings, such as llama-server --embeddings on 8084; none: there is none."
    )


class Models(Section):
    """Model files that `ai-sysadmin up` serves itself where no server answers at a backend's URL."""

    directory: Path | None = Field(
        None,
        description="A directory of GGUF files, matched to layers by size, smallest first; else STATE_DIR/models.",
    )
    trigger: Path | None = Field(None, description="The trigger layer's GGUF file.")
    review: Path | None = Field(None, description="The review layer's GGUF file.")
    meta: Path | None = Field(None, description="The meta layer's GGUF file.")
    context_tokens: PositiveInt = Field(8192, description="Context size of a server that `up` starts, in tokens.")


class ReviewModel(Section):
    settle_seconds: PositiveFloat = Field(1.0, description="An incident is judged once it has been quiet for so long.")
    settle_at_most_seconds: PositiveFloat = Field(
        5.0, description="An incident that never falls quiet is judged after so long."
    )
    lease_seconds: PositiveFloat = Field(
        180, description="How long a claimed incident stays claimed when its reviewer dies."
    )
    max_reply_tokens: PositiveInt = Field(600, description="The longest judgement, in tokens.")
    evidence_tokens: PositiveInt = Field(
        2500, ge=200, description="The most tokens of evidence in a prompt; a small context holds less."
    )
    max_model_calls_per_incident: PositiveInt = Field(
        6, description="After so many calls an incident is judged by rules."
    )
    max_tokens_per_incident: PositiveInt = Field(
        60_000, description="After so many tokens an incident is judged by rules."
    )
    max_model_calls_per_hour: PositiveInt = Field(
        60, description="So many calls in an hour; after them everything is judged by rules."
    )
    max_tokens_per_hour: PositiveInt = Field(
        300_000, description="So many tokens in an hour; after them everything is judged by rules."
    )
    back_off_seconds: PositiveFloat = Field(
        60,
        description="An incident that keeps changing is judged anew after so long, then after twice that, and so on.",
    )
    back_off_at_most_seconds: PositiveFloat = Field(
        3600, description="The longest that an incident that keeps changing waits for its next judgement."
    )
    every_seconds: NonNegativeFloat = Field(
        21_600, description="How often the whole host is reviewed; 0: only when asked with `check`."
    )


class MetaModel(Section):
    lease_seconds: PositiveFloat = Field(
        300, description="How long an escalation stays claimed when its investigator dies."
    )
    evidence_tokens: PositiveInt = Field(
        6000, ge=200, description="The most tokens of evidence in a prompt; a small context holds less."
    )
    max_reply_tokens: PositiveInt = Field(1200, description="The longest answer, in tokens.")
    max_model_calls_per_incident: PositiveInt = Field(
        40, description="After so many calls, reviews' included, an incident is investigated by rules."
    )
    max_steps: NonNegativeInt = Field(
        8, le=40, description="How many times the model may look something up before it has to answer; 0: never."
    )
    max_tokens: PositiveInt = Field(
        60_000, description="After so many tokens, read and written, one answer or investigation looks no further."
    )
    max_seconds: PositiveFloat = Field(
        240, description="The longest that one answer in chat may take in all, also where nobody listens any more."
    )
    thinking: bool = Field(False, description="Let a model that can reason do so before it answers; it takes longer.")
    native_tools: bool = Field(
        False, description="Offer tools by the server's own tool calls instead of a schema, where it is good at them."
    )


class Executor(Section):
    state_dir: Path = Field(
        Path("/var/lib/ai-sysadmin-executor"), description="Where the executor keeps its journal of actions."
    )
    post_check_seconds: PositiveFloat = Field(
        10, description="How long a unit must hold after an action before it counts as mended."
    )
    approval_expires_seconds: PositiveFloat = Field(3600, description="How long a proposal waits for a person.")
    action_timeout_seconds: PositiveFloat = Field(90, description="The longest that an action may run.")
    rights: Literal["root", "polkit"] = Field(
        "root", description="root: every action; polkit: without root, only those on units that polkit_units names."
    )
    polkit_units: tuple[str, ...] = Field(
        (), description="polkit: the units, by their literal names, that may be started, restarted, reloaded and reset."
    )
    output_kilobytes: PositiveInt = Field(32, le=256, description="How much of what an action wrote is kept.")
    audit_to_journal: bool = Field(
        False, description="Write whole lines of the audit to the system journal too, not only the head's hash."
    )
    audit_copy: Path | None = Field(
        None, description="A second file that each line of the audit is written to, such as one on another host's disk."
    )
    service_users: tuple[str, ...] = Field(
        ("ai-sysadmin", "ai-sysadmin-api", "ai-sysadmin-build"),
        description="The suite's own users: they may propose, never approve.",
    )


class Api(Section):
    host: str = Field("127.0.0.1", description="The address the API listens on.")
    port: Port = Field(8083, description="The port the API listens on.")
    key_file: Path | None = Field(
        None, description="A file with one API key; by default STATE_DIR/api-key, made at first start."
    )
    ingest_key_file: Path | None = Field(
        None, description="A file with the key that may only send alerts in; by default STATE_DIR/ingest-key."
    )
    allowed_hosts: tuple[str, ...] = Field((), description="Further Host names under which the API may be called.")
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins of web pages that may call the API, such as https://chat.example.org; empty: none."
    )
    keyless_chat: bool = Field(
        False, description="Let programs on this host chat without a key. It never approves anything."
    )
    requests_per_minute: PositiveInt = Field(120, description="So many requests a minute from one key; 429 beyond.")
    concurrent_answers: PositiveInt = Field(4, description="So many answers at a time for one key; 429 beyond.")
    client_tools: Literal["ignore", "pass"] = Field(
        "ignore", description="What becomes of tools that a client offers: ignored, or the model may call them."
    )
    tool_progress: Literal["auto", "open-webui", "text", "off"] = Field(
        "auto",
        description="How a person sees what is being looked at: Open WebUI's status line and tool cards, plain text,"
        " or nothing; auto: by who is asking.",
    )


class Settings(Section):
    """Everything that can be set."""

    ai_name: str = Field(
        "AI sysadmin", max_length=64, description="The assistant's display name; nothing else derives from it."
    )
    host_name: str = Field("", description="This host's name in records; empty: the kernel's.")
    autonomy_level: Autonomy = Field(Autonomy.SUGGEST, description="How much may be done without a person.")
    operators: tuple[str, ...] = Field(
        (), description="Users, and groups such as @wheel, who may approve and reject actions, besides root."
    )
    state_dir: Path = Field(Path("/var/lib/ai-sysadmin"), description="Where the services keep their files.")
    runtime_dir: Path = Field(Path("/run/ai-sysadmin"), description="Where the suite's sockets are.")
    database: Database = Field(Database(), description="Where the services remember.")
    backends: Backends = Field(Backends(), description="Where the models are served.")
    models: Models = Field(Models(), description="Model files that `ai-sysadmin up` serves itself.")
    trigger_monitor: TriggerMonitor = Field(TriggerMonitor(), description="Layer 1: notice.")
    context: Context = Field(Context(), description="Layer 2: what becomes evidence.")
    knowledge: Knowledge = Field(Knowledge(), description="Layer 2: what is known, and how it is found.")
    review_model: ReviewModel = Field(ReviewModel(), description="Layer 3: judge.")
    meta_model: MetaModel = Field(MetaModel(), description="Layer 4: investigate and talk.")
    tools: Tools = Field(Tools(), description="What the models may look at.")
    policy: Policy = Field(Policy(), description="What may be done, and to what.")
    actions: Actions = Field(Actions(), description="What the catalogue's actions may touch.")
    executor: Executor = Field(Executor(), description="The privileged process.")
    retention: Retention = Field(Retention(), description="How long what is over is kept.")
    notifications: Notifications = Field(Notifications(), description="How a person is told.")
    api: Api = Field(Api(), description="The OpenAI-compatible API.")

    @model_validator(mode="after")
    def _ports_are_apart(self) -> "Settings":
        for layer in ("trigger", "review", "meta"):
            backend: Backend = getattr(self.backends, layer)
            if backend.loopback_port == self.api.port:
                raise ValueError(
                    f"api.port = {self.api.port} is also backends.{layer}.url = {backend.url}: "
                    "the API and a model server cannot share a port; give one of them another"
                )
        return self

    @model_validator(mode="after")
    def _one_embedding(self) -> "Settings":
        if self.backends.embedding is not None and self.knowledge.onnx_archive is not None:
            raise ValueError(
                "backends.embedding and knowledge.onnx_archive are both set: vectors come from one model; leave one out"
            )
        return self

    @property
    def store_place(self) -> Path | str:
        """Return SQLite's file, or PostgreSQL's URL."""
        return self.database.url or self.state_dir / "ai-sysadmin.db"

    @property
    def store_name(self) -> str:
        """Return what people know the database by."""
        parts = urlsplit(self.database.url)
        return f"PostgreSQL {parts.path.strip('/') or 'default'}" if self.database.url else str(self.store_place)

    @property
    def api_key_file(self) -> Path:
        return self.api.key_file or self.state_dir / "api-key"

    @property
    def ingest_key_file(self) -> Path:
        return self.api.ingest_key_file or self.state_dir / "ingest-key"

    @property
    def models_directory(self) -> Path:
        return self.models.directory or self.state_dir / "models"

    @property
    def propose_socket(self) -> Path:
        return self.runtime_dir / "propose.sock"

    @property
    def operate_socket(self) -> Path:
        return self.runtime_dir / "operate.sock"

    @property
    def api_socket(self) -> Path:
        return self.runtime_dir / "api.sock"
