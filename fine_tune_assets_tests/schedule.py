"""Orders the tests of `make test` and `make test-slow`, and measures the duration of each file.

`durations.json` has the seconds of each file that takes at least one: of the processor for the suite `test`, which has a budget,
and of the clock for `slow`, whose tests mostly wait for services. `make test-durations` writes it. The longest come first, so
that all workers end together; a file that grows shows in review.
"""

import json
import re
import resource
from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

DURATIONS = Path(__file__).with_name("durations.json")
"""Suite (test, slow) → file → seconds."""
TOGETHER = {
    # These share an installation on which the whole graph ran.
    "whole graph": re.compile(r"/end_to_end/test_(air_gap|whole_graph)\.py"),
    # One worker imports torch and the real model.
    "real model": re.compile(
        r"/(judging|merging|training)/|/engines/test_continuations\.py|/gateway/test_carried_passages\.py"
        r"|/approval/test_writing\.py|/defs/test_(killed_training|model_drafts|tracking|training_plans)\.py"
    ),
    # One worker builds the scrubber.
    "scrubber": re.compile(r"/phi/"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-durations", metavar="SUITE", help=f"write the suite's part of {DURATIONS.name}")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--write-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Durations(config.getoption("--write-durations")))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m "slow …"` or `-m "long …"`, don't import files without such a test, which takes 10 s per worker."""
    wanted = str(config.getoption("markexpr")).split(" ")[0]
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if wanted not in ("slow", "long") or not is_test:
        return None
    return None if f"mark.{wanted}" in collection_path.read_text(encoding="utf-8") else True


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Runs last, after `-m` selected the tests of one suite."""
    if hasattr(config, "workerinput"):
        sort_by_duration(items, _seconds_of_files(items))


def sort_by_duration(items: list[pytest.Item], seconds_of_files: Mapping[str, int]) -> None:
    """Sort units by decreasing duration: a long unit at the end leaves the other worker idle."""
    seconds: Counter[str] = Counter()
    for file, taken in seconds_of_files.items():
        seconds[unit_of(file)] += taken
    items.sort(key=lambda item: (-seconds[unit_of(item.nodeid)], unit_of(item.nodeid)))


def unit_of(nodeid: str) -> str:
    """The unit that one worker runs: a file, or files that share an expensive fixture."""
    for name, pattern in TOGETHER.items():
        if pattern.search(f"/{nodeid}"):
            return name
    return nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`: units in the order of `sort_by_duration`.

    Not by `xdist_group`: pytest-xdist 3.8 writes it into an attribute that pytest 9.2 no longer has, and groups nothing.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class LongestFirst(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False  # otherwise xdist sorts by the number of tests
    return LongestFirst(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to each report the processor seconds since the previous one, including child processes that ended."""
    report = yield
    report.processor_seconds = _Clock.since_last()
    return report


class _Clock:
    last = 0.0

    @classmethod
    def since_last(cls) -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        now = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        passed, cls.last = now - (cls.last or now), now
        return passed


class _Durations:
    """Sums the reports of all workers."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        is_waiting = self.suite == "slow"
        seconds = report.duration if is_waiting else report.processor_seconds  # type: ignore[attr-defined]
        self.seconds[report.nodeid.split("::")[0]] += seconds

    def pytest_sessionfinish(self) -> None:
        rounded = {file: round(seconds) for file, seconds in self.seconds.items() if round(seconds) >= 1}
        stored = _stored() | {self.suite: dict(sorted(rounded.items()))}
        DURATIONS.write_text(json.dumps(dict(sorted(stored.items())), indent=2) + "\n", encoding="utf-8")


def _stored() -> dict[str, dict[str, int]]:
    """Suite → file → seconds."""
    return dict(json.loads(DURATIONS.read_text(encoding="utf-8")))


def _seconds_of_files(items: list[pytest.Item]) -> dict[str, int]:
    """Seconds of the files in the suite of the items."""
    is_slow = all(item.get_closest_marker("slow") for item in items)
    return _stored().get("slow" if is_slow else "test", {})
