"""Builds a verifier: trains it, measures it on unseen subjects, and writes its folder with card and leakage certificate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any, Final

from fine_tune_assets.core.files import atomic_folder
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.embeddings.encoder import bundled_encoder_folder
from fine_tune_assets.judging.judges.statement_readers import StatementReader
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Report, build_pairs, sample_blocks
from fine_tune_assets.judging.judges.verifier.verifier_files import read_card, read_labelled_groups, write_verifier
from fine_tune_assets.judging.judges.verifier.verifier_measurement import KindResult, measure_kinds
from fine_tune_assets.judging.judges.verifier.verifier_reader import VerifierReader
from fine_tune_assets.judging.judges.verifier.verifier_sources import Sources

MEASURED_BLOCKS: Final = 40
"""Blocks per kind of error that measure a verifier; a block has four pairs of a record and a statement."""
_SEED: Final = 77


def build_verifier(
    folder: Path,
    sources: Sources,
    settings: Mapping[str, Any],
    progress: Progress,
    facts: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Train a verifier, measure it and write its folder. Returns the measured kinds.

    `settings`: fields of `VerifierPlan`. `facts`: what the card says in addition.
    """
    from fine_tune_assets.judging.judges.verifier.verifier_training import VerifierPlan, train_verifier

    plan = VerifierPlan(**settings)
    groups, earlier = sources.labelled_groups, dict[str, Any]()
    if plan.base is not None and plan.continues:
        groups, earlier = groups | read_labelled_groups(plan.base), read_card(plan.base).get("training", {})
    weights, training = train_verifier(sources.training, sources.labelled, plan, progress)
    own = None if plan.encoder == bundled_encoder_folder() else plan.encoder
    with atomic_folder(folder) as new_folder:
        write_verifier(new_folder, weights, {}, {}, own)
        results = [asdict(one) for one in measure_reports(VerifierReader(new_folder, plan.threads), sources.measured)]
        card: dict[str, Any] = {
            **(facts or {}),
            "training": {**training, "sources": sources.names, "base_training": earlier},
            "labelled_groups": sorted(groups),
            "measured": results,
        }
        write_verifier(new_folder, weights, card, asdict(sources.certificate), own)
    return results


def measure_reports(reader: StatementReader, reports: Sequence[Report]) -> list[KindResult]:
    """By kind of error, on balanced pairs with phrasings that the training does not use."""
    from fine_tune_assets.judging.judges.verifier.verifier_training import find_report_neighbors

    pairs = build_pairs(reports, "measurement", _SEED, find_report_neighbors(reports, 1))
    return measure_kinds(reader, sample_blocks(pairs, {}, MEASURED_BLOCKS, Random(_SEED)))
