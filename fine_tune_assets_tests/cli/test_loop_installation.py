"""The installation that the demo of the loop makes for itself: beside nobody else's, and never over what is there."""

from pathlib import Path

import pytest

from fine_tune_assets.cli.loop.handovers import read_visits
from fine_tune_assets.cli.loop.installation import (
    RECIPE,
    VISITS,
    LoopFolderError,
    TooFewCorrectionsError,
    make_installation,
    remove_installation,
    require_enough,
)
from fine_tune_assets.core.keys import PATIENTS_KEY, read_key
from fine_tune_assets.core.settings import Settings


def _made(folder: Path) -> Settings:
    return make_installation(folder, RECIPE, read_visits(VISITS)[:3])


def test_it_has_folders_and_ports_of_its_own(tmp_path: Path) -> None:
    """It can run beside `make up`, and what it leaves behind is below one folder."""
    settings, usual = _made(tmp_path / "loop"), Settings()
    assert {settings.data_dir.parent, settings.dagster_home.parent} == {tmp_path / "loop"}
    ports = {settings.gateway_port, settings.desk_port, settings.dagster_port}
    assert len(ports) == 3
    assert not ports & {usual.gateway_port, usual.desk_port, usual.dagster_port}
    assert (settings.dagster_home / "dagster.yaml").is_file()


def test_the_batch_is_whole_and_holds_these_visits(tmp_path: Path) -> None:
    """With the licence of the texts beside them."""
    settings = _made(tmp_path / "loop")
    (batch,) = settings.layout.raw_reports.iterdir()
    assert read_visits(batch / "visits.csv") == read_visits(VISITS)[:3]
    assert {path.name for path in batch.iterdir()} == {"visits.csv", "batch.yaml", "LICENSE.txt", "SOURCE.md"}
    assert len(read_key(settings.layout.keys / f"{PATIENTS_KEY}.key")) == 32


def test_a_folder_that_was_named_stays_and_one_of_its_own_goes(tmp_path: Path) -> None:
    """It may be a mount point, or the folder that somebody stands in."""
    settings = _made(tmp_path / "loop")
    remove_installation(settings, tmp_path / "loop")
    assert list((tmp_path / "loop").iterdir()) == []
    own = make_installation(None, RECIPE, read_visits(VISITS)[:3])
    remove_installation(own, None)
    assert not own.data_dir.parent.exists()


@pytest.mark.parametrize("is_file", [True, False])
def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(tmp_path: Path, is_file: bool) -> None:
    """It is removed at the end: it must never be one that somebody else filled."""
    folder = tmp_path / "mine"
    kept = folder if is_file else folder / "thesis.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("four years of work", encoding="utf-8")
    with pytest.raises(LoopFolderError, match="not empty"):
        _made(folder)
    assert kept.read_text(encoding="utf-8") == "four years of work"


def test_too_few_corrections_are_refused_before_anything_starts() -> None:
    """Some are tested on; with too few others the demo would train a first release and then wait for ever."""
    require_enough(RECIPE, 40)
    with pytest.raises(TooFewCorrectionsError, match=r"--corrections") as refused:
        require_enough(RECIPE, 20)
    least = int(str(refused.value).partition("at least ")[2].partition(":")[0])
    require_enough(RECIPE, least)
    with pytest.raises(TooFewCorrectionsError):
        require_enough(RECIPE, least - 1)
