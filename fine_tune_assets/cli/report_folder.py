"""Reads the reports of a folder for commands that store nothing: the check of a recipe, and the questions that write one."""

import secrets
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fine_tune_assets.approval.task_kinds import ReportText
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.keys import KEY_BYTES, SUBJECTS_KEY, read_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.tables.record_classes import iter_records


@dataclass(frozen=True)
class ReportFolder:
    reports: tuple[ReportText, ...] = field(repr=False)
    unreadable: dict[str, int]
    """Reason → files and records."""
    has_own_keys: bool
    """Whether the subject keys are those of this installation, so that the split of each report is known."""

    @property
    def subjects(self) -> int:
        return len({report.subject_key for report in self.reports})


def read_report_folder(settings: Settings, folder: Path, domain: str, *, is_subject_required: bool) -> ReportFolder:
    """The reports of a batch folder, or of every batch folder in a folder. Raises FineTuneError without a readable report."""
    from fine_tune_assets.reports.archives import ReadLimits
    from fine_tune_assets.reports.batch_reader import read_batch
    from fine_tune_assets.reports.batches import BATCH_FILE

    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    batches = [folder] if (folder / BATCH_FILE).is_file() or not inner else inner
    own_key, own_kinds = settings.subject_keys / f"{SUBJECTS_KEY}.key", load_pack(domain).pack.own_kinds
    key = read_key(own_key) if own_key.is_file() else secrets.token_bytes(KEY_BYTES)
    reports: list[ReportText] = []
    unreadable: Counter[str] = Counter()
    for batch in batches:
        result = read_batch(
            batch, batch.name, key, ReadLimits(), is_subject_required=is_subject_required, own_kinds=own_kinds
        )
        reports += iter_records(ReportText, result.reports.select(ReportText.SCHEMA.names))
        unreadable.update(result.unreadable.column("reason").to_pylist())
    if not reports:
        raise FineTuneError(
            f"{folder} holds no readable report. Run `fine-tune batch check {folder}`, which lists the reasons."
        )
    return ReportFolder(tuple(reports), dict(unreadable), own_key.is_file())
