"""HTML pages, such as a portal's or a viewer's export.

Owns how a page is opened. The text is lxml's; the evidence is that of Python's own parser, which shares no code with it.
"""

import re
from html.parser import HTMLParser

from lxml import html

from fine_tune_assets.reports.contents import check_is_text
from fine_tune_assets.reports.facts import Found
from fine_tune_assets.reports.formats.markup import text_of
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:-]{1,40})", re.IGNORECASE)
_BEGINNING = 4096


def read_html(content: bytes) -> Found:
    """The report in a page. Raises UnreadableError."""
    text = _decoded(content)
    if "<" not in text:
        raise UnreadableError(Reason.CORRUPT_FILE, "There is no element in it: it is no HTML.")
    # huge_tree stays off: libxml2's own limits on depth hold.
    tree = html.document_fromstring(text.encode("utf-8"), parser=html.HTMLParser(encoding="utf-8"))
    return Found(text_of(tree), evidence=_OtherRoute.text_of(text))


def _decoded(content: bytes) -> str:
    declared = _CHARSET.search(content[:_BEGINNING])
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    check_is_text(content)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return content.decode(declared.group(1).decode() if declared else "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        raise UnreadableError(
            Reason.INVALID_UTF8, "It is neither UTF-8 nor in the character set that it names. Save it as UTF-8."
        ) from error


class _OtherRoute(HTMLParser):
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
    def text_of(cls, text: str) -> str:
        route = cls()
        route.feed(text)
        route.close()
        return "".join(route._parts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._HIDDEN or ("revised", "delete") in attrs:
            self._hidden.append(tag)
        elif tag == "body":
            self._hidden.clear()  # of a head that was never closed
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
