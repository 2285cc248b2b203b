"""The components of the desk's pages: what each macro renders, and that the documentation describes each."""

import re
from pathlib import Path

import pytest
from jinja2 import Environment

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.desk.readable_names import Name
from fine_tune_assets.desk.templating import make_environment

DOCUMENTATION = (PROJECT_DIR / "docs" / "reference" / "desk-components.md").read_text(encoding="utf-8")
TEMPLATES = Path(make_environment().loader.searchpath[0])  # type: ignore[union-attr]
FINGERPRINT = "0123456789abcdef" * 4
KNOWN, UNKNOWN = Name(FINGERPRINT, "Adapter 3 · SmolLM2 · 28 Nov"), Name(FINGERPRINT)
CALLS = {
    "badge": '{{ badge("promote") }}{{ badge("negation not in input", "warn") }}',
    "named": '{{ named(known) }}{{ named(unknown, "/x") }}{{ named(known, full=true) }}',
    "page_head": '{{ page_head("Verdicts", "Newest first.") }}{% call page_head(named(known), back="/v", back_label="Verdicts")'
    " %}<b>x</b>{% endcall %}",
    "empty": '{% call empty("No verdicts") %}They appear here.{% endcall %}',
    "facts": '{{ facts([("Adapter", named(known)), ("Source", "a < b")]) }}',
    "listing": '{% call listing("Batches", {"Batch": "", "Reports": "number"}, wide=true) %}<tr></tr>{% endcall %}',
    "pager": '{{ pager("More", [("Older", false), ("Newest", "/v")]) }}',
    "code_text": '{{ code_text("Run `fine-tune status`, a < b.") }}',
    "contents": '{{ contents([("reasons", "Reasons"), none]) }}',
}


@pytest.fixture
def environment() -> Environment:
    return make_environment()


def render(environment: Environment, name: str) -> str:
    source = f'{{% from "components.html" import named, {name} %}}{CALLS[name]}'
    return environment.from_string(source).render(known=KNOWN, unknown=UNKNOWN)


def list_macros() -> list[str]:
    return re.findall(r"{% macro (\w+)\(", (TEMPLATES / "components.html").read_text(encoding="utf-8"))


def test_every_component_is_rendered_here_and_described_in_the_documentation() -> None:
    """Otherwise it is not found, and written a second time."""
    assert set(list_macros()) == set(CALLS)
    for name in list_macros():
        assert f"{name}(" in DOCUMENTATION, name


@pytest.mark.parametrize("name", CALLS)
def test_components_contain_no_style_or_script(environment: Environment, name: str) -> None:
    """The content policy would refuse it."""
    shown = render(environment, name)
    assert shown.strip()
    assert not re.search(r"\sstyle=|<style|<script|\son\w+=", shown)


def test_badges_are_in_sentence_case_with_the_colour_of_their_word(environment: Environment) -> None:
    assert render(environment, "badge") == (
        '<span class="tag good">Promote</span><span class="tag warn">Negation not in input</span>'
    )


def test_a_name_has_its_short_fingerprint_next_to_it(environment: Environment) -> None:
    """It can be copied and searched for; the whole fingerprint is in its title."""
    shown = render(environment, "named")
    assert shown.count("Adapter 3 · SmolLM2 · 28 Nov") == 2
    assert shown.count(f">{FINGERPRINT[:16]}<") == 2
    assert f'title="{FINGERPRINT}">{FINGERPRINT[:16]}<' in shown
    assert f'<a class="id" href="/x">{FINGERPRINT[:16]}</a>' in shown
    assert f'<span class="id dim">{FINGERPRINT}</span>' in shown


def test_values_are_escaped_and_entries_without_address_are_skipped(environment: Environment) -> None:
    assert "a &lt; b" in render(environment, "facts")
    assert "Older" not in render(environment, "pager")
    assert render(environment, "contents").count("<li>") == 1


def test_cells_of_tables_repeat_their_column() -> None:
    """As cards, tables have no head. The labels of a row are the columns of its table, in order."""
    for path in sorted(TEMPLATES.glob("*.html")):
        source = path.read_text(encoding="utf-8")
        for columns, body in re.findall(r"{% call listing\([^{]+({[^}]+}).*?%}(.*?){% endcall %}", source, re.DOTALL):
            named_columns = re.findall(r'"?([^",{}]+)"?: "\w*"', columns)[1:]
            labels = re.findall(r'data-label="([^"]+)"', body)
            assert labels == [column.strip() for column in named_columns] or "cells(found)" in body, path.name
