"""One engine a file of Dagster's: what it compiled is used again."""

import dagster as dg
import pytest
from sqlalchemy.dialects.sqlite import base

import fine_tune_assets.definitions  # noqa: F401 (puts the kept engines in their place)
from fine_tune_assets.defs.platform.automation import latest_event


def test_a_question_that_was_asked_before_is_not_compiled_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick asks the same few things of each asset, 1,500 statements in all, every five seconds."""
    compiled: list[str] = []
    visit = base.SQLiteCompiler.visit_select

    def seen(self: base.SQLiteCompiler, select: object, *args: object, **kwargs: object) -> str:
        text = str(visit(self, select, *args, **kwargs))
        compiled.append(text)
        return text

    key = dg.AssetKey("reports")
    instance.report_runless_asset_event(dg.AssetMaterialization(key))
    assert latest_event(instance, key) is not None
    monkeypatch.setattr(base.SQLiteCompiler, "visit_select", seen)
    assert latest_event(instance, key) is not None
    assert compiled == []
