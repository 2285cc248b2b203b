"""`fine-tune lines`, and the commands that work on several product lines."""

import ast
import json
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.service_commands import start_lines
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import PREFIX, Settings, list_lines, load_settings, select_line, use_settings
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key, list_keys
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, list_erased_subjects, list_erasures, record_erasure
from fine_tune_assets.recipes.domain_packs import load_pack, shipped_packs
from fine_tune_assets.recipes.loader import load_line_recipe

SUBJECT = "5" * 64
RECIPE = PROJECT_DIR / "fine_tune_assets" / "recipes" / "law_contracts.yaml"


def _run(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)], env={f"{PREFIX}LINE": ""})


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path / "d"))
    return load_settings()


def test_an_added_line_is_listed_with_its_recipe(settings: Settings) -> None:
    assert _run("lines", "add", "law", "--recipe", "law_contracts").exit_code == 0
    rows = json.loads(_run("lines", "list", "--json").stdout)
    assert [(row["line"], row["recipe"], row["problem"]) for row in rows] == [
        ("main", settings.recipe, ""),
        ("law", "law_contracts", ""),
    ]


def test_the_path_of_a_recipe_does_not_depend_on_the_folder_of_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service is started elsewhere."""
    monkeypatch.chdir(RECIPE.parent)
    assert _run("lines", "add", "law", "--recipe", RECIPE.name).exit_code == 0
    assert select_line(settings, "law").recipe == str(RECIPE)


def test_a_line_with_a_faulty_recipe_is_not_created(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "faulty.yaml").write_text("name: x\n", encoding="utf-8")
    assert _run("lines", "add", "law", "--recipe", tmp_path / "faulty.yaml").exit_code == 1
    assert list_lines(settings) == ()


def test_a_line_that_is_added_after_an_erasure_knows_it(settings: Settings) -> None:
    """With --reports-of it would otherwise read the erased subject again, from files that are shared with other subjects."""
    with closing(open_ledger(settings)) as ledger:
        record_erasure(ledger, subject_key=SUBJECT, by="Operator", reason="case 7", ids=SubjectIds())
    assert _run("lines", "add", "law", "--recipe", "law_contracts", "--reports-of", "main").exit_code == 0
    with closing(open_ledger(select_line(settings, "law"))) as ledger:
        assert list_erased_subjects(ledger) == {SUBJECT}
        assert [one.is_finished for one in list_erasures(ledger)] == [True]


def test_a_key_of_another_line_is_accepted_rotated_and_revoked_in_both(settings: Settings) -> None:
    _run("lines", "add", "law", "--recipe", "law_contracts")
    with closing(open_ledger(settings)) as ledger:
        made = create_key(ledger, "application", ["chat"])
    assert _run("--line", "law", "keys", "accept", made.key_id).exit_code == 0
    assert _run("--line", "law", "keys", "accept", "0" * 12).exit_code == 1
    rotated = _run("keys", "rotate", made.key_id)
    assert rotated.exit_code == 0
    assert rotated.stdout.strip().startswith(f"fta_{made.key_id}_")
    assert _run("keys", "revoke", made.key_id).exit_code == 0
    for line in ("", "law"):
        with closing(open_ledger(select_line(settings, line))) as ledger:
            (key,) = list_keys(ledger)
            assert key.revoked_at is not None
            actions = [entry.action for entry in audit.list_entries(ledger) if entry.resource == made.key_id]
            assert actions[1:] == ["rotated API key", "revoked API key"]


def test_a_line_that_can_t_be_opened_does_not_keep_a_key_from_being_revoked(settings: Settings) -> None:
    """And the new secret of a rotation is printed before other lines are opened."""
    with closing(open_ledger(settings)) as ledger:
        made = create_key(ledger, "application", ["chat"])
    broken = settings.layout.lines / "broken"
    broken.mkdir(parents=True)
    (broken / "line.yaml").write_text("port: 1\n", encoding="utf-8")
    rotated = _run("keys", "rotate", made.key_id)
    assert (rotated.exit_code, f"fta_{made.key_id}_" in rotated.stdout) == (0, True)
    revoked = _run("keys", "revoke", made.key_id)
    assert revoked.exit_code == 0
    assert "broken" in revoked.stderr


def test_services_that_all_lines_share_are_not_started_for_one(settings: Settings) -> None:
    _run("lines", "add", "law", "--recipe", "law_contracts")
    refused = _run("--line", "law", "up", "gateway")
    assert refused.exit_code == 1
    assert "without --line" in refused.stderr
    assert settings.line == ""


def _write_own_pack(settings: Settings, folder: str = "packs/claims") -> Path:
    """A pack in the installation's data folder, and a recipe that names it."""
    shutil.copytree(shipped_packs()["law"], settings.data_dir / folder)
    text = RECIPE.read_text(encoding="utf-8").replace("domain: law ", f"domain: {folder} ")
    file = settings.data_dir / "claims.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_line_uses_a_pack_of_the_installation(settings: Settings) -> None:
    """The loader searched the line's own folder, which never contains the pack, and no command reported that."""
    recipe = _write_own_pack(settings)
    assert _run("lines", "add", "claims", "--recipe", recipe).exit_code == 0
    line = select_line(settings, "claims")
    assert load_line_recipe(line).domain == "packs/claims"
    checked = _run("--line", "claims", "recipe", "check", recipe)
    assert "valid" in checked.stdout
    assert _run("lines", "list").exit_code == 0


def test_lines_read_one_copy_of_a_pack(settings: Settings) -> None:
    """A copy in a line's folder would be a second truth under the same name."""
    recipe = _write_own_pack(settings)
    _run("lines", "add", "claims", "--recipe", recipe)
    shutil.copytree(settings.data_dir / "packs", settings.layout.lines / "claims" / "packs")
    with use_settings(select_line(settings, "claims")):
        assert load_pack("packs/claims").folder == settings.data_dir / "packs" / "claims"


@pytest.mark.parametrize("fault", ["missing", "invalid"])
def test_a_line_whose_pack_can_t_be_loaded_is_not_created(settings: Settings, fault: str) -> None:
    recipe = _write_own_pack(settings)
    _break_pack(settings, fault)
    refused = _run("lines", "add", "claims", "--recipe", recipe)
    assert (refused.exit_code, "packs/claims" in refused.stderr) == (1, True)
    assert list_lines(settings) == ()


def _break_pack(settings: Settings, fault: str) -> None:
    file = settings.data_dir / "packs" / "claims" / "pack.yaml"
    if fault == "missing":
        file.unlink()
    else:
        file.write_text("description: [", encoding="utf-8")


@pytest.mark.parametrize("fault", ["missing", "invalid"])
def test_a_line_whose_pack_was_broken_later_is_listed_with_the_problem(settings: Settings, fault: str) -> None:
    """It was called healthy, while each of its assets failed."""
    recipe = _write_own_pack(settings)
    assert _run("lines", "add", "claims", "--recipe", recipe).exit_code == 0
    _break_pack(settings, fault)
    listed = _run("lines", "list", "--json")
    problems = {row["line"]: row["problem"] for row in json.loads(listed.stdout)}
    assert (listed.exit_code, problems["main"], "packs/claims" in problems["claims"]) == (1, "", True)


def test_services_of_a_line_that_can_t_load_its_recipe_are_not_started(settings: Settings) -> None:
    recipe = _write_own_pack(settings)
    assert _run("lines", "add", "claims", "--recipe", recipe).exit_code == 0
    recipe.write_text("name: x\n", encoding="utf-8")
    assert start_lines(settings) == ["claims"]
    assert not list((settings.layout.lines / "claims" / "run").glob("*.pid"))


_IN_HINT = re.compile(r"`fine-tune (?P<words>[^`]*)`")
_REPRESENTATIVE = (
    ("status",),
    ("doctor",),
    ("users", "list"),
    ("keys", "list"),
    ("releases", "list"),
    ("releases", "import", "missing.tar", "--public-key", "missing.pub"),
    ("releases", "deploy", "none"),
    ("verdicts", "list"),
    ("verdicts", "show", "none"),
    ("review", "list"),
    ("review", "show", "none"),
    ("tables",),
    ("models", "list"),
    ("datasets", "list"),
    ("trace", "release", "none"),
    ("trace", "subject", "none"),
    ("keys", "revoke", "none"),
    ("keys", "accept", "none"),
    ("users", "reset-password", "Nobody"),
    ("phi", "marks"),
    ("subjects", "key", "4711"),
    ("subjects", "erase", "short", "--reason", "case 7"),
    ("recipe", "check", "law_contracts", "--reports", str(PROJECT_DIR / "data" / "samples" / "law")),
)


def test_each_hint_names_its_line(settings: Settings) -> None:  # noqa: ARG001
    """`--line claims releases import` printed a command for the main line, which would change another model."""
    assert _run("lines", "add", "law", "--recipe", "law_contracts").exit_code == 0
    hints = []
    for words in _REPRESENTATIVE:
        hints += [(words, hint["words"]) for hint in _IN_HINT.finditer(_run("--line", "law", *words).output)]
    assert len({words for words, _ in hints}) >= 10, "most of these commands give a hint"
    of_installation = {"lines", "up", "down", "demo", "completion"}
    for words, hint in hints:
        named, command = re.fullmatch(r"(?:--line (\w+) )?(\S+).*", hint, re.DOTALL).groups()  # type: ignore[union-attr]
        assert named == ("main" if command in of_installation else "law"), (words, hint)


def test_no_hint_of_the_main_line_names_a_line(settings: Settings) -> None:  # noqa: ARG001
    for words in (("status",), ("users", "list"), ("releases", "list"), ("verdicts", "list")):
        found = _run(*words)
        assert all(not hint["words"].startswith("--line") for hint in _IN_HINT.finditer(found.output))


_NAMING_CALLS = {"name_line", "show_message", "show_rows"}


def test_every_hint_that_a_command_prints_goes_through_the_one_place_that_names_its_line() -> None:
    """Errors name it automatically. A hint in a plain `click.echo` would not."""
    found = []
    for file in (PROJECT_DIR / "fine_tune_assets" / "cli").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if name not in ("echo", "print", "secho") or "demo" in file.parts:
                continue
            inner = {
                getattr(one.func, "attr", getattr(one.func, "id", ""))
                for one in ast.walk(call)
                if isinstance(one, ast.Call)
            }
            texts = [
                one.value for one in ast.walk(call) if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            hints = [text for text in texts if "`fine-tune " in text and "`fine-tune --line " not in text]
            if hints and not inner & _NAMING_CALLS:
                found.append(f"{file.name}:{call.lineno}")
    assert not [one for one in found if not one.startswith("line_commands.py")], "`lines add` names the line itself"


_NAMING_CALLS_OF_SERVICES = {*_NAMING_CALLS, "at_line", "check_result", "warning_result", "unavailable"}
_SHOWN_BY_THE_SUMMARY = {"check_remedies.py", "automation.py"}
"""`CHECK_REMEDIES` are printed through `show_message`; the other quotes a command in a comment of a field."""


@pytest.mark.parametrize("package", ["desk", "gateway", "defs"])
def test_every_hint_of_a_page_an_error_or_a_check_names_its_line(package: str) -> None:
    """A hint that reaches a person by another way than an error, a check's result or `name_line` would name no line."""
    found = []
    for file in sorted((PROJECT_DIR / "fine_tune_assets" / package).rglob("*.py")):
        if file.name not in _SHOWN_BY_THE_SUMMARY:
            found += [
                f"{file.name}:{line}" for line in _find_unnamed_hints(ast.parse(file.read_text(encoding="utf-8")))
            ]
    assert found == []


def test_the_scan_finds_a_hint_that_no_call_names() -> None:
    plain = 'HINT = "Run `fine-tune up`."\ndef show():\n    return PlainText(HINT)\n'
    assert _find_unnamed_hints(ast.parse(plain)) == [1]
    assert _find_unnamed_hints(ast.parse(plain.replace("PlainText", "name_line"))) == []
    assert _find_unnamed_hints(ast.parse('def f():\n    return {"text": "Run `fine-tune up`."}\n')) == [2]


def _find_unnamed_hints(tree: ast.Module) -> list[int]:
    """Lines of texts with a command that are neither in a naming call nor in a variable that only such calls read."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or "`fine-tune " not in node.value:
            continue
        if any(isinstance(parents[one], ast.Expr) for one in _climb(node, parents) if one is node):
            continue  # a docstring
        if not _is_named(node, parents) and not _is_read_by_naming_calls(node, parents, tree):
            found.append(node.lineno)
    return found


def _climb(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> list[ast.AST]:
    path = [node]
    while path[-1] in parents:
        path.append(parents[path[-1]])
    return path


def _is_named(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    calls = [one for one in _climb(node, parents) if isinstance(one, ast.Call)]
    names = [getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls]
    return any(name in _NAMING_CALLS_OF_SERVICES or name.endswith("Error") for name in names)


def _is_read_by_naming_calls(node: ast.AST, parents: dict[ast.AST, ast.AST], tree: ast.Module) -> bool:
    """Also as the metadata `REASON`, which `check_result` and `warning_result` name."""
    assigned = next((one for one in _climb(node, parents) if isinstance(one, ast.Assign)), None)
    target = assigned.targets[0] if assigned is not None else None
    if not isinstance(target, ast.Name):
        return False
    reads = [
        one
        for one in ast.walk(tree)
        if isinstance(one, ast.Name) and one.id == target.id and isinstance(one.ctx, ast.Load)
    ]
    return bool(reads) and all(_is_named(one, parents) or _is_reason(one, parents) for one in reads)


def _is_reason(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    inside = parents[node]
    if not isinstance(inside, ast.Dict):
        return False
    key = inside.keys[inside.values.index(node)]  # type: ignore[arg-type]
    return isinstance(key, ast.Name) and key.id == "REASON"


def test_every_hint_of_a_template_names_its_line() -> None:
    """The pages of spot checks, proposals and misses showed commands for the main line."""
    named = re.compile(r"\{% filter at_line\(product_line\) %\}.*?\{% endfilter %\}", re.DOTALL)
    folder = PROJECT_DIR / "fine_tune_assets" / "desk" / "templates"
    texts = {file.name: named.sub("", file.read_text(encoding="utf-8")) for file in folder.rglob("*.html")}
    assert [name for name, text in texts.items() if "fine-tune " in text] == []
    assert [name for name, text in texts.items() if re.search(r"\{\{ code_text\((?!.*?\|at_line\()", text)] == []
