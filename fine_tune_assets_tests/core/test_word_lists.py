"""Word lists keep the file's order, since seeded draws depend on it."""

from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists


def test_a_list_keeps_order_and_duplicates(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text(
        "# Comment\nalone\n[relatives]\nwife\nson\nwife\n\n[ids]\n#7\n[doctor] hi {name}\n", encoding="utf-8"
    )
    assert read_lists(file) == {
        "": ("alone",),
        "relatives": ("wife", "son", "wife"),
        "ids": ("#7", "[doctor] hi {name}"),
    }
