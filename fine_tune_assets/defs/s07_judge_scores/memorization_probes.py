"""Stage 7: what was learned by heart and could be got out again.

Belongs here: asking candidate and shadow adapter, having the answers read by the scrubber, and storing the counts. Must stay out:
what is planted, asked or counted, and what follows from it (see `judging/` and `phi/`).
"""

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import scrub_request
from fine_tune_assets.defs.s06_adapters.adapters import GPU, READ_BY_GATES, behind_training, set_learned_from
from fine_tune_assets.defs.s07_judge_scores.figures import family_checked
from fine_tune_assets.defs.s07_judge_scores.judge_scores import GROUP, model_request
from fine_tune_assets.defs.s07_judge_scores.shadow_adapters import (
    plan_shadow,
    prompts_of,
    require_same_training,
    trained_shadow,
)
from fine_tune_assets.instructions.stored_sets import PROVENANCE, TABLE, StoredInstructionSet
from fine_tune_assets.judging.memorization.canaries import Level
from fine_tune_assets.judging.memorization.probe_rows import (
    answer_rows,
    attack_row,
    canary_rows,
    expected_probes,
    no_canary_row,
    probes_table,
)
from fine_tune_assets.judging.memorization.removed_identifiers import AttackResult
from fine_tune_assets.judging.verdicts import families
from fine_tune_assets.phi.measurement.answers import WRITTEN_ANSWERS
from fine_tune_assets.phi.measurement.recall import is_direct
from fine_tune_assets.phi.spans.kinds import KINDS
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.judging import MemorizationProbe
from fine_tune_assets.tables.records import only_record, records_of, table_of
from fine_tune_assets.tables.training import Adapter, BaseModel

_ONLY_READ = ("identifier_values", "phi_spans")


@dg.asset(
    group_name=GROUP,
    deps=[*READ_BY_GATES, *_ONLY_READ, recipe_section("canaries")],
    pool=GPU,
    automation_condition=behind_training(untriggered=_ONLY_READ),
    description="What can be got out of the candidate, or of a training like its own, that nobody should get: counts only.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("memorization_probes"),
)
def memorization_probes(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
    judge_scores: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base = only_record(Adapter, adapters), only_record(BaseModel, base_models)
    with errors_for_people():
        models, stored = _allowed(installation, adapter, base, judge_scores)
    rows = [
        *_attacked(context, installation, worker, stored, models, adapter, base),
        *_of_answers(context, installation, worker, stored, adapter.adapter_id, judge_scores),
    ]
    table = probes_table(rows)
    shown = [{name: getattr(row, name) for name in _SHOWN} for row in rows]
    return result("memorization_probes", table, fingerprint_table(table), probes=markdown_table(shown))


_SHOWN = ("probe", "decides", "items", "extracted", "p_value", "exposure", "is_clean")


def _allowed(
    installation: Installation, adapter: Adapter, base: BaseModel, judge_scores: pa.Table
) -> tuple[dict[str, Any], StoredInstructionSet]:
    """What models are asked, and the set that the adapter learned from. Raises GateClosedError where nothing may be asked, or it
    would be about something else."""
    models = model_request(installation, adapter, base)
    if set(judge_scores.column("adapter_id").to_pylist()) - {adapter.adapter_id}:
        raise GateClosedError(f"The graded answers are about another adapter. {materialize_hint('judge_scores')}")
    stored = set_learned_from(installation, adapter.instruction_set_fingerprint)
    if not set(judge_scores.column("example_id").to_pylist()) <= set(stored.table.column("example_id").to_pylist()):
        raise GateClosedError(
            f"Answers were graded on other examples than this set's. {materialize_hint('judge_scores')}"
        )
    return models, stored


def _attacked(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    stored: StoredInstructionSet,
    models: dict[str, Any],
    adapter: Adapter,
    base: BaseModel,
) -> list[MemorizationProbe]:
    """Of canaries and of removed identifiers. A shadow adapter of before is not trained again for the same question."""
    adapter_id, canaries = adapter.adapter_id, installation.recipe.canaries
    request = _attack_request(installation, stored, models)

    def attacked(**shadow: Any) -> tuple[MemorizationProbe, Any]:
        told = worker.run(context, "judging", {**request, **shadow})
        return attack_row(adapter_id, AttackResult(**told["attack"])), told["levels"]

    if canaries is None or not canaries.enabled:
        return [no_canary_row(adapter_id, canaries), attacked()[0]]
    with errors_for_people():
        require_same_training(context.instance, installation.recipe)
        shadow = plan_shadow(installation, adapter, canaries, stored.table)
    if known := _known_rows(installation, shadow.bound_to, adapter_id):
        context.log.info("Settings and examples of the shadow adapter are those of before: so is what it gave away.")
        return [*known, attacked()[0]]
    with trained_shadow(context, installation, worker, shadow, base) as trained:
        of_identifiers, levels = attacked(canaries=asdict(canaries), **trained)
    made = canary_rows(adapter_id, canaries, [Level(**level) for level in levels], shadow.bound_to)
    return [*made, of_identifiers]


def _attack_request(installation: Installation, stored: StoredInstructionSet, models: dict[str, Any]) -> dict[str, Any]:
    recipe = installation.recipe
    system_prompt, instructions = prompts_of(recipe)
    return {
        "action": "attack",
        **models,
        "instruction_set": str(stored.folder / TABLE),
        "provenance": str(stored.folder / PROVENANCE),
        "reports": str(installation.stored("reports").folder),
        "phi_spans": str(installation.stored("phi_spans").folder),
        "direct_kinds": [kind for kind in KINDS if is_direct(kind)],
        "seed": recipe.training.seed,
        "canaries": None,
        "system_prompt": system_prompt,
        "instructions": instructions,
        "shadow_folder": None,
        "shadow_id": None,
    }


def _known_rows(installation: Installation, bound_to: str, adapter_id: str) -> list[MemorizationProbe]:
    """What the same shadow adapter gave away when it was asked before, as rows about this candidate."""
    rows = installation.stored("memorization_probes").rows()
    same = [replace(MemorizationProbe.of(row), adapter_id=adapter_id) for row in rows if row["bound_to"] == bound_to]
    return same if all(row.p_value is not None for row in same) else []


def _of_answers(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    stored: StoredInstructionSet,
    adapter_id: str,
    judge_scores: pa.Table,
) -> list[MemorizationProbe]:
    """Rows of what the scrubber finds in the answers that were graded."""
    allowed = {
        example.example_id: "\n".join(message.content for message in example.messages)
        for example in records_of(InstructionRow, stored.table)
    }
    answers = judge_scores.select(["model", "example_id", "answer"]).to_pylist()
    counts = Counter(row["model"] for row in answers)
    scrub = scrub_request(installation, None)
    found: dict[str, Any] | None = None
    if scrub["other_values"]:
        written = [{**row, "allowed": allowed[row["example_id"]]} for row in answers]
        with installation.scratch(context, "answers") as (path,):
            write_table(path, table_of(written, WRITTEN_ANSWERS))
            told = worker.run(context, "phi", {"action": "scan_answers", "answers": str(path), **scrub})
            found = told["found"]
    return [
        row
        for model in sorted({"adapter", *counts})
        for row in answer_rows(adapter_id, model, counts[model], None if found is None else found.get(model))
    ]


@dg.asset_check(
    asset="memorization_probes",
    description="Nothing that should not be known was got out of the candidate, and everything was tried that shows it.",
)
def nothing_was_memorized(installation: Installation, memorization_probes: pa.Table) -> dg.AssetCheckResult:
    recipe = installation.recipe
    return family_checked("safety", families.safety(memorization_probes), expected_probes(recipe.canaries), recipe.gate)
