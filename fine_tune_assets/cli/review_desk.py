"""What the commands of `fine-tune review` share: the drafts and the queue."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.approval.drafting import correction_authors
from fine_tune_assets.approval.reviewing import refresh_items
from fine_tune_assets.approval.signing import ReviewError
from fine_tune_assets.core.hints import materialize_hint
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.tables import DRAFTED_EXAMPLES, SCRUBBED_CORRECTIONS, conform
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.phi.held_back import HeldBack
from fine_tune_assets.recipes.loading import load_recipe
from fine_tune_assets.recipes.schema import ReviewSettings


@dataclass(frozen=True)
class Desk:
    """What a review needs: the drafts, who wrote the corrections among them, the rules, and the ledger."""

    drafts: pa.Table
    authors: dict[str, str]
    rules: ReviewSettings
    ledger: Ledger
    held: frozenset[str]
    """Ids of the drafts that nobody is shown: somebody marked an identifier that is still in them."""

    def find_draft(self, example_id: str) -> dict[str, Any] | None:
        found = self.drafts.filter(pc.equal(self.drafts.column("example_id"), example_id)).to_pylist()
        return dict(found[0]) if found else None

    def draft(self, example_id: str) -> dict[str, Any]:
        """Raises ReviewError if no draft has this id now, or it is held back."""
        if example_id in self.held:
            raise held_back(example_id)
        found = self.find_draft(example_id)
        if found is None:
            raise ReviewError(f"There is no draft {example_id}. List what waits: `fine-tune review list`.")
        return found

    def shown_drafts(self) -> pa.Table:
        """Without those that are held back."""
        ids = self.drafts.column("example_id")
        return self.drafts.filter(pc.invert(pc.is_in(ids, value_set=pa.array(sorted(self.held), pa.string()))))


def held_back(example_id: str) -> ReviewError:
    return ReviewError(
        f"Example {example_id} is held back: somebody marked an identifier in its report. It comes back by itself when the "
        "report was scrubbed again without it; if a reviewer typed it into a repaired text, when that decision is revoked."
    )


def tell_held_back(count: int, what: str) -> None:
    if count:
        click.echo(f"{count} {what} left out: held back because of a mark (`fine-tune phi marks`)")


def held_drafts(settings: Settings, ledger: Ledger) -> HeldBack:
    return HeldBack(ledger, read_or_create_key(settings.layout.keys, KEY_NAME), settings.layout)


@contextmanager
def open_desk(settings: Settings) -> Iterator[Desk]:
    """The desk of this installation, with its queue brought up to what is drafted now."""
    path = settings.layout.table("drafted_examples")
    if not path.is_file():
        raise ReviewError(f"Nothing was drafted yet. {materialize_hint('drafted_examples')}")
    corrections = settings.layout.table("scrubbed_corrections")
    known = conform(pq.read_table(corrections), SCRUBBED_CORRECTIONS) if corrections.is_file() else None
    authors = correction_authors(known) if known is not None else {}
    drafts, recipe = conform(pq.read_table(path), DRAFTED_EXAMPLES), load_recipe(settings.recipe)
    with closing(open_ledger(settings.database_url)) as ledger:
        desk = Desk(drafts, authors, recipe.review, ledger, held_drafts(settings, ledger).example_ids())
        refresh_items(
            ledger, desk.drafts, recipe.name, recipe.trusted_sources, recipe.review, authors, datetime.now(UTC)
        )
        yield desk


def read_text(path: Path) -> str:
    """Raises ReviewError if the file is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ReviewError(f"{path.name} is not UTF-8 text.") from error
