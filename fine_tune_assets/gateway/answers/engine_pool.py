"""Holds the clients, keys and queues of the running engines, and chooses the engine for a request."""

from typing import Any

from fine_tune_assets.core.serving_engines import shared_slots
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import SOCKETS_FOLDER, socket_path
from fine_tune_assets.gateway.answers.engine_client import AnswerLimits, EngineAnswer, EngineClients, send_request
from fine_tune_assets.gateway.answers.fair_queue import FairQueue
from fine_tune_assets.gateway.requests.request_models import LIVE_MODEL
from fine_tune_assets.gateway.wire_format import unavailable
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.serving.deployments import open_engine_key
from fine_tune_assets.ledger.serving.routing_targets import RoutingTarget

RESTARTING_MESSAGE = "The engine is restarting. Retry in a moment."


class EnginePool:
    """The engines of one gateway process."""

    def __init__(self, settings: Settings, ledger_key: bytes) -> None:
        self._key = ledger_key
        self._settings, self._sockets = settings, settings.layout.run / SOCKETS_FOLDER
        self._clients = EngineClients()
        self._engine_keys: dict[tuple[str, bytes | None], str] = {}
        self._queues: dict[str, FairQueue] = {}

    async def close(self) -> None:
        await self._clients.close()

    @property
    def urls(self) -> set[str]:
        """Addresses with a client."""
        return self._clients.urls

    @property
    def keyed_deployments(self) -> set[str]:
        """Deployments whose engine key is held."""
        return {deployment_id for deployment_id, _ in self._engine_keys}

    def retain_only(self, targets: list[RoutingTarget]) -> None:
        """Drop the keys and retire the clients of other engines. Answers in progress keep their client."""
        self._clients.retain_only({target.engine_url for target in targets})
        known = {(target.deployment_id, target.engine_key) for target in targets}
        self._engine_keys = {name: key for name, key in self._engine_keys.items() if name in known}
        urls = {target.engine_url for target in targets}
        self._queues = {url: queue for url, queue in self._queues.items() if url in urls or queue.running}

    def queue(self, target: RoutingTarget, engine: str) -> FairQueue:
        """The slots of the target's engine; `engine` is its name in the recipe."""
        assert target.engine_url is not None
        if target.engine_url not in self._queues:
            self._queues[target.engine_url] = FairQueue(shared_slots(engine, self._settings))
        return self._queues[target.engine_url]

    async def send(self, target: RoutingTarget, body: dict[str, Any], path: str, limits: AnswerLimits) -> EngineAnswer:
        """Raises EngineUnavailableError, EngineStoppedError, ApiError."""
        assert target.engine_url is not None
        path_of_socket = socket_path(target.engine_url)
        if path_of_socket is None or path_of_socket.parent != self._sockets:
            # Someone who can write another address there would receive every prompt.
            raise unavailable("The live engine's address is not one of this installation. Ask the operator.")
        client = self._clients.get_client(target.engine_url)
        return await send_request(client, self._open_key(target), body, limits, path)

    def _open_key(self, target: RoutingTarget) -> str:
        name = (target.deployment_id, target.engine_key)
        try:
            if name not in self._engine_keys:
                self._engine_keys[name] = open_engine_key(self._key, target.deployment_id, target.engine_key)
            return self._engine_keys[name]
        except LedgerError as error:
            raise unavailable(
                "The live engine's key is unreadable. Run `fine-tune down`, then `fine-tune up`."
            ) from error


def choose_target(targets: list[RoutingTarget], model: str, failed: set[str]) -> RoutingTarget:
    """The live release; if it is down or has just failed, the previous release, unless the caller named the live one.

    If all have failed, the live release again: it may have restarted, or a switch may have happened in between. Raises ApiError.
    """
    live = require_live_target(targets)
    others = targets[1:] if model == LIVE_MODEL else []
    fit = [target for target in (live, *others) if target.engine_url is not None and not target.is_canary]
    fresh = [target for target in fit if target.deployment_id not in failed]
    if not fit:
        raise unavailable(RESTARTING_MESSAGE)
    return (fresh or fit)[0]


def require_live_target(targets: list[RoutingTarget]) -> RoutingTarget:
    """Raises ApiError."""
    if not targets or not targets[0].is_live:
        raise unavailable("No release is live. Run `fine-tune status` to see why.")
    return targets[0]
