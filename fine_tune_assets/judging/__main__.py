"""The judging worker: serves one request per process (core/processes/worker.py)."""

from contextlib import AbstractContextManager, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.processes.worker_requests import (
    AnswerFromDocumentsRequest,
    AttackModelsRequest,
    CheckDraftsRequest,
    ContestantFields,
    GradeRequest,
    MeasureAbilitiesRequest,
    MeasureJudgeRequest,
    RobustnessRequest,
)
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.tables.judging_rows import DocumentAnswer, DocumentQuestion
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets.tables.shipped_measurements import fingerprint_files, load_shipped_table, save_shipped_table

_HERE = Path(__file__).parent
_MEASURING_CODE = (
    "judges/human_agreement",
    "judges/labelled_sets",
    "judges/planted_errors/error_detection",
    "judges/planted_errors/error_plants",
    "judges/planted_errors/planted_error_set",
    "judges/verifier/record_passages",
    "judges/verifier/training_data/paraphrases",
    "statistics/association",
)


def measure_judge(request: MeasureJudgeRequest, progress: Progress) -> dict[str, Any]:
    """Measure a judge's agreement with people and with planted errors, unless it ships measured with the same inputs."""
    from fine_tune_assets.judging.judges.human_agreement import measure_agreement
    from fine_tune_assets.judging.judges.judge_registry import open_judge
    from fine_tune_assets.judging.judges.labelled_sets import read_labelled_sets, read_own_ratings
    from fine_tune_assets.judging.judges.own_measurement import measure_in_domain
    from fine_tune_assets.judging.judges.planted_errors.error_detection import measure_planted_errors
    from fine_tune_assets.judging.judges.statement_judge import StatementJudge
    from fine_tune_assets.judging.judges.weights_fit import fit_judge
    from fine_tune_assets.recipes.schema import RubricCriterion

    judge_inputs, own, accept_score = request["judge"], request["own_ratings"], request["accept_score"]
    is_shipped, folder = request.get("is_shipped", False), Path(request["labelled_sets"])
    examples = request.get("own_examples", "")
    with open_judge(judge_inputs) as judge:
        version = judge.version
        criteria = [[one["name"], one["measured_by"]] for one in judge_inputs["rubric"]]
        decided_by = [version, accept_score, criteria, *_measured_from(folder)]
        if (
            not (is_shipped or own or examples)
            and (shipped := load_shipped_table("judge_agreement", decided_by)) is not None
        ):
            write_table(Path(request["output"]), shipped)
            return {"judge_version": version}
        rubric = tuple(RubricCriterion(**values) for values in judge_inputs["rubric"])
        shipped_sets = read_labelled_sets(folder)
        if isinstance(judge, StatementJudge):
            judge = fit_judge(judge, shipped_sets, Path(judge_inputs["weights"]))
        own_sets = read_own_ratings(Path(own)) if own else []
        if examples:
            shipped_sets = []  # what clinicians rated decides nothing about another domain
        table = pa.concat_tables(
            [
                measure_agreement(judge, [*shipped_sets, *own_sets], accept_score, progress, rubric),
                *(measure_planted_errors(judge, rated, rubric, progress) for rated in shipped_sets),
                *([measure_in_domain(judge, Path(examples), own_sets, rubric, progress)] if examples else []),
            ]
        )
        version = judge.version
    if is_shipped:
        save_shipped_table("judge_agreement", decided_by, table)
    write_table(Path(request["output"]), table)
    return {"judge_version": version}


def _measured_from(folder: Path) -> list[list[list[str]]]:
    """Fingerprints of the labelled sets and of the code that measures."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    code = [_HERE / f"{name}.py" for name in _MEASURING_CODE]
    return [fingerprint_files(files), fingerprint_files(code)]


def grade(request: GradeRequest, progress: Progress) -> dict[str, Any]:
    """Collect all answers, unload the models to free memory for the judge, then grade."""
    from fine_tune_assets.judging.evaluation.example_selection import AskedExamples, RequiredTasks, select_test_examples
    from fine_tune_assets.judging.evaluation.model_comparison import (
        collect_answers,
        grade_answers,
    )
    from fine_tune_assets.judging.judges.grade_cache import GradeCache
    from fine_tune_assets.judging.judges.judge_registry import open_judge

    earlier, tested = AskedExamples(**request["asked_examples"]), RequiredTasks(**request["required_tasks"])
    examples = select_test_examples(
        pq.read_table(request["instruction_set"]), request["test_examples"], earlier, tested
    )
    with closing(GradeCache(Path(request["cache"]))) as cache, _open_contestants(request, progress) as contestants:
        answers = collect_answers(examples, contestants, cache)
    with open_judge(request["judge"]) as judge:
        table = grade_answers(answers, judge, request["adapter_id"], progress)
    write_table(Path(request["output"]), table)
    return {"examples": len(examples), "contestants": [c.role for c in contestants]}


def _open_contestants(request: ContestantFields, progress: Progress) -> AbstractContextManager[list[Any]]:
    if request["engine"] == "vllm":
        from fine_tune_assets.judging.evaluation.vllm_models import served_contestants

        return served_contestants(request, progress)
    from fine_tune_assets.judging.evaluation.local_models import loaded_contestants

    return loaded_contestants(request, progress)


def measure_abilities(request: MeasureAbilitiesRequest, progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.evaluation.general_abilities import compare_abilities, read_questions
    from fine_tune_assets.judging.evaluation.local_models import answer_with_both

    results = {}
    tasks = {path.stem: read_questions(path, request["items"]) for path in map(Path, request["questions"])}
    # Progress by length, because a task of abstracts takes ten times as long as one of sentences.
    lengths = {name: sum(question.character_count for question in questions) for name, questions in tasks.items()}
    done, total = 0, sum(lengths.values())
    for name, questions in tasks.items():
        results[name] = answer_with_both(request, name, questions)
        done += lengths[name]
        progress(done, total, "characters of general questions")
    table = compare_abilities(request["adapter_id"], results, request["budgets"])
    write_table(Path(request["output"]), table)
    return {"abilities": sorted(results)}


def probe_robustness(request: RobustnessRequest, progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.evaluation.example_selection import select_test_examples
    from fine_tune_assets.judging.evaluation.local_models import probe_both
    from fine_tune_assets.judging.evaluation.robustness_cases import build_probe_table

    examples = select_test_examples(pq.read_table(request["instruction_set"]), request["items"])
    base, candidate = probe_both(request, examples, progress)
    write_table(Path(request["output"]), build_probe_table(request["adapter_id"], base, candidate))
    return {"examples": len(examples)}


def answer_from_documents(request: AnswerFromDocumentsRequest, progress: Progress) -> dict[str, Any]:
    """Candidate and incumbent answer labelled questions from passages."""
    from fine_tune_assets.judging.evaluation import document_answers as documents
    from fine_tune_assets.judging.evaluation.model_comparison import CANDIDATE, collect_answers
    from fine_tune_assets.judging.judges.grade_cache import GradeCache
    from fine_tune_assets.judging.judges.judge_registry import open_statement_reader

    prompt = documents.DocumentPrompt(**request["prompt"])
    questions = list(iter_records(DocumentQuestion, pq.read_table(request["questions"])))
    examples = [documents.build_example(question, prompt) for question in questions]
    with closing(GradeCache(Path(request["cache"]))) as cache, _open_contestants(request, progress) as contestants:
        compared = [c for c in contestants if c.role == CANDIDATE or c.fingerprint == request["incumbent"]]
        answers = collect_answers(examples, compared, cache)
    with open_statement_reader(request["judge"]) as reader:
        asked = list(zip(questions * len(compared), answers, strict=True))
        found = documents.measure_answers(asked, reader, prompt.nothing_found, request["adapter_id"], progress)
    write_table(Path(request["output"]), table_from_records(DocumentAnswer, found))
    return {"questions": len(questions), "contestants": [c.role for c in compared]}


def check_drafts(request: CheckDraftsRequest, progress: Progress) -> dict[str, Any]:
    """Check drafts that a model wrote against their inputs."""
    from fine_tune_assets.judging.evaluation import draft_support
    from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
    from fine_tune_assets.tables.approval_rows import CheckableDraft, DraftCheck

    drafts = list(iter_records(CheckableDraft, pq.read_table(request["drafts"])))
    reader = open_verifier(request["verifier"], request["threads"])
    found = draft_support.check_drafts(drafts, reader, request["checks"], request["checked_by"], progress)
    write_table(Path(request["output"]), table_from_records(DraftCheck, found))
    return {"drafts": len(found)}


def attack_models(request: AttackModelsRequest, progress: Progress) -> dict[str, Any]:
    """Test the candidate for removed identifiers and, if present, the shadow adapter for planted secrets. Returns counts."""
    from fine_tune_assets.judging.memorization.extraction_attacks import (
        attack_both,
        rebuild_secrets,
        recall_secrets,
        select_attacks,
    )
    from fine_tune_assets.judging.memorization.planted_secrets import compare_levels

    result: dict[str, Any] = {
        "attack": asdict(attack_both(request, *select_attacks(request), progress)),
        "levels": None,
    }
    if (shadow := request["shadow"]) is None:
        return result
    settings, secrets = rebuild_secrets(request)
    folder = Path(shadow["folder"])
    recalled = recall_secrets(request, folder, shadow["adapter_id"], settings, secrets, progress)
    return {**result, "levels": [asdict(level) for level in compare_levels(recalled, settings.alternatives)]}


if __name__ == "__main__":
    serve_request(
        {
            "measure_judge": measure_judge,
            "grade": grade,
            "measure_abilities": measure_abilities,
            "probe_robustness": probe_robustness,
            "answer_from_documents": answer_from_documents,
            "check_drafts": check_drafts,
            "attack_models": attack_models,
        }
    )
