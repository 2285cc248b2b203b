"""`python -m fine_tune_assets_tests.fuzz SECONDS FOLDER [TARGET…]`: fuzzes each target for its share of the time.

Prints a table and one JSON line. The exit status is 1 if an input failed. It is saved in FOLDER/failures/TARGET, from where the
next run begins; with 0 seconds it only runs what is known.
"""

import itertools
import json
import logging
import sys
import time
import warnings
from pathlib import Path

from fine_tune_assets_tests.fuzz.fuzzer import Result, fuzz
from fine_tune_assets_tests.fuzz.targets import TARGETS, open_target


def main(words: list[str]) -> int:
    seconds, folder = float(words[0]), Path(words[1])
    names = words[2:] or list(TARGETS)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    results = {name: _fuzz_one(name, folder, seconds / len(names)) for name in names}
    print(f"{'target':12} {'cases':>8} {'outcomes':>9} {'failures':>9}")
    for name, result in results.items():
        print(f"{name:12} {result.cases:8} {len(result.outcomes):9} {len(result.failures):9}")
        for kind, path in result.failures.items():
            print(f"    {kind}: {path}")
    facts = {name: {"cases": one.cases, "failures": len(one.failures)} for name, one in results.items()}
    print(json.dumps({"fuzz": facts, "seconds": seconds}))
    return 1 if any(result.failures for result in results.values()) else 0


def _fuzz_one(name: str, folder: Path, seconds: float) -> Result:
    with open_target(name, with_schemas=seconds >= 10) as target:
        return fuzz(target, folder, itertools.count(time.time_ns() % 2**32), until=time.monotonic() + seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
