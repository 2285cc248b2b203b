"""Reads scanned pages with tesseract, if installed.

Calls tesseract directly through pipes: the usual Python wrapper writes each page, and so PHI, to the temporary folder.
"""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

PAGE_TIMEOUT_SECONDS = 120
DOTS_PER_INCH = 300
"""The resolution that tesseract is trained for."""
MIN_CONFIDENCE_PERCENT = 60.0
"""Minimum tesseract confidence for words with digits: 3 and 8 look alike."""


@dataclass(frozen=True)
class OcrProgram:
    path: str

    @property
    def folders(self) -> tuple[str, ...]:
        """What the program needs to read: `/opt/tool` for `/opt/tool/bin/tesseract`, else its own folder."""
        folder = Path(self.path).resolve().parent
        return (str(folder.parent if folder.name == "bin" else folder),)

    def read(self, png: bytes) -> str:
        """Return the text of the page. Raises UnreadableError if OCR fails or a number is uncertain."""
        try:
            done = subprocess.run(
                [self.path, "stdin", "stdout", "--dpi", str(DOTS_PER_INCH), "tsv"],
                input=png, capture_output=True, timeout=PAGE_TIMEOUT_SECONDS, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise UnreadableError(
                UnreadableReason.READER_FAILED, "tesseract failed on a page. Run it manually to see why."
            ) from error
        return parse_word_table(done.stdout.decode("utf-8", "replace"))


def find_ocr() -> OcrProgram | None:
    """Return the installed OCR program, if any."""
    path = shutil.which("tesseract")
    return None if path is None else OcrProgram(path)


def parse_word_table(tsv: str) -> str:
    """Join the lines of tesseract's word table. Raises UnreadableError if a number is uncertain."""
    rows = csv.DictReader(io.StringIO(tsv), delimiter="\t", quoting=csv.QUOTE_NONE)
    words = [row for row in rows if row["level"] == "5" and row["text"].strip()]
    unsure = sum(1 for word in words if re.search(r"\d", word["text"]) and float(word["conf"]) < MIN_CONFIDENCE_PERCENT)
    if unsure:
        raise UnreadableError(
            UnreadableReason.LOW_OCR_CONFIDENCE,
            f"{unsure} numbers on a scanned page are uncertain. Type the report, or scan it again.",
        )
    paragraphs = []
    for _, paragraph in groupby(words, key=lambda w: (w["block_num"], w["par_num"])):
        lines = [" ".join(w["text"] for w in line) for _, line in groupby(paragraph, key=lambda w: w["line_num"])]
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)
