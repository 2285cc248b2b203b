"""Adapts a verifier to an installation's own approved examples: plants errors, measures, trains further, keeps what is better.

The test split, which judges candidates and the judge, neither trains the verifier nor chooses it. Statements that experts
labelled belong to that split, so they are not used either. Of the other subjects, a part trains and the rest decides.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fine_tune_assets.core.files import atomic_folder
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.embeddings.encoder import bundled_encoder_folder
from fine_tune_assets.judging.judges.adaptation_record import Adaptation, write_adaptation
from fine_tune_assets.judging.judges.criterion_qualification import MAX_BLIND_AUROC
from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.own_domain import MIN_PLANTED, MIN_SUBJECTS
from fine_tune_assets.judging.judges.planted_errors.own_error_detection import (
    ErrorDetection,
    GradedErrors,
    fingerprint_examples,
    grade_own_errors,
)
from fine_tune_assets.judging.judges.planted_errors.own_errors import OwnExample
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Report
from fine_tune_assets.judging.judges.verifier.training_reports import InvalidReportsError
from fine_tune_assets.judging.judges.verifier.verifier_files import (
    SHIPPED_FOLDER,
    Weights,
    encoder_folder,
    read_card,
    read_labelled_groups,
    verifier_version,
    write_verifier,
)
from fine_tune_assets.judging.judges.verifier.verifier_reader import VerifierReader
from fine_tune_assets.judging.judges.verifier.verifier_sources import (
    OwnReport,
    fingerprint_reports,
    labelled_texts,
    remove_leaks,
)
from fine_tune_assets.judging.statistics.association import Interval, bootstrap_interval

MIN_TRAINING_SUBJECTS: Final = 10
"""Fewer can't train; whether these were enough, the held-out subjects decide."""
HELD_OUT_SHARE: Final = 0.25
LEARNING_RATE: Final = 1e-4


@dataclass(frozen=True)
class AdaptationPlan:
    base: Path
    """Folder of the verifier to train further."""
    pairs: int
    seed: int
    threads: int


Trainer = Callable[[Sequence[Report], AdaptationPlan, Progress], tuple[Weights, dict[str, Any]]]
"""Returns the trained weights by name, and facts for the card with the number of `pairs`."""


@dataclass(frozen=True)
class SplitReports:
    training: list[OwnReport]
    held_out: list[OwnReport]
    tested: list[OwnReport]

    @property
    def measuring(self) -> list[Report]:
        return [one.report for one in (*self.held_out, *self.tested)]


def split_own_reports(reports: Sequence[OwnReport]) -> SplitReports:
    """By subject: validation examples are held out, and a part of the training examples. Raises InvalidReportsError."""
    if not reports:
        raise InvalidReportsError(
            "No example of an instruction set has a task of the recipe that a judge grades. Approve examples, then run "
            "`fine-tune materialize instruction_sets`."
        )
    tested = [one for one in reports if one.split == "test"]
    validated = {one.report.subject for one in reports if one.split not in ("train", "test")}
    trained = sorted({one.report.subject for one in reports if one.split == "train"} - validated, key=fingerprint_text)
    wanted = max(MIN_SUBJECTS, round(HELD_OUT_SHARE * (len(validated) + len(trained))))
    held_out = validated | set(trained[: max(0, wanted - len(validated))])
    missing = MIN_TRAINING_SUBJECTS + MIN_SUBJECTS - len(validated) - len(trained)
    missing = max(missing, MIN_TRAINING_SUBJECTS - len(set(trained) - held_out))
    if missing > 0:
        raise InvalidReportsError(
            f"A verifier is adapted to approved examples of at least {MIN_TRAINING_SUBJECTS} subjects that train it and "
            f"{MIN_SUBJECTS} that measure it, without the test split. The newest instruction set has "
            f"{len(validated) + len(trained)} such subjects, {missing} too few. Approve examples of more subjects; if none wait "
            "for a review, add reports of further subjects. Then run `fine-tune materialize instruction_sets`."
        )
    others = [one for one in reports if one.split != "test"]
    return SplitReports(
        training=[one for one in others if one.report.subject not in held_out],
        held_out=[one for one in others if one.report.subject in held_out],
        tested=tested,
    )


def adapt_verifier(
    layout: Layout,
    reports: Sequence[OwnReport],
    judge: StatementJudge,
    criterion: str,
    plan: AdaptationPlan,
    progress: Progress,
    train: Trainer | None = None,
) -> Adaptation:
    """Measure the verifier of `plan.base`, train it further, and keep the result if it is better on held-out subjects.

    `judge`: with the recipe's rubric and checks. `train`: by default, further training with balanced pairs. Stores the
    measurement, also if nothing was kept. Raises InvalidReportsError.
    """
    parts = split_own_reports(reports)
    kept, certificate = remove_leaks(
        [one.report for one in parts.training], list(labelled_texts(layout)), parts.measuring
    )
    _require_training_subjects(kept, certificate.removed_reports)
    examples = [_as_example(one) for one in parts.held_out]

    def measure(folder: Path) -> GradedErrors:
        return grade_own_errors(
            replace(judge, reader=VerifierReader(folder, plan.threads)), criterion, examples, progress
        )

    before = measure(plan.base)
    _require_planted_errors(len(before.cases))
    weights, facts = (train or train_further)(kept, plan, progress)
    encoder = None if encoder_folder(plan.base) == bundled_encoder_folder() else plan.base
    layout.verifiers.mkdir(parents=True, exist_ok=True)
    scratch = layout.verifiers / f".adaptation-{os.getpid()}"
    try:
        with atomic_folder(scratch) as new_folder:
            write_verifier(new_folder, weights, {}, {}, encoder)
        after, version = measure(scratch), verifier_version(scratch)
        gain = find_gain(before, after)
        name = f"adapted-{short(version)}"
        is_better = gain.low > 0 and _reads_as_well(before.summarize()[0], after.summarize()[0])
        adaptation = Adaptation(
            verifier=f"{layout.verifiers.name}/{name}" if is_better else "",
            test_examples=fingerprint_examples([_as_example(one) for one in parts.tested]),
            base=verifier_version(plan.base),
            trained=version,
            training_subjects=len({report.subject for report in kept}),
            held_out_subjects=len({one.subject for one in examples}),
            removed_reports=certificate.removed_reports,
            pairs=facts["pairs"],
            gain=gain,
            before=tuple(before.summarize()),
            after=tuple(after.summarize()),
            processor_seconds=round(sum(os.times()[:2])),
        )
        if is_better and not (layout.verifiers / name).exists():
            with atomic_folder(layout.verifiers / name) as new_folder:
                write_verifier(new_folder, weights, _card(adaptation, facts, kept, plan), asdict(certificate), encoder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    write_adaptation(layout.verifiers, adaptation)
    return adaptation


def _require_training_subjects(kept: Sequence[Report], removed: int) -> None:
    """Raise InvalidReportsError if copies of measured reports leave too few."""
    count = len({report.subject for report in kept})
    if count < MIN_TRAINING_SUBJECTS:
        raise InvalidReportsError(
            f"{removed} of {removed + len(kept)} training examples are left out, because their subjects' texts also measure the "
            f"verifier. {count} subjects remain; {MIN_TRAINING_SUBJECTS} are needed. Add reports of further subjects."
        )


def _require_planted_errors(count: int) -> None:
    """Raise InvalidReportsError if the held-out answers give occasion for too few."""
    if count < MIN_PLANTED:
        raise InvalidReportsError(
            f"Only {count} errors can be planted into the held-out answers; {MIN_PLANTED} measure a verifier. Approve more or "
            "longer answers."
        )


def train_further(
    reports: Sequence[Report], plan: AdaptationPlan, progress: Progress
) -> tuple[Weights, dict[str, Any]]:
    from fine_tune_assets.judging.judges.verifier.verifier_training import VerifierPlan, train_verifier

    return train_verifier(
        reports, [], VerifierPlan(plan.pairs, plan.seed, plan.threads, LEARNING_RATE, plan.base), progress
    )


def find_gain(before: GradedErrors, after: GradedErrors) -> Interval:
    """How many more of the same planted errors lower the grade and don't raise it, as a share; resampled by subject."""
    difference = after.is_detected() - before.is_detected()
    found = bootstrap_interval(lambda rows: float(np.mean(difference[rows])), [case.group for case in before.cases])
    assert found is not None  # there are cases, and no difference is NaN
    return found


def _reads_as_well(before: ErrorDetection, after: ErrorDetection) -> bool:
    """Whether the AUROC did not fall, and the errors are not found without the record."""
    if before.auroc is None or after.auroc is None or after.blind_auroc is None:
        return False
    return after.auroc.value >= before.auroc.value and after.blind_auroc.high <= MAX_BLIND_AUROC


def _as_example(one: OwnReport) -> OwnExample:
    report = one.report
    return OwnExample(report.subject, GradableAnswer(report.subject, one.task, "", report.record, report.note, None))


def _card(adaptation: Adaptation, facts: dict[str, Any], kept: Sequence[Any], plan: AdaptationPlan) -> dict[str, Any]:
    training = {**facts, "sources": {"instruction set": fingerprint_reports(kept)}}
    return {
        "training": {**training, "base_training": read_card(plan.base).get("training", {})},
        "labelled_groups": sorted(read_labelled_groups(plan.base)),
        "measured": [asdict(one) for one in adaptation.after],
        "measured_on": f"Held-out approved examples of {adaptation.held_out_subjects} subjects",
    }


def base_folder(layout: Layout, verifier: str) -> Path:
    """The folder of the recipe's verifier; the shipped one for an empty setting."""
    return layout.data_dir / verifier if verifier else SHIPPED_FOLDER
