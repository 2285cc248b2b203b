"""`fine-tune knowledge`: check the documents for cited answers, and search them."""

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime

import click

from fine_tune_assets.cli.output import json_option, show_json, show_rows
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.prompts.retrieval_contract import Passage
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.ledger.database import open_ledger


@click.group()
def knowledge() -> None:
    """Check and search documents for answers."""


@knowledge.command()
@json_option
def check(is_json: bool) -> None:
    """Check which documents can be read.

    Reads every document of the knowledge folder and changes nothing. The exit status is 1 if one is unreadable.
    """
    from fine_tune_assets.defs.s01_raw_reports.knowledge_documents import read_documents

    with read_documents(load_settings()) as read:
        rows = [
            {
                "source": one.source,
                "title": one.metadata.title,
                "version": one.metadata.version,
                "valid_from": one.metadata.valid_from,
                "valid_to": one.metadata.valid_to,
                "labels": one.metadata.labels,
                "error": "",
            }
            for one in read.documents
        ]
        rows += [{"source": one.source, "error": f"{one.fault.value}: {one.detail}"} for one in read.unreadable]
    names = ("source", "title", "version", "valid_from", "valid_to", "labels", "error")
    show_rows(rows, {name: name.replace("_", " ") for name in names}, is_json=is_json)
    if not is_json:
        click.echo(f"{len(read.documents)} documents, {len(read.unreadable)} unreadable.")
    if read.unreadable:
        raise SystemExit(1)


@knowledge.command()
@click.argument("question")
@click.option("--label", "labels", multiple=True, help="Access label of the caller; repeatable.")
@click.option("--on", "day", type=click.DateTime(["%Y-%m-%d"]), help="Validity date; default: today.")
@click.option("--all", "includes_irrelevant", is_flag=True, help="Include passages below the minimum score.")
@json_option
def search(
    question: str, labels: tuple[str, ...], day: datetime | None, includes_irrelevant: bool, is_json: bool
) -> None:
    """Search the passages for a question."""
    from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE
    from fine_tune_assets.embeddings.encoder import encoder_version
    from fine_tune_assets.recipes.loader import load_recipe
    from fine_tune_assets.retrieval.retriever import Retriever
    from fine_tune_assets.retrieval.search import index_format, retrieve

    settings = load_settings()
    wanted = load_recipe(settings.recipe).retrieval
    with closing(open_ledger(settings)) as ledger:
        index = Retriever(settings, ledger).open_live_index(index_format(encoder_version()))
        passages = retrieve(
            index,
            question,
            labels={EVERYONE, *labels},
            now=day or datetime.now(UTC),
            limit=wanted.passages,
            minimum_score=0.0 if includes_irrelevant else wanted.minimum_score,
        )
    if is_json:
        show_json({"index": index.fingerprint, "passages": [asdict(passage) for passage in passages.passages]})
        return
    click.echo(f"Index {short(index.fingerprint)}")
    for number, passage in enumerate(passages.passages, start=1):
        click.echo(_shown(number, passage))
    if not passages.passages:
        click.echo(wanted.nothing_found)


def _shown(number: int, passage: Passage) -> str:
    text = "\n".join(f"    {line}" for line in passage.text.splitlines())
    return f"[{number}] {passage.score:.2f}  {passage.breadcrumb} ({passage.source}, version {passage.version})\n{text}"
