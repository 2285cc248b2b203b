"""Copies the results of a GPU run to `benchmarks/results`: `python -m benchmarks.gpu_proof.publish FOLDER`.

The docs read them there. Refuses dry runs. Run `make reference` afterwards.
"""

import argparse
import re
import shutil
from pathlib import Path

from benchmarks.gpu_proof.hardware_table import RESULTS
from benchmarks.gpu_proof.results import MEASURED_PREFIX, ResultError, SliceResult, read_measurement


def publish(source: Path, results: Path) -> list[Path]:
    """The published files. Files of dry runs stay where they are.

    Raises ResultError, and publishes nothing, without measurements, or if one is a dry run under another name.
    """
    found = {path: read_measurement(path) for path in sorted(source.glob(f"{MEASURED_PREFIX}*.json"))}
    if not found:
        raise ResultError(f"{source.name} has no measurements.")
    return [Path(shutil.copyfile(path, results / published_name(result))) for path, result in found.items()]


def published_name(result: SliceResult) -> str:
    card = re.sub(r"[^a-z0-9]+", "-", str(result.origin.hardware["gpu"]).lower()).strip("-")
    return f"{MEASURED_PREFIX}{result.slice}-{card}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of a run's result files")
    try:
        for path in publish(parser.parse_args().folder, RESULTS):
            print(path.name)
    except ResultError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
