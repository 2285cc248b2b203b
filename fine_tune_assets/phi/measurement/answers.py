"""Looks for identifiers in what a model wrote, and asks of each whether it was removed from a report.

Owns what counts: identifiers that tell who somebody is by themselves, and stand neither in what the model was given nor in the
reference. A value is compared with the keyed hashes of all that was ever removed; it is not kept. Gives kinds and counts.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.measurement.recall import is_direct
from fine_tune_assets.phi.replacement.keyed_draws import IsTaken, normalise
from fine_tune_assets.phi.replacement.surrogates import WORDS, corpus_lookup, telling_words
from fine_tune_assets.phi.report_tables import ORIGINAL, ScrubJob, open_finder, stored_values

WRITTEN_ANSWERS = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field(
            "allowed", pa.string(), nullable=False, metadata={"meaning": "What it was given, and the reference answer"}
        ),
    ]
)
WHAT = REMOVED, MADE_UP = "removed", "made_up"
FEWEST_CHARACTERS = 5
"""Of a number that can't be there by chance."""
Found = dict[str, dict[str, Any]]
"""`removed` and `made_up`, each with `answers` that hold one and, by kind, `kinds`. Removed: the value, whole, was removed from a
report."""


def find_in_answers(answers: pa.Table, job: ScrubJob, progress: Progress) -> dict[str, Found]:
    """What each model gave away. `job.other_values`: `identifier_values` of every batch; without any, nothing was removed."""
    rows = answers.to_pylist()
    is_original = corpus_lookup(job.secret, stored_values(job.other_values, ORIGINAL))
    found: dict[str, Found] = {row["model"]: {what: {"answers": 0, "kinds": {}} for what in WHAT} for row in rows}
    with open_finder(job, len(rows)) as finder:
        scrubbed = finder.find([(row["answer"], ()) for row in rows])
    for row, one in zip(rows, scrubbed, strict=True):
        values = [(span.label, row["answer"][span.start : span.end]) for span in one.spans]
        for what, kinds in kinds_given_away(values, row["allowed"], is_original).items():
            counts = found[row["model"]][what]
            counts["answers"] += bool(kinds)
            counts["kinds"] = dict(sorted((Counter(counts["kinds"]) + Counter(kinds)).items()))
    progress(len(rows), len(rows), "answers read for identifiers")
    return found


def kinds_given_away(
    values: Sequence[tuple[str, str]], allowed: str, is_original: IsTaken
) -> Mapping[str, frozenset[str]]:
    """Of the findings (kind, value) in one answer, the kinds of those that were removed from a report and of the others."""
    new = new_identifiers(values, allowed)
    return {
        REMOVED: frozenset(kind for kind, value in new if _was_removed(kind, value, is_original)),
        MADE_UP: frozenset(kind for kind, value in new if not _was_removed(kind, value, is_original)),
    }


def new_identifiers(values: Sequence[tuple[str, str]], allowed: str) -> list[tuple[str, str]]:
    """Of the findings (kind, value), those that tell who somebody is and stand nowhere in what was given."""
    return [(kind, value) for kind, value in values if is_direct(kind) and not _stands_in(kind, value, allowed)]


def _stands_in(kind: str, value: str, allowed: str) -> bool:
    """A name is allowed word by word: "Mrs. Hale" where the input says "Anna Hale". Anything else as a whole."""
    if kind == "NAME":
        given = set(map(normalise, WORDS.findall(allowed)))
        return all(word in given for word in telling_words(value))
    return normalise(value) in normalise(allowed)


def _was_removed(kind: str, value: str, is_original: IsTaken) -> bool:
    """Whether exactly this value was removed somewhere. One name alone is half a town's: it takes two to tell somebody."""
    words = telling_words(value)
    if kind == "NAME":
        return len(words) > 1 and (is_original(normalise(value)) or is_original("".join(words)))
    return len(normalise(value)) >= FEWEST_CHARACTERS and is_original(normalise(value))
