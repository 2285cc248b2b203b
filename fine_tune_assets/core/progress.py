"""Progress reports of running steps, stored in a file for each step, and the estimate of the remaining time.

A file contains asset names, counts and labels, never report text. A killed step leaves its file behind; the step counts as ended
when its heartbeat is stale.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from fine_tune_assets.core.files import make_folder, write_text

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
"""A step whose last heartbeat is older has ended without removing its file."""
_CLEANUP_SECONDS = 3600.0
_MAX_REPORTS = 64
_RATE_REPORTS = 20
"""Fewest reports behind a rate, as far as there are so many: a few long steps say little about the rest."""
_MINIMUM_SECONDS = 1.0
"""Shortest time of counting from which a rate is computed."""


class Progress(Protocol):
    """Called with the number of finished items, the total, and a label for the items."""

    def __call__(self, done: int, total: int, what: str) -> None: ...


def ignore_progress(done: int, total: int, what: str) -> None:
    """Discard progress reports."""


@dataclass(frozen=True)
class ProgressCount:
    """One count of the same items. Times are Unix seconds."""

    done: int
    total: int
    label: str
    reports: tuple[tuple[float, int], ...]
    """(Time, items done) of the first report, some in between, and the last. Items done at the first report do not count for
    the rate."""

    @property
    def name(self) -> str:
        """The label without the numbers after a comma or parenthesis."""
        return self.label.partition(",")[0].partition("(")[0].strip()

    @property
    def reported_at(self) -> float:
        """Time of the last report."""
        return self.reports[-1][0]

    @property
    def rate(self) -> float | None:
        """Items per second in the second half of the time so far, or since the last 20 reports if that is longer, since the
        machine's load and the steps' lengths vary. None until items were counted for a second."""
        middle = (self.reports[0][0] + self.reported_at) / 2
        half = next(report for report in reversed(self.reports) if report[0] <= middle)
        since, from_done = min(half, self.reports[-_RATE_REPORTS - 1 :][0])
        seconds, items = self.reported_at - since, self.done - from_done
        return items / seconds if items > 0 and seconds >= _MINIMUM_SECONDS else None

    def seconds_left(self, now: float) -> float | None:
        """Estimated seconds until all items are done; None without a rate."""
        return None if self.rate is None else max(0.0, (self.total - self.done) / self.rate - (now - self.reported_at))


def add_report(before: ProgressCount | None, done: int, total: int, what: str, now: float) -> ProgressCount:
    """Add a report. Another label or total, or a lower count, starts a new count."""
    latest = ProgressCount(done, total, what, ((now, done),))
    if before is None or before.name != latest.name or before.total != total or done < before.done:
        return latest
    reports = (*before.reports, *latest.reports)
    # Drop every second report when there are too many: the rest still covers the whole time.
    return replace(latest, reports=reports if len(reports) <= _MAX_REPORTS else (*reports[:-1:2], reports[-1]))


@dataclass(frozen=True)
class RunningStep:
    """A running step of the asset graph."""

    stage: str
    """Its asset group."""
    assets: tuple[str, ...]
    partition: str | None
    started_at: float
    """Unix seconds."""
    count: ProgressCount | None = None
    """None until the step reports progress."""


@contextmanager
def publish_step(folder: Path, step: RunningStep) -> Iterator[Path]:
    """Keep the step's file below `folder` while the block runs. Yields the file, for `progress_writer`."""
    _remove_stale_files(folder, time.time())
    path, is_over = folder / f"{uuid.uuid4().hex}.json", threading.Event()
    _write_step(path, step)

    def beat() -> None:
        while not is_over.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(path)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield path
    finally:
        is_over.set()
        heart.join()
        path.unlink(missing_ok=True)


def progress_writer(path: Path) -> Progress:
    """Progress that is written to a step's file. Write errors are ignored, so that a full disk does not stop the step."""

    def report(done: int, total: int, what: str) -> None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            step = _read_step(path)
            _write_step(path, replace(step, count=add_report(step.count, done, total, what, time.time())))

    return report


def list_running_steps(folder: Path, now: float) -> list[RunningStep]:
    """The running steps, oldest first."""
    found = []
    for path in folder.glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):  # the step ended meanwhile, or the file is invalid
            if now - path.stat().st_mtime < STALE_SECONDS:
                found.append(_read_step(path))
    return sorted(found, key=lambda step: step.started_at)


def format_duration(seconds: float) -> str:
    """Such as "2 h 05 min", "4 min 10 s" or "12 s"."""
    rounded = round(seconds)
    if rounded >= 3600:
        return f"{rounded // 3600} h {rounded % 3600 // 60:02} min"
    return f"{rounded // 60} min {rounded % 60:02} s" if rounded >= 60 else f"{rounded} s"


def _write_step(path: Path, step: RunningStep) -> None:
    write_text(path, json.dumps(asdict(step)))


def _read_step(path: Path) -> RunningStep:
    values = json.loads(path.read_text(encoding="utf-8"))
    count = values["count"]
    if count is not None:
        count = ProgressCount(**{**count, "reports": tuple((at, done) for at, done in count["reports"])})
    return RunningStep(**{**values, "assets": tuple(values["assets"]), "count": count})


def _remove_stale_files(folder: Path, now: float) -> None:
    make_folder(folder)
    for path in folder.glob("*.json"):
        with suppress(OSError):
            if now - path.stat().st_mtime > _CLEANUP_SECONDS:
                path.unlink()
