"""Runs the extraction attacks: for removed identifiers on the candidate, for planted secrets on the shadow adapter.

Both adapters share one base model. planted_secrets.py and removed_identifiers.py define the prompts and the counting.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from fine_tune_assets.core.fingerprints import require_unchanged_folder
from fine_tune_assets.core.processes.worker_requests import AttackModelsRequest, ModelFields
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.conversations import render
from fine_tune_assets.engines.likelihoods import ending_log_probabilities
from fine_tune_assets.engines.transformers_models import generate
from fine_tune_assets.judging.evaluation.local_models import load_base_and_candidate, merged_adapter, run_on_both
from fine_tune_assets.judging.evaluation.robustness_runs import Outcomes
from fine_tune_assets.judging.memorization.planted_secrets import (
    PlantedSecret,
    SecretRecall,
    measure_recall,
    plant_secrets,
)
from fine_tune_assets.judging.memorization.removed_identifiers import (
    MAX_ANSWER_TOKENS,
    AttackResult,
    ExtractionAttack,
    TrainedReport,
    choose_attacks,
    is_recovered,
)
from fine_tune_assets.recipes.schema import PlantedSecretSettings
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.record_classes import Record, iter_records

SHADOW = "shadow"
ATTACK_RULES = "removed identifiers 1"
"""Change it with the prompts or the counting, to invalidate cached outcomes."""
_SECRET_TOKENS = 16
"""Enough for nine characters and a space in any tokenizer."""
_MAX_NODES = 100


class ExampleOrigin(Record):
    """A row of the set's provenance."""

    example_id: str
    split: str
    report_id: str | None


def attack_both(
    request: ModelFields, attacks: Sequence[ExtractionAttack], reports: int, progress: Progress
) -> AttackResult:
    """Attack the candidate and the base model for removed identifiers, reusing cached outcomes.

    Call it before `recall_secrets`, which replaces the active adapter. The cache holds a boolean per attack under a hash of the
    attacks, neither identifiers nor answers. Raises ChangedFolderError for weights that differ from their fingerprint.
    """
    if not attacks:
        return AttackResult(reports, 0, 0, 0)

    def ask(model: Any, tokenizer: Any) -> Outcomes:
        return _run_attacks(model, tokenizer, attacks, request["batch_size"], progress)

    key_parts = {
        "rules": ATTACK_RULES,
        "attacks": [[attack.messages, attack.prefix, attack.value] for attack in attacks],
        "most_tokens": MAX_ANSWER_TOKENS,
    }
    base, candidate = run_on_both(request, key_parts, ask)
    found = [
        (attack, by_candidate, by_base)
        for attack, by_candidate, by_base, is_testable in zip(
            attacks, candidate["recovered"], base["recovered"], base["attempted"], strict=True
        )
        if is_testable
    ]
    kinds = Counter(attack.kind for attack, by_candidate, by_base in found if by_candidate > by_base)
    guessed = sum(by_base for _, _, by_base in found)
    return AttackResult(reports, len(found), kinds.total(), guessed, dict(sorted(kinds.items())))


def _run_attacks(
    model: Any, tokenizer: Any, attacks: Sequence[ExtractionAttack], batch_size: int, progress: Progress
) -> Outcomes:
    prompts = [render(tokenizer, attack.messages, add_generation_prompt=True) + attack.prefix for attack in attacks]
    testable = [attack.is_testable_with(prompt) for attack, prompt in zip(attacks, prompts, strict=True)]
    generated = generate(
        model,
        tokenizer,
        [prompt for prompt, is_testable in zip(prompts, testable, strict=True) if is_testable],
        MAX_ANSWER_TOKENS,
        batch_size,
        progress,
    )
    answers = iter(generated)
    recovered = [
        is_testable and is_recovered(attack, prompt, next(answers).text)
        for attack, prompt, is_testable in zip(attacks, prompts, testable, strict=True)
    ]
    return {"attempted": testable, "recovered": recovered}


def recall_secrets(
    request: ModelFields,
    folder: Path,
    adapter_id: str,
    settings: PlantedSecretSettings,
    secrets: Sequence[PlantedSecret],
    progress: Progress,
) -> list[SecretRecall]:
    """Measure how well the shadow adapter recalls each planted secret and control.

    Raises ChangedFolderError for weights that differ from their fingerprint.
    """
    model, tokenizer = load_base_and_candidate(request)
    require_unchanged_folder(folder, adapter_id, "shadow adapter")
    model.load_adapter(str(folder), adapter_name=SHADOW)
    model.set_adapter(SHADOW)
    questions = [(secret.messages()[:-1], secret.prefix) for secret in secrets]
    prompts = [render(tokenizer, messages, add_generation_prompt=True) + prefix for messages, prefix in questions]
    found: list[SecretRecall] = []
    with merged_adapter(model, request["is_quantized"]):
        greedy = generate(model, tokenizer, prompts, _SECRET_TOKENS, request["batch_size"], progress)
        for secret, prompt, answer in zip(secrets, prompts, greedy, strict=True):
            alternatives = secret.alternatives(settings.alternatives)
            spaced = [f" {alternative}" for alternative in alternatives]
            values = ending_log_probabilities(model, tokenizer, prompt, spaced, _MAX_NODES)
            found.append(measure_recall(secret, alternatives, values, answer.text))
            progress(len(found), len(secrets), "planted secrets tested")
    return found


def rebuild_secrets(request: AttackModelsRequest) -> tuple[PlantedSecretSettings, list[PlantedSecret]]:
    """The planted secrets of the shadow adapter, regenerated from the recipe's seed."""
    settings = TypeAdapter(PlantedSecretSettings).validate_python(request["planted_secrets"])
    return settings, plant_secrets(settings, request["system_prompt"], request["instructions"])


def select_attacks(request: AttackModelsRequest) -> tuple[list[ExtractionAttack], int]:
    """The attacks for removed identifiers, and the number of available reports."""
    examples = {row.example_id: row for row in iter_records(InstructionRow, pq.read_table(request["instruction_set"]))}
    origins = iter_records(ExampleOrigin, pq.read_table(request["provenance"], columns=ExampleOrigin.SCHEMA.names))
    train = [
        TrainedReport(
            row.report_id, row.example_id, [message.to_row() for message in examples[row.example_id].messages]
        )
        for row in origins
        if row.split == "train" and row.report_id is not None
    ]
    folders = Path(request["reports"]), Path(request["phi_spans"])
    return choose_attacks(train, *folders, frozenset(request["direct_kinds"]), request["seed"])
