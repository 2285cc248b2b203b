"""Stage 7: candidate and incumbent answer labelled questions from the organization's documents, as the gateway would ask them."""

from dataclasses import asdict

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.processes.worker_requests import AnswerFromDocumentsRequest, FindQuestionsRequest
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s01_raw_reports.knowledge_documents import index_request, labelled_questions
from fine_tune_assets.defs.s06_adapters.adapters import GPU, after_training
from fine_tune_assets.defs.s07_judge_scores.judge_scores import GROUP, find_incumbent, model_request
from fine_tune_assets.defs.s07_judge_scores.metric_metadata import check_family, check_metrics, metric_table
from fine_tune_assets.judging.evaluation.deterministic_checks import incumbent_fingerprint
from fine_tune_assets.judging.judges.judge_registry import judge_request
from fine_tune_assets.judging.verdicts import metric_families as families
from fine_tune_assets.judging.verdicts.verdict_metrics import Metric, adjust_metrics
from fine_tune_assets.tables.judging_rows import DocumentAnswer
from fine_tune_assets.tables.record_classes import read_single_record
from fine_tune_assets.tables.training_rows import Adapter, BaseModel

DOCUMENTS = ("knowledge_chunks", "labelled_questions")
"""What the questions are asked about. A changed document does not judge a candidate again: the index has its own gate."""


@dg.asset(
    group_name=GROUP,
    deps=["knowledge_chunks", labelled_questions],
    code_version=code_version("retrieval", "judge"),
    pool=GPU,
    automation_condition=after_training(ignored=DOCUMENTS),
    description="Answers of candidate and incumbent to labelled questions, from passages of documents: whether they are "
    "grounded, cite the right passage, and refuse when no passage answers. Empty unless the recipe answers from documents.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("document_answers"),
)
def document_answers(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    table = DocumentAnswer.SCHEMA.empty_table()
    if installation.recipe.retrieval.enabled:
        adapter, base = read_single_record(Adapter, adapters), read_single_record(BaseModel, base_models)
        with installation.scratch(context, "knowledge_chunks", "document_questions") as (chunks, questions):
            with user_facing_errors():
                models, incumbent = model_request(installation, adapter, base), find_incumbent(installation, adapter)
                write_table(chunks, installation.stored("knowledge_chunks").table())
                asked: FindQuestionsRequest = {
                    "action": "find_questions",
                    "items": installation.recipe.judge.test_examples,
                    **index_request(installation.settings, installation.recipe, str(chunks)),
                }
            write_table(questions, worker.make_table(context, "retrieval", asked))
            recipe, wanted = installation.recipe, asdict(installation.recipe.retrieval)
            request: AnswerFromDocumentsRequest = {
                "action": "answer_from_documents",
                **models,
                **incumbent,
                "questions": str(questions),
                "prompt": {
                    "system_prompt": recipe.system_prompt,
                    "template": wanted["template"],
                    "nothing_found": wanted["nothing_found"],
                },
                "max_new_tokens": recipe.judge.max_new_tokens,
                "engine": recipe.judge.engine,
                "judge": judge_request(installation.settings, recipe),
            }
            table = worker.make_table(context, "judging", request)
    metrics = _metrics(installation, table)
    return table_result("document_answers", table, fingerprint_table(table), metrics=metric_table(metrics))


def _metrics(installation: Installation, table: pa.Table) -> tuple[Metric, ...]:
    margin = installation.recipe.gate.maximum_check_loss
    return adjust_metrics(families.document_metrics(table, incumbent_fingerprint(table), margin))


@dg.asset_check(
    asset="document_answers",
    description="From documents, the candidate answers as often as the incumbent with support, with the right citation, and with "
    "a refusal where no passage answers.",
)
def documents_are_answered_from(installation: Installation, document_answers: pa.Table) -> dg.AssetCheckResult:
    metrics, recipe = _metrics(installation, document_answers), installation.recipe
    if not recipe.retrieval.enabled:
        return check_metrics((), metrics)
    return check_family("documents", metrics, families.DOCUMENT_METRICS, recipe.gate)
