"""Judging as a process: `measure_agreement`, `grade`, `abilities`, `robustness`, `attack`, one request each (core/worker.py)."""

from contextlib import AbstractContextManager, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.worker import serve_request


def measure(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """`own_ratings`: the file of own_ratings_table(), or empty where the installation's own experts rated nothing."""
    from fine_tune_assets.judging.agreement import measure_agreement
    from fine_tune_assets.judging.judges import judge_of
    from fine_tune_assets.judging.labelled import read_labelled_sets, read_own_ratings

    own = request["own_ratings"]
    sets = [*read_labelled_sets(Path(request["labelled_sets"])), *(read_own_ratings(Path(own)) if own else [])]
    with judge_of(request["judge"]) as judge:
        table, version = measure_agreement(judge, sets, request["accept_score"], progress), judge.version
    write_table(Path(request["output"]), table)
    return {"judge_version": version}


def grade(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """All answers first; then the models are gone, and the judge has the memory."""
    from fine_tune_assets.judging.comparing import answer_all, grade_answers, test_examples
    from fine_tune_assets.judging.grade_cache import GradeCache
    from fine_tune_assets.judging.judges import judge_of

    examples = test_examples(pq.read_table(request["instruction_set"]), request["test_examples"])
    with closing(GradeCache(Path(request["cache"]))) as cache, _contestants(request, progress) as contestants:
        answers = answer_all(examples, contestants, cache)
    with judge_of(request["judge"]) as judge:
        table = grade_answers(answers, judge, request["adapter_id"], request["incumbent"], progress)
    write_table(Path(request["output"]), table)
    return {"examples": len(examples), "contestants": [c.role for c in contestants]}


def _contestants(request: dict[str, Any], progress: Progress) -> AbstractContextManager[list[Any]]:
    if request["engine"] == "vllm":
        from fine_tune_assets.judging.served_contestants import served_contestants

        return served_contestants(request, progress)
    from fine_tune_assets.judging.contestants import loaded_contestants

    return loaded_contestants(request, progress)


def abilities(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.abilities import compare_abilities, read_questions
    from fine_tune_assets.judging.asking import answer_as_base_and_adapter

    results = {}
    for done, path in enumerate(map(Path, request["questions"]), start=1):
        questions = read_questions(path, request["items"])
        results[path.stem] = answer_as_base_and_adapter(request, path.stem, questions)
        progress(done, len(request["questions"]), "general tasks")
    table = compare_abilities(request["adapter_id"], results, request["budgets"])
    write_table(Path(request["output"]), table)
    return {"abilities": sorted(results)}


def robustness(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.asking import probe_base_and_adapter
    from fine_tune_assets.judging.comparing import test_examples
    from fine_tune_assets.judging.robustness import compare_probes

    examples = test_examples(pq.read_table(request["instruction_set"]), request["items"])
    base, candidate = probe_base_and_adapter(request, examples, progress)
    write_table(Path(request["output"]), compare_probes(request["adapter_id"], base, candidate))
    return {"examples": len(examples)}


def attack(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Ask the candidate for removed identifiers and, if there is one, the shadow adapter for its canaries. Counts come back."""
    from fine_tune_assets.judging.canaries import compare_levels
    from fine_tune_assets.judging.memory_attacks import ShadowedModel, attack_both, attacks_of, canaries_of

    told: dict[str, Any] = {"attack": asdict(attack_both(request, *attacks_of(request), progress)), "levels": None}
    if request["shadow_folder"] is None:
        return told
    settings, canaries = canaries_of(request)
    recalled = ShadowedModel(request, progress).recall(
        Path(request["shadow_folder"]), request["shadow_id"], settings, canaries
    )
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
