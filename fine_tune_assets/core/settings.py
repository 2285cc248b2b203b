"""Where and how this installation runs: the only module that reads the environment.

A setting comes from the environment variable FINE_TUNE_<NAME>, else from the YAML file that FINE_TUNE_SETTINGS names,
else from the default below. Unknown keys are refused. No `.env` file is read: it would override the shell.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.paths import PROJECT_DIR, Layout
from fine_tune_assets.core.strict_yaml import load_values

PREFIX = "FINE_TUNE_"
SETTINGS_FILE = "FINE_TUNE_SETTINGS"

OFFLINE_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_MODE": "disabled",
    "ANONYMIZED_TELEMETRY": "False",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}
"""Every hub, telemetry and update switch of the libraries in use, off; and their progress bars, which fill logs: ours tell
more. Set before any of them is imported."""


@dataclass(frozen=True)
class Settings:
    """One installation."""

    data_dir: Path = PROJECT_DIR / "data"
    recipe: str = "demo_smollm2"
    """Name of a shipped recipe, or the path of a YAML file."""
    knowledge_url: str = ""
    """PostgreSQL with pgvector for knowledge indexes; empty means LanceDB below the data folder."""
    knowledge_keep_last: int = 3
    """Knowledge indexes that are kept besides those that answer."""
    ledger_url: str = ""
    """SQLAlchemy URL; empty means SQLite below the data folder."""
    dagster_home: Path = PROJECT_DIR
    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8060
    gateway_workers: int = 1
    """Processes that answer; all share the port."""
    gateway_tls_cert: str = ""
    gateway_tls_key: str = ""
    """Files with the gateway's own certificate and its key; empty: no TLS."""
    gateway_tls_client_ca: str = ""
    """File with the authority that callers' certificates must be of; empty: callers need none."""
    gateway_behind_tls_proxy: bool = False
    """A proxy with TLS stands in front: the gateway may listen beyond loopback without a certificate of its own."""
    gateway_oidc_issuer: str = ""
    """Whose bearer tokens are let in besides API keys; empty means nobody's."""
    gateway_oidc_audience: str = ""
    """What tokens must be made out for."""
    gateway_oidc_jwks: str = ""
    """The provider's public keys: a file, or an https address."""
    gateway_oidc_scope_claim: str = "scope"
    gateway_oidc_scopes: str = ""
    """THEIRS=OURS with spaces between; empty: they are called as ours."""
    gateway_oidc_requests_per_minute: int = 0
    gateway_oidc_tokens_per_day: int = 0
    """Of one subject; 0: no limit."""
    gateway_max_tokens: int = 2048
    """Tokens of one answer that a caller may ask for."""
    gateway_timeout_seconds: int = 900
    """Seconds for one answer, including the wait for a free slot of the engine."""
    gateway_audit_days: int = 365
    """Days that the line of a request is kept; 0: for ever."""
    gateway_audit_syncs_each: bool = False
    """An answer's last byte waits until the disk holds its line; else a power cut can lose a second of lines, and no kill any."""
    gateway_answer_phi: str = "off"
    """What happens to identifiers in answers: off, flag or block."""
    drift_features: bool = True
    """Requests are read for `production_drift`: sums of lengths and languages, never a text."""
    drift_window_hours: int = 24
    drift_minimum_requests: int = 50
    """Of fewer no sum is written."""
    desk_host: str = "127.0.0.1"
    desk_port: int = 8070
    desk_url: str = ""
    """The address that people type, when a proxy with TLS stands in front of the desk; empty means host and port."""
    desk_gateway_url: str = ""
    """Where the desk reaches the gateway; empty means where that listens."""
    desk_gateway_ca: str = ""
    """File of the authority that signed the gateway's certificate; empty means those that Python knows."""
    desk_idle_minutes: int = 30
    desk_session_hours: int = 12
    oidc_issuer: str = ""
    """Who signs people in, besides the desk's own passwords; empty means nobody."""
    oidc_client_id: str = ""
    oidc_client_secret_file: str = ""
    """Only the file's name: settings are handed on in the environment. Empty for a client without a secret."""
    oidc_name: str = "single sign-on"
    """What the button says."""
    oidc_ca: str = ""
    """File of the authority that signed the certificate of the desk's or gateway's provider; empty: those of this machine."""
    oidc_scopes: str = ""
    """Asked for besides `openid email`, with spaces between: some providers name groups only if `groups` is asked for."""
    oidc_groups_claim: str = "groups"
    """Where an ID token names a person's groups: a list of texts, or one text."""
    oidc_group_labels: str = ""
    """GROUP=LABEL with `;` between: the access labels of documents that members of a group hold on the desk; empty: none."""
    dagster_port: int = 3000
    dagster_url: str = ""
    """Where people reach the Dagster UI, for links in notifications; empty means this machine."""
    dagster_ui_can_launch: bool = False
    """False: the Dagster UI is read-only, since it has no login and takes commands from any web page."""
    retrain_cron: str = "0 3 * * 0"
    """When training on whatever is new starts, however little it is: Sundays at 3 o'clock."""
    retrain_time_zone: str = ""
    """Where it is 3 o'clock then, such as Europe/Berlin; empty means this machine's time zone."""
    release_keep_last: int = 3
    """Releases that are kept however old they are. What serves and what served before it are kept besides."""
    release_keep_days: int = 30
    """Days that every other release is kept for at least."""
    notify_webhook: str = ""
    """URL inside the network that gets a POST with JSON when something happened; empty means none."""
    notify_smtp: str = ""
    """HOST:PORT of the mail server; empty means no mail."""
    notify_smtp_starttls: bool = True
    notify_smtp_user: str = ""
    notify_smtp_password_file: str = ""
    """Only the file's name, as for every secret."""
    notify_mail_from: str = ""
    """Empty means the first of those who get it."""
    notify_mail_to: str = ""
    """Addresses, with commas between them; empty means no mail."""
    notify_events: str = "run_failed,verdict_hold,verdict_refuse,rolled_back,quarantine,production_drift"
    """Of what people are told."""
    notify_seconds: int = 10
    """How long a server may take to answer."""
    mlflow_uri: str = ""
    """Where finished trainings are told: sqlite:////PATH or an MLflow server inside the network; empty means nowhere."""
    threads: int = 0
    """CPU threads for heavy work; 0 means all."""
    gpu_memory_gb: int = 0
    """Memory of one GPU of the Ray cluster, in GiB: trainings there are planned for it."""
    unsloth_python: str = ""
    """Python of the environment that Unsloth is installed in; empty means `.venv-unsloth/bin/python` below the project. No Path:
    its link is not followed, since it is what tells Python its environment."""
    judge_url: str = ""
    """Base address of the server that judges, such as https://judge.intranet:8000/v1, for recipes with judge.kind: endpoint."""
    judge_key_file: str = ""
    """File with the key that it asks for; empty for a server without one."""
    vllm_python: str = ""
    """Python of the environment that vLLM is installed in; empty means `.venv-vllm/bin/python` below the project."""
    vllm_cache_gb: int = 2
    """Keys and values that vLLM keeps on a machine without a GPU, in GiB."""
    vllm_gpu_memory_percent: int = 45
    """Of a GPU's memory, for one vLLM: at a switch there are two."""
    vllm_tensor_parallel: int = 1
    vllm_pipeline_parallel: int = 1
    """GPUs that one model is cut up over: within layers, and by layers."""
    vllm_speculative_tokens: int = 0
    """Tokens that vLLM guesses ahead from the prompt's own words; 0 turns it off."""
    llama_server: str = ""
    """Path of a `llama-server` to use instead of the bundled one, such as a build for your GPU."""
    llama_parallel: int = 4
    """Requests that llama.cpp answers at the same time."""
    engine_context_tokens: int = 2048
    """Tokens of prompt and answer together. More cost memory in proportion."""
    memory_reserve_gb: int = 1
    """Memory that stays free on this machine: an engine that would take it is not started, and none is kept in it."""
    gateway_max_requests: int = 512
    """Chat requests that one gateway process takes on at once; more are told to come again."""
    corrections_daily_limit: int = 500
    """Corrections that one author may send in 24 hours, and as many thumbs; 0: no limit. More are refused with 429."""
    keep_old_minutes: int = 60
    """How long what served before stays up for a rollback; 0: not at all, -1: until the next release needs its place."""
    rollback_window_minutes: int = 30
    """How long after a switch what serves is watched, and left by itself if it does badly; 0: never."""
    rollback_minimum_requests: int = 20
    """Fewer say nothing."""
    rollback_error_percent: int = 20
    """Of requests since the switch, that failed; 0 turns it off. So do the ones below."""
    rollback_p95_seconds: int = 0
    """Longer than that takes one answer in twenty."""
    rollback_identifiers: int = 0
    """Identifiers found in answers; refused while gateway_answer_phi is off, since none would ever be found."""
    rollback_corrections_percent: int = 0
    """Corrections, of answers."""
    rollback_on_death: bool = True
    """The engine ends or hangs."""
    canary_percent: int = 0
    """Of callers, who are answered by a release on trial before all are switched to it; 0: none."""
    trial_minutes: int = 30
    """How long a trial takes, if there is one."""
    trial_minimum_requests: int = 20
    """Without which a release does not pass."""
    trial_maximum_minutes: int = 1440
    """How long a trial goes on for fewer; then the release fails."""
    llmcompressor_python: str = ""
    """Python of the environment that llmcompressor is installed in; empty means `.venv-llmcompressor/bin/python` below the
    project."""
    ray_address: str = ""
    """Address of a Ray cluster's dashboard, such as http://10.0.0.5:8265: training runs there; empty means on this machine."""
    ray_gpus_per_process: int = 1
    """GPUs of the cluster that each of a training's processes takes; 0 trains on CPUs."""
    ray_cpus_per_process: int = 1
    ray_wait_minutes: int = 10
    """How long a training waits for nodes, at its start and after one was lost."""

    @property
    def card_elsewhere_gb(self) -> int:
        """Memory of the GPUs of a Ray cluster, in GiB; 0 where this machine trains."""
        return self.gpu_memory_gb if self.ray_address else 0

    @property
    def time_zone(self) -> str:
        """Where the weekly training's clock hangs. Raises SettingsError for a zone that nobody knows."""
        name = self.retrain_time_zone or _zone_of_machine()
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
        return Path(self.vllm_python or PROJECT_DIR / ".venv-vllm/bin/python").expanduser().absolute()

    @property
    def llmcompressor_interpreter(self) -> Path:
        return Path(self.llmcompressor_python or PROJECT_DIR / ".venv-llmcompressor/bin/python").expanduser().absolute()

    @property
    def gateway_address(self) -> str:
        return self._gateway_at(self.gateway_host)

    @property
    def dagster_address(self) -> str:
        return self.dagster_url.rstrip("/") or f"http://127.0.0.1:{self.dagster_port}"

    @property
    def gateway_reached_at(self) -> str:
        """The host from this machine, whoever listens on all of its addresses."""
        return "127.0.0.1" if self.gateway_host in ("0.0.0.0", "::") else self.gateway_host

    @property
    def gateway_of_desk(self) -> str:
        """The gateway's address as this machine asks it, without a slash at its end."""
        return self.desk_gateway_url.rstrip("/") or self._gateway_at(self.gateway_reached_at)

    def _gateway_at(self, host: str) -> str:
        return f"{'https' if self.gateway_tls_cert else 'http'}://{host}:{self.gateway_port}"

    @property
    def desk_address(self) -> str:
        """Where people reach the desk, without a slash at its end."""
        return self.desk_url.rstrip("/") or f"http://{self.desk_host}:{self.desk_port}"


def _zone_of_machine(link: Path = Path("/etc/localtime")) -> str:
    """By the variable TZ or the link that the system keeps; UTC where neither names a zone."""
    named = os.environ.get("TZ", "").removeprefix(":") or str(link.resolve()).partition("zoneinfo/")[2]
    try:
        return ZoneInfo(named).key if named else "UTC"
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"


_RANGES = {
    "canary_percent": (0, 100),
    "trial_minutes": (1, 10_080),
    "trial_minimum_requests": (1, 1_000_000),
    "trial_maximum_minutes": (1, 10_080),
}
"""Lowest and highest value of whole numbers that have one."""


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises SettingsError with the name of what is wrong."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = _read_file(environment.get(SETTINGS_FILE))
    kinds = {f.name: type(f.default) if not isinstance(f.default, Path) else Path for f in fields(Settings)}
    for name in kinds:
        if PREFIX + name.upper() in environment:
            values[name] = environment[PREFIX + name.upper()]
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise SettingsError(f"Unknown settings: {', '.join(unknown)}. Known: {', '.join(sorted(kinds))}.")
    settings = Settings(**{name: _convert(name, value, kinds[name]) for name, value in values.items()})
    if settings.trial_maximum_minutes < settings.trial_minutes:
        raise SettingsError(f"{PREFIX}TRIAL_MAXIMUM_MINUTES must be at least {PREFIX}TRIAL_MINUTES.")
    if settings.rollback_identifiers > 0 and settings.gateway_answer_phi == "off":
        raise SettingsError(
            f"{PREFIX}ROLLBACK_IDENTIFIERS is {settings.rollback_identifiers}, and no answer is read for identifiers: set "
            f"{PREFIX}GATEWAY_ANSWER_PHI to flag or block, or {PREFIX}ROLLBACK_IDENTIFIERS to 0."
        )
    return settings


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


def _convert(name: str, value: Any, kind: type) -> Any:
    if kind is bool:
        lowered = str(value).strip().lower()
        if lowered not in {"1", "0", "true", "false", "yes", "no"}:
            raise SettingsError(f"{PREFIX}{name.upper()} must be true or false.")
        return lowered in {"1", "true", "yes"}
    if kind is int:
        return _whole_number(name, value)
    return Path(value).expanduser().resolve() if kind is Path else str(value)


def _whole_number(name: str, value: Any) -> int:
    try:
        number = int(value)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{name.upper()} must be a whole number.") from error
    lowest, highest = _RANGES.get(name, (number, number))
    if not lowest <= number <= highest:
        raise SettingsError(f"{PREFIX}{name.upper()} must be from {lowest} to {highest}.")
    return number


def knowledge_variable(name: str) -> str | None:
    """The address of a database that a knowledge query names; nothing else of the environment is asked for by a file."""
    return os.environ.get(name) if name.startswith("KNOWLEDGE_URL_") else None


def use_large_pages() -> None:
    """Have torch put large tensors into pages of their own, which go back when they are freed: a training on a CPU holds 15 %
    less (docs/decisions/0021-the-resource-plan.md). Before torch is imported."""
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"


def go_offline() -> None:
    """Turn off every hub, telemetry and update switch for this process and its children."""
    os.environ.update(OFFLINE_ENVIRONMENT)
    # On some processors it advises at each import to install a package that fetches programs from a hub.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
