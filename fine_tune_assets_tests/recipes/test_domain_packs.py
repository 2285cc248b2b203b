"""Domain packs: found by name or folder, refused with every fault, and fingerprinted by part."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.errors import DomainPackError
from fine_tune_assets.core.identifier_kinds import KINDS
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.phi.recognizers.domain_rules import load_rules
from fine_tune_assets.phi.recognizers.rules.rule_list import apply_rules
from fine_tune_assets.recipes.domain_packs import PACK_PARTS, load_pack, shipped_packs
from fine_tune_assets.recipes.loader import load_recipe, parse_recipe, shipped_recipes
from fine_tune_assets.recipes.recipe_parts import SECTIONS, section_fingerprints

OWN = "packs/mine"
RECOGNIZER = {"name": "ward_number", "pattern": r"W\d{4}", "score": 0.9}
IDENTIFIER = {"kind": "WARD_NUMBER", "direct": True, "surrogate": "same_form", "recognizers": [RECOGNIZER]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the law pack in the data folder."""
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    shutil.copytree(shipped_packs()["law"], tmp_path / OWN)
    return tmp_path / OWN


def _edit(folder: Path, **changes: Any) -> None:
    file = folder / "pack.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump({**values, **changes}), encoding="utf-8")


@pytest.mark.parametrize("name", ["clinical", "law", "finance"])
def test_every_shipped_pack_is_valid_and_complete(name: str) -> None:
    loaded = load_pack(name)
    assert name in shipped_packs()
    assert loaded.section_names
    assert loaded.rubric_file.is_file()
    assert (loaded.folder / "SOURCE.md").is_file()
    assert set(KINDS) <= set(loaded.pack.kinds)
    assert all(one.pattern != one.name for kind in loaded.pack.identifiers for one in kind.recognizers)


def test_a_pack_in_the_data_folder_is_found_by_its_path(folder: Path) -> None:
    assert load_pack(OWN).pack == load_pack("law").pack
    assert load_pack(OWN).folder == folder


def test_an_edited_pack_is_read_again(folder: Path) -> None:
    """A code server runs for weeks."""
    assert load_pack(OWN).pack.subject.one == "client"
    _edit(folder, subject={"one": "matter", "many": "matters"})
    assert load_pack(OWN).pack.subject.one == "matter"


@pytest.mark.parametrize("domain", ["banking", "", "packs", "../elsewhere"])
def test_a_missing_pack_is_refused_with_the_known_ones(folder: Path, domain: str) -> None:  # noqa: ARG001
    with pytest.raises(DomainPackError) as refused:
        load_pack(domain)
    assert all(name in str(refused.value) for name in ("clinical", "law", "finance"))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"colour": "red"}, "colour"),
        ({"subject": {"one": "client"}}, "subject.many"),
        ({"subject": {"one": "client", "many": ""}}, "subject.many"),
        ({"rule_sets": ["names", "tigers"]}, "rule_sets.1"),
        ({"tagger": "mine"}, "tagger"),
        ({"dates": "some"}, "dates"),
        ({"checks": ["numbers", "colours"]}, "checks.1"),
        ({"dates": "all"}, "personal_date_words"),
        ({"personal_date_words": []}, "personal_date_words"),
        ({"identifiers": [{**IDENTIFIER, "direct": None}]}, "state direct and surrogate"),
        ({"identifiers": [{**IDENTIFIER, "kind": "NAME"}]}, "NAME is a shared kind"),
        ({"identifiers": [{**IDENTIFIER, "kind": "ward"}]}, "identifiers.0.kind"),
        ({"identifiers": [{**IDENTIFIER, "recognizers": []}]}, "needs recognizers or presidio"),
        ({"identifiers": [{**IDENTIFIER, "presidio": ["MARS_ID"]}]}, "identifiers.0.presidio.0"),
        ({"identifiers": [IDENTIFIER, IDENTIFIER]}, "WARD_NUMBER is listed twice"),
        ({"identifiers": [{**IDENTIFIER, "recognizers": [RECOGNIZER] * 2}]}, "ward_number is listed twice"),
        ({"identifiers": [{**IDENTIFIER, "recognizers": [{**RECOGNIZER, "pattern": "W("}]}]}, "recognizers.0.pattern"),
        (
            {"identifiers": [{**IDENTIFIER, "recognizers": [{**RECOGNIZER, "pattern": r"\d*"}]}]},
            "recognizers.0.pattern",
        ),
        ({"identifiers": [{**IDENTIFIER, "recognizers": [{**RECOGNIZER, "score": 0}]}]}, "recognizers.0.score"),
        ({"identifiers": [{**IDENTIFIER, "recognizers": [{**RECOGNIZER, "checksum": "x"}]}]}, "recognizers.0.checksum"),
        (
            {"identifiers": [{**IDENTIFIER, "recognizers": [{**RECOGNIZER, "context": [False]}]}]},
            "recognizers.0.context.0",
        ),
        ({"kept_values": [{"name": "amount", "pattern": "("}]}, "kept_values.0.pattern"),
    ],
)
def test_each_fault_of_a_pack_is_refused_with_its_place(folder: Path, changes: dict[str, Any], place: str) -> None:
    """A misspelled key would silently leave identifiers in the training text."""
    _edit(folder, **changes)
    with pytest.raises(DomainPackError) as refused:
        load_pack(OWN)
    assert place in str(refused.value)


@pytest.mark.parametrize("text", ["description: [", "description: a\ndescription: b\n"])
def test_a_pack_that_is_no_yaml_is_refused(folder: Path, text: str) -> None:
    (folder / "pack.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DomainPackError):
        load_pack(OWN)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_names_a_shipped_pack(name: str) -> None:
    assert load_recipe(name).domain in shipped_packs()


def test_a_recipe_with_an_unknown_domain_is_refused() -> None:
    values = yaml.safe_load(shipped_recipes()["law_contracts"].read_text(encoding="utf-8"))
    with pytest.raises(DomainPackError):
        parse_recipe({**values, "domain": "banking"}, "test")


def test_a_pack_with_a_removed_field_is_refused_with_what_to_write(folder: Path) -> None:
    """Packs of an organization outlive several versions."""
    _edit(folder, laboratory_values=False)
    with pytest.raises(DomainPackError, match=r"laboratory_values .*Remove it"):
        load_pack(OWN)


def _change_rules(folder: Path) -> None:
    _edit(folder, identifiers=[IDENTIFIER])


def _change_words(folder: Path) -> None:
    with (folder / "protected_words.txt").open("a", encoding="utf-8") as file:
        file.write("Widget\n")


def _change_sections(folder: Path) -> None:
    with (folder / "section_names.txt").open("a", encoding="utf-8") as file:
        file.write("NEW SECTION\n")


@pytest.mark.parametrize(
    ("change", "parts", "sections"),
    [
        (_change_rules, {"scrub"}, {"scrub", "subjects"}),
        (_change_words, {"scrub"}, {"scrub"}),
        (_change_sections, {"sections"}, {"tasks", "checks"}),
        (lambda folder: _edit(folder, checks=["numbers"]), {"checks"}, {"tasks", "checks", "judge"}),
        (lambda folder: (folder / "rubric.yaml").write_text("[]"), {"rubric"}, {"judge"}),
        (lambda folder: _edit(folder, labelled_sets=["other"]), {"labelled_sets"}, {"scrub"}),
        (lambda folder: _edit(folder, subject={"one": "matter", "many": "matters"}), set(), set()),
        (lambda folder: (folder / "SOURCE.md").write_text("Other."), set(), set()),
    ],
)
def test_a_changed_pack_changes_only_what_reads_the_part(
    folder: Path, change: Any, parts: set[str], sections: set[str]
) -> None:
    """Another word on a page must not scrub ten years of reports again."""
    recipe, clinical = replace(load_recipe("law_contracts"), domain=OWN), load_recipe("demo_smollm2")

    def read() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        by_part = {part: load_pack(OWN).fingerprint([part]) for part in PACK_PARTS}
        return by_part, section_fingerprints(recipe), section_fingerprints(clinical)

    before = read()
    change(folder)
    after = read()
    assert {part for part in PACK_PARTS if before[0][part] != after[0][part]} == parts
    assert {name for name in SECTIONS if before[1][name] != after[1][name]} == sections
    assert before[2] == after[2]


GUIDE = PROJECT_DIR / "docs" / "how-to" / "add-a-domain.md"


def test_the_pack_of_the_guide_is_valid_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who has not seen the code starts with this pack."""
    blocks = re.findall(r"```(yaml|json)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    (tmp_path / "packs" / "permits").mkdir(parents=True)
    (tmp_path / "packs" / "permits" / "pack.yaml").write_text(blocks[0][1], encoding="utf-8")
    rules = load_rules("packs/permits")
    text = "Permit BP-2026-00417 for plot 123/4567, 85.5 m²,\nissued on 1 May 2026, share 500/1000. Born 4 May 1970."
    found = [text[s.start : s.end] for s in rules.drop_kept(text, apply_rules(text, rules.rules))]
    assert {"BP-2026-00417", "123/4567", "4 May 1970"} <= set(found)
    assert not any("85.5" in value or "500" in value or "May 2026" in value for value in found)
    example = json.loads(blocks[1][1])
    assert [example["text"][s["start"] : s["end"]] for s in example["spans"]] == ["BP-2026-00417", "Jo Alder"]
