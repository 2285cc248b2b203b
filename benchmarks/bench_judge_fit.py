"""How the features of word overlap were selected, how well it agrees with clinicians, and how much of that agreement is chance.

    python benchmarks/bench_judge_fit.py [--splits 200]

Prints (1) cross-validation within the fitting half for each set of features, and nested, with the selection in each fold; (2) the
shipped weights on the other half, compared with ROUGE-1 recall, with bootstrap intervals by dialogue; (3) the same procedure on
random halves; (4) the change of a grade when a false statement or a wrong number is added; (5) answers per minute. The last line
is JSON.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.judges.answer_features import split_sentences, stem_words
from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.labelled_sets import read_rated_summaries
from fine_tune_assets.judging.judges.word_overlap import word_overlap
from fine_tune_assets.judging.judges.word_overlap_fit import (
    FEATURE_SETS,
    OVERALL,
    PENALTIES,
    FittingData,
    Hyperparameters,
    choose_hyperparameters,
    fit_weights,
    is_training_dialogue,
    predict_out_of_fold,
    prepare_data,
    split_folds,
)
from fine_tune_assets.judging.statistics.association import bootstrap_interval, spearman

RATED = PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv"
MEASURES = ("FactualF1", "OmissionRate", "FactualPrecision", "HallucinationRate")
SEED = 20260101


def rouge_1_recall(answer: GradableAnswer) -> float:
    said, expected = Counter(stem_words(answer.output)), Counter(stem_words(answer.reference or ""))
    return (said & expected).total() / max(1, expected.total())


def in_order(grades: Any, data: FittingData, rows: Any) -> float:
    """Fraction of pairs about one dialogue that the grades order as people do; ties count half."""
    target, right, count = data.target(OVERALL), 0.0, 0
    index = {group: [r for r in rows if data.groups[r] == group] for group in set(data.groups[rows])}
    for members in index.values():
        for i, j in combinations(members, 2):
            if target[i] != target[j]:
                count += 1
                right += 0.5 if grades[i] == grades[j] else (grades[i] > grades[j]) == (target[i] > target[j])
    return right / count


def held_out(grades: Any, data: FittingData) -> dict[str, Any]:
    groups = data.groups.tolist()
    found = {
        name: bootstrap_interval(lambda i, n=name: spearman(grades[i], data.ratings[n][i]), groups) for name in MEASURES
    }
    shown = {name: [round(v, 3) for v in (f.value, f.low, f.high)] for name, f in found.items() if f}
    return {**shown, "pairs of one dialogue in order": round(in_order(grades, data, np.arange(len(groups))), 3)}


def nested(data: FittingData) -> dict[str, float]:
    """Nested cross-validation: hyperparameters are selected within the inner part of each fold."""
    raw, target = np.zeros(len(data.groups)), data.target(OVERALL)
    for inside, outside in split_folds(data.groups):
        weights, intercept = fit_weights(data.rows(inside), target[inside], choose_hyperparameters(data.rows(inside)))
        raw[outside] = data.features[outside] @ weights + intercept
    return {name: round(spearman(raw, data.ratings[name]), 3) for name in MEASURES[:2]}


def within(data: FittingData) -> list[dict[str, Any]]:
    found = []
    for name in FEATURE_SETS:
        best = max(
            (predict_out_of_fold(data, data.target(OVERALL), Hyperparameters(name, penalty)) for penalty in PENALTIES),
            key=lambda raw: spearman(raw, data.target(OVERALL)),
        )
        found.append({"features": name, **{m: round(spearman(best, data.ratings[m]), 3) for m in MEASURES}})
    return found


def random_halves(data: FittingData, count: int) -> dict[str, Any]:
    random, names = np.random.default_rng(SEED), np.unique(data.groups)
    found, chosen = [], Counter[str]()
    for _ in range(count):
        inside = np.isin(data.groups, random.permutation(names)[: len(names) // 2])
        fit, rest = data.rows(inside), data.rows(~inside)
        choice = choose_hyperparameters(fit)
        chosen[choice.feature_set] += 1
        weights, _ = fit_weights(fit, fit.target(OVERALL), choice)
        found.append([spearman(rest.features @ weights, rest.ratings[name]) for name in MEASURES[:2]])
    values = np.array(found)
    shown = {
        name: dict(
            zip(("5 %", "median", "95 %"), np.quantile(values[:, n], [0.05, 0.5, 0.95]).round(3).tolist(), strict=True)
        )
        for n, name in enumerate(MEASURES[:2])
    }
    reached = {
        "FactualF1 >= .60": float((values[:, 0] >= 0.6).mean()),
        "OmissionRate <= -.65": float((values[:, 1] <= -0.65).mean()),
    }
    return {"splits": count, **shown, "reached": reached, "chosen": dict(chosen)}


def probes(answers: Sequence[GradableAnswer]) -> dict[str, Any]:
    """Add a sentence of another dialogue's reference at the start, and an unsupported number to the last sentence."""
    random = np.random.default_rng(SEED)
    others = [[a.reference or "" for a in answers if a.input != answer.input] for answer in answers]
    foreign = [str(random.choice(split_sentences(str(random.choice(texts))))) for texts in others]
    said = [f"{text.rstrip('.;')}." for text in foreign]
    before = scores(answers)
    added = scores([replace(a, output=f"{s} {a.output}") for a, s in zip(answers, said, strict=True)])
    number = scores([replace(a, output=re.sub(r"\s*$", "", f"{a.output}") + " Takes 713 mg.") for a in answers])
    return {
        "false statement raises the grade": round(float((added > before + 1e-9).mean()), 3),
        "mean change by a false statement": round(float((added - before).mean()), 3),
        "false dose raises the grade": round(float((number > before + 1e-9).mean()), 3),
        "mean change by a false dose": round(float((number - before).mean()), 3),
    }


def scores(answers: Sequence[GradableAnswer]) -> Any:
    return np.array(word_overlap().grade(answers))


def speed(answers: Sequence[GradableAnswer]) -> dict[str, float]:
    """Time unseen texts whose words occurred in other texts, as in a run of several hundred answers."""
    many = [replace(a, input=f"{a.input} {n}", output=f"{a.output} {n}") for n in range(10) for a in answers]
    scores(answers)
    start = time.perf_counter()
    scores(many)
    return {"answers": len(many), "a minute": round(60 * len(many) / (time.perf_counter() - start))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=200)
    splits = parser.parse_args().splits
    rated = read_rated_summaries(RATED)
    whole = prepare_data(rated.rows)
    is_inside = np.array([is_training_dialogue(row) for row in rated.rows])
    inside, outside = whole.rows(is_inside), whole.rows(~is_inside)
    answers = [row.answered for row in rated.rows if not is_training_dialogue(row)]
    found = {
        "within the fitting half": within(inside),
        "nested": nested(inside),
        "held out": {
            "word overlap": held_out(scores(answers), outside),
            "ROUGE-1 recall": held_out(np.array([rouge_1_recall(a) for a in answers]), outside),
        },
        "random halves": random_halves(whole, splits),
        "probes": probes(answers),
        "speed": speed(answers),
    }
    for title, figures in found.items():
        print(f"\n{title}")
        for line in figures if isinstance(figures, list) else figures.items():
            print("  ", line)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
