"""Stage 7, its end: the verdict on a candidate.

Belongs here: handing what was measured to the gate, signing and storing what it says, and showing it. Must stay out: the rules
of the gate (see `judging/verdicts/promotion_rule.py`), and measuring (see judge_scores.py).
"""

import base64
import json
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.records import CANDIDATE_KEY, Verdict
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, definition_metadata, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.defs.s06_adapters.adapters import READ_BY_GATES, behind_training, set_learned_from
from fine_tune_assets.defs.s07_judge_scores.figures import figures_checked, figures_shown
from fine_tune_assets.defs.s07_judge_scores.judge_agreement import judge_asked
from fine_tune_assets.defs.s07_judge_scores.judge_scores import GROUP, incumbent_of, preferences_shown, question_files
from fine_tune_assets.judging.contestants.answer_checks import CHECK_NAMES
from fine_tune_assets.judging.contestants.robustness import PROBES
from fine_tune_assets.judging.memorization.probe_rows import expected_probes
from fine_tune_assets.judging.verdicts.evidence import (
    Candidate,
    Evidence,
    Tables,
    evidence_json,
    gate_of,
    gather,
    read_evidence,
)
from fine_tune_assets.judging.verdicts.figures import Family
from fine_tune_assets.judging.verdicts.plots import verdict_plots
from fine_tune_assets.judging.verdicts.promotion_rule import against_its_harms, against_the_gain, decide
from fine_tune_assets.judging.verdicts.subgroups import asked_inputs, groups_of
from fine_tune_assets.ledger.serving.verdict_documents import DOCUMENT, KEY, prove, require_document, write_document
from fine_tune_assets.ledger.serving.verdicts import record_verdict, require_promotion, verdict_id_of
from fine_tune_assets.tables.instructions import InstructionRow
from fine_tune_assets.tables.judging import PromotionVerdict
from fine_tune_assets.tables.records import only_record, records_of, table_from
from fine_tune_assets.tables.training import Adapter
from fine_tune_assets.training.decisions import require_learned

verdict_signatures = dg.AssetSpec(
    "verdict_signatures",
    group_name=GROUP,
    description="Approvers' signatures on verdicts that are on hold. Kept in the ledger; each names its approver.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    deps=[*READ_BY_GATES, verdict_signatures, recipe_section("gate")],
    automation_condition=behind_training(),
    description="Promote, hold or refuse: the verdict on a candidate, with every reason and figure, signed and stored.",
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
    robustness_probes: pa.Table,
    memorization_probes: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    tables = Tables(
        judge_scores=judge_scores,
        judge_agreement=judge_agreement,
        retained_abilities=retained_abilities,
        answer_checks=answer_checks,
        robustness_probes=robustness_probes,
        memorization_probes=memorization_probes,
    )
    with errors_for_people():
        evidence = evidence_on(installation, only_record(Adapter, adapters), tables)
        verdict = verdict_on(evidence, installation)
        # The document first: without it the row opens nothing.
        write_document(installation.layout.verdicts, installation.layout.keys, verdict)
        with installation.ledger() as ledger:
            record_verdict(ledger, verdict)
    table = table_from(PromotionVerdict, [_row(verdict, evidence)])
    shown = shown_evidence(evidence, json.loads(verdict.evidence))
    return result(
        "promotion_verdicts",
        table,
        verdict.verdict_id,
        verdict=dg.MetadataValue.md(_in_words(verdict)),
        decision=verdict.decision,
        **preferences_shown(evidence.preferences),
        **shown,
    )


def evidence_on(installation: Installation, adapter: Adapter, tables: Tables) -> Evidence:
    """Only figures about exactly this adapter, on the test split of exactly its instruction set, count."""
    stored = set_learned_from(installation, adapter.instruction_set_fingerprint)
    require_learned(adapter)
    tested = stored.table.filter(pc.equal(stored.table.column("split"), "test"))
    graded = set(tables.judge_scores.column("example_id").to_pylist())
    if not graded <= set(tested.column("example_id").to_pylist()):
        raise GateClosedError(
            "Grades are about other examples than this instruction set's test split. "
            + materialize_hint("judge_scores")
        )
    recipe, incumbent = installation.recipe, incumbent_of(installation, adapter)
    return gather(
        Candidate(
            adapter_id=adapter.adapter_id,
            base_fingerprint=adapter.base_fingerprint,
            instruction_set_fingerprint=adapter.instruction_set_fingerprint,
            recipe_fingerprint=adapter.recipe_fingerprint,
            incumbent=incumbent["incumbent"],
        ),
        tables,
        groups_of(asked_inputs(records_of(InstructionRow, tested), graded)),
        recipe.gate,
        judge_asked(installation),
        expected_figures(installation),
        rests_on(installation, incumbent["incumbent_weights_fingerprint"]),
    )


def rests_on(installation: Installation, incumbent_weights: str) -> dict[str, str]:
    """Name → fingerprint of the ability questions, and of the merged weights where those answered for the incumbent."""
    asked = {f"ability_questions_{path.stem}": fingerprint_file(path) for path in question_files(installation)}
    return {**asked, **({"incumbent_weights": incumbent_weights} if incumbent_weights else {})}


def expected_figures(installation: Installation) -> dict[Family, list[str]]:
    """What the recipe requires, by name: a task whose questions are there and that is not in the table is missing."""
    names: dict[Family, list[str]] = {
        "abilities": [path.stem for path in question_files(installation)],
        "checks": [*CHECK_NAMES],
        "robustness": [*PROBES],
        "safety": expected_probes(installation.recipe.canaries),
    }
    return {family: found for family, found in names.items() if family in installation.recipe.gate.requires}


def verdict_on(evidence: Evidence, installation: Installation) -> Verdict:
    decided = decide(evidence, installation.recipe.gate)
    facts: dict[str, Any] = {
        "decision": decided.decision,
        "line": installation.recipe.name,
        **{name: getattr(evidence, name) for name in (*CANDIDATE_KEY, "incumbent")},
        "reasons": decided.reasons,
        "evidence": evidence_json(evidence),
    }
    return Verdict(verdict_id=verdict_id_of(**facts), **facts)


def _row(verdict: Verdict, evidence: Evidence) -> PromotionVerdict:
    target = evidence.target
    return PromotionVerdict(
        verdict_id=verdict.verdict_id,
        decision=verdict.decision,
        line=verdict.line,
        adapter_id=verdict.adapter_id,
        base_fingerprint=verdict.base_fingerprint,
        instruction_set_fingerprint=verdict.instruction_set_fingerprint,
        incumbent=verdict.incumbent,
        reasons=tuple(verdict.reasons),
        examples=evidence.power.examples,
        incumbent_score=target.incumbent if target else None,
        candidate_score=target.candidate if target else None,
        gain_low=target.low if target else None,
        gain_high=target.high if target else None,
    )


def _in_words(verdict: Verdict) -> str:
    return f"**{verdict.decision}**\n\n" + "\n".join(f"- {reason}" for reason in verdict.reasons)


def shown_evidence(evidence: Evidence, document: dict[str, Any]) -> dict[str, Any]:
    """The evidence as people see it: a table of its figures, its pictures, and its document."""
    pictures = [
        f"**{title}**\n\n![{title}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"
        for title, png in verdict_plots(evidence).items()
    ]
    return {
        "figures": figures_shown(evidence.figures),
        "plots": dg.MetadataValue.md("\n\n".join(pictures)),
        "evidence": dg.MetadataValue.json(document),
    }


@dg.asset_check(
    asset="promotion_verdicts",
    blocking=True,
    description="The verdict is to promote, or an approver signed a verdict that is on hold.",
)
def verdict_opens_the_gate(installation: Installation, promotion_verdicts: pa.Table) -> dg.AssetCheckResult:
    row = only_record(PromotionVerdict, promotion_verdicts)
    scores = {"candidate": row.candidate_score, "incumbent": row.incumbent_score}
    closed = None
    try:
        required_verdict(installation, row)  # asks the ledger and the signed document, as what makes weights does
    except GateClosedError as error:
        closed = str(error)
    shown = {name: score for name, score in scores.items() if score is not None}
    return checked(closed is None, closed or "\n".join(row.reasons), decision=row.decision, **shown)


def required_verdict(installation: Installation, adapter: Adapter | PromotionVerdict) -> Verdict:
    """The gate: a verdict in the ledger that promotes exactly this adapter, and that this installation signed.

    Raises GateClosedError.
    """
    with installation.ledger() as ledger:
        verdict = require_promotion(ledger, **{name: getattr(adapter, name) for name in CANDIDATE_KEY})
    require_document(installation.layout.verdicts, installation.layout.keys, verdict)
    return verdict


@dg.asset_check(
    asset="promotion_verdicts", description="The candidate's grades are shown to be higher than the incumbent's."
)
def candidate_beats_the_incumbent(installation: Installation, promotion_verdicts: pa.Table) -> dg.AssetCheckResult:
    with errors_for_people():
        evidence = _stored_evidence(installation, promotion_verdicts)
        return figures_checked(against_the_gain(evidence, gate_of(evidence)), evidence.of("target"))


@dg.asset_check(
    asset="promotion_verdicts",
    description="No ability, check, probe or group of examples fell by more than its budget, as it was measured.",
)
def candidate_does_no_harm(installation: Installation, promotion_verdicts: pa.Table) -> dg.AssetCheckResult:
    with errors_for_people():
        evidence = _stored_evidence(installation, promotion_verdicts)
        harms = [figure for figure in evidence.figures if figure.family != "target"]
        return figures_checked(against_its_harms(evidence, gate_of(evidence)), harms)


def _stored_evidence(installation: Installation, verdicts: pa.Table) -> Evidence:
    """Of the signed document: the figures that the verdict rests on."""
    verdict_id = only_record(PromotionVerdict, verdicts).verdict_id
    document = installation.layout.verdicts / verdict_id / DOCUMENT
    proven = prove(document, public_key_file(installation.layout.keys, KEY))
    return read_evidence(proven.verdict.evidence)
