"""No page of the desk is forgotten when its speed is measured."""

import importlib
import sys
from pathlib import Path

import pytest

from fine_tune_assets.desk.routes import ROUTES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_route_of_the_desk_is_measured_or_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new page must answer in under 200 ms too."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    requests = importlib.import_module("desk_requests")
    try:
        measured = {request.route for request in requests.REQUESTS}
        left_out = set(requests.LEFT_OUT)
        names = [request.name for request in requests.REQUESTS]
    finally:
        for name in ("desk_requests", "desk_made"):
            sys.modules.pop(name, None)
    assert measured | left_out == {f"{route.method} {route.path}" for route in ROUTES}
    assert not measured & left_out
    assert len(names) == len(set(names))
