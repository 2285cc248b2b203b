"""What a reviewer is warned of in a draft, found without a model: what its output says and its input does not, a label that looks
like noise, and, from the whole table, that other drafts contradict it.

Owns when an output is suspicious, and how what was found is said. A flag is a hint, no proof, and drops nothing. Does not know
when two outputs disagree.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from fine_tune_assets.approval.contradictions import contradictions
from fine_tune_assets.approval.flags import flag, kind_of
from fine_tune_assets.claims.checks import CHECKS as CLAIMS
from fine_tune_assets.claims.checks import Check
from fine_tune_assets.claims.saying import normal
from fine_tune_assets.core.prompts.retrieval_contract import bare_question
from fine_tune_assets.core.records import PairFinder
from fine_tune_assets.recipes.schema import FlagKind
from fine_tune_assets.tables.approval import DraftedExample

CHECKS: Mapping[FlagKind, Check] = {
    "number not in input": CLAIMS["numbers"],
    "unit not in input": CLAIMS["units"],
    "date not in input": CLAIMS["dates"],
    "side not in input": CLAIMS["sides"],
    "negation not in input": CLAIMS["negations"],
    "medication not in input": CLAIMS["medications"],
}
"""Kind of flag → the check that finds it."""
LONG_CHARACTERS = 200
LONGER_TIMES = 1.5
"""An output of that many characters which is so many times as long as its input holds what the input can't."""
REPEATED_WORDS = 8
"""Words from which an output that stands under different inputs is a template; short ones such as "None." do repeat."""
REPEATED_TIMES = 3


def check_output(output: str, input_text: str) -> list[str]:
    """Flags for each number, unit, date, side, negation and medication of `output` that `input_text` does not hold."""
    return [flag(kind, detail) for kind, check in CHECKS.items() for detail in check(output, input_text)]


def flags_of_repair(draft: DraftedExample, output: str) -> list[str]:
    """What a reviewer is warned of in the draft with another output: what the repair cured is gone, what it brought is there.

    What the other drafts told of it stays where it is about the input; it can't be told anew here.
    """
    if output == draft.output:
        return list(draft.flags)
    new = check_output(output, f"{draft.instruction}\n{draft.input}")
    noise = [flag("label noise", why) for why in noise_of(draft.input, output)]
    told = [one for one in draft.flags if kind_of(one) not in CHECKS and kind_of(one) != "label noise"]
    kept = [one for one in told if kind_of(one) != "flag contradicts range" or one.partition(": ")[2] in output]
    return [*kept, *new, *noise]


def flag_across(drafts: Sequence[DraftedExample], find_pairs: PairFinder | None) -> dict[str, list[str]]:
    """Example id → flags that the other drafts give it. Without `find_pairs` only equal inputs are compared."""
    flags: dict[str, list[str]] = defaultdict(list)
    for example_id, contrary_ids in contradictions(drafts, find_pairs):
        flags[example_id] += [flag("contradiction", f"nearly the same input as {other}") for other in contrary_ids]
    for draft in drafts:
        flags[draft.example_id] += [flag("label noise", why) for why in noise_of(draft.input, draft.output)]
    for draft in _templates(drafts):
        flags[draft.example_id].append(flag("label noise", "the same output stands under different inputs"))
    for draft in _of_other_tasks(drafts):
        flags[draft.example_id].append(flag("label noise", "the output is that of another task of the same report"))
    return {example_id: list(dict.fromkeys(found)) for example_id, found in flags.items() if found}


def noise_of(input_text: str, output: str) -> list[str]:
    """Why one output looks like no answer to its input; empty for a good one."""
    found = []
    if not re.search(r"[A-Za-z0-9]{2}", output):
        found.append("the output says nothing")
    if input_text and normal(output) == normal(input_text):
        found.append("the output repeats the input")
    if len(output) >= LONG_CHARACTERS and 0 < len(input_text) * LONGER_TIMES < len(output):
        found.append("the output is much longer than its input")
    return found


def _templates(drafts: Sequence[DraftedExample]) -> Iterator[DraftedExample]:
    """Drafts with a long output that stands under several inputs of the same task."""

    def key(draft: DraftedExample) -> tuple[str, str]:
        return draft.task, normal(draft.output)

    def about(draft: DraftedExample) -> str:
        return normal(bare_question(draft.instruction, draft.input).input)

    inputs = {(*key(draft), about(draft)) for draft in drafts}
    times = Counter((task, output) for task, output, _ in inputs)
    for draft in drafts:
        if times[key(draft)] >= REPEATED_TIMES and len(key(draft)[1].split()) >= REPEATED_WORDS:
            yield draft


def _of_other_tasks(drafts: Sequence[DraftedExample]) -> Iterator[DraftedExample]:
    """Drafts whose output another task makes of the same report too: one of them took the wrong section."""
    tasks: dict[tuple[str, str], set[str]] = defaultdict(set)
    for draft in drafts:
        tasks[draft.report_id, normal(draft.output)].add(draft.task)
    for draft in drafts:
        if len(tasks[draft.report_id, normal(draft.output)]) > 1:
            yield draft
