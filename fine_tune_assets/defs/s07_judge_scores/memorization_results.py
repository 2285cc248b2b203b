"""Stage 7: extraction attacks on candidate and shadow adapter, and a scan of the graded answers for identifiers.

Stores counts only. See `judging/memorization/` for the attacks and `phi/` for the scan.
"""

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import AttackModelsRequest, ModelFields, ScanAnswersRequest
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import scrub_request
from fine_tune_assets.defs.s06_adapters.adapters import GPU, after_training, read_training_set
from fine_tune_assets.defs.s07_judge_scores.judge_scores import GROUP, model_request
from fine_tune_assets.defs.s07_judge_scores.metric_metadata import check_family
from fine_tune_assets.defs.s07_judge_scores.shadow_adapters import (
    plan_shadow,
    planting_prompts,
    require_same_training,
    train_shadow,
)
from fine_tune_assets.instructions.stored_sets import PROVENANCE, TABLE, StoredInstructionSet
from fine_tune_assets.judging.memorization.memorization_rows import (
    answer_rows,
    attack_row,
    expected_probes,
    probes_table,
    secret_rows,
    unplanted_row,
)
from fine_tune_assets.judging.memorization.planted_secrets import RepeatLevel
from fine_tune_assets.judging.memorization.removed_identifiers import AttackResult
from fine_tune_assets.judging.verdicts import metric_families as families
from fine_tune_assets.phi.measurement.answer_scan import WrittenAnswer
from fine_tune_assets.phi.measurement.recall import is_direct
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.judging_rows import MemorizationResult
from fine_tune_assets.tables.record_classes import iter_records, read_single_record, table_from_records
from fine_tune_assets.tables.training_rows import Adapter, BaseModel

_IGNORED_INPUTS = ("reports", "scrubbed_reports", "phi_spans")


@dg.asset(
    group_name=GROUP,
    deps=_IGNORED_INPUTS,
    code_version=code_version("planted_secrets"),
    pool=GPU,
    automation_condition=after_training(ignored=_IGNORED_INPUTS),
    description="How much training text and how many secrets can be extracted from the candidate or its shadow adapter. Counts "
    "only.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("memorization_results"),
)
def memorization_results(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
    judge_scores: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base = read_single_record(Adapter, adapters), read_single_record(BaseModel, base_models)
    with user_facing_errors():
        models, stored = _require_attackable(installation, adapter, base, judge_scores)
    rows = [
        *_run_attacks(context, installation, worker, stored, models, adapter, base),
        *_scan_answers(context, installation, worker, stored, adapter.adapter_id, judge_scores),
    ]
    table = probes_table(rows)
    shown = [{name: getattr(row, name) for name in _COLUMNS} for row in rows]
    return table_result("memorization_results", table, fingerprint_table(table), results=markdown_table(shown))


_COLUMNS = ("test", "is_gating", "item_count", "extracted_count", "p_value", "exposure", "is_clean")


def _require_attackable(
    installation: Installation, adapter: Adapter, base: BaseModel, judge_scores: pa.Table
) -> tuple[ModelFields, StoredInstructionSet]:
    """The request fields of the models, and the instruction set of the adapter.

    Raises GateClosedError if a gate is closed, or if `judge_scores` belongs to another adapter or set.
    """
    models = model_request(installation, adapter, base)
    if set(judge_scores.column("adapter_id").to_pylist()) - {adapter.adapter_id}:
        raise GateClosedError(
            f"judge_scores has answers of another adapter than {adapter.adapter_id}. {materialize_hint('judge_scores')}"
        )
    stored = read_training_set(installation, adapter.instruction_set_fingerprint)
    if not set(judge_scores.column("example_id").to_pylist()) <= set(stored.table.column("example_id").to_pylist()):
        raise GateClosedError(
            f"judge_scores has answers to examples outside instruction set {stored.folder.name}. "
            + materialize_hint("judge_scores")
        )
    return models, stored


def _run_attacks(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    stored: StoredInstructionSet,
    models: ModelFields,
    adapter: Adapter,
    base: BaseModel,
) -> list[MemorizationResult]:
    """Attack with planted secrets and removed identifiers. Reuses the results of an identical shadow adapter."""
    adapter_id, secrets = adapter.adapter_id, installation.recipe.planted_secrets
    request = _attack_request(installation, stored, models)

    def attack(asked: AttackModelsRequest) -> tuple[MemorizationResult, Any]:
        result = worker.run(context, "judging", asked)
        return attack_row(adapter_id, AttackResult(**result["attack"])), result["levels"]

    if secrets is None or not secrets.enabled:
        return [unplanted_row(adapter_id, secrets), attack(request)[0]]
    with user_facing_errors():
        require_same_training(context.instance, installation.recipe)
        shadow = plan_shadow(installation, adapter, secrets, stored.table)
    if known := _reusable_rows(installation, shadow.shadow_fingerprint, adapter_id):
        context.log.info("Settings and examples of the shadow adapter have not changed. Reusing its results.")
        return [*known, attack(request)[0]]
    with train_shadow(context, installation, worker, shadow, base) as trained:
        identifier_row, levels = attack({**request, "planted_secrets": asdict(secrets), "shadow": trained})
    rows = secret_rows(adapter_id, secrets, [RepeatLevel(**level) for level in levels], shadow.shadow_fingerprint)
    return [*rows, identifier_row]


def _attack_request(
    installation: Installation, stored: StoredInstructionSet, models: ModelFields
) -> AttackModelsRequest:
    recipe, pack = installation.recipe, installation.pack.pack
    system_prompt, instructions = planting_prompts(recipe)
    return {
        "action": "attack_models",
        **models,
        "instruction_set": str(stored.folder / TABLE),
        "provenance": str(stored.folder / PROVENANCE),
        "reports": str(installation.stored("reports").folder),
        "phi_spans": str(installation.stored("phi_spans").folder),
        "direct_kinds": [kind for kind in pack.kinds if is_direct(kind, pack.indirect_kinds)],
        "seed": recipe.training.seed,
        "planted_secrets": None,
        "system_prompt": system_prompt,
        "instructions": instructions,
        "shadow": None,
    }


def _reusable_rows(installation: Installation, shadow_fingerprint: str, adapter_id: str) -> list[MemorizationResult]:
    """Stored results of an identical shadow adapter, as rows for this candidate; empty if one is incomplete."""
    rows = installation.stored("memorization_results").rows()
    reusable = [
        replace(MemorizationResult.from_row(row), adapter_id=adapter_id)
        for row in rows
        if row["shadow_fingerprint"] == shadow_fingerprint
    ]
    return reusable if all(row.p_value is not None for row in reusable) else []


def _scan_answers(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    stored: StoredInstructionSet,
    adapter_id: str,
    judge_scores: pa.Table,
) -> list[MemorizationResult]:
    """Rows with the identifiers that the scrubber finds in the graded answers."""
    allowed = {
        example.example_id: "\n".join(message.content for message in example.messages)
        for example in iter_records(InstructionRow, stored.table)
    }
    answers = judge_scores.select(["model", "example_id", "answer"]).to_pylist()
    counts = Counter(row["model"] for row in answers)
    scrub = scrub_request(installation, None)
    found: dict[str, Any] | None = None
    if scrub["other_values"]:
        written = [WrittenAnswer.from_row({**row, "allowed": allowed[row["example_id"]]}) for row in answers]
        with installation.scratch(context, "answers") as (path,):
            write_table(path, table_from_records(WrittenAnswer, written))
            request: ScanAnswersRequest = {"action": "scan_answers", "answers": str(path), **scrub}
            found = worker.run(context, "phi", request)["findings"]
    return [
        row
        for model in sorted({"adapter", *counts})
        for row in answer_rows(adapter_id, model, counts[model], None if found is None else found.get(model))
    ]


@dg.asset_check(
    asset="memorization_results",
    description="All extraction attacks were run, and none extracted training text or secrets.",
)
def no_training_text_is_extractable(installation: Installation, memorization_results: pa.Table) -> dg.AssetCheckResult:
    recipe = installation.recipe
    return check_family(
        "safety", families.safety_metrics(memorization_results), expected_probes(recipe.planted_secrets), recipe.gate
    )
