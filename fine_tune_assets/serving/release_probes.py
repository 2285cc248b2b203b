"""Asks a warm engine the release's own probes and compares: does it render, tokenize and answer as what was judged?

Owns reading `probes.json` and the comparison. Only a release of an older version has none; nothing is measured of it then.
"""

import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.prompts.chat import plain_messages
from fine_tune_assets.core.releases.release_folders import PROBES, ReleaseError, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.addresses import open_client
from fine_tune_assets.engines.running_server import (
    EngineError,
    RunningEngine,
    greedy_answer,
    stop_engine,
    wait_until_healthy,
    warm_up,
)
from fine_tune_assets.serving.engine_start import require_room, start_for
from fine_tune_assets.serving.left_engines import ENGINES
from fine_tune_assets.serving.reconciliation import Pace


class ProbeError(FineTuneError):
    """The engine answers otherwise than what was judged."""


@dataclass(frozen=True)
class Probe:
    messages: tuple[dict[str, str], ...]
    prompt_tokens: int
    answer: str
    answer_tokens: int


@dataclass(frozen=True)
class ProbeSet:
    minimum_same_greedy: float
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class Findings:
    """`asked` 0: not probed."""

    asked: int
    same_prompt: int
    same_answer: int
    minimum_same_greedy: float

    @property
    def in_words(self) -> str:
        if not self.asked:
            return "not probed: the release was made before there were probes"
        return (
            f"{self.same_prompt} of {self.asked} prompts have the same number of tokens (all must), {self.same_answer} of "
            f"{self.asked} greedy answers are the same (at least {self.minimum_same_greedy:.0%} must be)"
        )

    @property
    def is_passed(self) -> bool:
        return self.same_prompt == self.asked and self.same_answer >= self.minimum_same_greedy * self.asked


NOT_PROBED = Findings(0, 0, 0, 0.0)


def probe_engine(engine: RunningEngine, release: ReleaseFolder, timeout_seconds: float) -> Findings:
    """Raises ProbeError with the figures when it does not pass, EngineError when it does not answer, ReleaseError when the probes
    can't be read."""
    probes = read_probes(release)
    if probes is None:
        return NOT_PROBED
    with open_client(engine.url, engine.api_key, timeout_seconds) as client:
        replies = [_reply(client, engine, release, probe) for probe in probes.probes]
    findings = compare(probes, replies)
    if not findings.is_passed:
        raise ProbeError(f"Release {release.release_id} does not answer as it was judged: {findings.in_words}.")
    return findings


def read_probes(release: ReleaseFolder) -> ProbeSet | None:
    """None for a release whose manifest lists none. Raises ReleaseError."""
    if PROBES not in release.manifest["files"]:
        return None
    try:
        values = json.loads((release.folder / PROBES).read_text(encoding="utf-8"))
        probes = tuple(_probe(entry) for entry in values["probes"])
        minimum = float(values["minimum_same_greedy"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"Release {release.release_id} has no readable {PROBES}. {materialize_hint('releases')}"
        ) from error
    if not probes or not 0 <= minimum <= 1:
        raise ReleaseError(f"Release {release.release_id}: {PROBES} proves nothing. {materialize_hint('releases')}")
    return ProbeSet(minimum, probes)


def _probe(entry: Any) -> Probe:
    messages = tuple({"role": str(m["role"]), "content": str(m["content"])} for m in entry["messages"])
    return Probe(messages, int(entry["prompt_tokens"]), str(entry["answer"]), int(entry["answer_tokens"]))


def compare(probes: ProbeSet, replies: Sequence[tuple[int, str]]) -> Findings:
    """`replies`: tokens of the prompt, and the answer. White space around an answer is no part of it, as in judging."""
    pairs = list(zip(probes.probes, replies, strict=True))
    return Findings(
        asked=len(pairs),
        same_prompt=sum(tokens == probe.prompt_tokens for probe, (tokens, _) in pairs),
        same_answer=sum(answer.strip() == probe.answer.strip() for probe, (_, answer) in pairs),
        minimum_same_greedy=probes.minimum_same_greedy,
    )


def findings_json(findings: Findings) -> str:
    return json.dumps(asdict(findings))


def findings_of(stored: str | None) -> Findings | None:
    return None if stored is None else Findings(**json.loads(stored))


def _reply(client: httpx.Client, engine: RunningEngine, release: ReleaseFolder, probe: Probe) -> tuple[int, str]:
    asked_with = release.asked_with
    asked = plain_messages(list(probe.messages), asked_with.control_tokens)
    messages = [{"role": "system", "content": asked_with.system_prompt}, *asked]
    answer = greedy_answer(client, engine, messages, max(probe.answer_tokens, 1))
    return answer.prompt_tokens, answer.text


def probe_here(release: ReleaseFolder, settings: Settings, pace: Pace | None = None) -> Findings:
    """Ask a release its probes in an engine of its own, which no user is sent to and which ends right after. A killed command
    leaves it in the folder of engines, where the supervisor's next start or `fine-tune down` ends it.

    Raises ProbeError if it answers otherwise than it was judged, EngineError if it does not fit, start or answer. Its log
    stays only in the latter case, which names it."""
    pace = pace or Pace()
    require_room(release, settings)
    folder = settings.layout.run / ENGINES / f"probing-{uuid.uuid4().hex}"
    try:
        engine = start_for(release, folder, settings)
        try:
            wait_until_healthy(engine, pace.startup_seconds)
            warm_up(engine, release.system_prompt, pace.warm_up_seconds)
            findings = probe_engine(engine, release, pace.warm_up_seconds)
        finally:
            stop_engine(engine, pace.stop_grace_seconds, is_hung=True)  # it owes nobody an answer
    except EngineError:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return findings
