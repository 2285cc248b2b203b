"""One chat request: to the live engine, or once more to the other colour if that one fails before its first byte.

Owns how many are under way, how each ended, and finding the engines. Which release is live is read for each request, so that a
switch loses none.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.releases import PROMPT, AskedWith, ReleaseError, read_release
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.engine_client import (
    Answer,
    EngineClients,
    EngineGoneError,
    WatchedResponse,
    ask_engine,
    response_of,
)
from fine_tune_assets.gateway.errors import ApiError
from fine_tune_assets.gateway.outcomes import OutcomeCounter
from fine_tune_assets.gateway.requests import LIVE, engine_request
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.deployments import open_sealed_key
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.outcomes import FAILED, answered_after
from fine_tune_assets.ledger.targets import Target, find_targets

_ATTEMPTS = 2
_BEING_STARTED = "The model is being started again. Ask again in a moment."


class Chat:
    """Shared by all requests of a gateway process."""

    def __init__(self, settings: Settings, ledger: Ledger, counter: OutcomeCounter) -> None:
        self._settings, self._ledger, self._counter = settings, ledger, counter
        self._key = read_or_create_key(settings.layout.keys, KEY_NAME)
        self._clients = EngineClients()
        self._opened: dict[tuple[str, bytes | None], str] = {}
        """Keys of engines that may be asked now."""
        self._under_way = 0

    async def close(self) -> None:
        await self._clients.close()

    @property
    def asks(self) -> set[str]:
        """Addresses of engines that it has a client for."""
        return self._clients.urls

    @property
    def holds_keys_of(self) -> set[str]:
        """Deployments whose engine's key it holds."""
        return {deployment_id for deployment_id, _ in self._opened}

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Callable[[], Callable[[], None]]]:
        """A place among those under way; given back at the end of the block, or when what the block hands on is called."""
        if self._under_way >= self._settings.gateway_max_requests:
            message = "Too many requests are under way. Ask again in a moment."
            raise ApiError(429, "too_many_requests", message, {"Retry-After": "2"})
        self._under_way += 1
        is_handed_on = False

        def hand_on() -> Callable[[], None]:
            nonlocal is_handed_on
            is_handed_on = True
            return self._give_back

        try:
            yield hand_on
        finally:
            if not is_handed_on:
                self._give_back()

    def _give_back(self) -> None:
        self._under_way -= 1

    async def answer(self, body: Mapping[str, Any], hand_on: Callable[[], Callable[[], None]]) -> Response:
        """Raises ApiError."""
        started, failed, last = time.monotonic(), set[str](), EngineGoneError()
        for _ in range(_ATTEMPTS):
            targets = await run_in_threadpool(find_targets, self._ledger)
            self._forget_all_but(targets)
            target = self._choose(targets, body, failed)
            asked = engine_request(body, target.release_id, self._asked_with(target))
            try:
                answer = await self._ask(target, asked, failed)
            except EngineGoneError as error:
                last = error
                continue
            response = response_of(answer, asked["stream"], target.release_id)
            return WatchedResponse(response, self._done(target, answer, started, hand_on(), failed), answer)
        if last.status is not None:
            raise ApiError(502, "engine_error", f"The model failed (HTTP {last.status}).")
        raise unavailable(_BEING_STARTED)

    def _forget_all_but(self, targets: list[Target]) -> None:
        """Clients and keys of engines that are asked nothing any more. An answer that is under way holds its own."""
        self._clients.forget_all_but({target.engine_url for target in targets})
        known = {(target.deployment_id, target.engine_key) for target in targets}
        self._opened = {name: key for name, key in self._opened.items() if name in known}

    async def _ask(self, target: Target, asked: dict[str, Any], failed: set[str]) -> Answer:
        assert target.engine_url is not None
        try:
            return await ask_engine(self._clients.client(target.engine_url), self._engine_key(target), asked)
        except EngineGoneError:
            self._note_failure(target, failed)
            raise
        except ApiError as error:
            if error.status == 504:
                self._note_failure(target, failed)
            raise

    def _note_failure(self, target: Target, failed: set[str]) -> None:
        """One request is one failure of a deployment, however often that was asked."""
        if target.deployment_id not in failed:
            self._counter.add(target.deployment_id, FAILED)
        failed.add(target.deployment_id)

    def _done(
        self, target: Target, answer: Answer, started: float, give_back: Callable[[], None], failed: set[str]
    ) -> Callable[[], None]:
        def done() -> None:
            give_back()
            # A caller who left says nothing about the model.
            if answer.is_broken:
                self._note_failure(target, failed)
            elif answer.is_whole:
                self._counter.add(target.deployment_id, answered_after(time.monotonic() - started))

        return done

    def live(self) -> Target:
        """The live release, with an engine or without. Raises ApiError if there is none."""
        return _live_of(find_targets(self._ledger))

    def _choose(self, targets: list[Target], body: Mapping[str, Any], failed: set[str]) -> Target:
        """The live one; if that is away or has just failed, what served before, unless the caller named the release. If all
        failed, the live one again: it may have been started again, or the switch have come in between."""
        live = _live_of(targets)
        others = targets[1:] if body.get("model", LIVE) == LIVE else []
        fit = [target for target in (live, *others) if target.engine_url is not None]
        fresh = [target for target in fit if target.deployment_id not in failed]
        if not fit:
            raise unavailable(_BEING_STARTED)
        return (fresh or fit)[0]

    def _engine_key(self, target: Target) -> str:
        name = (target.deployment_id, target.engine_key)
        try:
            if name not in self._opened:
                self._opened[name] = open_sealed_key(self._key, target.engine_key, target.deployment_id)
            return self._opened[name]
        except LedgerError as error:
            raise unavailable("The live engine's key can't be read. Start the supervisor again.") from error

    def _asked_with(self, target: Target) -> AskedWith:
        try:
            return _asked_with(self._settings.data_dir / target.folder, target.release_id)
        except (ReleaseError, OSError, ValueError) as error:
            raise unavailable("The live release's folder can't be read. Build the release again.") from error


def _live_of(targets: list[Target]) -> Target:
    if not targets or not targets[0].is_live:
        raise unavailable("No release is live. `fine-tune status` tells why.")
    return targets[0]


@lru_cache(maxsize=16)
def _asked_with(folder: Path, release_id: str) -> AskedWith:
    """Never changes for a release id. The supervisor verified the folder before it started the engine."""
    release = read_release(folder)
    if release.release_id != release_id or fingerprint_file(folder / PROMPT) != release.manifest["files"].get(PROMPT):
        raise unavailable("The live release's folder was changed. Build the release again.")
    return release.asked_with


def unavailable(message: str) -> ApiError:
    return ApiError(503, "not_available", message, {"Retry-After": "5"})
