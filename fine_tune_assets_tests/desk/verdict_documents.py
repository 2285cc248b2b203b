"""The document of a verdict for the desk's tests. Figures are made up."""

import json
from typing import Any

FIGURE: dict[str, Any] = {
    "family": "target", "name": "grade", "unit": "points", "candidate": 7.41, "incumbent": 6.93, "difference": 0.48,
    "low": 0.12, "high": 0.85, "p": 0.004, "adjusted_p": 0.012, "items": 180, "margin": 0.0, "outcome": "passes",
    "is_within_margin": True, "needed_items": 240, "reason": "",
}  # fmt: skip
SHARE: dict[str, Any] = FIGURE | {"unit": "share", "margin": 0.05}
LOST: dict[str, Any] = {"candidate": 0.61, "incumbent": 0.72, "difference": -0.11, "low": -0.2, "high": -0.02}
KEPT: dict[str, Any] = {"candidate": 0.5, "incumbent": 0.51, "difference": -0.01, "low": -0.03, "high": 0.01}
SAME: dict[str, Any] = {"candidate": 1.0, "incumbent": 1.0, "difference": 0.0, "low": -0.02, "high": 0.02}
NONE: dict[str, Any] = dict.fromkeys(("candidate", "incumbent", "difference", "low", "high", "p", "adjusted_p"))
GROUP = "age 60 to 79, female, reports of more than 2,000 words"
FIGURES = [
    FIGURE,
    SHARE
    | LOST
    | {"family": "abilities", "name": "copa", "outcome": "fails", "reason": "It may have lost more than 0.05."},
    SHARE | KEPT | {"family": "abilities", "name": "pubmedqa"},
    FIGURE
    | {
        "family": "tasks",
        "name": "summarise_visit",
        "standing": "better",
        "incumbent": 6.93,
        "items": 140,
        "margin": 0.5,
    },
    FIGURE
    | NONE
    | {
        "family": "tasks",
        "name": "write_letter",
        "standing": "not tested",
        "outcome": "unknown",
        "items": 4,
        "margin": 0.5,
    }
    | {"reason": "Not tested: 4 examples; the minimum is 30 (gate.minimum_group_examples)."},
    FIGURE
    | NONE
    | {
        "family": "subgroups",
        "name": GROUP,
        "outcome": "unknown",
        "reason": "Only 3 patients.",
        "standing": "not tested",
    },
    SHARE | SAME | {"family": "robustness", "name": "prompt injection", "adjusted_p": 0.0000004},
]
CRITERIA: list[dict[str, Any]] = [
    {
        "name": "factual_accuracy", "candidate": 8.21, "incumbent": 6.84, "difference": 1.37, "low": 0.92, "high": 1.83,
        "is_qualified": True, "reason": "", "agreement": 0.44,
    },
    {
        "name": "completeness", "candidate": 6.12, "incumbent": 6.34, "difference": -0.22, "low": -0.51, "high": 0.08,
        "is_qualified": False, "reason": "Its agreement 0.21 is below the floor 0.60.", "agreement": 0.21,
    },
    {
        "name": "tone", **dict.fromkeys(("candidate", "incumbent", "difference", "low", "high", "agreement")),
        "is_qualified": False, "reason": "It needs a language model.",
    },
]  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "adapter_id": "adapter-1",
    "base_fingerprint": "base-1",
    "instruction_set_fingerprint": "set-1",
    "recipe_fingerprint": "recipe-1",
    "incumbent": "base-1",
    "judge": {
        "version": "judge-1",
        "kind": "verifier",
        "agreement": 0.62,
        "floor": 0.6,
        "is_qualified": True,
        "failure_reason": "",
        "blind_spots": "It can't see what was made up.",
        "labelled_sets": {"rated_summaries": "labelled-1"},
    },
    "calibrated_means": {"candidate": 6.31, "incumbent": 5.92, "labelled_sets": ["rated_summaries"]},
    "gate": {
        "minimum_gain": 0.0,
        "minimum_examples": 100,
        "requires": ["abilities", "safety"],
        "ability_budgets": {"copa": 0.1},
    },
    "metrics": FIGURES,
    "expected": [["target", "grade"]],
    "missing_grades": 2,
    "tasks": ["summarise_visit", "write_letter"],
    "test_uses": {"example-1": 0, "example-2": 3},
    "verdicts_this_year": 7,
    "power": {
        "examples": 180, "subjects": 90, "needed_examples": 240, "detectable_gain": 0.35, "target_gain": 0.3,
        "intra_subject_correlation": None,
    },
    "distributions": {
        "candidate": [[1, 4, 12], [4, 7, 60], [7, 10, 108]],
        "incumbent": [[1, 4, 20], [4, 7, 90], [7, 10, 70]],
        "differences": [[-3, -1, 11], [-1, 1, 120], [1, 3, 49]],
    },
    "fingerprints": {"recipe": "recipe-1", "judge_scores": "scores-1", "judge_agreement": "agreement-1"},
}  # fmt: skip


def evidence(document: Any) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=False)
