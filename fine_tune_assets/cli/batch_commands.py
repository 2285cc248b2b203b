"""`fine-tune batch check`: read a batch folder as stage 1 would, and store nothing."""

import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from fine_tune_assets.cli.output import json_option, show_json
from fine_tune_assets.core.keys import KEY_BYTES

_SHOWN_PLACES = 3


@click.group()
def batch() -> None:
    """Check a batch of reports."""


@batch.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--recipe", "named", metavar="RECIPE", help="Recipe to read for; default: the active one.")
@json_option
def check(folder: Path, named: str | None, is_json: bool) -> None:
    """Check which reports of a batch can be read.

    Reads FOLDER as stage 1 would and stores nothing. The recipe's domain pack decides which kinds of identifiers are known. Lists
    unreadable files and records by reason, and files with reports that are not in English. The exit status is 1 if a file or
    record is unreadable.
    """
    from fine_tune_assets.core.settings import load_settings
    from fine_tune_assets.recipes.domain_packs import load_pack
    from fine_tune_assets.recipes.loader import load_recipe
    from fine_tune_assets.reports.archives import ReadLimits
    from fine_tune_assets.reports.batch_reader import read_batch
    from fine_tune_assets.reports.batches import is_batch_name, remove_unfinished_ending

    name = remove_unfinished_ending(folder.resolve().name)
    recipe = load_recipe(named or load_settings().recipe)
    if not is_json:
        click.echo(f"Recipe {recipe.name}, domain {recipe.domain}. For another, use --recipe or set FINE_TUNE_RECIPE.")
    result = read_batch(
        folder,
        name,
        secrets.token_bytes(KEY_BYTES),
        ReadLimits(),
        is_subject_required=recipe.reports_without_subject == "refuse",
        own_kinds=load_pack(recipe.domain).pack.own_kinds,
    )
    counts = result.file_counts
    unreadable = [
        {name: row[name] for name in ("origin_file", "record", "reason", "detail")}
        for row in result.unreadable.to_pylist()
    ]
    languages = [
        {"origin_file": file, "language": language, "reports": count}
        for (file, language), count in _count_by_file(result.reports.select(["origin_file", "text"]).to_pylist())
    ]
    found = {
        "batch": name,
        "recipe": recipe.name,
        "domain": recipe.domain,
        "is_valid_name": is_batch_name(name),
        "reports": result.reports.num_rows,
        "subjects": len(set(result.reports.column("subject_key").to_pylist())),
        "files": counts.files,
        "files_read": counts.files_read,
        "files_unreadable": counts.files_unreadable,
        "records_unreadable": sum(row["record"] is not None for row in unreadable),
        "files_ignored": dict(Counter(reason.value for reason in result.ignored.values())),
        "unreadable": unreadable,
        "not_english": languages,
    }
    if is_json:
        show_json(found)
    else:
        _print_check(found)
        if found["is_valid_name"] and name != folder.resolve().name:
            click.echo(f"The folder is read once it is renamed to {name}.")
    if unreadable or not found["is_valid_name"]:
        raise SystemExit(1)


def _print_check(found: Mapping[str, Any]) -> None:
    from fine_tune_assets.claims.languages import LIMIT
    from fine_tune_assets.reports.batches import IgnoreReason

    for line in _group_faults(found["unreadable"]):
        click.echo(line)
    for row in found["not_english"]:
        click.echo(f"{row['origin_file']}: {row['reports']} not in English ({row['language']}).")
    if found["not_english"]:
        click.echo(LIMIT)
    ignored = dict(found["files_ignored"])
    metadata = ignored.pop(IgnoreReason.SIDECAR, 0) + ignored.pop(IgnoreReason.BATCH_FILE, 0)
    other = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(ignored.items()))
    click.echo(
        f"{found['reports']} reports of {found['subjects']} subjects in {found['files_read']} of {found['files']} files; "
        f"{found['files_unreadable']} files and {found['records_unreadable']} records unreadable, {metadata} metadata files, "
        f"{sum(ignored.values())} ignored{f' ({other})' if other else ''}."
    )
    if not found["is_valid_name"]:
        click.echo(
            f"Rename the folder before you move it to data/raw_reports: {found['batch']} is not a valid batch name."
        )


def _group_faults(unreadable: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each fault, with the first places that have it."""
    places = defaultdict[tuple[str, str], list[str]](list)
    for row in unreadable:
        record = "" if row["record"] is None else f", record {row['record']}"
        places[row["reason"], row["detail"]].append(f"{row['origin_file']}{record}")
    lines = []
    for (reason, detail), found in places.items():
        rest = f"; and {len(found) - _SHOWN_PLACES} more" if len(found) > _SHOWN_PLACES else ""
        lines.append(f"{'; '.join(found[:_SHOWN_PLACES])}{rest}: {reason}. {detail}".rstrip())
    return lines


def _count_by_file(reports: Iterable[Mapping[str, str]]) -> list[tuple[tuple[str, str], int]]:
    """(File, language) and the number of reports in that language, without English."""
    from fine_tune_assets.claims.languages import find_other_language

    found = ((row["origin_file"], find_other_language(row["text"])) for row in reports)
    return sorted(Counter((file, language) for file, language in found if language).items())
