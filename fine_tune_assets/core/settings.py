"""Where and how this installation runs: the only module that reads the environment.

A setting comes from the environment variable FINE_TUNE_<GROUP>_<NAME>, else from the YAML file that FINE_TUNE_SETTINGS names,
else from the default below. Unknown names are refused. No `.env` file is read: it would override the shell.
"""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.paths import PROJECT_DIR, Layout
from fine_tune_assets.core.strict_parsing import load_values

PREFIX = "FINE_TUNE_"
SETTINGS_FILE = "FINE_TUNE_SETTINGS"

Folder = Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KnowledgeSettings(_Group):
    """Knowledge indexes."""

    url: str = ""
    """PostgreSQL with pgvector for knowledge indexes; empty means LanceDB below the data folder."""
    keep_last: int = 3
    """Knowledge indexes that are kept besides those that answer."""


class GatewaySettings(_Group):
    """The HTTP API."""

    host: str = "127.0.0.1"
    port: int = 8060
    workers: int = 1
    """Processes that answer; all share the port."""
    tls_cert: str = ""
    tls_key: str = ""
    """Files with the gateway's own certificate and its key; empty: no TLS."""
    tls_client_ca: str = ""
    """File with the authority that callers' certificates must be of; empty: callers need none."""
    behind_tls_proxy: bool = False
    """A proxy with TLS stands in front: the gateway may listen beyond loopback without a certificate of its own."""
    oidc_issuer: str = ""
    """Whose bearer tokens are let in besides API keys; empty means nobody's."""
    oidc_audience: str = ""
    """What tokens must be made out for."""
    oidc_jwks: str = ""
    """The provider's public keys: a file, or an https address."""
    oidc_scope_claim: str = "scope"
    oidc_scopes: str = ""
    """THEIRS=OURS with spaces between; empty: they are called as ours."""
    oidc_requests_per_minute: int = 0
    oidc_tokens_per_day: int = 0
    """Of one subject; 0: no limit."""
    max_tokens: int = 2048
    """Tokens of one answer that a caller may ask for."""
    timeout_seconds: int = 900
    """Seconds for one answer, including the wait for a free slot of the engine."""
    audit_days: int = 365
    """Days that the line of a request is kept; 0: for ever."""
    audit_syncs_each: bool = False
    """An answer's last byte waits until the disk holds its line; else a power cut can lose a second of lines, and no kill any."""
    answer_phi: str = "off"
    """What happens to identifiers in answers: off, flag or block."""
    max_requests: int = 512
    """Chat requests that one gateway process takes on at once; more are told to come again."""


class DriftSettings(_Group):
    """What is kept of requests for `production_drift`."""

    features: bool = True
    """Requests are read for `production_drift`: sums of lengths and languages, never a text."""
    window_hours: int = 24
    minimum_requests: int = 50
    """Of fewer no sum is written."""


class DeskSettings(_Group):
    """The web pages."""

    host: str = "127.0.0.1"
    port: int = 8070
    url: str = ""
    """The address that people type, when a proxy with TLS stands in front of the desk; empty means host and port."""
    gateway_url: str = ""
    """Where the desk reaches the gateway; empty means where that listens."""
    gateway_ca: str = ""
    """File of the authority that signed the gateway's certificate; empty means those that Python knows."""
    idle_minutes: int = 30
    session_hours: int = 12


class OidcSettings(_Group):
    """Single sign-on to the desk."""

    issuer: str = ""
    """Who signs people in, besides the desk's own passwords; empty means nobody."""
    client_id: str = ""
    client_secret_file: str = ""
    """Only the file's name: settings are handed on in the environment. Empty for a client without a secret."""
    name: str = "single sign-on"
    """What the button says."""
    ca: str = ""
    """File of the authority that signed the certificate of the desk's or gateway's provider; empty: those of this machine."""
    scopes: str = ""
    """Asked for besides `openid email`, with spaces between: some providers name groups only if `groups` is asked for."""
    groups_claim: str = "groups"
    """Where an ID token names a person's groups: a list of texts, or one text."""
    group_labels: str = ""
    """GROUP=LABEL with `;` between: the access labels of documents that members of a group hold on the desk; empty: none."""


class DagsterSettings(_Group):
    """Dagster's own storage and UI."""

    home: Folder = PROJECT_DIR
    port: int = 3000
    url: str = ""
    """Where people reach the Dagster UI, for links in notifications; empty means this machine."""
    ui_can_launch: bool = False
    """False: the Dagster UI is read-only, since it has no login and takes commands from any web page."""


class RetrainSettings(_Group):
    """The weekly training."""

    cron: str = "0 3 * * 0"
    """When training on whatever is new starts, however little it is: Sundays at 3 o'clock."""
    time_zone: str = ""
    """Where it is 3 o'clock then, such as Europe/Berlin; empty means this machine's time zone."""


class ReleaseSettings(_Group):
    """How long releases are kept."""

    keep_last: int = 3
    """Releases that are kept however old they are. What serves and what served before it are kept besides."""
    keep_days: int = 30
    """Days that every other release is kept for at least."""


class NotifySettings(_Group):
    """Notifications."""

    webhook: str = ""
    """URL inside the network that gets a POST with JSON when something happened; empty means none."""
    smtp: str = ""
    """HOST:PORT of the mail server; empty means no mail."""
    smtp_starttls: bool = True
    smtp_user: str = ""
    smtp_password_file: str = ""
    """Only the file's name, as for every secret."""
    mail_from: str = ""
    """Empty means the first of those who get it."""
    mail_to: str = ""
    """Addresses, with commas between them; empty means no mail."""
    events: str = "run_failed,verdict_hold,verdict_refuse,rolled_back,quarantine,production_drift"
    """Of what people are told."""
    seconds: int = 10
    """How long a server may take to answer."""


class JudgeSettings(_Group):
    """A server that judges."""

    url: str = ""
    """Base address of the server that judges, such as https://judge.intranet:8000/v1, for recipes with judge.kind: endpoint."""
    key_file: str = ""
    """File with the key that it asks for; empty for a server without one."""


class VllmSettings(_Group):
    """Serving by vLLM."""

    python: str = ""
    """Python of the environment that vLLM is installed in; empty means `.venv-vllm/bin/python` below the project."""
    cache_gb: int = 2
    """Keys and values that vLLM keeps on a machine without a GPU, in GiB."""
    gpu_memory_percent: int = 45
    """Of a GPU's memory, for one vLLM: at a switch there are two."""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    """GPUs that one model is cut up over: within layers, and by layers."""
    speculative_tokens: int = 0
    """Tokens that vLLM guesses ahead from the prompt's own words; 0 turns it off."""


class LlamaCppSettings(_Group):
    """Serving by llama.cpp."""

    server: str = ""
    """Path of a `llama-server` to use instead of the bundled one, such as a build for your GPU."""
    parallel: int = 4
    """Requests that llama.cpp answers at the same time."""


class EngineSettings(_Group):
    """Every engine."""

    context_tokens: int = 2048
    """Tokens of prompt and answer together. More cost memory in proportion."""
    memory_reserve_gb: int = 1
    """Memory that stays free on this machine: an engine that would take it is not started, and none is kept in it."""


class RollbackSettings(_Group):
    """When users are taken back to the previous release."""

    keep_old_minutes: int = 60
    """How long what served before stays up for a rollback; 0: not at all, -1: until the next release needs its place."""
    window_minutes: int = 30
    """How long after a switch what serves is watched, and left by itself if it does badly; 0: never."""
    minimum_requests: int = 20
    """Fewer say nothing."""
    error_percent: int = 20
    """Of requests since the switch, that failed; 0 turns it off. So do the ones below."""
    p95_seconds: int = 0
    """Longer than that takes one answer in twenty."""
    identifiers: int = 0
    """Identifiers found in answers; refused while gateway.answer_phi is off, since none would ever be found."""
    corrections_percent: int = 0
    """Corrections, of answers."""
    on_death: bool = True
    """The engine ends or hangs."""


class TrialSettings(_Group):
    """Trying a release on some callers before all are switched to it."""

    percent: int = Field(default=0, ge=0, le=100)
    """Of callers, who are answered by a release on trial before all are switched to it; 0: none."""
    minutes: int = Field(default=30, ge=1, le=10_080)
    """How long a trial takes, if there is one."""
    minimum_requests: int = Field(default=20, ge=1, le=1_000_000)
    """Without which a release does not pass."""
    maximum_minutes: int = Field(default=1440, ge=1, le=10_080)
    """How long a trial goes on for fewer; then the release fails."""


class RaySettings(_Group):
    """Training on a Ray cluster."""

    gpu_memory_gb: int = 0
    """Memory of one GPU of the Ray cluster, in GiB: trainings there are planned for it."""
    address: str = ""
    """Address of a Ray cluster's dashboard, such as http://10.0.0.5:8265: training runs there; empty means on this machine."""
    gpus_per_process: int = 1
    """GPUs of the cluster that each of a training's processes takes; 0 trains on CPUs."""
    cpus_per_process: int = 1
    wait_minutes: int = 10
    """How long a training waits for nodes, at its start and after one was lost."""


class Settings(_Group):
    """One installation."""

    data_dir: Folder = PROJECT_DIR / "data"
    recipe: str = "demo_smollm2"
    """Name of a shipped recipe, or the path of a YAML file."""
    ledger_url: str = ""
    """SQLAlchemy URL; empty means SQLite below the data folder."""
    mlflow_uri: str = ""
    """Where finished trainings are told: sqlite:////PATH or an MLflow server inside the network; empty means nowhere."""
    threads: int = 0
    """CPU threads for heavy work; 0 means all."""
    unsloth_python: str = ""
    """Python of the environment that Unsloth is installed in; empty means `.venv-unsloth/bin/python` below the project. No Path:
    its link is not followed, since it is what tells Python its environment."""
    corrections_daily_limit: int = 500
    """Corrections that one author may send in 24 hours, and as many thumbs; 0: no limit. More are refused with 429."""
    llmcompressor_python: str = ""
    """Python of the environment that llmcompressor is installed in; empty means `.venv-llmcompressor/bin/python` below the
    project."""
    knowledge: KnowledgeSettings = KnowledgeSettings()
    gateway: GatewaySettings = GatewaySettings()
    drift: DriftSettings = DriftSettings()
    desk: DeskSettings = DeskSettings()
    oidc: OidcSettings = OidcSettings()
    dagster: DagsterSettings = DagsterSettings()
    retrain: RetrainSettings = RetrainSettings()
    release: ReleaseSettings = ReleaseSettings()
    notify: NotifySettings = NotifySettings()
    judge: JudgeSettings = JudgeSettings()
    vllm: VllmSettings = VllmSettings()
    llama: LlamaCppSettings = LlamaCppSettings()
    engine: EngineSettings = EngineSettings()
    rollback: RollbackSettings = RollbackSettings()
    trial: TrialSettings = TrialSettings()
    ray: RaySettings = RaySettings()

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        if self.trial.maximum_minutes < self.trial.minutes:
            raise ValueError("trial.maximum_minutes must be at least trial.minutes")
        if self.rollback.identifiers > 0 and self.gateway.answer_phi == "off":
            raise ValueError(
                f"rollback.identifiers is {self.rollback.identifiers}, and no answer is read for identifiers: set "
                "gateway.answer_phi to flag or block, or rollback.identifiers to 0"
            )
        return self

    def environment(self) -> dict[str, str]:
        """Every setting as the variable that `load_settings` reads it from: how a service gets exactly these."""
        values = dict(self)
        groups = {name: value for name, value in values.items() if isinstance(value, _Group)}
        plain = {name: value for name, value in values.items() if name not in groups}
        nested = {f"{group}_{name}": value for group, settings in groups.items() for name, value in settings}
        return {PREFIX + name.upper(): str(value) for name, value in {**plain, **nested}.items()}

    @property
    def card_elsewhere_gb(self) -> int:
        """Memory of the GPUs of a Ray cluster, in GiB; 0 where this machine trains."""
        return self.ray.gpu_memory_gb if self.ray.address else 0

    @property
    def time_zone(self) -> str:
        """Where the weekly training's clock hangs. Raises SettingsError for a zone that nobody knows."""
        name = self.retrain.time_zone or _zone_of_machine()
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise SettingsError(
                f"There is no time zone {name}. Name one as Europe/Berlin in {PREFIX}RETRAIN_TIME_ZONE."
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
        return self._gateway_at(self.gateway.host)

    @property
    def dagster_address(self) -> str:
        return self.dagster.url.rstrip("/") or f"http://127.0.0.1:{self.dagster.port}"

    @property
    def gateway_reached_at(self) -> str:
        """The host from this machine, whoever listens on all of its addresses."""
        return "127.0.0.1" if self.gateway.host in ("0.0.0.0", "::") else self.gateway.host

    @property
    def gateway_of_desk(self) -> str:
        """The gateway's address as this machine asks it, without a slash at its end."""
        return self.desk.gateway_url.rstrip("/") or self._gateway_at(self.gateway_reached_at)

    def _gateway_at(self, host: str) -> str:
        return f"{'https' if self.gateway.tls_cert else 'http'}://{host}:{self.gateway.port}"

    @property
    def desk_address(self) -> str:
        """Where people reach the desk, without a slash at its end."""
        return self.desk.url.rstrip("/") or f"http://{self.desk.host}:{self.desk.port}"


def _zone_of_machine(link: Path = Path("/etc/localtime")) -> str:
    """By the variable TZ or the link that the system keeps; UTC where neither names a zone."""
    named = os.environ.get("TZ", "").removeprefix(":") or str(link.resolve()).partition("zoneinfo/")[2]
    try:
        return ZoneInfo(named).key if named else "UTC"
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"


def load_settings() -> Settings:
    """Read the settings. Raises SettingsError with the name of what is wrong."""
    # Imported here: a command without settings saves 0.1 s.
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

    class Loaded(Settings, BaseSettings):
        model_config = SettingsConfigDict(
            env_prefix=PREFIX,
            env_nested_delimiter="_",
            env_nested_max_split=1,
            enable_decoding=False,  # a group is no JSON in one variable
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
        return Settings(**dict(Loaded(**_read_file(os.environ.get(SETTINGS_FILE)))))
    except ValidationError as error:
        raise SettingsError(" ".join(_in_words(error))) from None


def _in_words(error: ValidationError) -> Iterator[str]:
    """Without the values: one may be an address with a password in it."""
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


def _read_file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        values = load_values(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"The settings file {path} can't be read: {type(error).__name__}.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"The settings file {path} must hold names and values.")
    return values


def knowledge_variable(name: str) -> str | None:
    """The address of a database that a knowledge query names; nothing else of the environment is asked for by a file."""
    return os.environ.get(name) if name.startswith("KNOWLEDGE_URL_") else None
