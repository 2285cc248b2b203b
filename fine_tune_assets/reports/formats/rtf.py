"""RTF documents, such as a dictation system's or Word's.

Owns what is added to the library striprtf: it leaves out headers, footers, footnotes and text boxes, where the patient's
name and the report's addendum often stand, and joins raised digits to the number before them. The evidence is made by
another, cruder route: whatever stands outside of control words.
"""

import re

from striprtf.striprtf import rtf_to_text

from fine_tune_assets.reports.facts import Found
from fine_tune_assets.reports.text_cleanup import tidy
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_SHAPE = re.compile(r"\\\*\s*\\shpinst\b|\\shp(?:grp|txt)?(?![a-z])")
_LEFT_OUT = re.compile(r"\\(?:header|footer)[flr]?(?![a-z])|\\footnote(?![a-z])|\\\*\s*\\footnote(?![a-z])")
_RAISED = re.compile(
    r"(?<=\d)((?:[{}\r\n]|\\(?!super(?![a-z]))[a-z]+-?\d*[ ]?)*)\\super(?![a-z0-9])[ ]?((?:[\r\n]|\\[a-z]+-?\d*[ ]?)*)(?=-?\d)"
)
_DELETED = re.compile(r"\{[^{}]*\\deleted(?![a-z0-9])[^{}]*\}")
"""In tracked changes. What was deleted is no text."""
_SYMBOL_FONT = re.compile(r"\\f(\d+)(?:\\[a-z]+-?\d*|[ ])*\\fcharset2[^;{}]*Symbol[^;{}]*;")
_SYMBOL_CODE = re.compile(r"\\'([0-9a-fA-F]{2})")
_LIST_TEXT = re.compile(r"\{\\(?:pntext|listtext)(?![a-z])[^{}]*\}")


def read_rtf(content: bytes) -> Found:
    """The report in an RTF file. Raises UnreadableError."""
    if not content.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"{\\rtf"):
        raise UnreadableError(Reason.CORRUPT_FILE, "It does not begin as RTF does. Export it again.")
    # Its own escapes are ASCII; what else stands there is in the code page that striprtf finds in it.
    raw = content.decode("latin-1").strip("\x00")
    if not raw.rstrip("\x00\r\n \t").endswith("}"):
        raise UnreadableError(Reason.CORRUPT_FILE, "Its end is missing. Export it again.")
    raw = _with_symbols(_DELETED.sub("", _LIST_TEXT.sub("", raw)))
    seen = _RAISED.sub(r"\1\2^", raw)
    seen = _LEFT_OUT.sub(r"\\par ", _SHAPE.sub(r"\\par ", seen))
    text = rtf_to_text(seen, errors="replace")
    # striprtf writes a link's address behind it: there the text has more than the evidence.
    return Found(
        tidy(re.sub(r"[ \n]*\|(?:[ ]*(?=\n)|[ ]*)", _cell_end, text)),
        evidence=_OtherRoute().text_of(raw),
        is_all_evidence="HYPERLINK" not in raw,
    )


def _with_symbols(raw: str) -> str:
    """Codes in the font Symbol as its characters in Unicode: read as Latin letters, its ≥ would be a ³."""
    for font in set(_SYMBOL_FONT.findall(raw)):
        use = re.compile(rf"(\\f{font}(?!\d)(?:\\[a-z]+-?\d*)*[ ]?)((?:\\'[0-9a-fA-F]{{2}})+)")
        raw = use.sub(lambda match: match.group(1) + _SYMBOL_CODE.sub(_private, match.group(2)), raw)
    return raw


def _private(match: re.Match[str]) -> str:
    # RTF writes characters above 32767 as negative numbers; the ? stands for programs that know no Unicode.
    return rf"\u{0xF000 + int(match.group(1), 16) - 0x10000}?"


def _cell_end(match: re.Match[str]) -> str:
    rest = match.string[match.end() : match.end() + 1]
    return "" if rest in ("", "\n") else " | "


class _OtherRoute:
    """Everything outside of control words and of groups that are not shown."""

    _TOKEN = re.compile(r"\\'([0-9a-fA-F]{2})|\\u(-?\d+)[ ]?|\\([a-zA-Z]+)(-?\d+)?[ ]?|\\([^a-zA-Z])|([{}])|([^\\{}]+)")
    _HIDDEN = frozenset(
        """fonttbl colortbl stylesheet info pict object fldinst listtable listoverridetable listtext pntext rsidtbl
        generator themedata datastore latentstyles xmlnstbl shprslt sp nonshppict bkmkstart bkmkend filetbl revtbl
        userprops mmathPr""".split()  # noqa: SIM905
    )
    _SHOWN_ALL_THE_SAME = frozenset({"shpinst", "footnote", "shppict"})
    _BREAKING = frozenset(
        {"par", "line", "tab", "cell", "nestcell", "row", "sect", "page", "header", "footer", "footnote", "shptxt"}
    )
    _SIGNS = {"emdash": "—", "endash": "–", "_": "-", "~": " ", "lquote": "'", "rquote": "'", "\n": " ", "\r": " "}

    def __init__(self) -> None:
        self._hidden = [False]
        self._is_starred = False
        self._replaced = 1
        """Characters that stand for a \\u character where a program knows none, and are skipped where it does."""
        self._skip = 0

    def text_of(self, raw: str) -> str:
        return "".join(self._shown(match) for match in self._TOKEN.finditer(raw))

    def _shown(self, match: re.Match[str]) -> str:
        hexed, code, word, number, sign, brace, plain = match.groups(default="")
        if brace == "{":
            self._hidden.append(self._hidden[-1])
        elif brace and len(self._hidden) > 1:
            self._hidden.pop()
        if sign == "*":
            self._is_starred = True
        elif word:
            starred, self._is_starred = self._is_starred, False
            if word in self._HIDDEN or (starred and word not in self._SHOWN_ALL_THE_SAME):
                self._hidden[-1] = True
            if word == "uc":
                self._replaced = int(number or 1)
        if self._hidden[-1]:
            return ""
        return self._of_token(hexed, code, word, sign, plain)

    def _of_token(self, hexed: str, code: str, word: str, sign: str, plain: str) -> str:
        if code:
            self._skip = self._replaced
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
