"""`fine-tune scrub`: remove identifiers from text files. Needs no installation.

Without an installation, surrogates are made with a random key that is not stored.
"""

import datetime
import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console
from rich.progress import Progress as Bar

from fine_tune_assets.claims.languages import LIMIT, find_other_language
from fine_tune_assets.cli.document_input import OUTPUT, Document, is_json_lines, read_documents
from fine_tune_assets.core.errors import ScrubberError
from fine_tune_assets.core.keys import KEY_BYTES, read_key
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.phi.replacement.profiles import Profile, ProfileName
from fine_tune_assets.phi.replacement.surrogates import Surrogates, build_corpus_lookup, hash_corpus_values
from fine_tune_assets.phi.scrub_workers import open_workers
from fine_tune_assets.phi.scrubber import NOT_SCRUBBED, ScrubbedText
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.quantities.dates import DateReader
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import ScrubberSettings

_BATCH_DOCUMENTS = 256
_MAX_LISTED = 5


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--spans", "form", flag_value="spans", help="Positions of identifiers as JSON.")
@click.option("--surrogates", "form", flag_value="surrogates", help="Replace identifiers with invented values.")
@click.option(
    "--tagged", "form", flag_value="tagged", default="tagged", help="Replace identifiers with [KIND]; the default."
)
@click.option(
    "--profile",
    type=click.Choice(["safe_harbor", "limited_dataset"]),
    help="For --surrogates; default: the recipe's.",
)
@click.option("--domain", metavar="PACK", help="Domain pack; default: the recipe's.")
@OUTPUT
def scrub(files: tuple[Path, ...], form: str, profile: ProfileName | None, domain: str | None, output: IO[str]) -> None:
    """Remove identifiers from text files or JSONL.

    FILES are text, or JSONL with `id` and `text`; `-` is standard input. One text file gives plain text; several, or JSONL, give
    JSONL with `id` and `text`.
    """
    settings = load_recipe(load_settings().recipe).scrubber
    settings = replace(settings, profile=profile or settings.profile, domain=domain or settings.domain)
    documents = [document for file in files for document in read_documents(file)]
    is_plain = len(files) == 1 and not is_json_lines(files[0]) and form != "spans"
    _warn_of_languages(documents)
    found = _find(documents, settings)
    failed = [str(d["id"]) for d, f in zip(documents, found, strict=True) if NOT_SCRUBBED in f.residual_phi]
    documents = [d for d, f in zip(documents, found, strict=True) if NOT_SCRUBBED not in f.residual_phi]
    found = [f for f in found if NOT_SCRUBBED not in f.residual_phi]
    if form == "spans":
        results = [{"id": d["id"], "spans": [_span(s) for s in f.spans]} for d, f in zip(documents, found, strict=True)]
    else:
        texts = _with_surrogates(documents, found, settings) if form == "surrogates" else [f.text for f in found]
        results = [{"id": d["id"], "text": text} for d, text in zip(documents, texts, strict=True)]
    for result in results:
        output.write(str(result["text"]) if is_plain else json.dumps(result, ensure_ascii=False) + "\n")
    if failed:
        raise ScrubberError(
            f"Not scrubbed, since the text takes too much time or memory: {', '.join(failed)}. Shorten it."
        )


def _warn_of_languages(documents: Sequence[Document]) -> None:
    """On standard error, since the output may go to a file."""
    languages = {str(d["id"]): language for d in documents if (language := find_other_language(d["text"]))}
    if not languages:
        return
    named = [f"{document_id} ({language})" for document_id, language in islice(languages.items(), _MAX_LISTED)]
    more = f" and {len(languages) - len(named)} more" if len(languages) > len(named) else ""
    click.echo(f"Warning: not in English: {', '.join(named)}{more}. {LIMIT}", err=True)


def _find(documents: Sequence[Document], settings: ScrubberSettings) -> list[ScrubbedText]:
    found: list[ScrubbedText] = []
    with open_workers(settings, len(documents)) as workers, Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Scrubbing", total=len(documents))
        for start in range(0, len(documents), _BATCH_DOCUMENTS):
            part = documents[start : start + _BATCH_DOCUMENTS]
            found += workers.scrub([(document["text"], ()) for document in part])
            bar.advance(task, len(part))
    return found


def _with_surrogates(
    documents: Sequence[Document], found: Sequence[ScrubbedText], settings: ScrubberSettings
) -> list[str]:
    """A surrogate must not equal a value in any document, so all documents are read first."""
    secret = _secret()
    pairs = list(zip(documents, found, strict=True))
    values = frozenset().union(*(hash_corpus_values(d["text"], f.spans, secret) for d, f in pairs))
    profile = Profile(settings.profile, settings.shift_dates)
    reader = DateReader(datetime.date.today().year, settings.day_first_dates)
    surrogates = Surrogates(
        secret,
        profile,
        reader,
        build_corpus_lookup(secret, values),
        load_pack(settings.domain).pack.own_kinds,
    )
    return [surrogates.replace(d["text"], f.spans, str(d.get("subject", d["id"]))).text for d, f in pairs]


def _secret() -> bytes:
    """The installation's key, so that surrogates match the asset graph's; without one, a random key."""
    path = load_settings().subject_keys / "subjects.key"
    return read_key(path) if path.is_file() else secrets.token_bytes(KEY_BYTES)


def _span(span: Span) -> dict[str, Any]:
    return {name: getattr(span, name) for name in ("start", "end", "label", "recognizer", "score")}
