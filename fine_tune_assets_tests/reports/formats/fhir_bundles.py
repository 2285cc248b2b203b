"""FHIR bundles."""

import json
from pathlib import Path
from typing import Any

from fine_tune_assets.reports.batch_reader import BatchResult
from fine_tune_assets_tests.reports.read_files import read

PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "identifier": [{"value": "4711"}],
    "name": [{"given": ["Ann"], "family": "Lee"}],
}


def observation(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"text": f"Test {number}"},
        "subject": {"reference": "Patient/p"},
        "valueQuantity": {"value": number, "unit": "mg"},
        **changes,
    }


def report(**changes: Any) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "subject": {"reference": "Patient/p"},
        "code": {"text": "Title"},
        **changes,
    }


def read_bundle(folder: Path, *resources: Any) -> BatchResult:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}
    (folder / "b.json").write_text(json.dumps(bundle))
    return read(folder)
