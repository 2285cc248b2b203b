"""Misses of the scrubber on labelled reports: which are listed, why each was missed, and that the advice is true."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.phi.measurement.miss_advice import advise, describe_form, propose_pattern
from fine_tune_assets.phi.measurement.miss_causes import Diagnosis, MissCause, find_miss_cause
from fine_tune_assets.phi.measurement.misses import (
    find_left_parts,
    find_misses,
    load_shipped_misses,
    select_sets_with_misses,
)
from fine_tune_assets.phi.measurement.recall import GoldDocument, measure_recall
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.phi.recognizers.domain_rules import load_rules
from fine_tune_assets.phi.recognizers.rules.rule_list import apply_rules
from fine_tune_assets.phi.scrub_workers import open_workers
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import ScrubberSettings
from fine_tune_assets.tables.record_classes import check_table
from fine_tune_assets.tables.scrubbing_rows import LabelledMiss

DAMAGE: dict[str, Any] = {
    "description": "Damage reports of an insurer.",
    "subject": {"one": "policyholder", "many": "policyholders"},
    "report": {"one": "report", "many": "reports"},
    "rule_sets": ["names", "dates"],
    "tagger": "law_finance",
    "dates": "personal",
    "personal_date_words": ["born"],
    "labelled_sets": ["evaluation/damage_phi"],
    "checks": ["numbers"],
    "identifiers": [
        {
            "kind": "CLAIM_NUMBER",
            "direct": True,
            "surrogate": "same_letters",
            "recognizers": [
                {"name": "claim_number", "pattern": r"DM-\d{4}-\d{3}", "score": 0.9, "context": ["claim"]},
                {"name": "faint_number", "pattern": r"FN\d{6}", "score": 0.1},
                {"name": "card", "pattern": r"\d{16}", "score": 0.9, "checksum": "luhn"},
            ],
        }
    ],
    "kept_values": [{"name": "order_of_parts", "pattern": r"PT-\d{5}"}],
}


@pytest.fixture
def domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A domain pack that this project did not ship."""
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    write_pack(tmp_path, DAMAGE)
    return "packs/damage"


def write_pack(data_dir: Path, pack: dict[str, Any]) -> None:
    folder = data_dir / "packs" / "damage"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pack.yaml").write_text(yaml.safe_dump(pack))
    (folder / "protected_words.txt").write_text("Surveyor\nReporter\n")


def diagnose(domain: str, text: str, value: str, label: str, left: str = "") -> Diagnosis:
    start = text.index(value)
    at = text.index(left, start) if left else start
    gold = Span(start, start + len(value), label, "", 1.0)
    missed = Span(at, at + len(left or value), label, "", 1.0)
    return find_miss_cause(text, gold, missed, load_pack(domain), load_rules(domain), 0.4)


@pytest.mark.parametrize(
    ("text", "value", "label", "cause", "rule"),
    [
        ("See DM-2291-417 today.", "DM-2291-417", "CLAIM_NUMBER", MissCause.NO_CONTEXT, "claim_number"),
        ("See FN229141 today.", "FN229141", "CLAIM_NUMBER", MissCause.LOW_SCORE, "faint_number"),
        ("Paid with 4242424242424241.", "4242424242424241", "CLAIM_NUMBER", MissCause.WRONG_CHECKSUM, "card"),
        ("See 17/B/22 today.", "17/B/22", "CLAIM_NUMBER", MissCause.NO_FORM, None),
        ("Plate KA-XY 417.", "KA-XY 417", "PLATE", MissCause.NO_FORM, None),
        ("By ŁS then.", "ŁS", "INITIALS", MissCause.NO_RULE, None),
        ("Policy 7 of the house.", "7", "POLICY_NUMBER", MissCause.NO_FORM, None),
        ("Sent PT-22914 out.", "PT-22914", "CLAIM_NUMBER", MissCause.KEPT_VALUE, "order_of_parts"),
        ("Seen on 3 March 2024.", "3 March 2024", "DATE", MissCause.KEPT_DATE, None),
        ("Called Surveyor again.", "Surveyor", "NAME", MissCause.PROTECTED_WORD, None),
        ("Asked kwame about it.", "kwame", "NAME", MissCause.NO_FORM, None),
    ],
)  # fmt: skip
def test_each_miss_has_its_cause(
    domain: str, text: str, value: str, label: str, cause: MissCause, rule: str | None
) -> None:
    """A person can only mend the list or rule that decided."""
    assert diagnose(domain, text, value, label) == Diagnosis(cause, rule)


def test_a_kind_without_any_rule_is_said_to_have_none(tmp_path: Path, domain: str) -> None:
    write_pack(tmp_path, {**DAMAGE, "rule_sets": ["names"]})
    assert diagnose(domain, "Call 0771 229 141.", "0771 229 141", "PHONE").cause is MissCause.NO_RULE


def test_words_of_a_long_label_are_not_reported_as_a_leak(domain: str) -> None:
    """A label such as `the office in Leeds` of which `office in` remained is a question of labelling."""
    text = "At the office in Leeds of Sunday Boateng."
    assert diagnose(domain, text, "office in Leeds", "LOCATION", "in").cause is MissCause.ORDINARY_REST
    assert diagnose(domain, text, "office in Leeds", "LOCATION", "Leeds").cause is not MissCause.ORDINARY_REST
    assert diagnose(domain, text, "Sunday Boateng", "NAME", "Sunday").cause is not MissCause.ORDINARY_REST


def test_the_advice_about_context_is_true(tmp_path: Path, domain: str) -> None:
    """What a page advises must catch the miss."""
    text = "Schaden DM-2291-417 today."
    value = "DM-2291-417"
    assert not any(span.label == "CLAIM_NUMBER" for span in apply_rules(text, load_rules(domain).rules))
    found = diagnose(domain, text, value, "CLAIM_NUMBER")
    assert "`context` of `claim_number`" in advise(found.cause, "CLAIM_NUMBER", found.rule, ["claim_number"]).remedy
    changed = json.loads(json.dumps(DAMAGE))
    changed["identifiers"][0]["recognizers"][0]["context"].append("schaden")
    write_pack(tmp_path, changed)
    assert [
        text[s.start : s.end] for s in apply_rules(text, load_rules(domain).rules) if s.label == "CLAIM_NUMBER"
    ] == [value]


def test_a_shared_rule_is_not_to_be_changed() -> None:
    """A site can change its pack, not the package."""
    assert "every domain" in advise("no_context", "MRN", "record_number", ["claim_number"]).remedy
    for cause in MissCause:
        for text in vars(advise(cause, "MRN", "r", [])).values():
            assert "{" not in text
            assert "None" not in text


def test_every_guide_is_a_page_of_the_documentation() -> None:
    assert all((PROJECT_DIR / "docs" / advise(cause, "K", None, []).guide).is_file() for cause in MissCause)


@pytest.mark.parametrize("value", ["Anna Quixley", "17", "Müller 4711", "x" * 30 + "12345678901", ""])
def test_no_pattern_is_proposed_for_a_text_without_a_clear_form(value: str) -> None:
    assert describe_form(value) is None


def test_a_pattern_is_proposed_only_if_it_finds_nothing_else() -> None:
    """A pattern that masks doses would be worse than the miss."""
    labelled = GoldDocument("Case AB/229/x.", (Span(5, 13, "CASE", "", 1.0),))
    proposal = propose_pattern("AB/229/x", [labelled, labelled])
    assert proposal is not None
    assert (proposal.labelled_matches, proposal.documents) == (2, 2)
    assert propose_pattern("AB/229/x", [labelled, GoldDocument("Part XY/417/y fits.", ())]) is None
    assert propose_pattern("1.250", [GoldDocument("Take 1.250 mg or 2.500 mg.", (Span(5, 10, "X", "", 1.0),))]) is None


def test_white_space_is_not_left_and_a_partial_finding_names_its_rest() -> None:
    text = "Moira  Quillfeather, born"
    gold = [Span(0, 19, "NAME", "", 1.0)]
    assert list(find_left_parts(text, gold, [Span(0, 5, "NAME", "", 1.0), Span(7, 19, "NAME", "", 1.0)])) == []
    ((_, left),) = find_left_parts(text, gold, [Span(0, 9, "NAME", "", 1.0)])
    assert text[left.start : left.end] == "illfeather"


def test_the_real_scrubber_s_misses_are_those_that_recall_counts(tmp_path: Path, settings: ScrubberSettings) -> None:
    """Listed and counted misses must be the same, and the list must have no text."""
    lines = [
        {"text": "Dr. Anna Quixley came.", "spans": [{"start": 4, "end": 16, "label": "NAME"}]},
        {"text": "She rests well.", "spans": [{"start": 4, "end": 9, "label": "NAME"}]},
        {"text": "He ate twice.", "spans": [{"start": 7, "end": 12, "label": "BADGE"}]},
    ]
    for name in ("own", REVIEWER_MARKS):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n\n" for line in lines))
    gold = sorted(tmp_path.glob("*.jsonl"))
    with open_workers(settings, 1) as workers:
        recall = measure_recall(gold, workers, "v", ignore_progress)
        selected = select_sets_with_misses(gold, recall)
        misses = find_misses(selected, workers, settings, ignore_progress)
    assert [path.stem for path in selected] == ["own"]
    check_table(misses, LabelledMiss.SCHEMA)
    counted = next(
        r
        for r in recall.to_pylist()
        if (r["labelled_set"], r["measure"], r["label"]) == ("own", "masked_recall", "all")
    )
    assert misses.num_rows == counted["total"] - counted["hits"] == 2
    assert [(row["document"], row["label"]) for row in misses.to_pylist()] == [(2, "NAME"), (3, "BADGE")]
    assert set(misses["scrubber_version"].to_pylist()) == {scrubber_version(settings)}
    assert "rests" not in str(misses.to_pylist())


def test_shipped_misses_are_used_for_exactly_their_inputs(settings: ScrubberSettings) -> None:
    """If it fails, run `make shipped-measurements`."""
    gold = [PROJECT_DIR / "data" / "evaluation" / "phi" / "asq_phi.jsonl"]
    shipped = load_shipped_misses(gold, vars(settings))
    assert shipped is not None
    assert set(shipped["labelled_set"].to_pylist()) == {"asq_phi"}
    assert load_shipped_misses([], vars(settings)) is None
    assert load_shipped_misses(gold, vars(replace(settings, minimum_score=0.6))) is None
