"""Stage 7: is the candidate better than what serves now?

Belongs here: measuring judge and candidate, and storing the verdict. Must stay out: the rules of the gate (see `judging/`).
"""

import json
from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_table, short
from fine_tune_assets.core.records import Verdict
from fine_tune_assets.core.tables import PROMOTION_VERDICTS, table_of
from fine_tune_assets.defs.automation import on_new_inputs
from fine_tune_assets.defs.metadata import OWNERS, WHY, definition_metadata, markdown_table, result
from fine_tune_assets.defs.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s01_erased_patients import require_nobody_erased
from fine_tune_assets.defs.s02_missed_identifiers import require_nothing_missed
from fine_tune_assets.defs.s04_standing_decisions import require_decisions_stand
from fine_tune_assets.defs.s05_instruction_sets import ability_questions
from fine_tune_assets.defs.s06_adapters import GPU, behind_training
from fine_tune_assets.defs.sources import recipe_section
from fine_tune_assets.instructions.storing import read_instruction_set
from fine_tune_assets.judging.agreement import licensed_agreement
from fine_tune_assets.judging.judges import judge_request
from fine_tune_assets.judging.lexical import judge_version
from fine_tune_assets.judging.verdicts import Evidence, compare_scores, decide, evidence_json
from fine_tune_assets.ledger.releases import release_of_adapter
from fine_tune_assets.ledger.switches import serving_adapter
from fine_tune_assets.ledger.verdicts import latest_verdict, record_verdict, require_promotion, verdict_id_of
from fine_tune_assets.training.learned import require_learned

GROUP = "s07_judge_scores"
VERDICT_KEY = ("adapter_id", "base_fingerprint", "instruction_set_fingerprint")
"""What a verdict is bound to."""

rated_answers = dg.AssetSpec(
    "rated_answers",
    group_name=GROUP,
    description="Machine-written summaries that clinicians rated (`data/evaluation/judge`). They measure the judge.",
    owners=OWNERS["clinical"],
    kinds={"csv"},
)


verdict_signatures = dg.AssetSpec(
    "verdict_signatures",
    group_name=GROUP,
    description="Approvers' signatures on verdicts that are on hold. Kept in the ledger; each names its approver.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    deps=[rated_answers, recipe_section("gate")],
    automation_condition=on_new_inputs(),
    description="How well the judge's grades agree with those of clinicians.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("judge_agreement"),
)
def judge_agreement(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    output = installation.scratch(context, "judge_agreement")
    answers = installation.layout.evaluation / "judge" / "rated_summaries.csv"
    worker.run(
        context, "judging", {"action": "measure_agreement", "rated_answers": str(answers), "output": str(output)}
    )
    table = pq.read_table(output)
    output.unlink()
    figures = {f"spearman_{row['human_measure']}": row["spearman"] for row in table.to_pylist()}
    return result("judge_agreement", table, fingerprint_table(table), **figures)


@dg.asset_check(asset="judge_agreement", description="The judge agrees with clinicians well enough to decide.")
def judge_may_decide(installation: Installation, judge_agreement: pa.Table) -> dg.AssetCheckResult:
    agreement, floor = licensed_agreement(judge_agreement, judge_version()), installation.recipe.judge.agreement_floor
    return dg.AssetCheckResult(
        passed=agreement is not None and agreement >= floor,
        metadata={"floor": floor, **({} if agreement is None else {"agreement": agreement})},
    )


def _model_request(installation: Installation, adapter: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Raises GateClosedError when the adapter learned nothing, or was trained on another base model than the present one."""
    require_learned(adapter)
    if base["fingerprint"] != adapter["base_fingerprint"]:
        raise GateClosedError("The base model is not the one that the adapter was trained on. Train again.")
    return {
        "base_folder": str(installation.path(base["folder"])),
        "base_fingerprint": base["fingerprint"],
        "adapter_folder": str(installation.path(adapter["folder"])),
        "adapter_id": adapter["adapter_id"],
        "is_quantized": adapter["method"] == "qlora",
        "batch_size": installation.recipe.judge.batch_size,
        "threads": installation.settings.threads,
    }


def _incumbent(installation: Installation, adapter: dict[str, Any]) -> dict[str, str]:
    """What users were last switched to, and where its weights lie; the base model before the first release.

    A candidate that serves already is compared with what it replaced, so that judging it again changes nothing.
    """
    with installation.ledger() as ledger:
        incumbent = serving_adapter(ledger) or adapter["base_fingerprint"]
        if incumbent == adapter["adapter_id"]:
            verdict = latest_verdict(ledger, **{name: adapter[name] for name in VERDICT_KEY})
            incumbent = verdict.incumbent if verdict else adapter["base_fingerprint"]
        served = release_of_adapter(ledger, incumbent)
    found = {
        "incumbent": incumbent,
        "incumbent_adapter": "",
        "incumbent_weights": "",
        "incumbent_weights_fingerprint": "",
    }
    if incumbent == adapter["base_fingerprint"]:
        return found
    if served is None or served.base_fingerprint == adapter["base_fingerprint"]:
        return {**found, "incumbent_adapter": str(installation.layout.adapters / short(incumbent))}
    # Its adapter does not fit on this base model: the merged weights that it was released from do the answering.
    return {
        **found,
        "incumbent_weights": str(installation.layout.weights / short(served.weights_fingerprint)),
        "incumbent_weights_fingerprint": served.weights_fingerprint,
    }


@dg.asset(
    group_name=GROUP,
    deps=[recipe_section("judge")],
    pool=GPU,
    automation_condition=behind_training(),
    description="Grades from 1 to 10 of base model, candidate and what serves now, on the same held-out examples.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("judge_scores"),
)
def judge_scores(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base, judge = adapters.to_pylist()[0], base_models.to_pylist()[0], installation.recipe.judge
    with errors_for_people():
        stored = read_instruction_set(installation.layout.instruction_sets, adapter["instruction_set_fingerprint"])
        require_nobody_erased(installation, stored.table)
        require_decisions_stand(installation, stored)
        models = {**_model_request(installation, adapter, base), **_incumbent(installation, adapter)}
    output = installation.scratch(context, "judge_scores")
    request = {
        "action": "grade",
        **models,
        "instruction_set": str(stored.folder / "instruction_set.parquet"),
        "test_examples": judge.test_examples,
        "max_new_tokens": judge.max_new_tokens,
        "engine": judge.engine,
        "judge": judge_request(installation.settings, judge),
        "output": str(output),
    }
    worker.run(context, "judging", request)
    table = pq.read_table(output)
    output.unlink()
    means = _means(table)
    shown = [{"model": model, **figures} for model, figures in means.items()]
    return result(
        "judge_scores",
        table,
        fingerprint_table(table),
        means=dg.MetadataValue.md(markdown_table(shown)),
        **{f"mean_{model}": figures["mean grade"] for model, figures in means.items()},
    )


def _means(scores: pa.Table) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for model in sorted(set(scores.column("model").to_pylist())):
        rows = [row for row in scores.to_pylist() if row["model"] == model]
        graded = [row["score"] for row in rows if row["score"] is not None]
        found[model] = {
            "answers": len(rows),
            "without a grade": len(rows) - len(graded),
            "mean grade": sum(graded) / len(graded) if graded else float("nan"),
            "unsupported numbers": sum(row["unsupported_numbers"] for row in rows),
            "finished": sum(row["is_finished"] for row in rows) / len(rows),
        }
    return found


@dg.asset(
    group_name=GROUP,
    deps=[ability_questions, recipe_section("abilities")],
    pool=GPU,
    automation_condition=behind_training(),
    description="What the candidate forgot of general tasks that were kept out of training.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("retained_abilities"),
)
def retained_abilities(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    adapter, base = adapters.to_pylist()[0], base_models.to_pylist()[0]
    with errors_for_people():
        models = _model_request(installation, adapter, base)
    output = installation.scratch(context, "retained_abilities")
    request = {
        "action": "abilities",
        **models,
        "questions": [str(p) for p in sorted((installation.layout.evaluation / "abilities").glob("*.jsonl"))],
        "items": installation.recipe.judge.ability_items,
        "output": str(output),
    }
    worker.run(context, "judging", request)
    table = pq.read_table(output)
    output.unlink()
    changes = {f"change_{r['ability']}": r["adapter_accuracy"] - r["base_accuracy"] for r in table.to_pylist()}
    return result("retained_abilities", table, fingerprint_table(table), **changes)


@dg.asset(
    group_name=GROUP,
    deps=[verdict_signatures, recipe_section("gate")],
    automation_condition=behind_training(),
    description="Promote, hold or refuse: the verdict on a candidate, with every reason and figure, stored in the ledger.",
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
) -> dg.MaterializeResult[pa.Table]:
    adapter = adapters.to_pylist()[0]
    with errors_for_people():
        evidence = _evidence(installation, adapter, judge_scores, retained_abilities, judge_agreement)
        decided = decide(evidence, installation.recipe.gate)
        facts: dict[str, Any] = {
            "decision": decided.decision,
            "adapter_id": adapter["adapter_id"],
            "base_fingerprint": adapter["base_fingerprint"],
            "instruction_set_fingerprint": adapter["instruction_set_fingerprint"],
            "incumbent": evidence.incumbent,
            "reasons": decided.reasons,
            "evidence": evidence_json(evidence),
        }
        verdict = Verdict(verdict_id=verdict_id_of(**facts), **facts)
        with installation.ledger() as ledger:
            record_verdict(ledger, verdict)
    row = {
        **facts,
        "verdict_id": verdict.verdict_id,
        "reasons": list(decided.reasons),
        "examples": evidence.examples,
        "incumbent_score": evidence.incumbent_score,
        "candidate_score": evidence.candidate_score,
        "gain_low": evidence.gain.low if evidence.gain else None,
        "gain_high": evidence.gain.high if evidence.gain else None,
    }
    table = table_of([{name: row[name] for name in PROMOTION_VERDICTS.names}], PROMOTION_VERDICTS)
    reasons = dg.MetadataValue.md(
        f"**{decided.decision}**\n\n" + "\n".join(f"- {reason}" for reason in decided.reasons)
    )
    figures = dg.MetadataValue.json(json.loads(verdict.evidence))
    return result(
        "promotion_verdicts", table, verdict.verdict_id, verdict=reasons, evidence=figures, decision=decided.decision
    )


def _evidence(
    installation: Installation,
    adapter: dict[str, Any],
    judge_scores: pa.Table,
    retained_abilities: pa.Table,
    judge_agreement: pa.Table,
) -> Evidence:
    """Only figures about exactly this adapter, on the test split of exactly its instruction set, count."""
    about = [
        t
        for t in (judge_scores, retained_abilities)
        if set(t.column("adapter_id").to_pylist()) - {adapter["adapter_id"]}
    ]
    if about:
        raise dg.Failure("Grades or abilities are about another adapter. Materialize them again.", allow_retries=False)
    require_learned(adapter)
    stored = read_instruction_set(installation.layout.instruction_sets, adapter["instruction_set_fingerprint"])
    require_nothing_missed(installation, stored.table)
    require_nobody_erased(installation, stored.table)
    require_decisions_stand(installation, stored)
    tested = stored.table.filter(pc.equal(stored.table.column("split"), "test")).column("example_id").to_pylist()
    if not set(judge_scores.column("example_id").to_pylist()) <= set(tested):
        raise dg.Failure(
            "Grades are about other examples than this instruction set's test split. Materialize judge_scores again.",
            allow_retries=False,
        )
    incumbent = _incumbent(installation, adapter)["incumbent"]
    examples, missing, old, new, gain = compare_scores(judge_scores, incumbent)
    versions = set(judge_scores.column("judge_version").to_pylist())
    version = versions.pop() if len(versions) == 1 else "several"
    return Evidence(
        adapter_id=adapter["adapter_id"],
        base_fingerprint=adapter["base_fingerprint"],
        instruction_set_fingerprint=adapter["instruction_set_fingerprint"],
        recipe_fingerprint=adapter["recipe_fingerprint"],
        incumbent=incumbent,
        judge_version=version,
        judge_agreement=licensed_agreement(judge_agreement, version),
        agreement_floor=installation.recipe.judge.agreement_floor,
        gate=asdict(installation.recipe.gate),
        examples=examples,
        missing_grades=missing,
        candidate_score=new,
        incumbent_score=old,
        gain=gain,
        abilities=tuple(
            (r["ability"], r["base_accuracy"], r["adapter_accuracy"]) for r in retained_abilities.to_pylist()
        ),
    )


@dg.asset_check(
    asset="promotion_verdicts",
    blocking=True,
    description="The verdict is to promote, or an approver signed a verdict that is on hold.",
)
def verdict_opens_the_gate(installation: Installation, promotion_verdicts: pa.Table) -> dg.AssetCheckResult:
    row = promotion_verdicts.to_pylist()[0]
    scores = {"candidate": row["candidate_score"], "incumbent": row["incumbent_score"]}
    closed = _closed_because(installation, row)
    return dg.AssetCheckResult(
        passed=closed is None,
        metadata={
            "decision": row["decision"],
            WHY: closed or "\n".join(row["reasons"]),
            **{name: score for name, score in scores.items() if score is not None},
        },
    )


def _closed_because(installation: Installation, verdict: dict[str, Any]) -> str | None:
    """Asks the ledger, as everything behind the gate does."""
    with installation.ledger() as ledger:
        try:
            require_promotion(ledger, **{name: verdict[name] for name in VERDICT_KEY})
        except GateClosedError as error:
            return str(error)
    return None
