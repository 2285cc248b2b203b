"""Approved and general examples for the tests of this package, and a simple duplicate finder."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.shared_records import TextPair
from fine_tune_assets.instructions.assembly import BuildContext, InstructionSet, build_instruction_set
from fine_tune_assets.instructions.leakage import EvaluationText, LeakSearch
from fine_tune_assets.instructions.mixture import BuildRules
from fine_tune_assets.instructions.splits import SplitRule, assign_split
from fine_tune_assets.recipes.schema import BUNDLED, PREVIOUS_SET, SplitSettings
from fine_tune_assets.tables.approval_rows import ApprovedExample
from fine_tune_assets.tables.instruction_rows import GeneralExample
from fine_tune_assets.tables.record_classes import table_from_rows

SPLIT = SplitSettings(validation_fraction=0.2, test_fraction=0.2, salt="salt", minimum_examples=10)
PROMPT = "You are careful."
NEAR = 0.8
"""Minimum share of common words for a near duplicate."""
EVALUATION = (EvaluationText("copa line 1", "The tap was opened, therefore", "water flowed from it."),)


def find_pairs(texts: Sequence[str], groups: Sequence[str]) -> list[TextPair]:
    """Compare all pairs of texts by their words: slow, but easy to verify."""
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
    find_lexical_pairs=find_pairs,
    kinds=("exact", "near", "semantic"),
    description=f"the same words; near from {NEAR} of the words",
    evaluation=EVALUATION,
)


def rules(fraction: float = 0.2, replay: float = 0.0, **imported: float) -> BuildRules:
    return BuildRules("a line", PROMPT, {BUNDLED: fraction, PREVIOUS_SET: replay, **imported}, seed=7)


def around(**changes: Any) -> BuildContext:
    return BuildContext(**{"split_rule": SplitRule(SPLIT), "leak_search": SEARCH, **changes})


def split_name(subject: str) -> str:
    return assign_split(subject, SPLIT.salt, SPLIT.validation_fraction, SPLIT.test_fraction)


def subjects_in(split: str, count: int) -> list[str]:
    """The first `count` of patient0, patient1, … that fall into `split`."""
    names = (f"patient{number}" for number in range(10_000))
    return [name for name in names if split_name(name) == split][:count]


def example(
    subject: str, input: str, output: str = "Rest.", suffix: str = "", instruction: str = "Plan."
) -> dict[str, str | None]:
    fingerprint = fingerprint_json({"instruction": instruction, "input": input, "output": output})
    return {
        "example_id": short(fingerprint_json([subject, fingerprint, suffix])),
        "report_id": f"b/{subject}{suffix}",
        "source": "clinic",
        "subject_key": subject,
        "task": "plan",
        "instruction": instruction,
        "input": input,
        "output": output,
        "approved_by": "Experts of the clinic",
        "approval_kind": "trusted_source",
        "decision_id": None,
        "fingerprint": fingerprint,
    }


def approved(subjects: int = 40, extra: Sequence[dict[str, str | None]] = ()) -> pa.Table:
    rows = [example(f"patient{number}", f"Finding {number}.", f"Rest {number}.") for number in range(subjects)]
    return table_from_rows([*rows, *extra], ApprovedExample.SCHEMA)


def general(
    per_source: dict[str, int] | None = None, instruction: str = "Question {}?", mix_source: str = BUNDLED
) -> pa.Table:
    rows = []
    for source, count in (per_source or {"large": 40, "small": 10}).items():
        for number in range(count):
            question = instruction.format(f"{source} {number}")
            fingerprint = fingerprint_json({"instruction": question, "input": "", "output": "Yes."})
            rows.append(
                {
                    "example_id": short(fingerprint_json([source, fingerprint])),
                    "source": source,
                    "licence": "MIT",
                    "mix_source": mix_source,
                    "kind": f"kind {number % 2}",
                    "instruction": question,
                    "input": "",
                    "output": "Yes.",
                    "fingerprint": fingerprint,
                }
            )
    return table_from_rows(rows, GeneralExample.SCHEMA)


def built(extra: Sequence[dict[str, str | None]] = (), fraction: float = 0.2, **changes: Any) -> InstructionSet:
    return build_instruction_set(approved(extra=extra), general(), rules(fraction), around(**changes))
