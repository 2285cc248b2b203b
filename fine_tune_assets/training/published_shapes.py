"""Shapes of the base models that the shipped recipes name, to plan with before a model is here: published facts, no weights.

Owns reading them. A plan from a shape is for people; a training is planned from the model itself (`training/__main__.py`).
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.paths import PACKAGE_DIR

_FILE = PACKAGE_DIR / "training" / "published_shapes.json"


@dataclass(frozen=True)
class PublishedShape:
    model: str
    source: str
    config: dict[str, Any]
    """The keys of config.json that decide what a training step holds."""


def published_shapes() -> dict[str, PublishedShape]:
    """Name of the base model, as recipes have it → its shape."""
    read = json.loads(_FILE.read_text(encoding="utf-8"))
    return {name: PublishedShape(name, known["source"], known["config"]) for name, known in read.items()}


@contextmanager
def shape_folder(shape: PublishedShape) -> Iterator[Path]:
    """A folder with the shape's config.json, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "config.json").write_text(json.dumps(shape.config), encoding="utf-8")
        yield Path(scratch)
