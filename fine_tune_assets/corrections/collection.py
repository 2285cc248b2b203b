"""Corrections from the ledger as a table, and how much of what is learned may come from one author.

The texts are still raw: the table goes to the scrubber and nowhere else. Above an author's share, the last corrections to arrive
wait. Names are compared as persons.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import floor

import pyarrow as pa

from fine_tune_assets.core.fingerprints import keyed_hash
from fine_tune_assets.core.people import person_key
from fine_tune_assets.core.records import Correction
from fine_tune_assets.tables.columns_in_common import Passage
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.records import table_from


def raw_corrections_table(corrections: Sequence[Correction], patient_secret: bytes) -> pa.Table:
    """One row a correction, sorted by id, in the columns of `scrubbed_corrections`.

    Nobody says which patient a correction is about, so each counts as a patient of its own and stays in one split.
    """
    ordered = sorted(corrections, key=lambda correction: correction.correction_id)
    return table_from(ScrubbedCorrection, (_raw(correction, patient_secret) for correction in ordered))


def _raw(correction: Correction, patient_secret: bytes) -> ScrubbedCorrection:
    answered = correction.answered_from
    return ScrubbedCorrection(
        correction_id=correction.correction_id,
        release_id=correction.release_id,
        author=correction.author,
        patient_key=keyed_hash(patient_secret, f"correction/{correction.correction_id}"),
        instruction=correction.instruction,
        input=correction.input,
        output=correction.corrected_answer,
        answer=correction.answer,
        error_kind=correction.error_kind,
        severity=correction.severity,
        received_at=correction.received_at,
        edit_fraction=None,
        knowledge_index=None if answered is None else answered.knowledge_index,
        passages=None if answered is None else tuple(Passage.of(vars(one)) for one in answered.passages),
    )


def beyond_influence(
    authors: Mapping[str, str], arrival: Sequence[str], total: int, maximum_fraction: float
) -> frozenset[str]:
    """Ids of the corrections that must wait, so that no author wrote more than `maximum_fraction` of what is left.

    `authors`: correction id → author, of those that are approved. `arrival`: these ids in the order in which they arrived.
    `total`: approved examples, these among them.
    """
    if maximum_fraction >= 1:
        return frozenset()
    by_author: dict[str, list[str]] = defaultdict(list)
    for correction_id in arrival:
        by_author[person_key(authors[correction_id])].append(correction_id)
    kept = Counter({author: len(ids) for author, ids in by_author.items()})
    while True:
        # Less of one author makes the others' share larger: again, until nothing changes. It only ever falls.
        left = total - sum(len(ids) - kept[author] for author, ids in by_author.items())
        allowed = {
            author: min(count, most_beside(left - count, maximum_fraction)) for author, count in kept.items() if count
        }
        if all(allowed[author] == kept[author] for author in allowed):
            break
        kept.update({author: most - kept[author] for author, most in allowed.items()})
    return frozenset(one for author, ids in by_author.items() for one in ids[kept[author] :])


def most_beside(others: int, maximum_fraction: float) -> int:
    """How many may stand beside so many of others.

    >>> most_beside(75, 0.25), most_beside(0, 0.25)
    (25, 0)
    """
    # The small term: .25 / .75 * 75 is 24.999… in floating point.
    return floor(maximum_fraction / (1 - maximum_fraction) * others + 1e-9)
