"""Prints the drafts and unnamed headings of `fine-tune recipe check --drafts`, which are text of reports."""

from itertools import groupby
from typing import Any

import click

from fine_tune_assets.approval.preview_examples import INSIDE, DraftExample, SectionEnd
from fine_tune_assets.approval.recipe_preview import Preview

_MAX_SHOWN = 20
_SHOWN_CHARACTERS = 160
"""Of an input or output: half from its beginning, half from its end, which shows whether the section ran on."""


def describe_examples(preview: Preview) -> dict[str, Any]:
    """The part of the command's JSON."""
    return {
        "headings": [
            {
                "heading": one.heading,
                "reports": one.reports,
                "share": round(one.reports / preview.reports, 3),
                "evidence": one.evidence,
            }
            for one in preview.unnamed_headings
        ],
        "shared_ends": [
            {"task": one.task, "line": _shorten(line), "drafts": count}
            for one in preview.run_on_outputs
            for line, count in one.shared_ends
        ],
        "draft_examples": [
            {
                "task": one.task,
                "source": one.source,
                "report": one.report_id,
                "input": _shorten(one.input),
                "output": _shorten(one.output),
                "flags": list(one.flags),
                "sections": [vars(end) for end in one.sections],
            }
            for one in preview.examples
        ],
    }


def print_unnamed_headings(preview: Preview) -> None:
    if not preview.unnamed_headings:
        return
    click.echo(
        "\nHeadings that no setting names (to use one, name it in a task; to end a section, in other_headings of the task)"
    )
    for one in preview.unnamed_headings[:_MAX_SHOWN]:
        effect = "stays inside its section" if one.evidence == INSIDE else f"ends a section: {one.evidence}"
        click.echo(f"  {one.reports / preview.reports:>6.1%}  {_shorten(one.heading)} ({effect})")
    if len(preview.unnamed_headings) > _MAX_SHOWN:
        click.echo(f"  and {len(preview.unnamed_headings) - _MAX_SHOWN} more")


def print_shared_ends(preview: Preview) -> None:
    for one in preview.run_on_outputs:
        if one.shared_ends:
            click.echo(f"\nLines with which many outputs of {one.task} end")
        for line, count in one.shared_ends[:_MAX_SHOWN]:
            click.echo(f"  {count / one.drafts:>6.1%}  {_shorten(line)}")


def print_examples(preview: Preview) -> None:
    for (task, source), examples in groupby(preview.examples, lambda one: (one.task, one.source)):
        click.echo(f"\nDrafts of {task}, source {source}")
        for example in examples:
            _print_example(example)


def _print_example(example: DraftExample) -> None:
    click.echo(f"  {example.report_id}")
    for name, text in (("input", example.input), ("output", example.output)):
        click.echo(f"    {name}: {_shorten(text)} ({len(text.split())} words)")
    for end in example.sections:
        click.echo(f"    {end.heading} ends at {_describe_end(end)}")
    for flag in example.flags:
        click.echo(f"    flag: {flag}")


def _describe_end(end: SectionEnd) -> str:
    if end.ended_by is None:
        return "the end of the report"
    doubt = "" if end.is_certain else ", uncertain"
    return f"{_shorten(end.ended_by)} ({end.evidence}{doubt})"


def _shorten(text: str) -> str:
    """Printable text in one line: terminals obey control characters."""
    plain = "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))
    half = _SHOWN_CHARACTERS // 2
    return plain if len(plain) <= _SHOWN_CHARACTERS else f"{plain[:half]} … {plain[-half:]}"
