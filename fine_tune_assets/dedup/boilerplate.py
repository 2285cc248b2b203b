"""Which segments are boilerplate: lines, headings and sentences that many patients' reports share.

Owns the rule. Headers, disclaimers and templates say nothing about a patient, and must not make two patients' reports
duplicates. Knows segments by their hash only.
"""

import numpy as np

from fine_tune_assets.dedup.sketches import Sketches, starts_of
from fine_tune_assets.dedup.words import Hashes, Ints

MANY_PATIENTS = 100
"""As many patients make a segment boilerplate among any number of patients."""


def patients_needed(fewest: int, patients: int) -> int:
    """Patients who must share a segment: one in a hundred, at least `fewest`, and at most MANY_PATIENTS or `fewest`.

    `fewest` is what keeps small sets right: a line in two of three reports is a copied report, not a template.
    """
    return max(fewest, min(int(np.ceil(0.01 * patients)), MANY_PATIENTS))


def boilerplate_segments(segments: Hashes, patients: Ints, needed: int) -> Hashes:
    """The segments, sorted, that occur for at least `needed` different patients; `patients` says whose each segment is."""
    order = np.argsort(segments)
    ordered = segments[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(ordered) else np.zeros(0, int)
    sizes = np.diff(np.append(starts, len(ordered)))
    is_frequent = sizes >= needed
    places = order[np.repeat(is_frequent, sizes)]
    group = np.repeat(np.arange(int(is_frequent.sum())), sizes[is_frequent])
    of_patient = group.astype(np.uint64) << np.uint64(32) | patients[places].astype(np.uint64)
    found = np.bincount((np.unique(of_patient) >> np.uint64(32)).astype(np.int64), minlength=int(is_frequent.sum()))
    return ordered[starts[is_frequent]][found >= needed]


def is_among(segments: Hashes, boilerplate: Hashes) -> np.ndarray:
    """Which segments are boilerplate."""
    if not len(boilerplate):
        return np.zeros(len(segments), np.bool_)
    places = np.minimum(np.searchsorted(boilerplate, segments), len(boilerplate) - 1)
    return boilerplate[places] == segments  # type: ignore[no-any-return]


def without(sketches: Sketches, is_boilerplate: np.ndarray) -> tuple[Hashes, Ints]:
    """Shingles that do not start in boilerplate, and how many of them each text has."""
    sizes = sketches.segment_sizes.astype(np.int64)
    kept = starts_of(np.where(is_boilerplate, 0, sizes))
    counts = np.diff(kept[starts_of(sketches.segment_counts)])
    shingles = sketches.shingles[np.repeat(~is_boilerplate, sizes)] if is_boilerplate.any() else sketches.shingles
    return shingles, counts
