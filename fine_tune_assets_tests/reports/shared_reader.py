"""One confined reader for the tests of a process: starting one for each batch would take most of their time."""

from functools import cache

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.isolated_reader import IsolatedReader
from fine_tune_assets.reports.ocr import find_ocr


@cache
def shared_reader(limits: ReadLimits) -> IsolatedReader:
    """Its process ends with this one."""
    return IsolatedReader(limits, find_ocr())
