"""Readable names of adapters, releases, verdicts, instruction sets and review items, and the numbers in them."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.readable_names import NameRegistry, ReadableNames, sentence_case, shorten_model_name
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import releases, verdicts
from fine_tune_assets.ledger.serving.imported_releases import make_import
from fine_tune_assets.ledger.serving.release_records import import_transaction
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict, record_promoted
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.lineage.stored_data import store

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
DAY = datetime(2026, 11, 28, 12, tzinfo=UTC)
BASE, OTHER_BASE = "b" * 64, "d" * 64
FIRST, SECOND, THIRD = ("1" * 64, "2" * 64, "3" * 64)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return fresh_ledger(settings)


@pytest.fixture
def names(settings: Settings, ledger: Ledger) -> Callable[[], ReadableNames]:
    """Names as a desk that was just started would give them."""
    return lambda: NameRegistry(settings.layout, ledger).at(NOW)


@pytest.fixture(autouse=True)
def base_model(settings: Settings) -> None:
    store(settings.layout, "base_models", [{"name": "SmolLM2-135M-Instruct", "fingerprint": BASE}])


def judge(ledger: Ledger, adapter: str, at: datetime = DAY, decision: str = "hold", base: str = BASE) -> str:
    """Record a verdict at this time; return its id."""
    verdict = make_verdict(decision, adapter_id=adapter, base_fingerprint=base, instruction_set_fingerprint=adapter)
    record_verdict(ledger, verdict)
    with ledger.begin() as connection:
        connection.execute(verdicts.update().where(verdicts.c.verdict_id == verdict.verdict_id).values(recorded_at=at))
    return verdict.verdict_id


def train(layout: Layout, adapter: str, at: datetime, base: str = BASE) -> None:
    """Store an adapter's folder with the record of its training."""
    folder = layout.adapters / adapter[:16]
    write_text(folder / "adapter_config.json", json.dumps({"base_model_name_or_path": base}))
    record_training_run(layout.adapters, adapter, "5" * 64, ())
    set_time(next(layout.adapters.glob(f"{adapter[:16]}-*.training.json")), at)


def add_set(layout: Layout, fingerprint: str, at: datetime) -> Path:
    folder = layout.instruction_sets / fingerprint[:16]
    write_text(folder / "manifest.json", json.dumps({"fingerprint": fingerprint, "facts": {}}))
    set_time(folder / "manifest.json", at)
    return folder


def set_time(path: Path, at: datetime) -> None:
    os.utime(path, (at.timestamp(), at.timestamp()))


def test_two_trainings_of_one_base_model_have_numbers_in_the_order_of_their_appearance(
    ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    """The order of their fingerprints is random."""
    judge(ledger, SECOND)
    judge(ledger, FIRST, DAY + timedelta(hours=1))
    found = names()
    assert found.adapter(SECOND).text == "Adapter 1 · SmolLM2 · 28 Nov"
    assert found.adapter(FIRST).text == "Adapter 2 · SmolLM2 · 28 Nov"
    assert found.adapter(FIRST).fingerprint == FIRST
    assert found.adapter(FIRST).short == FIRST[:16]


def test_lists_of_trainings_are_in_the_order_of_their_numbers(
    ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    """By fingerprint, the order would look random."""
    for hours, adapter in enumerate((THIRD, FIRST, SECOND)):
        judge(ledger, adapter, DAY + timedelta(hours=hours))
    unknown = make_verdict("hold", adapter_id="0" * 64)
    listed = [unknown, *(make_verdict("hold", adapter_id=adapter) for adapter in (FIRST, SECOND, THIRD))]
    ordered = names().by_number("adapter", listed, "adapter_id")
    assert [verdict.adapter_id for verdict in ordered] == [THIRD, FIRST, SECOND, "0" * 64]


def test_a_verdict_is_named_by_its_adapter_and_a_second_one_adds_no_adapter(
    ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    first, second = judge(ledger, FIRST), judge(ledger, FIRST, DAY + timedelta(days=1), "refuse")
    other = judge(ledger, SECOND, DAY + timedelta(days=2))
    found = names()
    assert found.verdict(first).text == "Verdict on adapter 1 · 28 Nov"
    assert found.verdict(second).text == "Verdict on adapter 1 · 29 Nov"
    assert found.verdict(other).text == "Verdict on adapter 2 · 30 Nov"


def test_unknown_ids_have_no_name(names: Callable[[], ReadableNames]) -> None:
    """The page then shows the fingerprint alone, and never a wrong name."""
    found = names()
    for way in (found.adapter, found.model, found.release, found.verdict, found.instruction_set, found.find):
        assert (way("e" * 64).text, way("e" * 64).fingerprint) == ("", "e" * 64)
    assert found.released_model("e" * 64) == ""


def test_an_unknown_base_model_is_left_out(ledger: Ledger, names: Callable[[], ReadableNames]) -> None:
    judge(ledger, FIRST, base=OTHER_BASE)
    assert names().adapter(FIRST).text == "Adapter 1 · 28 Nov"


def test_the_name_of_an_earlier_base_model_is_remembered(
    settings: Settings, ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    """The table of base models has only the current one."""
    judge(ledger, FIRST)
    names().adapter(FIRST)
    store(settings.layout, "base_models", [{"name": "Qwen2.5-0.5B-Instruct", "fingerprint": OTHER_BASE}])
    judge(ledger, SECOND, DAY + timedelta(days=1), base=OTHER_BASE)
    found = names()
    assert found.adapter(FIRST).text == "Adapter 1 · SmolLM2 · 28 Nov"
    assert found.adapter(SECOND).text == "Adapter 2 · Qwen2.5 · 29 Nov"
    assert found.model(BASE).text == "Base model SmolLM2-135M-Instruct"
    assert found.model(SECOND) == found.adapter(SECOND)


def test_a_release_is_numbered_and_named_by_its_model(ledger: Ledger, names: Callable[[], ReadableNames]) -> None:
    judge(ledger, THIRD, datetime(2026, 1, 1, tzinfo=UTC))
    record_promoted(ledger, "a" * 16, adapter_id=FIRST, base_fingerprint=BASE, incumbent=BASE)
    found = names()
    assert found.release("a" * 16).text == "Release 1 · SmolLM2 + adapter 2"
    assert found.released_model("a" * 16) == "SmolLM2 + adapter 2"
    assert found.find("a" * 16) == found.release("a" * 16)


def test_an_imported_release_its_adapter_and_its_verdict_are_named_from_the_time_of_the_import(
    settings: Settings, ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    """The shipped release is imported like this. Its verdict exists only in the release."""
    verdict = make_verdict("promote", adapter_id=FIRST, base_fingerprint=OTHER_BASE, incumbent=OTHER_BASE)
    release = make_release(verdict, "a" * 16)
    with import_transaction(ledger, release, make_import("a" * 16, "k" * 64, verdict, (), "An Operator")):
        pass
    manifest = {"base_model": "meta-llama/Llama-3.1-8B-Instruct", "base_fingerprint": OTHER_BASE}
    write_text(settings.layout.releases / ("a" * 16) / "manifest.json", json.dumps(manifest))
    judge(ledger, SECOND, datetime.now(UTC) + timedelta(days=1))
    found = names()
    assert found.release("a" * 16).text == "Release 1 · Llama 3.1 + adapter 1"
    assert found.adapter(FIRST).text.startswith("Adapter 1 · Llama 3.1 · ")
    assert found.verdict(verdict.verdict_id).text.startswith("Verdict on adapter 1 · ")
    assert found.adapter(SECOND).text.startswith("Adapter 2 · SmolLM2 · ")


def test_an_adapter_has_its_number_from_its_training_not_from_its_verdict(
    settings: Settings, ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    """Otherwise it would have no name until it is evaluated."""
    train(settings.layout, SECOND, DAY)
    train(settings.layout, FIRST, DAY + timedelta(days=1))
    assert names().adapter(SECOND).text == "Adapter 1 · SmolLM2 · 28 Nov"
    judge(ledger, FIRST, DAY + timedelta(days=2))
    judge(ledger, SECOND, DAY + timedelta(days=3))
    assert names().adapter(SECOND).text == "Adapter 1 · SmolLM2 · 28 Nov"
    assert names().adapter(FIRST).text == "Adapter 2 · SmolLM2 · 29 Nov"


def test_a_training_without_an_adapter_has_no_number(settings: Settings, names: Callable[[], ReadableNames]) -> None:
    """Only the records of their trainings are kept."""
    record_training_run(settings.layout.adapters, FIRST, "5" * 64, ())
    assert names().adapter(FIRST).text == ""


def test_sets_are_numbered_by_the_time_they_were_stored(
    settings: Settings, ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    """Also a set that exists only in a verdict."""
    add_set(settings.layout, FIRST, DAY + timedelta(days=1))
    add_set(settings.layout, SECOND, DAY)
    judge(ledger, THIRD, DAY - timedelta(days=400))
    found = names()
    assert found.instruction_set(THIRD).text == "Set 1 · 24 Oct 2025"
    assert found.instruction_set(SECOND[:16]).text == "Set 2 · 28 Nov"
    assert found.instruction_set(FIRST).text == "Set 3 · 29 Nov"


def test_numbers_stay_when_an_erasure_removes_a_set_or_files_are_copied(
    settings: Settings, names: Callable[[], ReadableNames]
) -> None:
    """A person who noted "set 2" must find the same set again."""
    first, second = add_set(settings.layout, FIRST, DAY), add_set(settings.layout, SECOND, DAY + timedelta(days=1))
    assert names().instruction_set(SECOND).text == "Set 2 · 29 Nov"
    (first / "manifest.json").unlink()
    first.rmdir()
    set_time(second / "manifest.json", DAY - timedelta(days=9))
    add_set(settings.layout, THIRD, DAY - timedelta(days=5))
    found = names()
    assert found.instruction_set(SECOND).text == "Set 2 · 29 Nov"
    assert found.instruction_set(THIRD).text == "Set 3 · 23 Nov"


def test_a_lost_or_damaged_file_of_numbers_is_written_again(
    settings: Settings, ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    """Names must not block a page."""
    judge(ledger, SECOND)
    judge(ledger, FIRST, DAY + timedelta(hours=1))
    before = names().adapter(FIRST)
    for content in ("{", "[]", '{"appearances": [{}], "base_models": {}}'):
        settings.layout.readable_names.write_text(content, encoding="utf-8")
        assert names().adapter(FIRST) == before
        assert json.loads(settings.layout.readable_names.read_text(encoding="utf-8"))["base_models"]


def test_a_kind_of_a_newer_version_keeps_its_place(
    settings: Settings, ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    """After a return to this version, pages open and the file loses nothing."""
    newer = {"kind": "probe", "fingerprint": "f", "first_seen": DAY.isoformat(), "base": ""}
    settings.layout.readable_names.parent.mkdir(parents=True, exist_ok=True)
    settings.layout.readable_names.write_text(json.dumps({"appearances": [newer], "base_models": {}}), encoding="utf-8")
    judge(ledger, FIRST)
    assert names().adapter(FIRST).text.startswith("Adapter 1")
    assert newer in json.loads(settings.layout.readable_names.read_text(encoding="utf-8"))["appearances"]


def test_a_running_desk_names_new_adapters_and_two_desks_agree(settings: Settings, ledger: Ledger) -> None:
    """The names are cached until something new is recorded."""
    one, two = NameRegistry(settings.layout, ledger), NameRegistry(settings.layout, ledger)
    judge(ledger, SECOND, DAY + timedelta(days=1))
    assert one.at(NOW).adapter(SECOND).text.startswith("Adapter 1")
    assert one.latest() is one.latest()
    judge(ledger, FIRST)
    assert [desk.at(NOW).adapter(FIRST).text for desk in (two, one)] == ["Adapter 2 · SmolLM2 · 28 Nov"] * 2


def test_a_data_folder_that_cannot_be_written_to_still_has_names(
    settings: Settings, ledger: Ledger, names: Callable[[], ReadableNames]
) -> None:
    settings.layout.readable_names.mkdir(parents=True)
    judge(ledger, FIRST)
    assert names().adapter(FIRST).text == "Adapter 1 · SmolLM2 · 28 Nov"


def test_an_item_is_named_by_task_and_source() -> None:
    assert ReadableNames.item("e1", "presenting_complaint", "primock57").text == "Presenting complaint · primock57"
    assert ReadableNames.item("e1", "correction", "correction").text == "Correction"
    assert ReadableNames.item("e1", None, None).text == ""


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("SmolLM2-135M-Instruct", "SmolLM2"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama 3.1"),
        ("Mixtral-8x7B-v0.1", "Mixtral"),
        ("gemma-2-2b-it", "gemma 2"),
        ("clinical_bert", "clinical bert"),
        ("7B", "7B"),
        ("", ""),
    ],
)
def test_base_models_have_short_names(name: str, short: str) -> None:
    assert shorten_model_name(name) == short


def test_keys_are_shown_in_sentence_case_and_abbreviations_stay() -> None:
    assert [sentence_case(key) for key in ("presenting_complaint", "PHI", "in production", "")] == [
        "Presenting complaint",
        "PHI",
        "In production",
        "",
    ]


def test_removed_releases_keep_their_numbers(ledger: Ledger, names: Callable[[], ReadableNames]) -> None:
    """Retention removes a folder, not the record."""
    record_promoted(ledger, "a" * 16, adapter_id=FIRST)
    record_promoted(ledger, "b" * 16, adapter_id=SECOND)
    with ledger.begin() as connection:
        connection.execute(releases.update().where(releases.c.release_id == "a" * 16).values(removed_at=DAY))
    assert names().release("b" * 16).text == "Release 2 · adapter 2"
