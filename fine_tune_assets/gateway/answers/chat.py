"""One question to the model: to the live engine, or once more to the other colour if that one fails before its first byte. A
caller who takes part in a trial is answered by the release on trial, and by the live one if that fails.

Owns how many are under way and how each ended. Which release is live is read for each request, so that a
switch loses none.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.serving_engines import features_of
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.answers.answers import Wanted, response_of
from fine_tune_assets.gateway.answers.engine_client import Answer, EngineGoneError, WatchedResponse
from fine_tune_assets.gateway.answers.engines import BEING_STARTED, Engines, chosen, live_of
from fine_tune_assets.gateway.answers.identifiers import AnswerGate
from fine_tune_assets.gateway.answers.knowledge import INDEX_HEADER, Consulted, Knowledge, nothing_found
from fine_tune_assets.gateway.answers.known_releases import KnownRelease, known_release
from fine_tune_assets.gateway.answers.release_trials import Trials
from fine_tune_assets.gateway.callers.callers import Caller, read_ledger
from fine_tune_assets.gateway.records.outcomes import OutcomeCounter
from fine_tune_assets.gateway.records.records import Record
from fine_tune_assets.gateway.records.traffic import Heard, Traffic, asked_text, said_payload
from fine_tune_assets.gateway.requests.request_models import CompletionRequest, Question
from fine_tune_assets.gateway.requests.requests import Permits, engine_request
from fine_tune_assets.gateway.wire_format import ApiError, unavailable
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.serving.outcomes import FAILED, answered_after
from fine_tune_assets.ledger.serving.targets import Target, find_targets

_ATTEMPTS = 2


@dataclass
class _SoFar:
    """Of one request: deployments by what became of asking them."""

    started: float
    """Of the monotonic clock."""
    failed: set[str] = field(default_factory=set)
    """Counted so."""
    tried: set[str] = field(default_factory=set)
    """On trial."""
    refused: set[str] = field(default_factory=set)
    """On trial, and refused it: a failure if another one answers."""


class Chat:
    """Shared by all requests of a gateway process."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        counter: OutcomeCounter,
        gate: AnswerGate,
        traffic: Traffic,
    ) -> None:
        self._settings, self._ledger, self._counter, self._gate = settings, ledger, counter, gate
        self._traffic, self._has_trials = traffic, bool(settings.trial.percent)
        self.engines = Engines(settings)
        self._trials = Trials(ledger, read_or_create_key(settings.layout.keys, KEY_NAME))
        self.knowledge = Knowledge(settings, ledger)
        self._under_way = 0

    async def close(self) -> None:
        await self.engines.close()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Callable[[], Callable[[], None]]]:
        """A place among those under way; given back at the end of the block, or when what the block hands on is called."""
        if self._under_way >= self._settings.gateway.max_requests:
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

    async def answer(
        self, question: Question, caller: Caller, record: Record, hand_on: Callable[[], Callable[[], None]]
    ) -> Response:
        """Raises ApiError."""
        self._gate.require_ready()
        # A raw prompt is no turn of the release's conversation: nothing that it was trained on is like it.
        record.heard = [] if self._traffic.is_on and not question.raw else None
        so_far, last, left = _SoFar(time.monotonic()), EngineGoneError(), _ATTEMPTS
        while left:
            targets = await read_ledger(find_targets, self._ledger, with_trial=self._has_trials)
            self.engines.forget_all_but(targets)
            target = await self._trials.target_for(caller, targets, question.model, so_far.tried)
            if target is None:
                target, left = chosen(targets, question.model, so_far.failed), left - 1
            try:
                return await self._answer_of(target, question, caller, record, hand_on, so_far)
            except EngineGoneError as error:
                last = error
            except ApiError as error:
                # What the one on trial refuses or spoils, the live one is asked. After a timeout there is no time left.
                if not target.is_on_trial or error.status == 504:
                    raise
            if target.is_on_trial:
                record.begin_again()
        if last.status is not None:
            raise ApiError(502, "engine_error", f"The model failed (HTTP {last.status}).")
        raise unavailable(BEING_STARTED)

    async def _answer_of(
        self,
        target: Target,
        question: Question,
        caller: Caller,
        record: Record,
        hand_on: Callable[[], Callable[[], None]],
        so_far: "_SoFar",
    ) -> Response:
        """Raises EngineGoneError if asking another one is safe, ApiError."""
        try:
            asked, consulted = await self._put(target, question, caller, record)
            is_answered = consulted is not None and consulted.answer is not None
            answer = None if is_answered else await self._ask(target, asked, so_far.failed)
        except ApiError:
            if target.is_on_trial:
                so_far.refused.add(target.deployment_id)
            raise
        for name in so_far.refused - so_far.failed:
            self._counter.add(name, FAILED)  # what it refused is answered by another
        so_far.refused.clear()
        if answer is None:
            assert consulted is not None
            record.hear(said_payload(consulted.answer or ""))
            self._note_traffic(target, record, question)
            return nothing_found(consulted, asked, question.wants_usage, record)
        as_completion = isinstance(question, CompletionRequest) and not question.raw
        wanted = Wanted(
            asked["stream"], question.wants_usage, as_completion, _text_of(asked),
            so_far.started + self._settings.gateway.timeout_seconds, consulted,
        )  # fmt: skip
        count = self._counted(target, answer, record, question, so_far)
        try:
            response = await response_of(answer, wanted, record, self._gate)
        except BaseException as error:
            if isinstance(error, ApiError) and error.code == "engine_error":
                answer.is_broken = True
            count()
            await answer.close()
            raise
        response.headers["x-release-id"] = target.release_id
        if consulted is not None:
            response.headers[INDEX_HEADER] = consulted.index
        give_back = hand_on()

        def done() -> None:
            give_back()
            count()

        return WatchedResponse(response, done, answer)

    async def _put(
        self, target: Target, question: Question, caller: Caller, record: Record
    ) -> tuple[dict[str, Any], Consulted | None]:
        """As the engine is asked, with what the documents say. Raises ApiError."""
        folder = self._release(target)
        permits = self._permits(caller, folder)
        asked = engine_request(question, target.release_id, folder.asked_with, permits)
        record.release_id = target.release_id
        return asked, await self._consult(question, asked, folder, caller, record)

    async def _consult(
        self, question: Question, asked: dict[str, Any], folder: KnownRelease, caller: Caller, record: Record
    ) -> Consulted | None:
        """What is known of the question, put before it in `asked`; None where no document is asked."""
        if isinstance(question, CompletionRequest):
            return None
        found = await self.knowledge.consult(question, asked, folder.retrieval, folder.instructions, caller)
        if found is not None:
            record.passages = found.passages
            asked["messages"] = found.messages(asked["messages"], folder.asked_with.control_tokens)
        return found

    def _permits(self, caller: Caller, folder: KnownRelease) -> Permits:
        return Permits(
            may_replace_system_prompt="system_prompt" in caller.scopes,
            may_be_raw="raw_completions" in caller.scopes,
            max_tokens=self._settings.gateway.max_tokens,
            features=features_of(folder.release.engine),
            template=folder.template,
        )

    async def _ask(self, target: Target, asked: dict[str, Any], failed: set[str]) -> Answer:
        try:
            return await self.engines.ask(target, asked, "completions" if "prompt" in asked else "chat/completions")
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

    def _counted(
        self, target: Target, answer: Answer, record: Record, question: Question, so_far: "_SoFar"
    ) -> Callable[[], None]:
        def count() -> None:
            # A caller who left says nothing about the model. A stream that was cut off for what it held is an answer.
            if answer.is_broken or record.code == "engine_timeout":
                self._note_failure(target, so_far.failed)
            elif answer.is_whole or record.code == "identifiers_found":
                seconds = time.monotonic() - so_far.started
                self._counter.add(target.deployment_id, answered_after(seconds, record.identifiers))
                self._note_traffic(target, record, question)

        return count

    def _note_traffic(self, target: Target, record: Record, question: Question) -> None:
        if record.heard:
            has_passages = None if record.passages is None else record.passages > 0
            self._traffic.note(Heard(target.release_id, asked_text(question), tuple(record.heard), has_passages))

    def live(self) -> Target:
        """The live release, with an engine or without. Raises ApiError if there is none."""
        return live_of(find_targets(self._ledger))

    def answers_from(self) -> RetrievalContract | None:
        """How the live release answers from documents; None if it does not, or can't be read."""
        try:
            contract = self._release(self.live()).retrieval
        except ApiError:
            return None
        return contract if contract is not None and contract.enabled else None

    def open_documents(self) -> None:
        if (contract := self.answers_from()) is not None:
            self.knowledge.open(contract)

    def _release(self, target: Target) -> KnownRelease:
        return known_release(self._settings.data_dir / target.folder, target.release_id)


def _text_of(asked: Mapping[str, Any]) -> str:
    """What an answer may repeat: all that the model was given."""
    said = [message.get("content") or "" for message in asked.get("messages", ())]
    return "\n".join([*said, asked.get("prompt", "")])
