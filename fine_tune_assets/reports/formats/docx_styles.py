"""The heading level of a paragraph in a Word document: by its style, its outline level, or bold text alone.

The names of built-in styles are English in every language, and their ids are not: `heading 1` has the id `berschrift1` in German.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.reports.heading_marks import BOLD_LEVEL, MAX_LEVEL, TITLE_LEVEL

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_BODY_TEXT = 9
"""Outline level of text."""
_MAX_PARENTS = 20
_HEADING_NAME = re.compile(r"\bheading ?([1-9])?(?![0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class DocumentStyles:
    levels: Mapping[str, int]
    """Style id → level of its headings."""
    bold: frozenset[str]
    """Ids of styles that are bold."""

    def has_heading_style(self, paragraph: Any) -> bool:
        style = _find_style(paragraph)
        return style in self.levels or "heading" in style.lower()

    def find_level(self, paragraph: Any) -> int | None:
        """None for text."""
        own = _read_outline_level(paragraph)
        if own is not None:
            return None if own == _BODY_TEXT else own + 1
        style = _find_style(paragraph)
        if style in self.levels:
            return self.levels[style]
        return BOLD_LEVEL if _is_bold_alone(paragraph, style in self.bold) else None


def read_styles(document: Any) -> DocumentStyles:
    styles = {str(style.get(f"{_W}styleId")): style for style in document.styles.element.iter(f"{_W}style")}
    levels = {style_id: level for style_id in styles if (level := _find_style_level(style_id, styles)) is not None}
    bold = {style_id for style_id in styles if any(_is_switched_on(one) for one in _list_bold(style_id, styles))}
    return DocumentStyles(levels, frozenset(bold))


def _list_parents(style_id: str, styles: Mapping[str, Any]) -> list[Any]:
    """The style and those that it is based on."""
    found: list[Any] = []
    while style_id in styles and len(found) < _MAX_PARENTS:
        found.append(styles[style_id])
        style_id = _value(styles[style_id], "basedOn")
    return found


def _find_style_level(style_id: str, styles: Mapping[str, Any]) -> int | None:
    for style in _list_parents(style_id, styles):
        stated = _read_outline_level(style)
        if stated is not None:
            return None if stated == _BODY_TEXT else stated + 1
        name = _value(style, "name")
        if name.lower() == "title":
            return TITLE_LEVEL
        if style.get(f"{_W}type") == "paragraph" and (named := _HEADING_NAME.search(name)) is not None:
            return int(named[1] or 1)
    return None


def _list_bold(style_id: str, styles: Mapping[str, Any]) -> list[Any]:
    """The nearest statement about bold letters."""
    stated = (style.find(f"{_W}rPr/{_W}b") for style in _list_parents(style_id, styles))
    return [one for one in stated if one is not None][:1]


def _read_outline_level(holder: Any) -> int | None:
    stated = _value(holder, f"pPr/{_W}outlineLvl")
    return min(int(stated), MAX_LEVEL) if stated.isdecimal() else None


def _find_style(paragraph: Any) -> str:
    return _value(paragraph, f"pPr/{_W}pStyle")


def _value(holder: Any, path: str) -> str:
    found = holder.find(f"{_W}{path}")
    return "" if found is None else str(found.get(f"{_W}val") or "")


def _is_switched_on(switch: Any) -> bool:
    return str(switch.get(f"{_W}val", "1")).lower() in ("1", "true", "on")


def _is_bold_alone(paragraph: Any, is_style_bold: bool) -> bool:
    """Whether every run with text is bold."""
    runs = [run for run in paragraph.iter(f"{_W}r") if any((t.text or "").strip() for t in run.findall(f"{_W}t"))]
    stated = [run.find(f"{_W}rPr/{_W}b") for run in runs]
    return bool(runs) and all(is_style_bold if one is None else _is_switched_on(one) for one in stated)
