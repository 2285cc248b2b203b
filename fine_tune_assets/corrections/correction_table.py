"""Builds the table of corrections from the ledger, and limits the share of corrections per author.

The texts are raw: the table goes only to the scrubber. Above an author's share, the latest corrections wait. Authors are compared
as persons.

How a correction gets into training: `gateway/gateway_app.py` records it in `ledger/reviews/correction_records.py`;
`defs/s10_corrections/` scrubs it and quarantines it if suspicious; `defs/s04_approved_examples/` drafts an example, which a
reviewer approves (`approval/review_actions.py`); `defs/s05_instruction_sets/` adds it to the next set; and
`training/training_due.py` decides when that set is trained.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from math import floor

import pyarrow as pa

from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.core.people import person_key
from fine_tune_assets.core.prompts.reasoning import strip_reasoning
from fine_tune_assets.core.shared_records import Correction
from fine_tune_assets.tables.common_columns import Passage
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection, WithheldCorrection
from fine_tune_assets.tables.record_classes import table_from_records


def raw_corrections_table(corrections: Sequence[Correction], subject_secret: bytes) -> pa.Table:
    """One row per correction, sorted by id, in the columns of `scrubbed_corrections`.

    Corrections do not name a subject, so each gets a distinct subject key and stays in one split.
    """
    ordered = sorted(corrections, key=lambda correction: correction.correction_id)
    return table_from_records(ScrubbedCorrection, (_raw_row(correction, subject_secret) for correction in ordered))


def _raw_row(correction: Correction, subject_secret: bytes) -> ScrubbedCorrection:
    answered = correction.answer_sources
    return ScrubbedCorrection(
        correction_id=correction.correction_id,
        release_id=correction.release_id,
        author=correction.author,
        subject_key=keyed_hash(subject_secret, f"correction/{correction.correction_id}"),
        instruction=correction.instruction,
        input=correction.input,
        output=strip_reasoning(correction.corrected_answer),
        answer=strip_reasoning(correction.answer),
        error_kind=correction.error_kind,
        severity=correction.severity,
        received_at=correction.received_at,
        edit_fraction=None,
        knowledge_index=None if answered is None else answered.knowledge_index,
        passages=None if answered is None else tuple(Passage.from_row(vars(one)) for one in answered.passages),
    )


def list_withheld_corrections(
    raw: pa.Table, scrubbed: pa.Table, unscrubbed: Collection[str], scrubber_version: str
) -> pa.Table:
    """`withheld_corrections`: the corrections that the scrubber left out, in order of id.

    `unscrubbed`: those that took too much time or memory. In the others, identifiers remained.
    """
    left = set(raw["correction_id"].to_pylist()) - set(scrubbed["correction_id"].to_pylist())
    rows = (
        WithheldCorrection(correction_id=one, scrubber_version=scrubber_version, has_identifiers=one not in unscrubbed)
        for one in sorted(left)
    )
    return table_from_records(WithheldCorrection, rows)


def over_author_limit(
    authors: Mapping[str, str], arrival: Sequence[str], total: int, maximum_fraction: float
) -> frozenset[str]:
    """Return the ids that must wait, so that no author wrote more than `maximum_fraction` of the remaining examples.

    `authors`: correction id → author, of approved corrections. `arrival`: these ids in order of arrival. `total`: all approved
    examples, including these.
    """
    if maximum_fraction >= 1:
        return frozenset()
    by_author: dict[str, list[str]] = defaultdict(list)
    for correction_id in arrival:
        by_author[person_key(authors[correction_id])].append(correction_id)
    kept = Counter({author: len(ids) for author, ids in by_author.items()})
    while True:
        # Reducing one author raises the share of the others, so repeat until stable. Counts only fall.
        remaining = total - sum(len(ids) - kept[author] for author, ids in by_author.items())
        allowed = {
            author: min(count, max_author_count(remaining - count, maximum_fraction))
            for author, count in kept.items()
            if count
        }
        if all(allowed[author] == kept[author] for author in allowed):
            break
        kept.update({author: most - kept[author] for author, most in allowed.items()})
    return frozenset(one for author, ids in by_author.items() for one in ids[kept[author] :])


def max_author_count(others: int, maximum_fraction: float) -> int:
    """Number of corrections that one author may have with `others` examples of other authors.

    >>> max_author_count(75, 0.25), max_author_count(0, 0.25)
    (25, 0)
    """
    # The small term compensates floating-point error: 0.25 / 0.75 * 75 is 24.999….
    return floor(maximum_fraction / (1 - maximum_fraction) * others + 1e-9)
