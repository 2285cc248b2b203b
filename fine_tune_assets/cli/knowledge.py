"""`fine-tune knowledge`: what answers would rest on."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import click

from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.prompts.retrieval_contract import Passage
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import open_ledger


@click.group()
def knowledge() -> None:
    """The organisation's documents that answers may rest on."""


@knowledge.command()
def check() -> None:
    """Read every document of the knowledge folder, and say which can't be read and why. Changes nothing."""
    from fine_tune_assets.defs.s09_served_models.knowledge import read_documents

    with read_documents(load_settings()) as read:
        for one in read.documents:
            days = f"{one.facts.valid_from or '…'} to {one.facts.valid_to or '…'}"
            click.echo(
                f"{one.source}: {one.facts.title}, version {one.facts.version}, {days}, for {', '.join(one.facts.labels)}"
            )
        for fault in read.unreadable:
            click.echo(f"{fault.source}: not read ({fault.fault.value}). {fault.detail}")
    click.echo(f"{len(read.documents)} documents, {len(read.unreadable)} that can't be read.")
    if read.unreadable:
        raise SystemExit(1)


@knowledge.command()
@click.argument("question")
@click.option(
    "--label", "labels", multiple=True, help="Search as a caller who holds this label too. May be given again."
)
@click.option("--on", "day", type=click.DateTime(["%Y-%m-%d"]), help="Search as on that day; today if absent.")
@click.option("--all", "shows_all", is_flag=True, help="Show passages that are not relevant enough, too.")
def search(question: str, labels: tuple[str, ...], day: datetime | None, shows_all: bool) -> None:
    """Show the passages that an answer to QUESTION would rest on."""
    from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE
    from fine_tune_assets.embeddings.encoder import encoder_version
    from fine_tune_assets.recipes.loader import load_recipe
    from fine_tune_assets.retrieval.question_passages import LiveKnowledge
    from fine_tune_assets.retrieval.search import index_format, retrieve

    settings = load_settings()
    wanted = load_recipe(settings.recipe).retrieval
    with closing(open_ledger(settings.database_url)) as ledger:
        index = LiveKnowledge(settings, ledger).index(index_format(encoder_version()))
        passages = retrieve(
            index,
            question,
            labels={EVERYONE, *labels},
            now=day or datetime.now(UTC),
            limit=wanted.passages,
            minimum_score=0.0 if shows_all else wanted.minimum_score,
        )
    click.echo(f"Index {short(index.fingerprint)}")
    for number, passage in enumerate(passages.found, start=1):
        click.echo(_shown(number, passage))
    if not passages.found:
        click.echo(wanted.nothing_found)


def _shown(number: int, passage: Passage) -> str:
    text = "\n".join(f"    {line}" for line in passage.text.splitlines())
    return (
        f"[{number}] {passage.score:.2f}  {passage.where} ({Path(passage.source)}, version {passage.version})\n{text}"
    )
