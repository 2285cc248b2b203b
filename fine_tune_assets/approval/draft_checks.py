"""Flags suspicious drafts without a model: unsupported facts, outputs that look like label noise, contradictions across drafts.

A flag is a hint for the reviewer; it never drops a draft.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from fine_tune_assets.approval.contradictions import find_contradictions
from fine_tune_assets.approval.flags import flag_kind, format_flag
from fine_tune_assets.claims.grounding_checks import check_answer
from fine_tune_assets.claims.languages import find_other_language
from fine_tune_assets.claims.statements import normalize_text
from fine_tune_assets.core.prompts.retrieval_contract import strip_passages
from fine_tune_assets.core.shared_records import PairFinder
from fine_tune_assets.recipes.domain_pack_schema import GroundingCheckName
from fine_tune_assets.recipes.schema import FlagKind
from fine_tune_assets.tables.approval_rows import DraftedExample

CHECKS: Mapping[FlagKind, GroundingCheckName] = {
    "number not in input": "numbers",
    "unit not in input": "units",
    "date not in input": "dates",
    "side not in input": "sides",
    "negation not in input": "negations",
    "medication not in input": "medications",
}
"""Kind of flag → the check that finds it."""
LONG_OUTPUT_CHARACTERS = 200
MAX_LENGTH_RATIO = 1.5
"""An output of at least LONG_OUTPUT_CHARACTERS and this many times as long as its input contains more than the input supports."""
TEMPLATE_MIN_WORDS = 8
"""Minimum words for an output to count as a template; short outputs such as "None." repeat naturally."""
TEMPLATE_MIN_INPUTS = 3
STANDARD_PHRASES = 2
"""Different templates from which they count as standard phrases of their task and source, if most outputs are templates."""


def check_output(output: str, input_text: str, checks: Collection[str]) -> list[str]:
    """Flags for each fact of `output` that `input_text` lacks, of the kinds that `checks` of the domain pack name."""
    found = check_answer(output, input_text, checks)
    return [format_flag(kind, detail) for kind, name in CHECKS.items() for detail in found.get(name, ())]


def check_repair(draft: DraftedExample, output: str, checks: Collection[str]) -> list[str]:
    """Flags of the draft with a repaired output: fixed flags are gone, new ones appear.

    Flags from other drafts stay if they concern the input; they can't be recomputed here.
    """
    if output == draft.output:
        return list(draft.flags)
    new = check_output(output, f"{draft.instruction}\n{draft.input}", checks)
    noise = [format_flag("label noise", reason) for reason in find_label_noise(draft.input, output)]
    other_flags = [flag for flag in draft.flags if flag_kind(flag) not in CHECKS and flag_kind(flag) != "label noise"]
    return [*other_flags, *new, *noise]


def cross_check_drafts(
    drafts: Sequence[DraftedExample], find_pairs: PairFinder | None, checks: Collection[str]
) -> dict[str, list[str]]:
    """Example id → flags from comparing drafts with each other. Without `find_pairs`, compares only equal inputs."""
    flags: dict[str, list[str]] = defaultdict(list)
    for example_id, contradicting_ids in find_contradictions(drafts, find_pairs, checks):
        flags[example_id] += [
            format_flag("contradiction", f"nearly the same input as {other}") for other in contradicting_ids
        ]
    for draft in drafts:
        flags[draft.example_id] += [
            format_flag("label noise", why) for why in find_label_noise(draft.input, draft.output)
        ]
    standard = find_standard_phrases(drafts)
    for draft in _find_templates(drafts):
        if draft.example_id in standard:
            continue
        flags[draft.example_id].append(format_flag("label noise", "different inputs have this same output"))
    for draft in _find_task_mixups(drafts):
        flags[draft.example_id].append(
            format_flag("label noise", "another task of the same report has this same output")
        )
    return {example_id: list(dict.fromkeys(found)) for example_id, found in flags.items() if found}


def find_label_noise(input_text: str, output: str) -> list[str]:
    """Reasons why an output does not look like an answer to its input; empty for a plausible one."""
    found = []
    if not re.search(r"[A-Za-z0-9]{2}", output):
        found.append("the output has no content")
    if input_text and normalize_text(output) == normalize_text(input_text):
        found.append("the output repeats the input")
    if len(output) >= LONG_OUTPUT_CHARACTERS and 0 < len(input_text) * MAX_LENGTH_RATIO < len(output):
        found.append("the output is much longer than its input")
    for name, text in (("input", input_text), ("output", output)):
        if language := find_other_language(text):
            found.append(f"the {name} is in {language}, not in English")
    return found


def find_standard_phrases(drafts: Sequence[DraftedExample]) -> set[str]:
    """Ids of drafts whose output is a standard phrase: most outputs of their task and source are templates, and not all the same.

    A flag on most drafts would inform nobody. Such drafts need a reviewer even if their source is trusted.
    """
    long, shared = Counter[tuple[str, str]](), defaultdict[tuple[str, str], list[DraftedExample]](list)
    for draft in drafts:
        long[draft.task, draft.source] += len(normalize_text(draft.output).split()) >= TEMPLATE_MIN_WORDS
    for draft in _find_templates(drafts):
        shared[draft.task, draft.source].append(draft)
    return {
        draft.example_id
        for origin, found in shared.items()
        if 2 * len(found) > long[origin] and len({normalize_text(one.output) for one in found}) >= STANDARD_PHRASES
        for draft in found
    }


def _find_templates(drafts: Sequence[DraftedExample]) -> Iterator[DraftedExample]:
    """Drafts with a long output that several inputs of the same task share."""

    def key(draft: DraftedExample) -> tuple[str, str]:
        return draft.task, normalize_text(draft.output)

    def about(draft: DraftedExample) -> str:
        return normalize_text(strip_passages(draft.instruction, draft.input).input)

    inputs = {(*key(draft), about(draft)) for draft in drafts}
    times = Counter((task, output) for task, output, _ in inputs)
    for draft in drafts:
        if times[key(draft)] >= TEMPLATE_MIN_INPUTS and len(key(draft)[1].split()) >= TEMPLATE_MIN_WORDS:
            yield draft


def _find_task_mixups(drafts: Sequence[DraftedExample]) -> Iterator[DraftedExample]:
    """Drafts whose output another task produces from the same report: one of the tasks took the wrong section."""
    tasks: dict[tuple[str, str], set[str]] = defaultdict(set)
    for draft in drafts:
        tasks[draft.report_id, normalize_text(draft.output)].add(draft.task)
    for draft in drafts:
        if len(tasks[draft.report_id, normalize_text(draft.output)]) > 1:
            yield draft
