"""A slice keeps what it measured, ends failures with their part, and never takes a dry run for a measurement."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_proof.origin import fingerprint_code
from benchmarks.gpu_proof.results import (
    Figures,
    Origin,
    Part,
    ResultError,
    SkipPart,
    SliceRun,
    find_reusable,
    ratio,
    read_measurement,
    read_result,
    result_file,
    write_result,
)
from fine_tune_assets_tests.benchmarks.gpu_proof.gpu_results import CPU, ORIGIN, make_result


class CountedPart:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Figures:
        self.calls += 1
        return {"calls": self.calls}


def start(folder: Path, origin: Origin = ORIGIN, dry: bool = False, budget_seconds: float = 60.0) -> SliceRun:
    return SliceRun("qlora", folder, dry, origin, budget_seconds)


def written(folder: Path, dry: bool = False) -> dict[str, Part]:
    return dict(read_result(result_file(folder, "qlora", dry)).parts)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "gpu-qlora.json"
    write_result(path, make_result())
    assert read_result(path) == make_result()


def test_a_part_that_fails_does_not_end_the_slice(tmp_path: Path) -> None:
    """A run on a GPU may not come again soon: the parts after an error must still be measured."""

    def fail() -> Figures:
        raise RuntimeError("CUDA out of memory in /srv/secret/place/model.safetensors")

    def leave() -> Figures:
        raise SystemExit(3)

    proof, later = start(tmp_path), CountedPart()
    assert proof.part("first", fail) is None
    assert proof.part("second", leave) is None
    assert proof.part("third", later) == {"calls": 1}
    result = proof.finish()
    assert [part.state for part in result.parts.values()] == ["failed", "failed", "measured"]
    assert result.has_failed_parts
    assert "/srv" not in result.parts["first"].reason
    assert "model.safetensors" in result.parts["first"].reason


def test_a_figure_that_json_lacks_fails_its_part_alone(tmp_path: Path) -> None:
    """Saving it would otherwise end the slice."""
    proof, later = start(tmp_path), CountedPart()
    assert proof.part("first", lambda: {"value": object()}) is None
    assert proof.part("second", later) == {"calls": 1}
    assert [part.state for part in proof.finish().parts.values()] == ["failed", "measured"]


def test_missing_modules_and_skips_are_reasons_and_not_failures(tmp_path: Path) -> None:
    def import_missing() -> Figures:
        raise ModuleNotFoundError(name="somewhere")

    def skip() -> Figures:
        raise SkipPart("no model was given")

    proof, unused = start(tmp_path), CountedPart()
    proof.part("needs", unused, modules=("json", "not_a_module_of_this_environment"))
    proof.part("imports", import_missing)
    proof.part("skips", skip)
    result = proof.finish()
    assert {part.state for part in result.parts.values()} == {"skipped"}
    assert "not_a_module_of_this_environment" in result.parts["needs"].reason
    assert "json" not in result.parts["needs"].reason
    assert "somewhere" in result.parts["imports"].reason
    assert result.parts["skips"].reason == "no model was given"
    assert unused.calls == 0


def test_the_file_is_complete_after_each_part(tmp_path: Path) -> None:
    """A machine may be taken away at any time."""
    proof = start(tmp_path)
    proof.part("first", CountedPart())
    assert list(written(tmp_path)) == ["first"]
    assert not read_result(result_file(tmp_path, "qlora", False)).is_complete
    proof.part("second", CountedPart())
    assert list(written(tmp_path)) == ["first", "second"]
    assert proof.finish().is_complete


def test_a_second_run_measures_only_what_is_missing(tmp_path: Path) -> None:
    first, second = CountedPart(), CountedPart()
    start(tmp_path).part("first", first)  # and is killed
    proof = start(tmp_path)
    proof.part("first", first)
    proof.part("second", second)
    assert (first.calls, second.calls) == (1, 1)
    assert proof.figures("first") == {"calls": 1}
    assert list(proof.finish().parts) == ["first", "second"]


def test_a_run_that_ends_early_keeps_what_another_measured(tmp_path: Path) -> None:
    """An engine that does not start the second time must not cost the figures of the first."""

    def fail() -> Figures:
        raise RuntimeError("The engine did not start.")

    earlier = start(tmp_path)
    earlier.part("start", CountedPart(), is_repeated=True)
    earlier.part("streams", CountedPart())
    later = start(tmp_path)
    assert later.part("start", fail, is_repeated=True) is None
    assert {name: part.state for name, part in later.finish().parts.items()} == {
        "start": "failed",
        "streams": "measured",
    }


def test_a_repeated_part_runs_every_time(tmp_path: Path) -> None:
    """It makes what later parts use, such as a running engine, or follows from parts that may be measured only now."""
    repeated = CountedPart()
    for _ in range(2):
        start(tmp_path).part("start", repeated, is_repeated=True)
    assert repeated.calls == 2


@pytest.mark.parametrize(
    "other",
    [
        replace(ORIGIN, code="code-2"),
        replace(ORIGIN, hardware={**ORIGIN.hardware, "gpu": "Another Card"}),
        replace(ORIGIN, versions={**ORIGIN.versions, "torch": "2.12.0"}),
    ],
    ids=["code", "hardware", "versions"],
)
def test_another_code_hardware_or_library_measures_again(tmp_path: Path, other: Origin) -> None:
    """A figure is valid only for what it was measured with."""
    measured = CountedPart()
    start(tmp_path).part("first", measured)
    start(tmp_path, other).part("first", measured)
    assert measured.calls == 2


@pytest.mark.parametrize("name", ["fine_tune_assets_tests/training/test_a.py", "benchmarks/serving_load.py"])
def test_tests_and_the_load_generator_belong_to_the_code(tmp_path: Path, name: str) -> None:
    """A mended test must run again, although the product is the same."""
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text("A = 1\n")
    before = fingerprint_code(tmp_path)
    path.write_text("A = 2\n")
    assert fingerprint_code(tmp_path) != before


def test_a_failed_part_is_tried_again(tmp_path: Path) -> None:
    outcomes: list[Any] = [RuntimeError("once"), {"value": 1}]

    def measure() -> Figures:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return dict(outcome)

    assert start(tmp_path).part("first", measure) is None
    assert start(tmp_path).part("first", measure) == {"value": 1}


def test_a_part_without_enough_time_is_skipped(tmp_path: Path) -> None:
    late = CountedPart()
    proof = start(tmp_path, budget_seconds=10)
    proof.part("long", late, minimum_seconds=30)
    assert late.calls == 0
    assert written(tmp_path)["long"].state == "skipped"


def test_conclusions_are_drawn_after_the_budget_is_used_up(tmp_path: Path) -> None:
    """The figures were measured; to compare them takes no time."""
    proof, conclusion = start(tmp_path, budget_seconds=-5), CountedPart()
    proof.part("ratios", conclusion, minimum_seconds=0, is_repeated=True)
    assert conclusion.calls == 1


def test_the_budget_counts_from_the_start_of_the_process(tmp_path: Path) -> None:
    """Importing the libraries takes a part of it, and the runner counts that too."""
    proof = SliceRun("qlora", tmp_path, False, ORIGIN, 60.0, time.monotonic() - 50)
    assert proof.seconds_left < 11


@pytest.mark.parametrize(("one", "other"), [(None, 1.0), (1.0, None), (1.0, 0.0)])
def test_a_ratio_needs_both_figures(one: float | None, other: float | None) -> None:
    assert ratio(one, other) is None


def test_a_measurement_does_not_reuse_a_dry_run(tmp_path: Path) -> None:
    """Even after its file is renamed: the content says what it is."""
    dry = CountedPart()
    start(tmp_path, dry=True).part("first", dry)
    dry_file, real_file = (result_file(tmp_path, "qlora", is_dry) for is_dry in (True, False))
    assert dry_file != real_file
    dry_file.rename(real_file)
    assert find_reusable(real_file, ORIGIN, dry=False) is None
    measured = CountedPart()
    start(tmp_path).part("first", measured)
    assert measured.calls == 1


def test_a_dry_run_is_refused_as_a_measurement_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "gpu-qlora.json"
    write_result(path, make_result())
    assert read_measurement(path).slice == "qlora"
    write_result(path, make_result(dry=True))
    with pytest.raises(ResultError):
        read_measurement(path)


@pytest.mark.parametrize("value", [None, "false", 0])
def test_a_result_must_say_whether_it_is_a_dry_run(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "gpu-qlora.json"
    write_result(path, make_result())
    path.write_text(json.dumps({**json.loads(path.read_text()), "dry": value}))
    with pytest.raises(ResultError):
        read_measurement(path)


def test_a_result_without_a_gpu_is_no_measurement(tmp_path: Path) -> None:
    path = tmp_path / "gpu-qlora.json"
    write_result(path, make_result(origin=CPU))
    with pytest.raises(ResultError):
        read_measurement(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slice": "qlora"}'])
def test_other_files_are_no_results(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gpu-qlora.json"
    path.write_text(text)
    with pytest.raises(ResultError):
        read_result(path)
