"""Approved and general examples that the tests of this package share, and a simple finder of duplicates."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.records import TextPair
from fine_tune_assets.instructions.assembly import InstructionSet, Surroundings, build_instruction_set
from fine_tune_assets.instructions.leaks import EvaluationText, LeakSearch
from fine_tune_assets.instructions.mixture import BuildRules
from fine_tune_assets.instructions.splits import SplitRule, split_of
from fine_tune_assets.recipes.schema import SplitSettings
from fine_tune_assets.tables.approval import ApprovedExample
from fine_tune_assets.tables.instructions import GeneralExample
from fine_tune_assets.tables.records import table_of

SPLIT = SplitSettings(validation_fraction=0.2, test_fraction=0.2, salt="salt", minimum_examples=10)
PROMPT = "You are careful."
NEAR = 0.8
"""Share of two texts' words that both hold, from which the finder here calls them near."""
EVALUATION = (EvaluationText("copa line 1", "The tap was opened, therefore", "water flowed from it."),)


def find_pairs(texts: Sequence[str], groups: Sequence[str]) -> list[TextPair]:
    """Compares every two texts by their words: slow, and simple enough to be believed."""
    words = [frozenset(text.casefold().split()) for text in texts]
    found = []
    for first, second in combinations(range(len(texts)), 2):
        if groups[first] != groups[second]:
            similarity = len(words[first] & words[second]) / (len(words[first] | words[second]) or 1)
            if texts[first].casefold().split() == texts[second].casefold().split():
                found.append(TextPair(first, second, "exact", 1.0))
            elif similarity >= NEAR:
                found.append(TextPair(first, second, "near", similarity))
    return found


SEARCH = LeakSearch(
    find_pairs=find_pairs,
    find_words=find_pairs,
    kinds=("exact", "near", "semantic"),
    described=f"the same words; near from {NEAR} of the words",
    evaluation=EVALUATION,
)


def rules(fraction: float = 0.2, replay: float = 0.0) -> BuildRules:
    return BuildRules("a line", PROMPT, fraction, replay, seed=7)


def around(**changes: Any) -> Surroundings:
    return Surroundings(**{"rule": SplitRule(SPLIT), "leaks": SEARCH, **changes})


def split_name(patient: str) -> str:
    return split_of(patient, SPLIT.salt, SPLIT.validation_fraction, SPLIT.test_fraction)


def patients_in(split: str, count: int) -> list[str]:
    """The first `count` of patient0, patient1, … that fall into `split`."""
    names = (f"patient{number}" for number in range(10_000))
    return [name for name in names if split_name(name) == split][:count]


def example(
    patient: str, input: str, output: str = "Rest.", suffix: str = "", instruction: str = "Plan."
) -> dict[str, str | None]:
    fingerprint = fingerprint_json({"instruction": instruction, "input": input, "output": output})
    return {
        "example_id": short(fingerprint_json([patient, fingerprint, suffix])),
        "report_id": f"b/{patient}{suffix}",
        "source": "clinic",
        "patient_key": patient,
        "task": "plan",
        "instruction": instruction,
        "input": input,
        "output": output,
        "approved_by": "Experts of the clinic",
        "approval_kind": "trusted_source",
        "decision_id": None,
        "fingerprint": fingerprint,
    }


def approved(patients: int = 40, extra: Sequence[dict[str, str | None]] = ()) -> pa.Table:
    rows = [example(f"patient{number}", f"Finding {number}.", f"Rest {number}.") for number in range(patients)]
    return table_of([*rows, *extra], ApprovedExample.SCHEMA)


def general(per_source: dict[str, int] | None = None, instruction: str = "Question {}?") -> pa.Table:
    rows = []
    for source, count in (per_source or {"large": 40, "small": 10}).items():
        for number in range(count):
            asked = instruction.format(f"{source} {number}")
            fingerprint = fingerprint_json({"instruction": asked, "input": "", "output": "Yes."})
            rows.append(
                {
                    "example_id": short(fingerprint_json([source, fingerprint])),
                    "source": source,
                    "licence": "MIT",
                    "kind": f"kind {number % 2}",
                    "instruction": asked,
                    "input": "",
                    "output": "Yes.",
                    "fingerprint": fingerprint,
                }
            )
    return table_of(rows, GeneralExample.SCHEMA)


def built(extra: Sequence[dict[str, str | None]] = (), fraction: float = 0.2, **changes: Any) -> InstructionSet:
    return build_instruction_set(approved(extra=extra), general(), rules(fraction), around(**changes))
