"""The weights of the parts of completeness: word overlap and readings.

Those of the shipped verifier come with the package. For every other reader, `judge_agreement` fits them on half of the rated
dialogues and stores them in a file of the reader's own; the other half measures the judge.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_json

SHIPPED_FILE: Final = Path(__file__).with_name("judge_weights.json")
"""Written by `weights_fit`."""


@dataclass(frozen=True)
class JudgeWeights:
    """They sum to 1."""

    completeness: Mapping[str, float]
    """Of `formula` (word overlap), `least` and `mean` (support of the reference's statements)."""

    @property
    def facts(self) -> dict[str, Any]:
        """For the judge's version."""
        return {"completeness": dict(self.completeness)}


def reader_key(identity: Mapping[str, Any]) -> str:
    return fingerprint_json(dict(identity))


@cache
def shipped_weights() -> JudgeWeights:
    return _read(SHIPPED_FILE)


def is_shipped_reader(identity: Mapping[str, Any]) -> bool:
    """Whether the shipped weights were fitted for this reader."""
    return bool(json.loads(SHIPPED_FILE.read_text(encoding="utf-8"))["reader"] == reader_key(identity))


def find_weights(folder: Path, identity: Mapping[str, Any]) -> JudgeWeights:
    """The weights fitted for this reader; the shipped ones until they are."""
    file = _file(folder, identity)
    return _read(file) if file.is_file() else shipped_weights()


def store_weights(folder: Path, identity: Mapping[str, Any], weights: JudgeWeights) -> None:
    write_weights(_file(folder, identity), weights, {})


def write_weights(file: Path, weights: JudgeWeights, facts: Mapping[str, Any]) -> None:
    write_text(file, json.dumps({**facts, **asdict(weights)}, indent=1) + "\n")


def _file(folder: Path, identity: Mapping[str, Any]) -> Path:
    return folder / f"{reader_key(identity)}.json"


def _read(file: Path) -> JudgeWeights:
    found = json.loads(file.read_text(encoding="utf-8"))
    return JudgeWeights(found["completeness"])
