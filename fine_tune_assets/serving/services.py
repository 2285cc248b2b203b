"""Starts and stops the background services: supervisor, gateway, desk, Dagster's code server, webserver and daemon.

Finds them by pid files in the run folder. Starting a running service and stopping a stopped one do nothing.
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

from fine_tune_assets.core.dagster_ui import (
    BASE_URL,
    CODE_SERVER,
    DAEMON,
    WEBSERVER,
    code_server_socket,
    webserver_socket,
)
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import file_lock
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.settings import SETTINGS_FILE, Settings
from fine_tune_assets.engines.processes import (
    ProcessIdentity,
    identify,
    is_alive,
    is_ending,
    read_identity,
    start_process,
    stop_process,
    write_identity,
)
from fine_tune_assets.engines.running_server import SHUTDOWN_SECONDS
from fine_tune_assets.serving.orphaned_engines import stop_orphaned_engines
from fine_tune_assets.serving.supervisor import HEARTBEAT_FILE

START_TIMEOUT_SECONDS = 120.0
STOP_GRACE_SECONDS = 30.0
"""Time in which Dagster stops its runs. The supervisor gets more, for the last answers of its engines."""
SUPERVISOR = "supervisor"
_QUIET = {
    # Policies allow days, so a look every five minutes instead of every 30 seconds is enough.
    "FRESHNESS_DAEMON_INTERVAL_SECONDS": "300",
    # Otherwise each thread that allocates gets its own heap, and what it frees is not returned.
    "MALLOC_ARENA_MAX": "2",
}
"""Environment of every service but the code server, whose runs train models. What is set already takes precedence."""
_LOCK_FILE, _LOOPBACK = "services.lock", "127.0.0.1"


class ServiceError(FineTuneError):
    """A service did not start."""


@dataclass(frozen=True)
class Service:
    name: str
    command: tuple[str, ...]
    is_up: Callable[[float], bool]
    """Whether it answers; takes its start time in Unix seconds."""
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


LINE_SERVICES = (SUPERVISOR, CODE_SERVER)
"""The services that each product line has; the others are shared."""


def known_services(settings: Settings) -> dict[str, Service]:
    """Every service, in the order of starting; for a further product line, its own ones only."""
    cli = (sys.executable, "-m", "fine_tune_assets.cli.main")
    heartbeat = settings.layout.run / HEARTBEAT_FILE
    gateway = settings.gateway_address
    desk = f"http://{settings.desk.host}:{settings.desk.port}"
    ui, code = webserver_socket(settings.layout.run), code_server_socket(settings.layout.run)
    services = (
        Service(
            SUPERVISOR,
            (*cli, "run", "supervisor"),
            lambda since: heartbeat.exists() and heartbeat.stat().st_mtime >= since,
        ),
        Service(
            "gateway", (*cli, "run", "gateway"), lambda _: _is_gateway_up(settings), settings.gateway.port, gateway
        ),
        Service(
            "desk",
            (*cli, "run", "desk"),
            lambda _: _is_answering(f"{desk}/health"),
            settings.desk.port,
            settings.desk_address,
        ),
        # It listens when it has loaded the definitions.
        Service(CODE_SERVER, (*cli, "run", CODE_SERVER), lambda _: is_listening(code)),
        Service(
            WEBSERVER,
            (*cli, "run", WEBSERVER),
            lambda _: _is_answering(f"{BASE_URL}/server_info", ui),
            url=settings.dagster_address,
        ),
        # The daemon has no address; if it can't load its workspace or storage, it ends within seconds.
        Service(DAEMON, (*cli, "run", DAEMON), lambda since: time.time() - since > 3),
    )
    return {service.name: service for service in services if not settings.line or service.name in LINE_SERVICES}


def start_services(settings: Settings, names: Sequence[str], timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
    """Start the services that do not run, and wait until each answers. Raises ServiceError with the path of the log.

    Dagster's webserver and daemon also start the code server, which both need.
    """
    needed = {CODE_SERVER} if {WEBSERVER, DAEMON} & set(names) else set()
    services = _select(settings, [*names, *needed])
    with file_lock(settings.layout.run / _LOCK_FILE):
        for service in services:
            _require_free_port(settings, service)
        started = {service.name: _start(settings, service) for service in services}
        deadline = time.monotonic() + timeout_seconds
        for service in services:
            _wait_until_up(settings, service, started[service.name], deadline)


def stop_services(settings: Settings, names: Sequence[str], grace_seconds: float | None = None) -> None:
    """Stop the running services in reverse order, and the engines of a killed supervisor.

    `grace_seconds` replaces each service's own grace period.
    """
    with file_lock(settings.layout.run / _LOCK_FILE):
        for service in reversed(_select(settings, names)):
            path = _pid_file(settings, service.name)
            identity = read_identity(path)
            if identity is not None:
                needed = STOP_GRACE_SECONDS + (SHUTDOWN_SECONDS if service.name == SUPERVISOR else 0)
                grace = needed if grace_seconds is None else grace_seconds
                stop_process(identity, log_file(settings, service.name), grace)
            path.unlink(missing_ok=True)
            if service.name == SUPERVISOR:
                stop_orphaned_engines(settings, STOP_GRACE_SECONDS if grace_seconds is None else grace_seconds)


def read_service_states(settings: Settings) -> list[ServiceState]:
    return [_read_state(settings, service) for service in known_services(settings).values()]


def _read_state(settings: Settings, service: Service) -> ServiceState:
    identity = _find_running(settings, service.name)
    since = time.time() - 30  # a supervisor without a heartbeat for 30 s is stuck, or verifies a very large release
    is_up = identity is not None and service.is_up(since)
    pid = identity.pid if identity else None
    return ServiceState(service.name, identity is not None, is_up, pid, service.url, log_file(settings, service.name))


def log_file(settings: Settings, name: str) -> Path:
    return settings.layout.run / f"{name}.log"


def _select(settings: Settings, names: Sequence[str]) -> list[Service]:
    known = known_services(settings)
    unknown = sorted(set(names) - set(known))
    if unknown:
        shared = " The other services are shared: start them without --line." if settings.line else ""
        raise ServiceError(f"Unknown services: {', '.join(unknown)}. Known: {', '.join(known)}.{shared}")
    return [service for name, service in known.items() if name in names]


def _require_free_port(settings: Settings, service: Service) -> None:
    """Raises ServiceError if the service does not run and another program has its port."""
    if service.port is None or _find_running(settings, service.name) is not None:
        return
    if _is_port_taken(service.port):
        raise ServiceError(
            f"Port {service.port} of {service.name} is in use by another program. Stop it, or set another port with "
            f"FINE_TUNE_{service.name.upper()}_PORT."
        )


def _start(settings: Settings, service: Service) -> tuple[ProcessIdentity, float]:
    running = _find_running(settings, service.name)
    if running is not None:
        return running, 0.0
    since = time.time()
    process = start_process(
        service.command,
        cwd=PROJECT_DIR,
        environment=({} if service.name == CODE_SERVER else _QUIET) | build_environment(settings),
        log=log_file(settings, service.name),
        die_with_parent=False,
    )
    identity = identify(process.pid)
    if identity is None:
        raise ServiceError(f"{service.name} ended immediately. See {log_file(settings, service.name)}.")
    write_identity(_pid_file(settings, service.name), identity)
    return identity, since


def _wait_until_up(
    settings: Settings, service: Service, started: tuple[ProcessIdentity, float], deadline: float
) -> None:
    identity, since = started
    while not service.is_up(since):
        if not is_alive(identity):
            raise ServiceError(f"{service.name} ended while starting. See {log_file(settings, service.name)}.")
        if time.monotonic() >= deadline:
            raise ServiceError(f"{service.name} did not answer in time. See {log_file(settings, service.name)}.")
        time.sleep(0.1)
    if not is_alive(identity):
        raise ServiceError(f"{service.name} ended while starting. See {log_file(settings, service.name)}.")


def build_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with exactly these settings, and with model and data set downloads disabled."""
    base = {name: value for name, value in os.environ.items() if name != SETTINGS_FILE}
    return base | settings.environment() | OFFLINE_ENVIRONMENT | {"DAGSTER_HOME": str(settings.dagster.home)}


def _pid_file(settings: Settings, name: str) -> Path:
    return settings.layout.run / f"{name}.pid"


def _find_running(settings: Settings, name: str) -> ProcessIdentity | None:
    identity = read_identity(_pid_file(settings, name))
    return None if identity is None or is_ending(identity) else identity


def _is_port_taken(port: int) -> bool:
    """Whether a program keeps the port for 3 s: one that was just killed takes a moment to release it."""
    deadline = time.monotonic() + 3
    while _accepts_connections(port):
        if time.monotonic() >= deadline:
            return True
        time.sleep(0.1)
    return False


def _accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_LOOPBACK, port)) == 0


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0


def _is_gateway_up(settings: Settings) -> bool:
    """With TLS, only whether the handshake works: the certificate names another host, and callers may need their own."""
    if not settings.gateway.tls_cert:
        return _is_answering(f"http://{settings.local_gateway_host}:{settings.gateway.port}/health")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = (settings.local_gateway_host, settings.gateway.port)
    try:
        with socket.create_connection(address, timeout=5) as connection, context.wrap_socket(connection):
            return True
    except OSError:
        return False


def _is_answering(url: str, socket_path: Path | None = None) -> bool:
    transport = None if socket_path is None else httpx.HTTPTransport(uds=str(socket_path))
    try:
        with httpx.Client(transport=transport, timeout=5, trust_env=False) as client:
            return client.get(url).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL):  # for an invalid host, the service logs the error itself
        return False
