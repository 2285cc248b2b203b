"""RTF documents.

Adds what the striprtf library omits: headers, footers, footnotes and text boxes, which often contain the patient's name or an
addendum. Also separates superscripts from the number before them. The reference text is everything outside control words.
"""

import re

from striprtf.striprtf import rtf_to_text

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.reports.formats.rtf_headings import TOKEN, mark_rtf_headings
from fine_tune_assets.reports.heading_marks import remove_marks
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.text_cleanup import normalize_marked
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_SHAPE = re.compile(r"\\\*\s*\\shpinst\b|\\shp(?:grp|txt)?(?![a-z])")
_SKIPPED_BY_STRIPRTF = re.compile(r"\\(?:header|footer)[flr]?(?![a-z])|\\footnote(?![a-z])|\\\*\s*\\footnote(?![a-z])")
_SUPERSCRIPT = re.compile(
    r"(?<=\d)((?:[{}\r\n]|\\(?!super(?![a-z]))[a-z]+-?\d*[ ]?)*)\\super(?![a-z0-9])[ ]?((?:[\r\n]|\\[a-z]+-?\d*[ ]?)*)(?=-?\d)"
)
_DELETED = re.compile(r"\{[^{}]*\\deleted(?![a-z0-9])[^{}]*\}")
"""Tracked deletions, which are skipped."""
_SYMBOL_FONT = compile_bounded(r"\\f(\d+)(?:\\[a-z]+-?\d*|[ ])*\\fcharset2[^;{}]*Symbol[^;{}]*;")
_CELL_END = compile_bounded(r"[ \n]*\|(?:[ ]*(?=\n)|[ ]*)")
_SYMBOL_CODE = re.compile(r"\\'([0-9a-fA-F]{2})")
_LIST_TEXT = re.compile(r"\{\\(?:pntext|listtext)(?![a-z])[^{}]*\}")


def read_rtf(content: bytes) -> ParsedReport:
    """Raises UnreadableError."""
    if not content.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"{\\rtf"):
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE, "The file does not start with an RTF header. Export it again."
        )
    # RTF escapes are ASCII; striprtf detects the code page of everything else.
    raw = content.decode("latin-1").strip("\x00")
    if not raw.rstrip("\x00\r\n \t").endswith("}"):
        raise UnreadableError(UnreadableReason.CORRUPT_FILE, "The file is truncated. Export it again.")
    raw = _decode_symbols(_DELETED.sub("", _LIST_TEXT.sub("", remove_marks(raw))))
    prepared = _SUPERSCRIPT.sub(r"\1\2^", mark_rtf_headings(raw))
    prepared = _SKIPPED_BY_STRIPRTF.sub(r"\\par ", _SHAPE.sub(r"\\par ", prepared))
    text = rtf_to_text(prepared, errors="replace")
    # striprtf adds a link's address after its text, which the reference text lacks.
    return ParsedReport.from_marked(
        normalize_marked(_CELL_END.sub(_format_cell_end, text)),
        reference_text=_ReferenceText().extract_text(raw),
        is_reference_complete="HYPERLINK" not in raw,
    )


def _decode_symbols(raw: str) -> str:
    """Map Symbol font codes to Unicode: read as Latin letters, ≥ would be ³."""
    for font in set(_SYMBOL_FONT.findall(raw)):
        use = re.compile(rf"(\\f{font}(?!\d)(?:\\[a-z]+-?\d*)*[ ]?)((?:\\'[0-9a-fA-F]{{2}})+)")
        raw = use.sub(lambda match: match.group(1) + _SYMBOL_CODE.sub(_to_private_use, match.group(2)), raw)
    return raw


def _to_private_use(match: re.Match[str]) -> str:
    # RTF writes characters above 32767 as negative numbers; the ? is the fallback for readers without Unicode.
    return rf"\u{0xF000 + int(match.group(1), 16) - 0x10000}?"


def _format_cell_end(match: re.Match[str]) -> str:
    rest = match.string[match.end() : match.end() + 1]
    return "" if rest in ("", "\n") else " | "


class _ReferenceText:
    """Collects the text outside control words and hidden groups."""

    _HIDDEN = frozenset(
        """fonttbl colortbl stylesheet info pict object fldinst listtable listoverridetable listtext pntext rsidtbl
        generator themedata datastore latentstyles xmlnstbl shprslt sp nonshppict bkmkstart bkmkend filetbl revtbl
        userprops mmathPr""".split()  # noqa: SIM905
    )
    _SHOWN_STARRED = frozenset({"shpinst", "footnote", "shppict"})
    _BREAKING = frozenset(
        {"par", "line", "tab", "cell", "nestcell", "row", "sect", "page", "header", "footer", "footnote", "shptxt"}
    )
    _SIGNS = {"emdash": "—", "endash": "–", "_": "-", "~": " ", "lquote": "'", "rquote": "'", "\n": " ", "\r": " "}

    def __init__(self) -> None:
        self._hidden = [False]
        self._is_starred = False
        self._fallback_length = 1
        """Length of the fallback text after a \\u character, which Unicode-aware readers skip."""
        self._skip = 0

    def extract_text(self, raw: str) -> str:
        return "".join(self._render_match(match) for match in TOKEN.finditer(raw))

    def _render_match(self, match: re.Match[str]) -> str:
        hexed, code, word, number, sign, brace, plain = match.groups(default="")
        if brace == "{":
            self._hidden.append(self._hidden[-1])
        elif brace and len(self._hidden) > 1:
            self._hidden.pop()
        if sign == "*":
            self._is_starred = True
        elif word:
            starred, self._is_starred = self._is_starred, False
            if word in self._HIDDEN or (starred and word not in self._SHOWN_STARRED):
                self._hidden[-1] = True
            if word == "uc":
                self._fallback_length = int(number or 1)
        if self._hidden[-1]:
            return ""
        return self._render_token(hexed, code, word, sign, plain)

    def _render_token(self, hexed: str, code: str, word: str, sign: str, plain: str) -> str:
        if code:
            self._skip = self._fallback_length
            return chr(int(code) % 0x10000)
        if hexed:
            skipped, self._skip = self._skip > 0, max(0, self._skip - 1)
            return "" if skipped else bytes.fromhex(hexed).decode("cp1252", "replace")
        if plain:
            shown = plain.replace("\r", "").replace("\n", "")[self._skip :]
            self._skip = 0
            return shown
        self._skip = 0
        if word:
            return "^" if word == "super" else self._SIGNS.get(word, " " if word in self._BREAKING else "")
        return self._SIGNS.get(sign, sign if sign in "{}\\" else "")
