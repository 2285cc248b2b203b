"""The stored result of `fine-tune verifier adapt`: both verifiers on held-out examples, and which one was better."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from fine_tune_assets.core.files import write_text
from fine_tune_assets.judging.judges.planted_errors.own_error_detection import ErrorDetection
from fine_tune_assets.judging.statistics.association import Interval

ADAPTATION_FILE: Final = "adaptation.json"


@dataclass(frozen=True)
class Adaptation:
    verifier: str
    """The trained verifier as `judge.verifier` names it; empty if it was not better, and then it was deleted."""
    test_examples: str
    """Fingerprint of the test examples of the same instruction set; for other ones, adapt again."""
    base: str
    """Version of the verifier that was trained further."""
    trained: str
    """Version of the result, also if it was not kept."""
    training_subjects: int
    held_out_subjects: int
    removed_reports: int
    """Training examples that shared text with an example that measures a verifier or a model."""
    pairs: int
    gain: Interval
    """Of the share of lowered minus raised grades of the same planted errors."""
    before: tuple[ErrorDetection, ...]
    after: tuple[ErrorDetection, ...]
    processor_seconds: int

    @property
    def is_better(self) -> bool:
        return bool(self.verifier)


_DOCUMENT: Final = TypeAdapter(Adaptation)


def write_adaptation(folder: Path, adaptation: Adaptation) -> None:
    write_text(folder / ADAPTATION_FILE, _DOCUMENT.dump_json(adaptation, indent=1).decode("utf-8") + "\n")


def read_adaptation(folder: Path) -> Adaptation | None:
    """None before the first adaptation. Raises ValueError if the file is not one."""
    file = folder / ADAPTATION_FILE
    return _DOCUMENT.validate_json(file.read_bytes()) if file.is_file() else None


def show_kinds(adaptation: Adaptation) -> list[dict[str, Any]]:
    """One row per kind of error: both verifiers' figures, with the end of each interval that speaks against them."""
    after = {one.kind: asdict(one) for one in adaptation.after}
    return [
        {
            "kind": one.kind,
            "cases": one.cases,
            **{
                f"{name}_{when}": _shown(found, name)
                for when, found in (("before", asdict(one)), ("after", after[one.kind]))
                for name in ("lowered", "auroc")
            },
        }
        for one in adaptation.before
    ]


def _shown(found: dict[str, Any], name: str) -> str:
    interval = found[name]
    return "too few" if interval is None else f"{interval['value']:.2f} (from {interval['low']:.2f})"
