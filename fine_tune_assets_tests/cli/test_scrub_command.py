"""`fine-tune scrub` on a user's text, without an installation."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets_tests.claims.paragraphs import PARAGRAPHS

LETTER = "Mr. Quillfeather (MRN 5583920) coughs.\r\nZoë rests. Ms. Collins came on 03/14/2024."
MARKER = "Zyxwvutquark"


@pytest.fixture(autouse=True)
def _no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path / "none"))


def _scrub(*arguments: object, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["scrub", *map(str, arguments)], input=given)


def _done(*arguments: object, given: bytes | None = None) -> str:
    result = _scrub(*arguments, given=given)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes.decode("utf-8")


def _json_lines(text: str) -> Iterator[dict[str, object]]:
    return (json.loads(line) for line in text.splitlines())


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    path = tmp_path / "letter.txt"
    path.write_bytes(LETTER.encode())
    return path


def test_one_text_file_gives_its_text_with_kinds(letter: Path) -> None:
    """Line ends and all other text stay unchanged."""
    text = _done(letter)
    assert text.startswith("[NAME] (MRN [MRN]) coughs.\r\n")
    assert text.endswith("[NAME] came on [DATE].")
    assert text == _done("--tagged", letter)


def test_a_text_in_another_language_is_scrubbed_with_a_warning_on_standard_error(tmp_path: Path, letter: Path) -> None:
    """Its names stay and its words go, which only a reader of the output notices. The output is what it was."""
    foreign = tmp_path / "brief.txt"
    foreign.write_text(PARAGRAPHS["German"][0], encoding="utf-8")
    assert "English" not in _scrub(letter).stderr
    done = _scrub(foreign, letter)
    assert done.exit_code == 0
    assert "brief.txt (German)" in done.stderr
    assert "letter.txt" not in done.stderr
    assert "Montag" not in done.stderr
    assert [line["id"] for line in _json_lines(done.stdout)] == ["brief.txt", "letter.txt"]


def test_standard_input_is_scrubbed(letter: Path) -> None:
    assert _done("-", given=LETTER.encode()) == _done(letter)


def test_the_result_is_written_to_a_file(letter: Path, tmp_path: Path) -> None:
    assert _done(letter, "-o", tmp_path / "out.txt") == ""
    assert (tmp_path / "out.txt").read_bytes().decode() == _done(letter)


@pytest.mark.parametrize("through_input", [True, False])
def test_offsets_refer_to_the_unchanged_text(letter: Path, through_input: bool) -> None:
    """Programs slice the text with them: after one changed line end, every later offset is wrong."""
    text = _done("--spans", "-", given=LETTER.encode()) if through_input else _done("--spans", letter)
    (document,) = _json_lines(text)
    spans = document["spans"]
    assert isinstance(spans, list)
    found = {LETTER[s["start"] : s["end"]]: s["label"] for s in spans}
    assert found["5583920"] == "MRN"
    assert found["03/14/2024"] == "DATE"
    assert set(spans[0]) == {"start", "end", "label", "recognizer", "score"}


def test_several_files_and_json_lines_give_json_lines(letter: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": 7, "text": "MRN 5583920.", "more": 1}\r\n\n{"text": "She rests."}\n')
    documents = list(_json_lines(_done(letter, rows)))
    assert [document["id"] for document in documents] == ["letter.txt", 7, "rows.jsonl-3"]
    assert [document["text"] for document in documents[1:]] == ["MRN [MRN].", "She rests."]
    assert [set(document) for document in documents] == [{"id", "text"}] * 3


def test_surrogates_read_like_the_text_and_contain_no_identifiers(letter: Path) -> None:
    """Without an installation, each call uses another key, so surrogates can't be linked."""
    one, two = (_done("--surrogates", letter) for _ in range(2))
    for text in (one, two):
        assert "[" not in text
        assert " came on 2024." in text
        assert not any(value in text for value in ("Quillfeather", "5583920", "03/14", "Collins"))
    assert one != two


def test_surrogates_of_an_installation_are_the_same_each_time(letter: Path, tmp_path: Path) -> None:
    keys = tmp_path / "none" / "keys"
    keys.mkdir(parents=True)
    (keys / "subjects.key").write_bytes(b"k" * 32)
    (keys / "subjects.key").chmod(0o600)
    assert _done("--surrogates", letter) == _done("--surrogates", letter)


def test_a_limited_data_set_keeps_its_dates(letter: Path) -> None:
    assert "03/14/2024" in _done("--surrogates", "--profile", "limited_dataset", letter)
    assert "03/14/2024" not in _done("--surrogates", "--profile", "safe_harbor", letter)


@pytest.mark.parametrize(
    "line",
    [
        f'{{"text": "{MARKER}"',
        f'["{MARKER}"]',
        f'{{"note": "{MARKER}"}}',
        f'{{"text": ["{MARKER}"]}}',
        f'{{"text": "{MARKER} \\ud800"}}',
    ],
)
def test_an_unreadable_line_is_reported_by_its_number_only(tmp_path: Path, line: str) -> None:
    """The message may be copied to logs and tickets."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f'{{"text": "She rests."}}\n{line}\n')
    result = _scrub(rows, "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 1
    assert "ine 2 of" in result.output
    assert MARKER not in result.output
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("through_input", [True, False])
def test_a_text_that_is_not_utf8_is_refused_without_its_bytes(tmp_path: Path, through_input: bool) -> None:
    """A name with a wrongly decoded letter would be missed."""
    content = f"{MARKER} Zo\xeb".encode("latin-1")
    file = tmp_path / "old.txt"
    file.write_bytes(content)
    result = _scrub("-", given=content) if through_input else _scrub(file)
    assert result.exit_code == 1
    assert "is not UTF-8 text" in result.output
    assert MARKER not in result.output


def test_an_empty_file_gives_an_empty_text(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    assert _done(tmp_path / "empty.txt") == ""
