"""Every call in documentation, comments and messages is valid: the commands, options and assets exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import PROJECT_DIR, Layout
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import UnknownAssetError, select_assets
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.serving.services import known_services
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.dedup_rows import UniqueReport
from fine_tune_assets.tables.instruction_rows import InstructionRow
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.clinical_domain import PACK
from fine_tune_assets_tests.docs.command_calls import Call, all_calls, is_placeholder, modules, what_is_wrong

CALLS = all_calls()


def _assets() -> set[str]:
    return {key.to_user_string() for key in defs.resolve_asset_graph().executable_asset_keys}


def test_every_call_can_be_made() -> None:
    """A quick start that ends with "No such option" is the last thing that a newcomer reads."""
    assert [f"{call.place}: {' '.join(call.words)}: {wrong}" for call in CALLS if (wrong := what_is_wrong(call))] == []


def test_calls_are_found_everywhere() -> None:
    """If a pattern stops matching, its calls are no longer tested."""
    places = {call.place for call in CALLS}
    for place in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/tutorial/first-model.md",
        "docs/reference/generated/commands.md",
        "deploy/systemd/fine-tune-desk.service",
        "fine_tune_assets/recipes/demo_smollm2.yaml",
        "Makefile",
        "fine_tune_assets/core/fingerprints.py",
        "fine_tune_assets/desk/templates/sign_in.html",
    ):
        assert place in places
    assert {call.words[0] for call in CALLS} == {"fine-tune", "make"}


@pytest.mark.parametrize(
    "words",
    [
        ("make", "tset"),
        ("fine-tune", "materialise", "adapters"),
        ("fine-tune", "materialize", "--again", "adapters"),
        ("fine-tune", "plan", "llama3_8b_qlora_24gb", "24"),
        ("fine-tune", "users", "add", "NAME", "--role", "owner"),
        ("fine-tune", "keys", "create", "--scope"),
        ("fine-tune", "phi", "marks", "REPORT_ID"),
        ("fine-tune", "scrub", "--profile", "strict", "FILE"),
        ("fine-tune", "subjects", "erase", "KEY", "--reason", "TEXT", "--by", "NAME"),
        ("fine-tune", "subjects", "reset"),
        ("fine-tune", "completion", "powershell"),
    ],
)
def test_a_call_that_fails_is_found(words: tuple[str, ...]) -> None:
    """The test above must be able to fail: unknown targets, commands, options, values, and arguments too many."""
    assert what_is_wrong(Call("here", words, is_whole=True))


def test_a_call_in_a_shell_block_needs_all_of_its_arguments() -> None:
    """In running text the command's name is enough."""
    words = ("fine-tune", "subjects", "erase")
    assert what_is_wrong(Call("here", words, is_whole=True))
    assert not what_is_wrong(Call("here", words, is_whole=False))


def test_every_asset_that_is_to_be_materialized_exists() -> None:
    """Dagster's selection syntax included. An asset that was renamed remains in the hints."""
    named = {
        (call.place, word)
        for call in CALLS
        if call.words[:2] == ("fine-tune", "materialize")
        for word in call.words[2:]
        if not word.startswith("-") and not is_placeholder(word)
    }
    assert len(named) > 10
    assert {"+promotion_verdicts", "adapters+"} <= {word for _, word in named}
    assert [found for found in sorted(named) if not _is_selection(found[1])] == []


@pytest.mark.parametrize("selection", ["+adapter", "adapters++ or", "group:nothing", "materialise"])
def test_a_selection_that_matches_no_asset_is_found(selection: str) -> None:
    """The test above must be able to fail."""
    assert not _is_selection(selection)


def _is_selection(word: str) -> bool:
    try:
        return bool(select_assets(defs, [word]))
    except UnknownAssetError:
        return False


def test_every_service_that_is_to_be_started_exists() -> None:
    known = set(known_services(Settings()))
    named = {
        (call.place, word)
        for call in CALLS
        if call.words[:1] == ("fine-tune",) and call.words[1:2] in (("up",), ("down",))
        for word in call.words[2:]
        if not is_placeholder(word)
    }
    assert [found for found in sorted(named) if found[1] not in known] == []


def _hints() -> Iterator[tuple[str, str]]:
    for place, nodes in modules().items():
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "materialize_hint":
                yield from (
                    (place, argument.value)
                    for argument in node.args
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                )


def test_every_hint_of_an_error_names_an_asset_that_exists() -> None:
    """Some 50 messages say what to materialize."""
    found = list(_hints())
    assert len(found) > 40
    assert [hint for hint in found if hint[1] not in _assets()] == []


def test_a_hint_is_a_command_for_each_asset_in_turn() -> None:
    """What the second one needs of the first has to be there."""
    commands = re.findall(r"`([^`]+)`", materialize_hint("instruction_sets", "adapters"))
    assert commands == ["fine-tune materialize instruction_sets", "fine-tune materialize adapters"]
    for command in (*commands, *re.findall(r"`([^`]+)`", materialize_hint())):
        assert not what_is_wrong(Call("here", tuple(command.split()), is_whole=True))


def test_no_message_says_to_materialize_without_the_command() -> None:
    """ "Materialize X again" left the reader to find out how; one function words it."""
    wordless = re.compile(r"\b[Mm]ateriali[sz]e [a-z_]+( again| first|\.|;)")
    assert [(place, text) for place, text in _literals() if wordless.search(text) and "fine-tune" not in text] == []


def test_commands_in_messages_are_in_backticks() -> None:
    """So that it is seen, and tested above. Docstrings aside, and lines that are a command as a whole."""
    bare = re.compile(r"(?<![/`])\bfine-tune [a-z]")
    assert [(place, text) for place, text in _literals() if bare.search(re.sub(r"`[^`]*`?", "", text))] == []


def _literals() -> Iterator[tuple[str, str]]:
    for place, nodes in modules().items():
        yield from ((place, n.value) for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


def test_the_tutorial_finds_the_correction_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last query, word for word. A correction has the recipe's task with its instruction: a filter by task found none."""
    recipe = load_recipe("demo_smollm2")
    text = (PROJECT_DIR / "docs/tutorial/first-model.md").read_text(encoding="utf-8")
    (sent,) = re.findall(r"\\\"instruction\\\": \\\"([^\\]+)\\\"", text)
    correction = dict.fromkeys(ScrubbedCorrection.SCHEMA.names) | {
        "correction_id": "c1", "release_id": "r1", "author": "demo", "subject_key": "p",
        "instruction": sent, "input": "DIALOGUE", "output": "Allergic to penicillin.",
    }  # fmt: skip
    corrections = table_from_rows([correction], ScrubbedCorrection.SCHEMA)
    drafted = draft_examples(UniqueReport.SCHEMA.empty_table(), corrections, recipe.tasks, pack=PACK)
    ((source, task),) = zip(drafted["source"].to_pylist(), drafted["task"].to_pylist(), strict=True)
    row = {
        "example_id": "e1",
        "split": "train",
        "line": "a-line",
        "source": source,
        "task": task,
        "subject_key": "p",
        "is_general": False,
    }
    row |= {"messages": [{"role": "user", "content": "x"}], "fingerprint": "f"}
    write_table(Layout(tmp_path / "data").table("instruction_sets"), table_from_rows([row], InstructionRow.SCHEMA))
    monkeypatch.chdir(tmp_path)
    (query,) = re.findall(r"duckdb\.sql\(\\\"(.+)\\\"\)\.show", text)
    assert duckdb.sql(query).fetchall() == [("e1", "train", task)]


def test_the_images_of_the_readme_are_small() -> None:
    """It is read over slow lines; `make screenshots` fails above this size."""
    images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (PROJECT_DIR / "README.md").read_text(encoding="utf-8"))
    assert len(images) == 2
    assert [image for image in images if (PROJECT_DIR / image).stat().st_size > 300_000] == []
