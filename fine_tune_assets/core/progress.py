"""How far work is: reported by whoever does it, without knowing who reads it.

Owns the protocol, the files that say which steps run now, and the estimate of the time left. A file holds names of assets, counts
and our own words for what is counted; never a text of a report. A step that was killed leaves its file: it counts as gone as soon
as its heartbeat is old.
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
GONE_SECONDS = 30.0
"""A step without a heartbeat for so long has ended without removing its file."""
_LEFT_SECONDS = 3600.0
_MOST_REPORTS = 64
_MINIMUM_SECONDS = 1.0
"""Of counting, before a rate is given."""


class Progress(Protocol):
    """Called with the number of finished items, the number of all items, and what they are."""

    def __call__(self, done: int, total: int, what: str) -> None: ...


def silent(done: int, total: int, what: str) -> None:
    """Progress that nobody listens to."""


@dataclass(frozen=True)
class Counted:
    """One count of the same items. Times are Unix seconds."""

    done: int
    total: int
    what: str
    reports: tuple[tuple[float, int], ...]
    """When it was reported, and what was done then: the first report, some between, and the last one. What the first one names
    was not done at the rate that is seen."""

    @property
    def name(self) -> str:
        """What is counted, without the figures that come with it."""
        return self.what.partition(",")[0].partition("(")[0].strip()

    @property
    def at(self) -> float:
        """When the last report came."""
        return self.reports[-1][0]

    @property
    def rate(self) -> float | None:
        """Items a second in the later half of the time so far, since a machine may be busy and idle by turns. None until
        something was counted for a second."""
        middle = (self.reports[0][0] + self.at) / 2
        since, from_done = next(report for report in reversed(self.reports) if report[0] <= middle)
        seconds, items = self.at - since, self.done - from_done
        return items / seconds if items > 0 and seconds >= _MINIMUM_SECONDS else None

    def seconds_left(self, now: float) -> float | None:
        """Until all items are done at this rate. None while there is no rate."""
        return None if self.rate is None else max(0.0, (self.total - self.done) / self.rate - (now - self.at))


def counted(before: Counted | None, done: int, total: int, what: str, now: float) -> Counted:
    """The next report. Other items, another total or a lower number begin a new count."""
    fresh = Counted(done, total, what, ((now, done),))
    if before is None or before.name != fresh.name or before.total != total or done < before.done:
        return fresh
    reports = (*before.reports, *fresh.reports)
    # Every second one between goes when there are many: what is left still spans the whole time.
    return replace(fresh, reports=reports if len(reports) <= _MOST_REPORTS else (*reports[:-1:2], reports[-1]))


@dataclass(frozen=True)
class RunningStep:
    """A step of the graph that runs now."""

    stage: str
    """Its group of assets."""
    assets: tuple[str, ...]
    partition: str | None
    started_at: float
    """Unix seconds."""
    count: Counted | None = None
    """None until the step has reported one."""


@contextmanager
def shown_running(folder: Path, step: RunningStep) -> Iterator[Path]:
    """Keep the step's file below `folder` while the block runs. Yields the file, for `reports_into`."""
    _remove_left(folder, time.time())
    path, is_over = folder / f"{uuid.uuid4().hex}.json", threading.Event()
    _write(path, step)

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


def reports_into(path: Path) -> Progress:
    """Progress that is written into a step's file. A disk that takes no file stops no work."""

    def report(done: int, total: int, what: str) -> None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            step = _read(path)
            _write(path, replace(step, count=counted(step.count, done, total, what, time.time())))

    return report


def running_steps(folder: Path, now: float) -> list[RunningStep]:
    """The steps that run, the oldest first."""
    found = []
    for path in folder.glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):  # it ended meanwhile, or is none
            if now - path.stat().st_mtime < GONE_SECONDS:
                found.append(_read(path))
    return sorted(found, key=lambda step: step.started_at)


def duration_words(seconds: float) -> str:
    """For people: "2 h 05 min", "4 min 10 s", "12 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


def _write(path: Path, step: RunningStep) -> None:
    write_text(path, json.dumps(asdict(step)))


def _read(path: Path) -> RunningStep:
    values = json.loads(path.read_text(encoding="utf-8"))
    count = values["count"]
    if count is not None:
        count = Counted(**{**count, "reports": tuple((at, done) for at, done in count["reports"])})
    return RunningStep(**{**values, "assets": tuple(values["assets"]), "count": count})


def _remove_left(folder: Path, now: float) -> None:
    make_folder(folder)
    for path in folder.glob("*.json"):
        with suppress(OSError):
            if now - path.stat().st_mtime > _LEFT_SECONDS:
                path.unlink()
