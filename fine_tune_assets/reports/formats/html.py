"""HTML pages. lxml extracts the text; Python's own parser, which shares no code with it, the reference text."""

import re
from html.parser import HTMLParser

from lxml import html

from fine_tune_assets.reports.file_contents import require_text
from fine_tune_assets.reports.formats.markup import extract_marked_text
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{1,40})", re.IGNORECASE)
_HEAD_BYTES = 4096


def read_html(content: bytes) -> ParsedReport:
    """Raises UnreadableError."""
    text = _decode(content)
    if "<" not in text:
        raise UnreadableError(UnreadableReason.CORRUPT_FILE, "The file is not HTML: it contains no elements.")
    # huge_tree stays off to keep libxml2's depth limits.
    tree = html.document_fromstring(text.encode("utf-8"), parser=html.HTMLParser(encoding="utf-8"))
    return ParsedReport.from_marked(extract_marked_text(tree), reference_text=_ReferenceParser.extract_text(text))


def _decode(content: bytes) -> str:
    declared = _CHARSET.search(content[:_HEAD_BYTES])
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    require_text(content)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return content.decode(declared.group(1).decode() if declared else "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        raise UnreadableError(
            UnreadableReason.INVALID_UTF8,
            "The file is neither UTF-8 nor in its declared character set. Save it as UTF-8.",
        ) from error


class _ReferenceParser(HTMLParser):
    _HIDDEN = frozenset(
        {"script", "style", "head", "template", "noscript", "del", "title", "iframe", "object", "svg", "math"}
    )
    _INLINE = frozenset(
        {"a", "abbr", "b", "big", "em", "font", "i", "mark", "q", "s", "small", "span", "strong", "sub", "u"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._hidden: list[str] = []
        self._parts: list[str] = []

    @classmethod
    def extract_text(cls, text: str) -> str:
        route = cls()
        route.feed(text)
        route.close()
        return "".join(route._parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._HIDDEN or ("revised", "delete") in attrs:
            self._hidden.append(tag)
        elif tag == "body":
            self._hidden.clear()  # closes an unclosed head
        elif not self._hidden:
            self._parts.append("^" if tag == "sup" else "" if tag in self._INLINE else " ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        elif not self._hidden and tag not in self._INLINE:
            self._parts.append("" if tag == "sup" else " ")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._parts.append(data)
