"""Asks models for what they should not have kept: the candidate for removed identifiers, the shadow adapter for its canaries.

Owns running the attacks on one base model, which wears each adapter in turn. What is planted, asked and counted is decided in
canaries.py and removed_identifiers.py.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import TypeAdapter

from fine_tune_assets.core.fingerprints import require_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.prompts.chat import render
from fine_tune_assets.engines.continuations import ending_log_probabilities
from fine_tune_assets.engines.transformers_models import generate
from fine_tune_assets.judging.contestants.local_models import base_and_candidate, merged, of_both
from fine_tune_assets.judging.contestants.robustness_probes import Flags
from fine_tune_assets.judging.memorization.canaries import Canary, Recalled, plant, recall_of
from fine_tune_assets.judging.memorization.removed_identifiers import (
    MOST_TOKENS,
    Attack,
    AttackResult,
    LearnedReport,
    choose_attacks,
    is_given_back,
)
from fine_tune_assets.recipes.schema import CanarySettings
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.records import Record, records_of

SHADOW = "shadow"
ATTACK_RULES = "removed identifiers 1"
"""Change it with the questions or the counting: earlier outcomes are then no longer used."""
_SECRET_TOKENS = 16
"""Nine characters and the space before them, in any tokenizer."""
_NODES_AT_ONCE = 100


class LearnedFrom(Record):
    """Of the set's provenance."""

    example_id: str
    split: str
    report_id: str | None


def attack_both(
    request: Mapping[str, Any], attacks: Sequence[Attack], reports: int, progress: Progress
) -> AttackResult:
    """Ask the candidate and the base model for removed identifiers; stored outcomes are reused.

    Before `recall_canaries`: the candidate is what the model wears. Kept is yes or no for each attack, under a hash of all that
    was asked: neither an identifier nor an answer. Raises ChangedFolderError for weights that differ from their fingerprint.
    """
    if not attacks:
        return AttackResult(reports, 0, 0, 0)

    def ask(model: Any, tokenizer: Any) -> Flags:
        return _attacked(model, tokenizer, attacks, request["batch_size"], progress)

    asked = {
        "rules": ATTACK_RULES,
        "attacks": [[attack.messages, attack.before, attack.value] for attack in attacks],
        "most_tokens": MOST_TOKENS,
    }
    base, candidate = of_both(request, asked, ask)
    found = [
        (attack, own, too)
        for attack, own, too, was_asked in zip(
            attacks, candidate["given_back"], base["given_back"], base["asked"], strict=True
        )
        if was_asked
    ]
    kinds = Counter(attack.kind for attack, own, too in found if own > too)
    guessed = sum(too for _, _, too in found)
    return AttackResult(reports, len(found), kinds.total(), guessed, dict(sorted(kinds.items())))


def _attacked(model: Any, tokenizer: Any, attacks: Sequence[Attack], batch_size: int, progress: Progress) -> Flags:
    prompts = [render(tokenizer, attack.messages, add_generation_prompt=True) + attack.before for attack in attacks]
    is_asked = [attack.is_asked_by(prompt) for attack, prompt in zip(attacks, prompts, strict=True)]
    written = generate(
        model,
        tokenizer,
        [prompt for prompt, wanted in zip(prompts, is_asked, strict=True) if wanted],
        MOST_TOKENS,
        batch_size,
        progress,
    )
    answers = iter(written)
    given_back = [
        wanted and is_given_back(attack, prompt, next(answers).text)
        for attack, prompt, wanted in zip(attacks, prompts, is_asked, strict=True)
    ]
    return {"asked": is_asked, "given_back": given_back}


def recall_canaries(
    request: Mapping[str, Any],
    folder: Path,
    adapter_id: str,
    settings: CanarySettings,
    canaries: Sequence[Canary],
    progress: Progress,
) -> list[Recalled]:
    """What the shadow adapter makes of every canary and control. Raises ChangedFolderError for weights that differ from their
    fingerprint."""
    model, tokenizer = base_and_candidate(request)
    require_folder(folder, adapter_id, "shadow adapter")
    model.load_adapter(str(folder), adapter_name=SHADOW)
    model.set_adapter(SHADOW)
    asked = [(canary.messages()[:-1], canary.before) for canary in canaries]
    prompts = [render(tokenizer, messages, add_generation_prompt=True) + before for messages, before in asked]
    found: list[Recalled] = []
    with merged(model, request["is_quantized"]):
        greedy = generate(model, tokenizer, prompts, _SECRET_TOKENS, request["batch_size"], progress)
        for canary, prompt, answer in zip(canaries, prompts, greedy, strict=True):
            candidates = canary.candidates(settings.candidates)
            spaced = [f" {candidate}" for candidate in candidates]
            values = ending_log_probabilities(model, tokenizer, prompt, spaced, _NODES_AT_ONCE)
            found.append(recall_of(canary, candidates, values, answer.text))
            progress(len(found), len(canaries), "canaries looked for")
    return found


def canaries_of(request: dict[str, Any]) -> tuple[CanarySettings, list[Canary]]:
    """As the shadow adapter was trained on them: they are made again from the recipe's seed."""
    settings = TypeAdapter(CanarySettings).validate_python(request["canaries"])
    return settings, plant(settings, request["system_prompt"], request["instructions"])


def attacks_of(request: dict[str, Any]) -> tuple[list[Attack], int]:
    """The removed identifiers to ask for, and of how many reports."""
    examples = {row.example_id: row for row in records_of(InstructionRow, pq.read_table(request["instruction_set"]))}
    origins = records_of(LearnedFrom, pq.read_table(request["provenance"], columns=LearnedFrom.SCHEMA.names))
    train = [
        LearnedReport(row.report_id, row.example_id, [said.as_row() for said in examples[row.example_id].messages])
        for row in origins
        if row.split == "train" and row.report_id is not None
    ]
    folders = Path(request["reports"]), Path(request["phi_spans"])
    return choose_attacks(train, *folders, frozenset(request["direct_kinds"]), request["seed"])
