"""Settings of one installation. The only module that reads the environment.

A setting is read from the environment variable FINE_TUNE_<GROUP>_<NAME>, else from the YAML file that FINE_TUNE_SETTINGS names,
else it has the default below. Unknown names are refused. `.env` files are not read, because they would override the shell.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from fine_tune_assets.core.dagster_ui import PATH_PREFIX, asset_path
from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.line_names import LINE_FILE, LINE_NAME, LINE_VARIABLE, MAIN_LINE, use_line
from fine_tune_assets.core.paths import PROJECT_DIR, Layout
from fine_tune_assets.core.strict_parsing import load_values

DOCUMENTATION_PATH = "/docs"
"""Where the desk serves the documentation."""
LINES_PATH = "/lines"
"""Where the desk switches to a product line, below its address."""
PREFIX = "FINE_TUNE_"
SETTINGS_FILE = "FINE_TUNE_SETTINGS"
INSTALLATION_SETTINGS = frozenset({"data_dir", "line", "dagster", "gateway", "desk", "oidc", "connections"})
"""Settings that are the same for all product lines."""
_NOT_INHERITED: Mapping[str, Any] = {
    "ledger_url": "",
    "knowledge": {"url": ""},
    # A token names no line, so it is accepted by the main line only.
    "gateway": {"oidc_issuer": "", "oidc_audience": "", "oidc_jwks": ""},
}

Folder = Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KnowledgeSettings(_Group):
    """Indexes of the organization's documents."""

    url: str = ""
    """PostgreSQL URL with pgvector, one database per installation; empty: LanceDB in the data folder."""
    keep_last: int = 3
    """Number of newest knowledge indexes to keep, including the live one."""


class GatewaySettings(_Group):
    """The HTTP API for applications."""

    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback, TLS is required."""
    port: int = 8060
    """Port of the gateway."""
    hosts: str = ""
    """Names of the gateway in addition to this machine's name and IP addresses, separated by commas; others get status 421."""
    workers: int = 1
    """Number of gateway processes, which share the port."""
    tls_cert: str = ""
    """Path of the TLS certificate chain in PEM format; empty: no TLS."""
    tls_key: str = ""
    """Path of the TLS private key, readable only by the service's user."""
    tls_client_ca: str = ""
    """Path of the CA certificate that signs client certificates (mTLS); empty: no client certificates."""
    behind_tls_proxy: bool = False
    """Whether a proxy provides TLS, so that the gateway may listen beyond loopback without a certificate."""
    oidc_issuer: str = ""
    """Issuer URL of accepted bearer tokens; empty: API keys only."""
    oidc_audience: str = ""
    """Audience (`aud`) that bearer tokens must name."""
    oidc_jwks: str = ""
    """Path or internal `https` URL of the issuer's public keys (JWKS)."""
    oidc_scope_claim: str = "scope"
    """Token claim with the scopes, as a list or separated by spaces."""
    oidc_scopes: str = ""
    """Mappings `THEIRS=OURS` from token scopes to gateway scopes, separated by spaces; empty: same names."""
    oidc_requests_per_minute: int = 0
    """Requests per minute for each token subject; 0: no limit."""
    oidc_tokens_per_day: int = 0
    """Tokens per UTC day for each token subject; 0: no limit."""
    max_tokens: int = 2048
    """Maximum number of tokens that a caller can request for one answer."""
    timeout_seconds: int = 900
    """Seconds for one answer, including the wait for a free engine slot."""
    audit_retention_days: int = 365
    """Days that entries of the request log are kept; 0: no deletion."""
    audit_fsync: bool = False
    """Whether an answer ends only after its log entry is on disk, which survives a power failure."""
    answer_phi: str = "off"
    """Action for identifiers in answers: `off`, `flag` or `block`."""
    max_concurrent_requests: int = 512
    """Number of simultaneous chat requests per gateway process; one key can hold at most as many as are free."""
    max_requests_per_caller: int = 256
    """Number of simultaneous chat requests of one key per gateway process; a key can have its own limit."""
    first_token_seconds: int = 300
    """Seconds from the start of an answer to its first token, without the wait for a free engine slot."""


def _check_networks(text: str) -> str:
    for part in text.split(","):
        if part.strip():
            ip_network(part.strip())  # raises ValueError
    return text


class ConnectionSettings(_Group):
    """Connections to the gateway and the desk."""

    header_seconds: float = Field(default=20, gt=0)
    """Seconds for the request line and the headers."""
    body_seconds: float = Field(default=30, gt=0)
    """Seconds for the body of a request, and for the caller to read on while an answer is sent."""
    idle_seconds: float = Field(default=10, gt=0)
    """Seconds that a connection is kept open between requests."""
    per_source: int = Field(default=500, ge=1)
    """Number of simultaneous connections from one address per process; further ones get status 429."""
    trusted_proxies: Annotated[str, AfterValidator(_check_networks)] = ""
    """Addresses or networks of proxies, separated by commas, whose `X-Forwarded-For` names the source; empty: none."""

    @property
    def proxies(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.trusted_proxies.split(",") if part.strip())


class DriftSettings(_Group):
    """Request summaries for `production_drift`."""

    enabled: bool = True
    """Whether requests are summarized for drift detection, as sums of lengths and languages without text."""
    window_hours: int = 24
    """Hours per drift window, in UTC."""
    minimum_requests: int = 50
    """Minimum number of requests in a summary of a gateway process; fewer wait for the next window."""


class DeskSettings(_Group):
    """The web pages for people."""

    host: str = "127.0.0.1"
    """Loopback address to listen on; the desk has no TLS."""
    port: int = 8070
    """Port of the desk."""
    url: str = ""
    """Public URL of the desk behind a TLS proxy; empty: host and port."""
    gateway_url: str = ""
    """URL at which the desk reaches the gateway: `https`, or `http` on this machine; empty: the gateway's address."""
    gateway_ca: str = ""
    """Path of the CA certificate for the gateway's TLS; empty: Python's default CAs."""
    idle_timeout_minutes: int = 30
    """Minutes without activity after which a session ends."""
    session_hours: int = 12
    """Maximum duration of a session in hours."""


class OidcSettings(_Group):
    """Single sign-on to the desk."""

    issuer: str = ""
    """Issuer URL of the OpenID provider; empty: passwords only."""
    client_id: str = ""
    """Client id of the desk at the provider."""
    # A path instead of the secret: settings are passed to services in the environment.
    client_secret_file: str = ""
    """Path of the file with the client secret; empty: a public client."""
    button_label: str = "single sign-on"
    """Label of the sign-in button."""
    ca: str = ""
    """Path of the CA certificate for the provider of the desk and the gateway; empty: system CAs."""
    scopes: str = ""
    """Scopes to request in addition to `openid email`, separated by spaces, such as `groups`."""
    groups_claim: str = "groups"
    """ID token claim with the person's groups, as a list or one text."""
    group_labels: str = ""
    """Mappings `GROUP=LABEL` from groups to access labels, separated by `;`; empty: none."""


class DagsterSettings(_Group):
    """Dagster's storage and UI."""

    home: Folder = PROJECT_DIR
    """Folder with `dagster.yaml` and Dagster's history; two installations in one checkout need one each."""


class RetrainSettings(_Group):
    """The weekly training."""

    cron: str = "0 3 * * 0"
    """Cron expression of the weekly training, which uses all new examples."""
    time_zone: str = ""
    """Time zone of the cron expression, such as `Europe/Berlin`; empty: the system's."""


class ReleaseSettings(_Group):
    """Retention of releases."""

    keep_last: int = 3
    """Number of newest releases to keep regardless of age, at least 1."""
    keep_days: int = 30
    """Minimum number of days that every other release is kept."""


class NotificationSettings(_Group):
    """Notifications by webhook and mail."""

    webhook_url: str = ""
    """Internal URL that receives each event as JSON by POST; empty: none."""
    smtp: str = ""
    """Mail server as `HOST:PORT`; empty: no mail."""
    smtp_starttls: bool = True
    """Whether mail is sent with STARTTLS."""
    smtp_user: str = ""
    """User name at the mail server; empty: no login."""
    smtp_password_file: str = ""
    """Path of the file with the mail server's password."""
    mail_from: str = ""
    """Sender address; empty: the first recipient."""
    mail_to: str = ""
    """Recipient addresses, separated by commas; empty: no mail."""
    events: str = (
        "run_failed,verdict_hold,verdict_refuse,rolled_back,changed_release,broken_seal,quarantine,production_drift"
    )
    """Events to send, separated by commas."""
    timeout_seconds: int = 10
    """Seconds that the webhook or mail server has to respond."""


class JudgeSettings(_Group):
    """A judge on a server, for recipes with `judge.backend: endpoint`."""

    url: str = ""
    """Base URL of the judge, such as `https://judge.intranet:8000/v1`; hosts with public addresses are refused."""
    api_key_file: str = ""
    """Path of the file with the judge's API key; empty: no key."""


class VllmSettings(_Group):
    """The vLLM engine."""

    python: str = ""
    """Path of the Python interpreter with vLLM; empty: `.venv-vllm/bin/python` in the checkout."""
    kv_cache_gb: int = 2
    """GiB of memory for the KV cache on a machine without a GPU."""
    gpu_memory_percent: int = 45
    """Percentage of GPU memory for one engine; above 50, two engines do not fit during a switch."""
    tensor_parallel: int = 1
    """Number of GPUs that share each layer (tensor parallelism)."""
    pipeline_parallel: int = 1
    """Number of GPUs, or groups of GPUs, that share the layers (pipeline parallelism)."""
    speculative_tokens: int = 0
    """Number of tokens to speculate from n-grams of the prompt; 0: off."""
    parallel: int = 256
    """Number of simultaneous requests."""
    max_adapters: int = 4
    """Number of LoRA adapters in memory at once in an engine that several deployments share."""
    max_lora_rank: int = 64
    """Maximum rank of a LoRA adapter in a shared engine; memory grows with it."""


class LlamaCppSettings(_Group):
    """The llama.cpp engine."""

    server: str = ""
    """Path of a `llama-server` binary, such as a build for your GPU; empty: the bundled one."""
    parallel: int = 4
    """Number of simultaneous requests; each needs memory for a context."""
    batch_tokens: int = 128
    """Tokens of prompts read in one step; with fewer, callers wait less for the long prompts of others."""
    shared_weights: bool = False
    """Whether engines that read the same file share its memory, instead of a rearranged copy each."""


class EngineSettings(_Group):
    """All engines."""

    context_tokens: int = 2048
    """Tokens of prompt and answer together; memory use grows in proportion."""
    memory_reserve_gb: int = 1
    """GiB of memory that must stay free when an engine starts or stays on standby."""


class RollbackSettings(_Group):
    """Rollback to the previous release, by a person or automatically."""

    keep_previous_minutes: int = 60
    """Minutes that the previous engine stays on standby; 0: none, -1: until the next release needs its place."""
    window_minutes: int = 30
    """Minutes after a switch in which a release can be rolled back automatically; 0: never."""
    minimum_requests: int = 20
    """Minimum number of requests since the switch; below it, the rates do not apply."""
    error_percent: int = 20
    """Percentage of failed requests that triggers a rollback; 0: off."""
    p95_seconds: int = 0
    """Seconds of the 95th percentile of response time that trigger a rollback; 0: off."""
    identifier_count: int = 0
    """Number of identifiers in answers that triggers a rollback; needs `gateway.answer_phi`; 0: off."""
    corrections_percent: int = 0
    """Percentage of corrected answers that triggers a rollback, without the corrections of the author who sent most; 0: off."""
    on_engine_failure: bool = True
    """Whether an engine that ends or hangs triggers a rollback instead of a restart."""


class CanarySettings(_Group):
    """Canary releases."""

    percent: int = Field(default=0, ge=0, le=100)
    """Percentage of callers who get answers from the canary, from 0 to 100; 0: no canary."""
    minutes: int = Field(default=30, ge=1, le=10_080)
    """Minutes that a canary release lasts."""
    minimum_requests: int = Field(default=20, ge=1, le=1_000_000)
    """Minimum number of requests that a canary release needs to pass."""
    minimum_keys: int = Field(default=2, ge=1, le=100)
    """Number of key owners whose requests a canary release needs to pass, if there are as many; 1: any."""
    maximum_minutes: int = Field(default=1440, ge=1, le=10_080)
    """Minutes after which a canary release with too few requests fails."""


class RaySettings(_Group):
    """Training on a Ray cluster."""

    gpu_memory_gb: int = 0
    """GiB of memory of one GPU of the cluster, for training plans."""
    address: str = ""
    """URL of the cluster's dashboard, such as `http://10.0.0.5:8265`; empty: training on this machine."""
    gpus_per_process: int = 1
    """Number of GPUs per training process; 0: training on CPUs."""
    cpus_per_process: int = 1
    """Number of CPUs per training process."""
    wait_minutes: int = 10
    """Minutes to wait for nodes, at the start and after the loss of one."""


class Settings(_Group):
    """The settings of one installation."""

    data_dir: Folder = PROJECT_DIR / "data"
    """Folder of all inputs, results and keys of this installation; set `dagster.home` with it."""
    line: str = ""
    """Name of the product line to work on; empty: the main line."""
    priority: int = Field(default=0, ge=-100, le=100)
    """Priority of this line's runs; queued runs with a higher number start first."""
    recipe: str = "demo_smollm2"
    """Name of a shipped recipe, or path of a YAML file."""
    ledger_url: str = ""
    """SQLAlchemy URL of the ledger; empty: SQLite in the data folder."""
    mlflow_uri: str = ""
    """MLflow tracking URI for finished trainings: `sqlite:////PATH` or a server inside the network; empty: none."""
    threads: int = 0
    """Number of CPU threads for heavy work and engines; 0: all."""
    # A string instead of a Path: resolving the symlink would lose the virtual environment.
    unsloth_python: str = ""
    """Path of the Python interpreter with Unsloth; empty: `.venv-unsloth/bin/python` in the checkout."""
    require_confinement: bool = False
    """Whether to refuse files if this system can't confine the processes that read them; `fine-tune doctor` tells."""
    corrections_daily_limit: int = 500
    """Number of corrections, and of ratings, per author in 24 hours; 0: no limit."""
    llmcompressor_python: str = ""
    """Path of the Python interpreter with llmcompressor; empty: `.venv-llmcompressor/bin/python` in the checkout."""
    knowledge: KnowledgeSettings = KnowledgeSettings()
    gateway: GatewaySettings = GatewaySettings()
    drift: DriftSettings = DriftSettings()
    desk: DeskSettings = DeskSettings()
    connections: ConnectionSettings = ConnectionSettings()
    oidc: OidcSettings = OidcSettings()
    dagster: DagsterSettings = DagsterSettings()
    retrain: RetrainSettings = RetrainSettings()
    release: ReleaseSettings = ReleaseSettings()
    notify: NotificationSettings = NotificationSettings()
    judge: JudgeSettings = JudgeSettings()
    vllm: VllmSettings = VllmSettings()
    llama: LlamaCppSettings = LlamaCppSettings()
    engine: EngineSettings = EngineSettings()
    rollback: RollbackSettings = RollbackSettings()
    canary: CanarySettings = CanarySettings()
    ray: RaySettings = RaySettings()

    @model_validator(mode="after")
    def _check_consistency(self) -> "Settings":
        if self.canary.maximum_minutes < self.canary.minutes:
            raise ValueError("canary.maximum_minutes must be at least canary.minutes")
        if self.rollback.identifier_count > 0 and self.gateway.answer_phi == "off":
            raise ValueError(
                f"rollback.identifier_count is {self.rollback.identifier_count}, but answers are not checked for identifiers. "
                "Set gateway.answer_phi to flag or block, or rollback.identifier_count to 0"
            )
        return self

    _installation: "Settings | None" = PrivateAttr(None)

    @property
    def installation(self) -> "Settings":
        """The settings of the main line, with the services that all lines share."""
        return self._installation or self

    @property
    def subject_keys(self) -> Path:
        """The folder with the key of subjects: one for all lines, so that an erasure finds a subject in each."""
        return self.installation.layout.keys

    def environment(self) -> dict[str, str]:
        """All settings as the variables that `load_settings` reads, to start a service with the same settings."""
        values = dict(self.installation)
        groups = {name: value for name, value in values.items() if isinstance(value, _Group)}
        plain = {name: value for name, value in values.items() if name not in groups}
        nested = {f"{group}_{name}": value for group, settings in groups.items() for name, value in settings}
        return {PREFIX + name.upper(): str(value) for name, value in {**plain, **nested, "line": self.line}.items()}

    @property
    def cluster_gpu_memory_gb(self) -> int:
        """GiB of memory of one GPU of the Ray cluster; 0 if trainings run on this machine."""
        return self.ray.gpu_memory_gb if self.ray.address else 0

    @property
    def time_zone(self) -> str:
        """Time zone of the weekly training. Raises SettingsError for an unknown zone."""
        name = self.retrain.time_zone or _system_time_zone()
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise SettingsError(
                f"The time zone {name} does not exist. Set {PREFIX}RETRAIN_TIME_ZONE to a name such as Europe/Berlin."
            ) from error

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.data_dir)

    @property
    def database_url(self) -> str:
        return self.ledger_url or f"sqlite:///{self.data_dir / 'ledger' / 'ledger.db'}"

    @property
    def unsloth_interpreter(self) -> Path:
        return Path(self.unsloth_python or PROJECT_DIR / ".venv-unsloth/bin/python").expanduser().absolute()

    @property
    def vllm_interpreter(self) -> Path:
        return Path(self.vllm.python or PROJECT_DIR / ".venv-vllm/bin/python").expanduser().absolute()

    @property
    def llmcompressor_interpreter(self) -> Path:
        return Path(self.llmcompressor_python or PROJECT_DIR / ".venv-llmcompressor/bin/python").expanduser().absolute()

    @property
    def gateway_address(self) -> str:
        return self._gateway_url(self.gateway.host)

    @property
    def dagster_address(self) -> str:
        """URL of the Dagster UI, without a trailing slash."""
        return self.desk_address + PATH_PREFIX

    @property
    def documentation_address(self) -> str:
        """URL of the documentation on the desk."""
        return self.desk_address + DOCUMENTATION_PATH

    @property
    def local_gateway_host(self) -> str:
        """The gateway's host as seen from this machine."""
        return "127.0.0.1" if self.gateway.host in ("0.0.0.0", "::") else self.gateway.host

    @property
    def desk_gateway_address(self) -> str:
        """URL at which the desk reaches the gateway, without a trailing slash."""
        return self.desk.gateway_url.rstrip("/") or self._gateway_url(self.local_gateway_host)

    def _gateway_url(self, host: str) -> str:
        return f"{'https' if self.gateway.tls_cert else 'http'}://{host}:{self.gateway.port}"

    @property
    def desk_address(self) -> str:
        """URL of the desk for people, without a trailing slash."""
        return self.desk.url.rstrip("/") or f"http://{self.desk.host}:{self.desk.port}"

    def desk_page_url(self, path: str) -> str:
        """URL of a page of this line's desk. With several lines, it switches the browser to this one."""
        if not self.line and not list_lines(self):
            return self.desk_address + path
        return f"{self.desk_address}{LINES_PATH}/{self.line or MAIN_LINE}?next={quote(path, safe='/')}"

    def asset_url(self, name: str) -> str:
        """URL of this line's asset in the Dagster UI."""
        return self.desk_page_url(asset_path(name, self.line))


def _system_time_zone(link: Path = Path("/etc/localtime")) -> str:
    """The zone in the variable TZ or in the link /etc/localtime, else UTC."""
    named = os.environ.get("TZ", "").removeprefix(":") or str(link.resolve()).partition("zoneinfo/")[2]
    try:
        return ZoneInfo(named).key if named else "UTC"
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"


_settings_in_use: ContextVar[Settings | None] = ContextVar("_settings_in_use", default=None)


@contextmanager
def use_settings(settings: Settings) -> Iterator[None]:
    """Let `load_settings` return these settings in this task and the threads that it starts: for a service of several lines."""
    token = _settings_in_use.set(settings)
    try:
        with use_line(settings.line):
            yield
    finally:
        _settings_in_use.reset(token)


def load_settings() -> Settings:
    """Read the settings, of the product line that FINE_TUNE_LINE names. Raises SettingsError that names the invalid settings."""
    in_use = _settings_in_use.get()
    if in_use is not None:
        return in_use
    named = [(name, value) for name, value in os.environ.items() if name.upper().startswith(PREFIX) or name == "HOME"]
    loaded = _load_settings(tuple(sorted(named)), os.getcwd(), _read_stamp(os.environ.get(SETTINGS_FILE)))
    return select_line(loaded.model_copy(update={"line": ""}), loaded.line) if loaded.line else loaded


@contextmanager
def working_on(line: str) -> Iterator[Settings]:
    """Let `load_settings` return another product line's settings while the block runs, for commands about several lines."""
    before = os.environ.get(LINE_VARIABLE)
    os.environ[LINE_VARIABLE] = line
    try:
        yield load_settings()
    finally:
        if before is None:
            del os.environ[LINE_VARIABLE]
        else:
            os.environ[LINE_VARIABLE] = before


def select_line(settings: Settings, line: str) -> Settings:
    """The settings of a product line, given those of the main one (empty: the main line itself). Raises SettingsError.

    What `line.yaml` in the line's folder names replaces the installation's settings. The ledger and the knowledge database are
    never inherited.
    """
    if not line:
        return settings
    if not LINE_NAME.fullmatch(line):
        raise SettingsError(
            f"{line!r} is not a valid product line name. Use 2 to 20 lowercase letters, digits and `_`."
        )
    file = settings.layout.lines / line / LINE_FILE
    return _select_line(settings, line, file, _read_stamp(str(file)))


@lru_cache(maxsize=64)
def _select_line(settings: Settings, line: str, file: Path, stamp: object) -> Settings:
    if stamp is None:
        known = ", ".join(list_lines(settings)) or "none"
        raise SettingsError(
            f"There is no product line {line}: {file} is missing. Lines: {known}. Run `fine-tune lines add`."
        )
    own = _read_settings_file(str(file))
    shared = sorted(INSTALLATION_SETTINGS & own.keys())
    if shared:
        raise SettingsError(f"{file}: {', '.join(shared)} can only be set for the whole installation.")
    values = settings.model_dump()
    for name, value in {**_NOT_INHERITED, **own}.items():
        values[name] = (
            {**values[name], **value} if isinstance(value, dict) and isinstance(values.get(name), dict) else value
        )
    values |= {"data_dir": file.parent, "line": line}
    if "recipe" not in own:
        raise SettingsError(f"{file} names no recipe. Add `recipe: NAME`.")
    try:
        found = Settings(**values)
    except ValidationError as error:
        raise SettingsError(f"{file}: {' '.join(_describe_errors(error))}") from None
    found._installation = settings
    if found.ledger_url and found.ledger_url == settings.ledger_url:
        raise SettingsError(f"{file}: ledger_url is the main line's database. Each line needs its own database.")
    if settings.ledger_url and not found.ledger_url:
        raise SettingsError(
            f"{file}: set ledger_url to a database of this line; the installation's ledger is not shared."
        )
    return found


def list_lines(settings: Settings) -> tuple[str, ...]:
    """Names of the product lines in addition to the main one, in alphabetical order."""
    root = settings.installation.layout.lines
    return tuple(
        sorted(file.parent.name for file in root.glob(f"*/{LINE_FILE}") if LINE_NAME.fullmatch(file.parent.name))
    )


def _read_stamp(path: str | None) -> tuple[int, int] | None:
    """Changes with the file; None if it can't be read."""
    try:
        found = os.stat(path or "")
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=8)
def _load_settings(_environment: tuple[tuple[str, str], ...], _folder: str, _stamp: object) -> Settings:
    """Read again only when something changed: a sensor reads the settings several times at each tick."""
    # Imported here: it takes 0.1 s, and not every command needs settings.
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

    class Loaded(Settings, BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=PREFIX,
            env_nested_delimiter="_",
            env_nested_max_split=1,
            enable_decoding=False,  # a group is not one variable with JSON
            extra="forbid",
            frozen=True,
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],  # noqa: ARG003
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, init_settings  # the environment beats the file

    try:
        return Settings(**dict(Loaded(**_read_settings_file(os.environ.get(SETTINGS_FILE)))))
    except ValidationError as error:
        raise SettingsError(" ".join(_describe_errors(error))) from None


def _describe_errors(error: ValidationError) -> Iterator[str]:
    """Without the values, which may contain a password."""
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = [str(part) for part in fault["loc"]]
        if not place:
            yield f"{fault['msg'].removeprefix('Value error, ')}."
        elif fault["type"] == "extra_forbidden":
            group = Settings.model_fields[place[0]].annotation if len(place) > 1 else Settings
            known = ", ".join(sorted(getattr(group, "model_fields", {})))
            yield f"There is no setting {'.'.join(place)}. Known{f' in {place[0]}' if len(place) > 1 else ''}: {known}."
        else:
            yield f"{'.'.join(place)} ({PREFIX}{'_'.join(place).upper()}): {fault['msg']}."


def _read_settings_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        values = load_values(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"The settings file {path} can't be read: {type(error).__name__}.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"The settings file {path} must contain names and values.")
    return values


def read_knowledge_url(name: str) -> str | None:
    """The database URL in the variable that a knowledge query names, which must start with KNOWLEDGE_URL_."""
    return os.environ.get(name) if name.startswith("KNOWLEDGE_URL_") else None
