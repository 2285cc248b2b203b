"""The sensors' ticks share one open instance of Dagster, and open none themselves."""

from pathlib import Path

import dagster as dg

from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform.kept_instance import kept_instance


def test_ticks_share_an_instance_until_the_installation_changes(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    with dg.DagsterInstance.local_temp(str(homes[0])) as one, dg.DagsterInstance.local_temp(str(homes[1])) as two:
        contexts = [dg.build_sensor_context(instance_ref=each.get_ref()) for each in (one, one, two)]
        first, second, third = map(kept_instance, contexts)
        assert first is second
        assert third is not first
        third.report_runless_asset_event(dg.AssetMaterialization("reports"))
        assert third.root_directory == two.root_directory
        assert two.get_latest_materialization_event(dg.AssetKey("reports")) is not None
        assert one.get_latest_materialization_event(dg.AssetKey("reports")) is None


def test_a_kept_instance_sees_what_another_process_wrote(tmp_path: Path) -> None:
    """Otherwise a change would be reported again and again, or never."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as other:
        kept = kept_instance(dg.build_sensor_context(instance_ref=other.get_ref()))
        assert kept.get_latest_materialization_event(dg.AssetKey("reports")) is None
        other.report_runless_asset_event(dg.AssetMaterialization("reports"))
        assert kept.get_latest_materialization_event(dg.AssetKey("reports")) is not None


def test_no_sensor_takes_a_resource() -> None:
    """Dagster opens an instance for each tick of a sensor that does: 80 ms of CPU."""
    repository = defs.get_repository_def()
    assert {sensor.name: sensor.required_resource_keys for sensor in repository.sensor_defs} == {
        sensor.name: set() for sensor in repository.sensor_defs
    }
