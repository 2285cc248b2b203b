"""Measurements of the scrubber that meet the floors."""

from fine_tune_assets_tests.phi.measurement.recall_rows import row

MET = [row("a", label, 100, 100) for label in ("all", "direct", "NAME")]
