"""The docs show measurements of GPUs alone, and say what is missing."""

import json
from pathlib import Path

import pytest

from benchmarks.gpu_proof.hardware_table import FAILED, PLANNED, RESULTS, ROWS, hardware_page, read_published
from benchmarks.gpu_proof.publish import publish
from benchmarks.gpu_proof.results import Part, ResultError, write_result
from benchmarks.gpu_proof.slices import SLICES
from fine_tune_assets_tests.benchmarks.gpu_proof.gpu_results import CARD, ORIGIN, make_result


def rows(page: str) -> dict[str, list[str]]:
    """First cell → the others."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    return {first: rest for first, *rest in cells}


def test_what_was_not_measured_is_planned(tmp_path: Path) -> None:
    found = rows(hardware_page(tmp_path))
    assert {found[row.what][-1] for row in ROWS} == {PLANNED}


def test_a_measured_part_replaces_planned_and_the_others_stay(tmp_path: Path) -> None:
    failed = Part("failed", 1.0, reason="RuntimeError: out of memory")
    write_result(tmp_path / "gpu-qlora-card.json", make_result(parts={**make_result().parts, "lora": failed}))
    page = hardware_page(tmp_path)
    found = rows(page)
    assert found["Llama 3 8B, QLoRA, padded"][-1] == "1,234 tokens/s, 9.0 GB, plan +2.1%"
    assert found["Llama 3 8B, LoRA in bf16"][-1] == FAILED
    assert found["Llama 3 8B, LoRA in bf16, packed"][-1] == PLANNED
    assert found["what"][-1] == CARD
    assert found["qlora"][:2] == [CARD, "2026-01-02"]


def test_failed_answers_are_shown_beside_the_times(tmp_path: Path) -> None:
    """A time of the answers that were complete would otherwise look like a success."""
    burst = {
        "tokens_per_second": 900.0, "first_word_p50": 0.1, "first_word_p95": 0.2, "failed": 1, "told_to_come_again": 2,
    }  # fmt: skip
    streams = {"gateway": burst, "gateway_share": 0.9, "engine": "an engine"}
    turns = {"training_p95_factor": 1.2, "training_failed": 4, "judging_p95_factor": None, "judging_failed": None}
    for name, part, figures in (("serving", "streams_8", streams), ("turns", "targets", turns)):
        result = make_result(slice=name, parts={part: Part("measured", 1.0, figures)})
        write_result(tmp_path / f"gpu-{name}-card.json", result)
    found = rows(hardware_page(tmp_path))
    assert found["Llama 3 8B through the gateway, streams: 8"][-1].endswith("3 failed")
    assert found["Serving during training, one card"][-1].endswith("4 failed")
    assert found["Serving during judging, one card"][-1] == PLANNED


def test_each_card_has_its_own_column(tmp_path: Path) -> None:
    other = {**ORIGIN.hardware, "gpu": "Another Card"}
    write_result(tmp_path / "gpu-qlora-a.json", make_result())
    write_result(
        tmp_path / "gpu-qlora-b.json",
        make_result(origin=type(ORIGIN)(ORIGIN.code, other, ORIGIN.versions), parts={}),
    )
    found = rows(hardware_page(tmp_path))
    assert found["what"][1:] == ["Another Card", CARD]
    assert found["Llama 3 8B, QLoRA, padded"][1] == PLANNED
    assert found["Llama 3 8B, QLoRA, padded"][2] != PLANNED


def test_a_dry_run_among_the_published_results_is_an_error(tmp_path: Path) -> None:
    """The page must never show it, even if it was copied under the name of a measurement."""
    write_result(tmp_path / "gpu-qlora-card.json", make_result(dry=True))
    with pytest.raises(ResultError):
        hardware_page(tmp_path)


def test_every_row_names_a_slice() -> None:
    assert {row.slice for row in ROWS} == set(SLICES)


def test_the_published_results_are_measurements() -> None:
    assert all(not result.dry for result in read_published(RESULTS))


def test_publishing_copies_measurements_under_slice_and_card(tmp_path: Path) -> None:
    source, target = tmp_path / "run", tmp_path / "results"
    target.mkdir()
    write_result(source / "gpu-qlora.json", make_result())
    (published,) = publish(source, target)
    assert published.name == "gpu-qlora-made-up-card.json"
    assert json.loads(published.read_text()) == json.loads((source / "gpu-qlora.json").read_text())


def test_dry_runs_in_the_same_folder_do_not_hinder_publishing(tmp_path: Path) -> None:
    """`make gpu-proof DRY=1` before the measurement leaves them there."""
    source, target = tmp_path / "run", tmp_path / "results"
    target.mkdir()
    write_result(source / "gpu-qlora.json", make_result())
    write_result(source / "dry-qlora.json", make_result(dry=True))
    assert [path.name for path in publish(source, target)] == ["gpu-qlora-made-up-card.json"]


def test_publishing_a_dry_run_publishes_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "run", tmp_path / "results"
    target.mkdir()
    write_result(source / "gpu-environment.json", make_result(slice="environment"))
    write_result(source / "gpu-qlora.json", make_result(dry=True))
    with pytest.raises(ResultError):
        publish(source, target)
    assert list(target.iterdir()) == []


def test_an_empty_folder_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ResultError):
        publish(tmp_path, tmp_path)
