"""Detects boilerplate segments: lines, headings and sentences that many subjects' reports share.

Headers, disclaimers and templates say nothing about a subject and must not make two subjects' reports duplicates. Works on
segment hashes only.
"""

import numpy as np

from fine_tune_assets.dedup.sketches import Sketches, offsets_from_counts
from fine_tune_assets.dedup.word_hashes import Hashes, Ints

MAX_REQUIRED_SUBJECTS = 100
"""With any number of subjects, this many make a segment boilerplate."""


def required_subjects(minimum: int, subjects: int) -> int:
    """How many subjects must share a segment: one in a hundred, at least `minimum`, at most MAX_REQUIRED_SUBJECTS or `minimum`.

    `minimum` protects small sets: a line in two of three reports is a copied report, not a template.
    """
    return max(minimum, min(int(np.ceil(0.01 * subjects)), MAX_REQUIRED_SUBJECTS))


def find_boilerplate_segments(segments: Hashes, subjects: Ints, minimum_subjects: int) -> Hashes:
    """Return the sorted segments shared by at least `minimum_subjects` subjects; `subjects` has the subject of each segment."""
    order = np.argsort(segments)
    ordered = segments[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(ordered) else np.zeros(0, int)
    sizes = np.diff(np.append(starts, len(ordered)))
    is_frequent = sizes >= minimum_subjects
    places = order[np.repeat(is_frequent, sizes)]
    group = np.repeat(np.arange(int(is_frequent.sum())), sizes[is_frequent])
    of_subject = group.astype(np.uint64) << np.uint64(32) | subjects[places].astype(np.uint64)
    shared_by = np.bincount((np.unique(of_subject) >> np.uint64(32)).astype(np.int64), minlength=int(is_frequent.sum()))
    return ordered[starts[is_frequent]][shared_by >= minimum_subjects]


def flag_boilerplate(segments: Hashes, boilerplate: Hashes) -> np.ndarray:
    if not len(boilerplate):
        return np.zeros(len(segments), np.bool_)
    places = np.minimum(np.searchsorted(boilerplate, segments), len(boilerplate) - 1)
    return boilerplate[places] == segments  # type: ignore[no-any-return]


def remove_boilerplate(sketches: Sketches, is_boilerplate: np.ndarray) -> tuple[Hashes, Ints]:
    """Return the shingles that do not start in boilerplate, and their number per text."""
    sizes = sketches.segment_sizes.astype(np.int64)
    kept = offsets_from_counts(np.where(is_boilerplate, 0, sizes))
    counts = np.diff(kept[offsets_from_counts(sketches.segment_counts)])
    shingles = sketches.shingles[np.repeat(~is_boilerplate, sizes)] if is_boilerplate.any() else sketches.shingles
    return shingles, counts
