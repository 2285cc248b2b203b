"""Judging as a process: `measure_agreement`, `grade`, `abilities`, `robustness`, `attack`, one request each (core/worker.py)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.worker import serve_request


def measure(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """`own_ratings`: the file of own_ratings_table(), or empty where the installation's own experts rated nothing."""
    from fine_tune_assets.judging.agreement import licensed_agreement, measure_agreement
    from fine_tune_assets.judging.labelled import read_labelled_sets, read_own_ratings
    from fine_tune_assets.judging.offline_judge import offline_judge

    judge, own = offline_judge(), request["own_ratings"]
    sets = [*read_labelled_sets(Path(request["labelled_sets"])), *(read_own_ratings(Path(own)) if own else [])]
    table = measure_agreement(judge, sets, request["accept_score"], progress)
    write_table(Path(request["output"]), table)
    return {"agreement": licensed_agreement(table, judge.version)}


def grade(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    from fine_tune_assets.judging.comparing import grade_contestants, test_examples
    from fine_tune_assets.judging.contestants import contestants_of

    examples = test_examples(pq.read_table(request["instruction_set"]), request["test_examples"])
    contestants = contestants_of(request, progress)
    table = grade_contestants(examples, contestants, request["adapter_id"])
    write_table(Path(request["output"]), table)
    return {"examples": len(examples), "contestants": [c.role for c in contestants]}


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
    from fine_tune_assets.judging.memory_attacks import AttackedModel, attacks_of, canaries_of

    model = AttackedModel(request, progress)
    told: dict[str, Any] = {"attack": asdict(model.attack(*attacks_of(request))), "levels": None}
    if request["shadow_folder"] is None:
        return told
    settings, canaries = canaries_of(request)
    recalled = model.recall(Path(request["shadow_folder"]), request["shadow_id"], settings, canaries)
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
