"""Result files of the GPU proof: one JSON file per slice, saved after each part, so that a killed slice keeps what it measured.

A dry run writes `dry-SLICE.json`, a measurement `gpu-SLICE.json`. Publishing and the docs use `read_measurement`,
which refuses dry runs. Imports the standard library alone.
"""

import importlib.util
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["measured", "skipped", "failed"]
Figures = dict[str, Any]
DRY_PREFIX, MEASURED_PREFIX = "dry-", "gpu-"
_LONGEST_REASON = 600
_FOLDERS = re.compile(r"(?:/[\w.+-]+)+/")
"""Folders of the machine, which a result does not name."""


class ResultError(Exception):
    """A result file cannot be used for what was requested."""


class SkipPart(Exception):
    """A part that cannot run here; its text is the reason."""


@dataclass(frozen=True)
class Part:
    state: State
    seconds: float
    figures: Figures = field(default_factory=dict)
    reason: str = ""
    """Why the part was skipped, or how it failed."""


@dataclass(frozen=True)
class Origin:
    """What a result is valid for: the same code on the same hardware with the same libraries."""

    code: str
    hardware: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class SliceResult:
    slice: str
    dry: bool
    is_complete: bool
    """Whether every part was tried."""
    origin: Origin
    started_at: str
    """UTC, ISO 8601."""
    seconds: float
    parts: Mapping[str, Part]

    @property
    def has_failed_parts(self) -> bool:
        return any(part.state == "failed" for part in self.parts.values())


def result_file(folder: Path, name: str, dry: bool) -> Path:
    return folder / f"{DRY_PREFIX if dry else MEASURED_PREFIX}{name}.json"


def write_result(path: Path, result: SliceResult) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(json.dumps(asdict(result), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def read_result(path: Path) -> SliceResult:
    """Raises ResultError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: Part(**part) for name, part in values["parts"].items()}
        result = SliceResult(**{**values, "origin": Origin(**values["origin"]), "parts": parts})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ResultError(f"{path.name} is not a result of the GPU proof ({type(error).__name__}).") from None
    if type(result.dry) is not bool:
        raise ResultError(f"{path.name} does not say whether it is a dry run.")
    return result


def read_measurement(path: Path) -> SliceResult:
    """The result of a run on a GPU. Raises ResultError for a dry run, whatever the file is called."""
    result = read_result(path)
    if result.dry:
        raise ResultError(f"{path.name} is a dry run, not a measurement.")
    if not result.origin.hardware.get("gpu"):
        raise ResultError(f"{path.name} was not measured on a GPU.")
    return result


def find_reusable(path: Path, origin: Origin, dry: bool) -> SliceResult | None:
    """The result in `path` if it is of the same code, hardware and libraries; parts that it measured need not run again."""
    try:
        found = read_result(path)
    except ResultError:
        return None
    return found if (found.origin, found.dry) == (origin, dry) else None


class SliceRun:
    """Runs the parts of one slice within its time budget, and saves the result after each.

    An error ends its part, not the slice: the next part may still say something.
    """

    def __init__(
        self, name: str, folder: Path, dry: bool, origin: Origin, budget_seconds: float, started: float | None = None
    ) -> None:
        """`started`: monotonic time from which the budget counts; None: now."""
        self.name, self.dry = name, dry
        self._origin = origin
        self._file = result_file(folder, name, dry)
        self._budget_seconds, self._started = budget_seconds, time.monotonic() if started is None else started
        self._started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        reusable = find_reusable(self._file, origin, dry)
        self._kept = {n: p for n, p in reusable.parts.items() if p.state == "measured"} if reusable else {}
        self._parts: dict[str, Part] = {}

    @property
    def threads(self) -> int:
        """CPU threads; 0 means all. A dry run uses one: threads that wait for each other are slow on a busy machine."""
        return 1 if self.dry else 0

    @property
    def seconds_left(self) -> float:
        return self._budget_seconds - (time.monotonic() - self._started)

    def figures(self, part: str) -> Figures | None:
        """Of a part that was measured in this run or before; None if there are none."""
        found = self._parts.get(part) or self._kept.get(part)
        return found.figures if found is not None and found.state == "measured" else None

    def part(
        self,
        name: str,
        measure: Callable[[], Figures],
        *,
        modules: Sequence[str] = (),
        needs_gpu: bool = False,
        minimum_seconds: float = 5,
        is_repeated: bool = False,
    ) -> Figures | None:
        """Run one part, or keep its earlier figures. Returns None if it was skipped or failed.

        `modules`: importable modules that it needs. `minimum_seconds`: it is skipped if the budget has less; 0: it always runs.
        `is_repeated`: it runs every time, because it makes what later parts use, or follows from them.
        """
        if name in self._kept and not is_repeated:
            self._parts[name] = self._kept[name]
        elif reason := self._why_not(modules, needs_gpu, minimum_seconds):
            self._parts[name] = Part("skipped", 0.0, reason=reason)
        else:
            self._parts[name] = _try(measure)
        self._save(is_complete=False)
        print(
            f"{self.name}: {name}: {self._parts[name].state}. {self._parts[name].reason}", file=sys.stderr, flush=True
        )
        return self.figures(name)

    def finish(self) -> SliceResult:
        return self._save(is_complete=True)

    def _why_not(self, modules: Sequence[str], needs_gpu: bool, minimum_seconds: float) -> str:
        if needs_gpu and self.dry:
            return "needs a GPU"
        if missing := [module for module in modules if not is_importable(module)]:
            return f"not installed: {', '.join(missing)}"
        if minimum_seconds and self.seconds_left < (0 if self.dry else minimum_seconds):
            return f"{max(0, self.seconds_left):.0f} s of the slice's budget left, {minimum_seconds:.0f} s needed"
        return ""

    def _save(self, is_complete: bool) -> SliceResult:
        result = SliceResult(
            self.name,
            self.dry,
            is_complete,
            self._origin,
            self._started_at,
            round(time.monotonic() - self._started, 3),
            {**self._kept, **self._parts},  # a run that ends early must not lose what another measured
        )
        write_result(self._file, result)
        return result


def ratio(one: float | None, other: float | None) -> float | None:
    """None if a figure is missing: a target is never met by a figure that does not exist."""
    return None if one is None or not other else one / other


def is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _try(measure: Callable[[], Figures]) -> Part:
    started = time.monotonic()
    try:
        figures = json.loads(json.dumps(measure()))  # a figure that JSON lacks must not end the slice when it is saved
        return Part("measured", figures=figures, seconds=round(time.monotonic() - started, 3))
    except SkipPart as skipped:
        return Part("skipped", round(time.monotonic() - started, 3), reason=str(skipped))
    except ModuleNotFoundError as error:
        return Part("skipped", round(time.monotonic() - started, 3), reason=f"not installed: {error.name or error}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the file reports it; the next part runs)
        traceback.print_exc()
        reason = f"{type(error).__name__}: {_FOLDERS.sub('', str(error))}"[:_LONGEST_REASON]
        return Part("failed", round(time.monotonic() - started, 3), reason=reason)
