"""Sends a release's probes to its warm engine, and checks that it tokenizes and answers like the judged model.

The probes are in `probes.json`. A release of an older version has none and is not probed.
"""

import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.prompts.conversations import escape_messages
from fine_tune_assets.core.releases.release_folders import PROBES, ReleaseError, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.listen_addresses import open_client
from fine_tune_assets.engines.running_server import (
    EngineError,
    RunningEngine,
    greedy_answer,
    stop_engine,
    wait_until_healthy,
    warm_up,
)
from fine_tune_assets.engines.shared_vllm import stop_unused
from fine_tune_assets.serving.adapter_releases import shared_root
from fine_tune_assets.serving.engine_start import require_memory, start_engine
from fine_tune_assets.serving.orphaned_engines import ENGINES_FOLDER
from fine_tune_assets.serving.reconciliation import SupervisorTimings

_MINIMUM = "minimum_greedy_agreement"
"""Key in `probes.json`."""


class ProbeError(FineTuneError):
    """The engine does not answer like the judged model."""


@dataclass(frozen=True)
class Probe:
    messages: tuple[dict[str, str], ...]
    prompt_tokens: int
    answer: str
    answer_tokens: int


@dataclass(frozen=True)
class ProbeSet:
    minimum_greedy_agreement: float
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class ProbeResult:
    probe_count: int
    """0 if the release was not probed."""
    matching_prompts: int
    matching_answers: int
    minimum_greedy_agreement: float

    @property
    def summary(self) -> str:
        if not self.probe_count:
            return "not probed: the release has no probes, since an older version built it"
        return (
            f"{self.matching_prompts} of {self.probe_count} prompts have the same number of tokens (required: all), "
            f"{self.matching_answers} of {self.probe_count} greedy answers are the same "
            f"(required: {self.minimum_greedy_agreement:.0%})"
        )

    @property
    def has_passed(self) -> bool:
        return (
            self.matching_prompts == self.probe_count
            and self.matching_answers >= self.minimum_greedy_agreement * self.probe_count
        )


NOT_PROBED = ProbeResult(0, 0, 0, 0.0)


def probe_engine(engine: RunningEngine, release: ReleaseFolder, timeout_seconds: float) -> ProbeResult:
    """Raises ProbeError with the counts if a probe fails, EngineError if the engine does not answer, ReleaseError if the probes
    are unreadable."""
    probes = read_probes(release)
    if probes is None:
        return NOT_PROBED
    with open_client(engine.url, engine.api_key, timeout_seconds) as client:
        replies = [_send_probe(client, engine, release, probe) for probe in probes.probes]
    result = compare_replies(probes, replies)
    if not result.has_passed:
        raise ProbeError(f"Release {release.release_id} does not answer like the judged model: {result.summary}.")
    return result


def read_probes(release: ReleaseFolder) -> ProbeSet | None:
    """None for a release whose manifest lists none. Raises ReleaseError."""
    if PROBES not in release.manifest["files"]:
        return None
    try:
        values = json.loads((release.folder / PROBES).read_text(encoding="utf-8"))
        probes = tuple(_parse_probe(entry) for entry in values["probes"])
        minimum = float(values[_MINIMUM])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"Release {release.release_id} has no readable {PROBES}. {materialize_hint('releases')}"
        ) from error
    if not probes or not 0 <= minimum <= 1:
        raise ReleaseError(f"Release {release.release_id}: {PROBES} is invalid. {materialize_hint('releases')}")
    return ProbeSet(minimum, probes)


def _parse_probe(entry: Any) -> Probe:
    messages = tuple({"role": str(m["role"]), "content": str(m["content"])} for m in entry["messages"])
    return Probe(messages, int(entry["prompt_tokens"]), str(entry["answer"]), int(entry["answer_tokens"]))


def compare_replies(probes: ProbeSet, replies: Sequence[tuple[int, str]]) -> ProbeResult:
    """`replies`: number of prompt tokens, and the answer. Surrounding white space is ignored, as in judging."""
    pairs = list(zip(probes.probes, replies, strict=True))
    return ProbeResult(
        probe_count=len(pairs),
        matching_prompts=sum(tokens == probe.prompt_tokens for probe, (tokens, _) in pairs),
        matching_answers=sum(answer.strip() == probe.answer.strip() for probe, (_, answer) in pairs),
        minimum_greedy_agreement=probes.minimum_greedy_agreement,
    )


def result_to_json(result: ProbeResult) -> str:
    return json.dumps(asdict(result))


def result_from_json(stored: str | None) -> ProbeResult | None:
    return None if stored is None else ProbeResult(**json.loads(stored))


def _send_probe(client: httpx.Client, engine: RunningEngine, release: ReleaseFolder, probe: Probe) -> tuple[int, str]:
    prompt_settings = release.prompt_settings
    escaped = escape_messages(list(probe.messages), prompt_settings.control_tokens)
    messages = [{"role": "system", "content": prompt_settings.system_prompt}, *escaped]
    answer = greedy_answer(client, engine, messages, max(probe.answer_tokens, 1))
    return answer.prompt_tokens, answer.text


def probe_release(release: ReleaseFolder, settings: Settings, timings: SupervisorTimings | None = None) -> ProbeResult:
    """Probe a release on a temporary engine that serves no users. If the command is killed, the supervisor's next start or
    `fine-tune down` stops the engine.

    Raises ProbeError if the release does not answer like the judged model, EngineError if the engine does not fit, start or
    answer. Its log is kept only for EngineError, whose message names it."""
    timings = timings or SupervisorTimings()
    require_memory(release, settings)
    folder = settings.layout.run / ENGINES_FOLDER / f"probe-{uuid.uuid4().hex}"
    try:
        engine = start_engine(release, folder, settings)
        try:
            wait_until_healthy(engine, timings.startup_timeout_seconds)
            warm_up(engine, release.system_prompt, timings.warm_up_timeout_seconds)
            result = probe_engine(engine, release, timings.warm_up_timeout_seconds)
        finally:
            stop_engine(engine, timings.stop_grace_seconds, kill=True)  # no request is in progress: do not drain
            if engine.shared_folder:
                stop_unused(shared_root(settings))  # if the server was killed before it could
    except EngineError:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return result
