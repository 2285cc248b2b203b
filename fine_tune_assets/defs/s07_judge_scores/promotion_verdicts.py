"""Stage 7: gathers the evidence on a candidate, applies the promotion rule (`judging/verdicts/promotion_rule.py`), and signs and
stores the verdict.
"""

import json
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_table
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.shared_records import CANDIDATE_KEY, Verdict
from fine_tune_assets.defs.platform.metadata import OWNERS, check_result, definition_metadata, plot, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.defs.s06_adapters.adapters import after_training, read_training_set
from fine_tune_assets.defs.s07_judge_scores.judge_agreement import judge_requirements
from fine_tune_assets.defs.s07_judge_scores.judge_scores import (
    GROUP,
    find_incumbent,
    question_files,
    read_verdict_history,
)
from fine_tune_assets.defs.s07_judge_scores.metric_metadata import check_metrics, metric_table
from fine_tune_assets.judging.evaluation.deterministic_checks import CHECK_NAMES
from fine_tune_assets.judging.evaluation.robustness_cases import PROBES
from fine_tune_assets.judging.memorization.memorization_rows import expected_probes
from fine_tune_assets.judging.verdicts.evidence import (
    Candidate,
    Evidence,
    EvidenceTables,
    evidence_json,
    gather_evidence,
    read_evidence,
    read_gate_settings,
)
from fine_tune_assets.judging.verdicts.metric_families import DOCUMENT_METRICS
from fine_tune_assets.judging.verdicts.promotion_rule import decide_promotion, gain_objections, regression_objections
from fine_tune_assets.judging.verdicts.subgroups import group_examples, select_inputs
from fine_tune_assets.judging.verdicts.verdict_metrics import Family
from fine_tune_assets.judging.verdicts.verdict_plots import verdict_plots
from fine_tune_assets.ledger.serving.verdict_documents import (
    DOCUMENT,
    KEY_NAME,
    require_document,
    verify_document,
    write_document,
)
from fine_tune_assets.ledger.serving.verdicts import compute_verdict_id, record_verdict, require_promotion
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.judging_rows import PromotionVerdict
from fine_tune_assets.tables.record_classes import iter_records, read_single_record, table_from_records
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets.training.training_due import require_changed_adapter

verdict_signatures = dg.AssetSpec(
    "verdict_signatures",
    group_name=GROUP,
    description="Approvers' signatures on verdicts that are on hold. Stored in the ledger with the approver's name.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    deps=[verdict_signatures],
    code_version=code_version("gate"),
    automation_condition=after_training(),
    description="The signed verdict on the candidate (promote, hold or refuse), with all reasons and metrics.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("promotion_verdicts"),
)
def promotion_verdicts(
    installation: Installation,
    adapters: pa.Table,
    judge_scores: pa.Table,
    retained_abilities: pa.Table,
    judge_agreement: pa.Table,
    answer_checks: pa.Table,
    robustness_results: pa.Table,
    memorization_results: pa.Table,
    document_answers: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    tables = EvidenceTables(
        judge_scores=judge_scores,
        judge_agreement=judge_agreement,
        retained_abilities=retained_abilities,
        answer_checks=answer_checks,
        robustness_results=robustness_results,
        memorization_results=memorization_results,
        document_answers=document_answers if installation.recipe.retrieval.enabled else None,
    )
    with user_facing_errors():
        evidence = gather_stored_evidence(installation, read_single_record(Adapter, adapters), tables)
        verdict = decide_verdict(evidence, installation)
        # The document first: without it, the ledger's row does not open the gate.
        write_document(installation.layout.verdicts, installation.layout.keys, verdict)
        with installation.ledger() as ledger:
            record_verdict(ledger, verdict)
    table = table_from_records(PromotionVerdict, [_verdict_row(verdict, evidence)])
    shown = evidence_metadata(evidence, json.loads(verdict.evidence))
    return table_result(
        "promotion_verdicts",
        table,
        verdict.verdict_id,
        verdict=dg.MetadataValue.md(_format_verdict(verdict)),
        decision=verdict.decision,
        **shown,
    )


def gather_stored_evidence(installation: Installation, adapter: Adapter, tables: EvidenceTables) -> Evidence:
    """Gather the evidence on exactly this adapter, on the test split of its instruction set. Raises GateClosedError."""
    stored = read_training_set(installation, adapter.instruction_set_fingerprint)
    require_changed_adapter(adapter)
    tested = stored.table.filter(pc.equal(stored.table.column("split"), "test"))
    graded = set(tables.judge_scores.column("example_id").to_pylist())
    if not graded <= set(tested.column("example_id").to_pylist()):
        raise GateClosedError(
            f"judge_scores has answers to examples outside the test split of instruction set {stored.folder.name}. "
            + materialize_hint("judge_scores")
        )
    recipe, incumbent = installation.recipe, find_incumbent(installation, adapter)
    return gather_evidence(
        Candidate(
            adapter_id=adapter.adapter_id,
            base_fingerprint=adapter.base_fingerprint,
            instruction_set_fingerprint=adapter.instruction_set_fingerprint,
            recipe_fingerprint=adapter.recipe_fingerprint,
            incumbent=incumbent["incumbent"],
        ),
        tables,
        group_examples(
            select_inputs(iter_records(InstructionRow, tested), graded), [task.name for task in recipe.tasks]
        ),
        recipe.gate,
        judge_requirements(installation),
        expected_metrics(installation),
        read_verdict_history(installation, adapter, incumbent["incumbent"], fingerprint_table(tables.judge_scores)),
        fingerprint_inputs(installation, incumbent["incumbent_weights_fingerprint"]),
    )


def fingerprint_inputs(installation: Installation, incumbent_weights: str) -> dict[str, str]:
    """Name → fingerprint of the ability questions and, if they answered for the incumbent, its merged weights."""
    questions = {f"ability_questions_{path.stem}": fingerprint_file(path) for path in question_files(installation)}
    return {**questions, **({"incumbent_weights": incumbent_weights} if incumbent_weights else {})}


def expected_metrics(installation: Installation) -> dict[Family, list[str]]:
    """Family → names of the metrics that the recipe requires. A metric that is not in the tables counts as missing."""
    names: dict[Family, list[str]] = {
        "abilities": [path.stem for path in question_files(installation)],
        "checks": [*CHECK_NAMES],
        "robustness": [*PROBES],
        "safety": expected_probes(installation.recipe.planted_secrets),
        "documents": [*DOCUMENT_METRICS],
    }
    recipe = installation.recipe
    required: set[Family] = {*recipe.gate.requires, *(("documents",) if recipe.retrieval.enabled else ())}
    return {family: family_names for family, family_names in names.items() if family in required}


def decide_verdict(evidence: Evidence, installation: Installation) -> Verdict:
    decided = decide_promotion(evidence, installation.recipe.gate)
    facts: dict[str, Any] = {
        "decision": decided.decision,
        "line": installation.recipe.name,
        **{name: getattr(evidence, name) for name in (*CANDIDATE_KEY, "incumbent")},
        "reasons": decided.reasons,
        "evidence": evidence_json(evidence),
    }
    return Verdict(verdict_id=compute_verdict_id(**facts), **facts)


def _verdict_row(verdict: Verdict, evidence: Evidence) -> PromotionVerdict:
    target = evidence.target
    return PromotionVerdict(
        verdict_id=verdict.verdict_id,
        decision=verdict.decision,
        line=verdict.line,
        adapter_id=verdict.adapter_id,
        base_fingerprint=verdict.base_fingerprint,
        instruction_set_fingerprint=verdict.instruction_set_fingerprint,
        incumbent_fingerprint=verdict.incumbent,
        reasons=tuple(verdict.reasons),
        example_count=evidence.power.examples,
        incumbent_score=target.incumbent if target else None,
        candidate_score=target.candidate if target else None,
        gain_low=target.low if target else None,
        gain_high=target.high if target else None,
    )


def _format_verdict(verdict: Verdict) -> str:
    return f"**{verdict.decision}**\n\n" + "\n".join(f"- {reason}" for reason in verdict.reasons)


def evidence_metadata(evidence: Evidence, document: dict[str, Any]) -> dict[str, Any]:
    """The evidence for the Dagster UI: a table of metrics, plots, and the document."""
    plots = [f"**{title}**\n\n{plot(title, png).md_str}" for title, png in verdict_plots(evidence).items()]
    return {
        "metrics": metric_table(evidence.metrics),
        "plots": dg.MetadataValue.md("\n\n".join(plots)),
        "evidence": dg.MetadataValue.json(document),
    }


@dg.asset_check(
    asset="promotion_verdicts",
    blocking=True,
    description="The verdict is promote, or it is hold and an approver has signed it.",
)
def verdict_allows_release(installation: Installation, promotion_verdicts: pa.Table) -> dg.AssetCheckResult:
    row = read_single_record(PromotionVerdict, promotion_verdicts)
    scores = {"candidate": row.candidate_score, "incumbent": row.incumbent_score}
    closed = None
    try:
        require_verdict(installation, row)  # reads the ledger and the signed document, like the gate of merged_weights
    except GateClosedError as error:
        closed = str(error)
    known_scores = {name: score for name, score in scores.items() if score is not None}
    return check_result(closed is None, closed or "\n".join(row.reasons), decision=row.decision, **known_scores)


def require_verdict(installation: Installation, adapter: Adapter | PromotionVerdict) -> Verdict:
    """The verdict that promotes exactly this adapter, signed by this installation. Raises GateClosedError."""
    with installation.ledger() as ledger:
        verdict = require_promotion(ledger, **{name: getattr(adapter, name) for name in CANDIDATE_KEY})
    require_document(installation.layout.verdicts, installation.layout.keys, verdict)
    return verdict


@dg.asset_check(
    asset="promotion_verdicts", description="The candidate's grades are significantly higher than the incumbent's."
)
def candidate_beats_incumbent(installation: Installation, promotion_verdicts: pa.Table) -> dg.AssetCheckResult:
    with user_facing_errors():
        evidence = _read_stored_evidence(installation, promotion_verdicts)
        return check_metrics(gain_objections(evidence, read_gate_settings(evidence)), evidence.family_metrics("target"))


@dg.asset_check(
    asset="promotion_verdicts",
    description="No ability, check, robustness case or group of examples got worse by more than its limit.",
)
def candidate_has_no_regression(installation: Installation, promotion_verdicts: pa.Table) -> dg.AssetCheckResult:
    with user_facing_errors():
        evidence = _read_stored_evidence(installation, promotion_verdicts)
        metrics = [metric for metric in evidence.metrics if metric.family != "target"]
        return check_metrics(regression_objections(evidence, read_gate_settings(evidence)), metrics)


def _read_stored_evidence(installation: Installation, verdicts: pa.Table) -> Evidence:
    """The evidence in the signed document of the verdict. Raises an error if the signature is invalid."""
    verdict_id = read_single_record(PromotionVerdict, verdicts).verdict_id
    document = installation.layout.verdicts / verdict_id / DOCUMENT
    proven = verify_document(document, public_key_file(installation.layout.keys, KEY_NAME))
    return read_evidence(proven.verdict.evidence)
