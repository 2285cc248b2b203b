"""Judging as a process: `measure_agreement`, `grade`, `abilities`, `robustness`, `attack`, one request each
(core/processes/worker.py)."""

from contextlib import AbstractContextManager, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.processes.worker import serve_request
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.tables.shipped_measurements import content_of, ship_table, shipped_table

_HERE = Path(__file__).parent


def measure(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """`own_ratings`: the file of own_ratings_table(), or empty where the installation's own experts rated nothing. With
    `is_shipped` the figures are kept as those of the repository."""
    from fine_tune_assets.judging.judges.agreement import measure_agreement
    from fine_tune_assets.judging.judges.labelled_sets import read_labelled_sets, read_own_ratings
    from fine_tune_assets.judging.judges.registry import judge_of

    own, table_name = request["own_ratings"], "judge_agreement"
    is_shipped, folder = request.get("is_shipped", False), Path(request["labelled_sets"])
    measured_by = [
        _HERE / f"{name}.py" for name in ("judges/agreement", "judges/labelled_sets", "statistics/association")
    ]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with judge_of(request["judge"]) as judge:
        version = judge.version
        decided_by = [version, request["accept_score"], content_of(files), content_of(measured_by)]
        kept = None if is_shipped or own or judge.kind != "offline" else shipped_table(table_name, decided_by)
    if kept is not None:
        write_table(Path(request["output"]), kept)
        return {"judge_version": version}
    sets = [*read_labelled_sets(folder), *(read_own_ratings(Path(own)) if own else [])]
    with judge_of(request["judge"]) as judge:
        table, version = measure_agreement(judge, sets, request["accept_score"], progress), judge.version
    if is_shipped:
        ship_table(table_name, decided_by, table)
    write_table(Path(request["output"]), table)
    return {"judge_version": version}


def grade(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """All answers first; then the models are gone, and the judge has the memory."""
    from fine_tune_assets.judging.contestants.comparison import answer_all, grade_answers, test_examples
    from fine_tune_assets.judging.judges.grade_cache import GradeCache
    from fine_tune_assets.judging.judges.registry import judge_of

    examples = test_examples(pq.read_table(request["instruction_set"]), request["test_examples"])
    with closing(GradeCache(Path(request["cache"]))) as cache, _contestants(request, progress) as contestants:
        answers = answer_all(examples, contestants, cache)
    with judge_of(request["judge"]) as judge:
        table = grade_answers(answers, judge, request["adapter_id"], request["incumbent"], progress)
    write_table(Path(request["output"]), table)
    return {"examples": len(examples), "contestants": [c.role for c in contestants]}


def _contestants(request: dict[str, Any], progress: Progress) -> AbstractContextManager[list[Any]]:
    if request["engine"] == "vllm":
        from fine_tune_assets.judging.contestants.served_models import served_contestants

        return served_contestants(request, progress)
    from fine_tune_assets.judging.contestants.local_models import loaded_contestants

    return loaded_contestants(request, progress)


def abilities(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.contestants.abilities import compare_abilities, read_questions
    from fine_tune_assets.judging.contestants.local_models import answer_as_base_and_adapter

    results = {}
    tasks = {path.stem: read_questions(path, request["items"]) for path in map(Path, request["questions"])}
    # By length, since a task of abstracts takes ten times as long as one of sentences.
    lengths = {name: sum(question.characters for question in questions) for name, questions in tasks.items()}
    done, total = 0, sum(lengths.values())
    for name, questions in tasks.items():
        results[name] = answer_as_base_and_adapter(request, name, questions)
        done += lengths[name]
        progress(done, total, "characters of general questions")
    table = compare_abilities(request["adapter_id"], results, request["budgets"])
    write_table(Path(request["output"]), table)
    return {"abilities": sorted(results)}


def robustness(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.contestants.comparison import test_examples
    from fine_tune_assets.judging.contestants.local_models import probe_base_and_adapter
    from fine_tune_assets.judging.contestants.robustness import compare_probes

    examples = test_examples(pq.read_table(request["instruction_set"]), request["items"])
    base, candidate = probe_base_and_adapter(request, examples, progress)
    write_table(Path(request["output"]), compare_probes(request["adapter_id"], base, candidate))
    return {"examples": len(examples)}


def attack(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Ask the candidate for removed identifiers and, if there is one, the shadow adapter for its canaries. Counts come back."""
    from fine_tune_assets.judging.memorization.attacks import attack_both, attacks_of, canaries_of, recall_canaries
    from fine_tune_assets.judging.memorization.canaries import compare_levels

    told: dict[str, Any] = {"attack": asdict(attack_both(request, *attacks_of(request), progress)), "levels": None}
    if request["shadow_folder"] is None:
        return told
    settings, canaries = canaries_of(request)
    folder = Path(request["shadow_folder"])
    recalled = recall_canaries(request, folder, request["shadow_id"], settings, canaries, progress)
    return {**told, "levels": [asdict(level) for level in compare_levels(recalled, settings.candidates)]}


if __name__ == "__main__":
    serve_request(
        {
            "measure_agreement": measure,
            "grade": grade,
            "abilities": abilities,
            "robustness": robustness,
            "attack": attack,
        }
    )
