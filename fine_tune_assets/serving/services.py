"""The services of daily use: supervisor, gateway, desk, Dagster webserver and daemon, each a process in the background.

Owns starting, stopping and finding them through pid files below the run folder. Starting what runs and stopping what
does not run do nothing.
"""

import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import locked
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.settings import SETTINGS_FILE, Settings
from fine_tune_assets.engines.processes import (
    ProcessIdentity,
    identify,
    is_alive,
    is_killed,
    read_identity,
    start_process,
    stop_process,
    write_identity,
)
from fine_tune_assets.engines.running_server import SHUTDOWN_SECONDS
from fine_tune_assets.serving.left_engines import stop_left_engines
from fine_tune_assets.serving.supervisor import HEARTBEAT

START_TIMEOUT_SECONDS = 120.0
STOP_GRACE_SECONDS = 30.0
"""Dagster stops its runs in it. The supervisor gets the time besides that its engines may take for their last answers."""
SUPERVISOR = "supervisor"
_LOCK, _LOOPBACK = "services.lock", "127.0.0.1"


class ServiceError(FineTuneError):
    """A service did not start."""


@dataclass(frozen=True)
class Service:
    name: str
    command: tuple[str, ...]
    is_up: Callable[[float], bool]
    """Whether it answers; takes the time (Unix seconds) at which it was started."""
    port: int | None = None
    url: str = ""


@dataclass(frozen=True)
class ServiceState:
    name: str
    is_running: bool
    is_up: bool
    pid: int | None
    url: str
    log: Path


def known_services(settings: Settings) -> dict[str, Service]:
    """Every service, in the order in which they are started."""
    cli = (sys.executable, "-m", "fine_tune_assets.cli.main")
    tools, workspace = Path(sys.executable).parent, ("-w", str(PROJECT_DIR / "workspace.yaml"))
    read_only = () if settings.dagster.ui_can_launch else ("--read-only",)
    heartbeat = settings.layout.run / HEARTBEAT
    gateway = settings.gateway_address
    desk = f"http://{settings.desk.host}:{settings.desk.port}"
    dagster = f"http://{_LOOPBACK}:{settings.dagster.port}"
    address = ("-h", _LOOPBACK, "-p", str(settings.dagster.port))
    services = (
        Service(SUPERVISOR, (*cli, "serve"), lambda since: heartbeat.exists() and heartbeat.stat().st_mtime >= since),
        Service("gateway", (*cli, "gateway"), lambda _: _gateway_answers(settings), settings.gateway.port, gateway),
        Service(
            "desk", (*cli, "desk"), lambda _: _answers(f"{desk}/health"), settings.desk.port, settings.desk_address
        ),
        Service(
            "dagster-webserver",
            (str(tools / "dagster-webserver"), *address, *workspace, *read_only),
            lambda _: _answers(f"{dagster}/server_info"),
            settings.dagster.port,
            dagster,
        ),
        # It has no address; one that can't load its workspace or storage ends within the first seconds.
        Service("dagster-daemon", (str(tools / "dagster-daemon"), "run", *workspace), lambda s: time.time() - s > 3),
    )
    return {service.name: service for service in services}


def start_services(settings: Settings, names: Sequence[str], timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
    """Start those that do not run, and wait until each answers. Raises ServiceError with the log to read."""
    services = _pick(settings, names)
    with locked(settings.layout.run / _LOCK):
        started = {service.name: _start(settings, service) for service in services}
        deadline = time.monotonic() + timeout_seconds
        for service in services:
            _wait(settings, service, started[service.name], deadline)


def stop_services(settings: Settings, names: Sequence[str], grace_seconds: float | None = None) -> None:
    """Stop those that run, the last started first, and what those that were killed left behind. `grace_seconds`: for each,
    instead of what it needs."""
    with locked(settings.layout.run / _LOCK):
        for service in reversed(_pick(settings, names)):
            path = _pid_file(settings, service.name)
            identity = read_identity(path)
            if identity is not None:
                needed = STOP_GRACE_SECONDS + (SHUTDOWN_SECONDS if service.name == SUPERVISOR else 0)
                grace = needed if grace_seconds is None else grace_seconds
                stop_process(identity, log_file(settings, service.name), grace)
            path.unlink(missing_ok=True)
            if service.name == SUPERVISOR:
                stop_left_engines(settings, STOP_GRACE_SECONDS if grace_seconds is None else grace_seconds)


def service_states(settings: Settings) -> list[ServiceState]:
    return [_state(settings, service) for service in known_services(settings).values()]


def _state(settings: Settings, service: Service) -> ServiceState:
    identity = _running(settings, service.name)
    since = time.time() - 30  # a supervisor that did nothing for so long is stuck, or verifies a very large release
    is_up = identity is not None and service.is_up(since)
    pid = identity.pid if identity else None
    return ServiceState(service.name, identity is not None, is_up, pid, service.url, log_file(settings, service.name))


def log_file(settings: Settings, name: str) -> Path:
    return settings.layout.run / f"{name}.log"


def _pick(settings: Settings, names: Sequence[str]) -> list[Service]:
    known = known_services(settings)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ServiceError(f"Unknown services: {', '.join(unknown)}. Known: {', '.join(known)}.")
    return [service for name, service in known.items() if name in names]


def _start(settings: Settings, service: Service) -> tuple[ProcessIdentity, float]:
    running = _running(settings, service.name)
    if running is not None:
        return running, 0.0
    if service.port is not None and _is_taken(service.port):
        raise ServiceError(
            f"Port {service.port} for {service.name} is taken by another program. Stop it, or choose another port."
        )
    since = time.time()
    process = start_process(
        service.command,
        cwd=PROJECT_DIR,
        environment=service_environment(settings),
        log=log_file(settings, service.name),
        die_with_parent=False,
    )
    identity = identify(process.pid)
    if identity is None:
        raise ServiceError(f"{service.name} ended at once. See {log_file(settings, service.name)}.")
    write_identity(_pid_file(settings, service.name), identity)
    return identity, since


def _wait(settings: Settings, service: Service, started: tuple[ProcessIdentity, float], deadline: float) -> None:
    identity, since = started
    while not service.is_up(since):
        if not is_alive(identity):
            raise ServiceError(f"{service.name} ended while starting. See {log_file(settings, service.name)}.")
        if time.monotonic() >= deadline:
            raise ServiceError(f"{service.name} does not answer yet. See {log_file(settings, service.name)}.")
        time.sleep(0.1)
    if not is_alive(identity):
        raise ServiceError(f"{service.name} ended while starting. See {log_file(settings, service.name)}.")


def service_environment(settings: Settings) -> dict[str, str]:
    """The environment of a service: this one's, with exactly these settings and every network switch off."""
    base = {name: value for name, value in os.environ.items() if name != SETTINGS_FILE}
    return base | settings.environment() | OFFLINE_ENVIRONMENT | {"DAGSTER_HOME": str(settings.dagster.home)}


def _pid_file(settings: Settings, name: str) -> Path:
    return settings.layout.run / f"{name}.pid"


def _running(settings: Settings, name: str) -> ProcessIdentity | None:
    identity = read_identity(_pid_file(settings, name))
    return None if identity is None or is_killed(identity) else identity


def _is_taken(port: int) -> bool:
    """Whether a program answers there and goes on to: one that was just killed takes a moment to let go."""
    deadline = time.monotonic() + 3
    while _accepts(port):
        if time.monotonic() >= deadline:
            return True
        time.sleep(0.1)
    return False


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_LOOPBACK, port)) == 0


def _gateway_answers(settings: Settings) -> bool:
    """With TLS, whether there is something that speaks it: its certificate is made out for others, and it may ask for one."""
    if not settings.gateway.tls_cert:
        return _answers(f"http://{settings.gateway_reached_at}:{settings.gateway.port}/health")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    place = (settings.gateway_reached_at, settings.gateway.port)
    try:
        with socket.create_connection(place, timeout=5) as line, context.wrap_socket(line):
            return True
    except OSError:
        return False


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL):  # a host that is none: the service itself says so, in its log
        return False
