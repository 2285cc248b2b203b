"""Text of a scanned page, by the program tesseract where it is installed.

Owns how the program is called and when its answer is good enough. Called directly and through pipes: the usual Python
wrapper writes every page, with all that stands on it, into the machine's temporary folder.
"""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import groupby

from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

PAGE_SECONDS = 120
DOTS_PER_INCH = 300
"""What tesseract is trained for."""
FEWEST_PERCENT = 60.0
"""A word with a digit that tesseract itself gives less than this confidence is not taken: 3 and 8 look alike."""


@dataclass(frozen=True)
class OcrProgram:
    path: str

    def read(self, png: bytes) -> str:
        """The text on the page. Raises UnreadableError if it can't be read or its numbers are not sure."""
        try:
            done = subprocess.run(
                [self.path, "stdin", "stdout", "--dpi", str(DOTS_PER_INCH), "tsv"],
                input=png, capture_output=True, timeout=PAGE_SECONDS, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise UnreadableError(
                Reason.READER_FAILED, "The OCR program failed on a page of it. Try it by hand."
            ) from error
        return text_of_words(done.stdout.decode("utf-8", "replace"))


def find_ocr() -> OcrProgram | None:
    """The OCR program of this machine, if there is one."""
    path = shutil.which("tesseract")
    return None if path is None else OcrProgram(path)


def text_of_words(tsv: str) -> str:
    """The lines of tesseract's table of words. Raises UnreadableError if a number in it is not sure."""
    rows = csv.DictReader(io.StringIO(tsv), delimiter="\t", quoting=csv.QUOTE_NONE)
    words = [row for row in rows if row["level"] == "5" and row["text"].strip()]
    unsure = sum(1 for word in words if re.search(r"\d", word["text"]) and float(word["conf"]) < FEWEST_PERCENT)
    if unsure:
        raise UnreadableError(
            Reason.UNSURE_SCAN,
            f"{unsure} numbers on a scanned page could not be read for sure. Type it, or scan it again.",
        )
    paragraphs = []
    for _, paragraph in groupby(words, key=lambda w: (w["block_num"], w["par_num"])):
        lines = [" ".join(w["text"] for w in line) for _, line in groupby(paragraph, key=lambda w: w["line_num"])]
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)
