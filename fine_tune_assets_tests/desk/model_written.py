"""Questions and answers that a model wrote about the ward's notes, for the desk's tests; the shipped verifier checks them."""

from functools import partial
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.approval.draft_generation import build_model_draft
from fine_tune_assets.approval.draft_questions import Question
from fine_tune_assets.approval.draft_sources import record_checks, select_unchecked
from fine_tune_assets.approval.task_kinds import ReportText, build_requests, read_section_rules
from fine_tune_assets.claims.grounding_checks import GROUNDING_CHECKS
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.judging.evaluation.draft_support import check_drafts, describe_check
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.approval_rows import ModelDraft
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets_tests.clinical_domain import SECTION_NAMES
from fine_tune_assets_tests.desk.installation import BATCH, draft, drafts_of, fill

SECTIONS = ["HISTORY OF PRESENT ILLNESS", "EXAMINATION"]
QUESTION = "What does the patient take, and what was found?"
ANSWER = (
    "The temperature was 38.4 C. He has no chest pain. He takes metformin 500 mg twice a day. "
    "Blood pressure was 138/86, heart rate 96."
)
WRONG = "The patient had no cough. He takes lisinopril 40 mg daily."
TASK = {
    "name": "questions",
    "kind": "model",
    "instruction": "Ask about complaints and findings.",
    "input_sections": SECTIONS,
    "max_new_tokens": 60,
    "questions_per_report": 2,
}


def fill_with_model_drafts(settings: Settings, ledger: Ledger, filler: int = 0) -> tuple[Settings, dict[str, Any]]:
    """An installation with two answers per note, one of which is wrong; its settings and a draft of the right one."""
    own = fill(settings, ledger, count=2, filler=filler, review={"guidelines": {}}, tasks=[TASK])
    scrubbed = pq.read_table(own.layout.table("scrubbed_reports", BATCH))
    tasks = load_recipe(own.recipe).tasks
    read = partial(iter_records, ReportText, scrubbed)
    requests = list(build_requests(read, tasks, read_section_rules(read, tasks, SECTION_NAMES)))
    rows = [
        build_model_draft(request, output, True, "abc", Question(number, QUESTION, False))
        for request in requests
        for number, output in enumerate((ANSWER, WRONG), start=1)
    ]
    written = table_from_records(ModelDraft, rows)
    unchecked = select_unchecked(requests, written, describe_check())
    checks = check_drafts(unchecked, open_verifier("", 1), tuple(GROUNDING_CHECKS), describe_check(), ignore_progress)
    write_table(own.layout.table("model_drafts"), record_checks(written, checks))
    draft(own, ledger)
    return own, drafts_of(own)[0]
