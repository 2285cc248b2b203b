"""Judging as a process: `measure_agreement`, `grade` and `abilities`, one request each (see core/worker.py)."""

from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.worker import serve_request


def measure(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.agreement import licensed_agreement, measure_agreement
    from fine_tune_assets.judging.lexical import judge_version

    table = measure_agreement(Path(request["rated_answers"]))
    write_table(Path(request["output"]), table)
    return {"agreement": licensed_agreement(table, judge_version())}


def grade(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """All answers first; then the models are gone, and the judge has the memory."""
    from fine_tune_assets.judging.comparing import answer_all, grade_answers, test_examples
    from fine_tune_assets.judging.grade_cache import GradeCache
    from fine_tune_assets.judging.judges import judge_of

    examples = test_examples(pq.read_table(request["instruction_set"]), request["test_examples"])
    with closing(GradeCache(Path(request["judge"]["cache"]))) as cache, _contestants(request, progress) as contestants:
        answers = answer_all(examples, contestants, cache)
    with judge_of(request["judge"]) as judge:
        write_table(Path(request["output"]), grade_answers(answers, judge, request["adapter_id"], progress))
    return {"examples": len(examples), "contestants": [c.role for c in contestants]}


def _contestants(request: dict[str, Any], progress: Progress) -> AbstractContextManager[list[Any]]:
    if request["engine"] == "vllm":
        from fine_tune_assets.judging.served_contestants import served_contestants

        return served_contestants(request, progress)
    from fine_tune_assets.judging.contestants import loaded_contestants

    return loaded_contestants(request, progress)


def abilities(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.abilities import compare_abilities, read_questions
    from fine_tune_assets.judging.contestants import answer_as_base_and_adapter

    results = {}
    for done, path in enumerate(request["questions"], start=1):
        questions = read_questions(Path(path), request["items"])
        results[Path(path).stem] = answer_as_base_and_adapter(request, questions)
        progress(done, len(request["questions"]), "general tasks")
    write_table(Path(request["output"]), compare_abilities(request["adapter_id"], results))
    return {"abilities": sorted(results)}


if __name__ == "__main__":
    serve_request({"measure_agreement": measure, "grade": grade, "abilities": abilities})
