"""Looks for identifiers in what is about to be trained on, after people wrote into it.

Owns what counts as a finding: the scrubber's own, and what its second pass sees from the hold score on, but for the values that
the scrubber itself put there. Gives ids, kinds and counts, never a value. A name that the scrubber overlooks is overlooked here.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.recognizers.second_pass import find_leaks
from fine_tune_assets.phi.replacement.keyed_draws import IsTaken, normalise
from fine_tune_assets.phi.replacement.profiles import Profile
from fine_tune_assets.phi.replacement.surrogates import GENERALISED, corpus_lookup, telling_words
from fine_tune_assets.phi.report_tables import SURROGATE, ScrubJob, open_finder, stored_values
from fine_tune_assets.phi.scrubbing import ScrubbedText

FINAL_TEXTS = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field(
            "passed",
            pa.string(),
            metadata={"meaning": "Text that was scrubbed and held back for nothing: its values pass"},
        ),
    ]
)
_PLACES = {"LOCATION", "FACILITY"}
_POSSESSIVE = re.compile(r"['’]s\b")
_ROWS_AT_ONCE = 1024
IsOurs = Callable[[str, str], bool]
"""Label and value of a finding → whether it stands there by our doing."""


def find_identifiers(texts: pa.Table, job: ScrubJob, progress: Progress) -> dict[str, dict[str, int]]:
    """Id → kind → count, of the texts in which something is found. `job.other_values`: `identifier_values` of every batch."""
    is_surrogate = corpus_lookup(job.secret, stored_values(job.other_values, SURROGATE))
    found: dict[str, dict[str, int]] = {}
    done = 0
    with open_finder(job, texts.num_rows) as finder:
        for batch in texts.to_batches(max_chunksize=_ROWS_AT_ONCE):
            rows = batch.to_pylist()
            scrubbed = finder.find([(row["text"], ()) for row in rows])
            found |= _findings(rows, scrubbed, finder.workers.scrub, is_surrogate, job)
            done += len(rows)
            progress(done, texts.num_rows, "final texts read for identifiers")
    return found


def _findings(
    rows: Sequence[Mapping[str, Any]],
    scrubbed: Sequence[ScrubbedText],
    look_again: Callable[[Sequence[Any]], list[ScrubbedText]],
    is_surrogate: IsTaken,
    job: ScrubJob,
) -> dict[str, dict[str, int]]:
    # The cache keeps what the second pass counted, not where: the few texts with anything are looked at once more.
    leaking = [row for row, one in zip(rows, scrubbed, strict=True) if one.leaks]
    again = dict(zip((r["example_id"] for r in leaking), look_again([(r["text"], ()) for r in leaking]), strict=True))
    found = {}
    for row, one in zip(rows, scrubbed, strict=True):
        is_ours = _is_ours(is_surrogate, row["passed"] or "")
        kinds = Counter(s.label for s in one.spans if not is_ours(s.label, row["text"][s.start : s.end]))
        if row["example_id"] in again:
            kinds += _left(again[row["example_id"]], is_ours)
        if not _keeps_days(job):
            # Only the second pass tells a date with a day in it from a year: it looks for nothing less.
            kinds += Counter(DATE=find_leaks(row["text"], (), ()).get("DATE", 0))
        if kinds:
            found[row["example_id"]] = dict(sorted(kinds.items()))
    return found


def _left(one: ScrubbedText, is_ours: IsOurs) -> Counter[str]:
    """What the second pass finds in the tagged text, but for doubtful findings of our own values."""
    doubtful = [s for s in one.doubtful if not is_ours(s.label, one.text[s.start : s.end])]
    left = find_leaks(one.text, (), doubtful)
    return Counter({label: count for label, count in left.items() if label not in GENERALISED})


def _keeps_days(job: ScrubJob) -> bool:
    profile = Profile(job.settings.profile, job.settings.shift_dates)
    return job.settings.replacement == "surrogates" and (profile.keeps_dates or profile.shift_dates)


def _is_ours(is_surrogate: IsTaken, passed: str) -> IsOurs:
    def is_ours(label: str, value: str) -> bool:
        # An age or a date that may not stay became a class or a year, and these are found as ages and dates again.
        return label in GENERALISED or value in passed or _is_made_up(label, value, is_surrogate)

    return is_ours


def _is_made_up(label: str, value: str, is_surrogate: IsTaken) -> bool:
    """A name of which every word is ours, titles and initials aside; a place or clinic with a word of ours, since the kind of
    street or clinic stays; anything else as a whole."""
    plain = _POSSESSIVE.sub("", value)
    if is_surrogate(normalise(plain)):
        return True
    words = telling_words(plain)
    if label == "NAME":
        return all(map(is_surrogate, words))
    return label in _PLACES and any(map(is_surrogate, words))
