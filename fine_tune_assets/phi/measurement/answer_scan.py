"""Finds identifiers in model answers, and decides whether each was removed from a report.

Counts direct identifiers that occur neither in the input nor in the reference. Values are compared with the keyed hashes of all
removed values and never stored; the result contains kinds and counts.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Annotated, Any

import pyarrow as pa

from fine_tune_assets.core.progress import Progress
from fine_tune_assets.phi.measurement.recall import is_direct
from fine_tune_assets.phi.replacement.keyed_draws import IsTaken, normalize
from fine_tune_assets.phi.replacement.surrogates import WORD, build_corpus_lookup, find_identifying_words
from fine_tune_assets.phi.scrubber import NOT_SCRUBBED
from fine_tune_assets.phi.table_scrubber import ORIGINAL, ScrubJob, open_finder, read_value_hashes
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.tables.record_classes import Column, Record, iter_records


class WrittenAnswer(Record):
    model: str
    answer: str
    allowed: Annotated[str, Column("Model input and reference answer", is_report_text=True)]


ORIGINS = LEAKED, FABRICATED = "leaked", "fabricated"
MIN_CHARACTERS = 5
"""Minimum length of a number that cannot occur by chance."""
AnswerFindings = dict[str, dict[str, Any]]
"""`leaked` and `fabricated`, each with the number of `answers` that contain one and, by kind, `kinds`. Leaked means that exactly
this value was removed from a report."""


def find_answer_identifiers(answers: pa.Table, job: ScrubJob, progress: Progress) -> dict[str, AnswerFindings]:
    """Findings per model. `job.other_values` lists the `identifier_values` of every batch; without any, nothing counts as
    removed."""
    rows = list(iter_records(WrittenAnswer, answers))
    is_original = build_corpus_lookup(job.secret, read_value_hashes(job.other_values, ORIGINAL))
    found: dict[str, AnswerFindings] = {
        row.model: {what: {"answers": 0, "kinds": {}} for what in ORIGINS} for row in rows
    }
    indirect = load_pack(job.settings.domain).pack.indirect_kinds
    with open_finder(job, len(rows)) as finder:
        scrubbed = finder.find([(row.answer, ()) for row in rows])
    for row, one in zip(rows, scrubbed, strict=True):
        if NOT_SCRUBBED in one.residual_phi:
            counts = found[row.model][LEAKED]
            counts["answers"] += 1
            counts["kinds"] = dict(sorted((Counter(counts["kinds"]) + Counter({NOT_SCRUBBED: 1})).items()))
            continue
        values = [(span.label, row.answer[span.start : span.end]) for span in one.spans]
        for what, kinds in classify_identifiers(values, row.allowed, is_original, indirect).items():
            counts = found[row.model][what]
            counts["answers"] += bool(kinds)
            counts["kinds"] = dict(sorted((Counter(counts["kinds"]) + Counter(kinds)).items()))
    progress(len(rows), len(rows), "answers searched for identifiers")
    return found


def classify_identifiers(
    values: Sequence[tuple[str, str]], allowed: str, is_original: IsTaken, indirect_kinds: Container[str] = ()
) -> Mapping[str, frozenset[str]]:
    """Split the findings (kind, value) of one answer into the kinds that were removed from a report and the others."""
    new = find_new_identifiers(values, allowed, indirect_kinds)
    return {
        LEAKED: frozenset(kind for kind, value in new if _is_leaked(kind, value, is_original)),
        FABRICATED: frozenset(kind for kind, value in new if not _is_leaked(kind, value, is_original)),
    }


def find_new_identifiers(
    values: Sequence[tuple[str, str]], allowed: str, indirect_kinds: Container[str] = ()
) -> list[tuple[str, str]]:
    """The findings (kind, value) that are direct identifiers and occur nowhere in the allowed text."""
    direct = ((kind, value) for kind, value in values if is_direct(kind, indirect_kinds))
    return [(kind, value) for kind, value in direct if not _is_allowed(kind, value, allowed)]


def _is_allowed(kind: str, value: str, allowed: str) -> bool:
    """A name is allowed word by word: "Mrs. Hale" if the input says "Anna Hale". Other kinds must match as a whole."""
    if kind == "NAME":
        given = set(map(normalize, WORD.findall(allowed)))
        return all(word in given for word in find_identifying_words(value))
    return normalize(value) in normalize(allowed)


def _is_leaked(kind: str, value: str, is_original: IsTaken) -> bool:
    """Whether exactly this value was removed from a report. A single name is too common: it takes two words to identify
    a person."""
    words = find_identifying_words(value)
    if kind == "NAME":
        return len(words) > 1 and (is_original(normalize(value)) or is_original("".join(words)))
    return len(normalize(value)) >= MIN_CHARACTERS and is_original(normalize(value))
