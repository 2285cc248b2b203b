"""Reports of domains that the product was not made for, each in the format and style of its trade.

Every section has a word that occurs nowhere else, so that a test sees what a section contains.
"""

import io

import docx
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

DAMAGE = (
    ("Summary", "A pipe burst above the kitchen, and water stood for two days."),
    ("Scope of damage", "The parquet is swollen and the plinth is soaked."),
    ("Recommended reserve", "Reserve 14,200 euros for drying and a new floor."),
)


def damage_docx(*, style: str = "Heading 1", inner: str | None = None) -> bytes:
    """An insurer's report in Word; `inner` is the style of a heading within the first section."""
    document = docx.Document()
    document.add_heading("Damage report", level=0)
    for number, (heading, text) in enumerate(DAMAGE):
        document.add_paragraph(heading, style=style)
        document.add_paragraph(text)
        if inner is not None and number == 0:
            document.add_paragraph("Access", style=inner)
            document.add_paragraph("The tenant opened the door.")
    return _save(document)


def damage_docx_in_bold() -> bytes:
    document = docx.Document()
    for heading, text in DAMAGE:
        document.add_paragraph().add_run(heading).bold = True
        document.add_paragraph(text)
    return _save(document)


def damage_docx_in_german() -> bytes:
    """Word writes translated ids and English names of its styles."""
    document = docx.Document()
    for style in document.styles.element.iter(qn("w:style")):
        if style.get(qn("w:styleId")) == "Heading1":
            style.set(qn("w:styleId"), "berschrift1")
    for heading, text in DAMAGE:
        paragraph = document.add_paragraph(heading)
        named = OxmlElement("w:pStyle")
        named.set(qn("w:val"), "berschrift1")
        paragraph._p.get_or_add_pPr().insert(0, named)
        document.add_paragraph(text)
    return _save(document)


def _save(document: docx.document.Document) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


INSPECTION = """# Inspection of footbridge 12

## 1. Scope

Visual inspection from the deck and from a boat.

## 2. Findings

Corrosion on both bearings.

### 2.1 Deck

Two planks are loose:

- plank 4
- plank 9

NOTE

The handrail is sound.

## 3. Conclusions

Replace the planks within a month.
"""

INSPECTION_IN_TEXT = """FOOTBRIDGE 12, ANNUAL INSPECTION 2031

1. Scope

Visual inspection from the deck and from a boat.

2. Findings

Corrosion on both bearings.

1. Northern bearing

Flaking paint.

2.1 Deck

Two planks are loose.

3. Conclusions

Replace the planks within a month.
"""

POLICE = """Report no. 77/31

Facts:
The shop window was broken at about 3 am.
Seized: one hammer.

Statement of the witness:
She heard glass and saw a van.

Measures taken:
The scene was photographed.
"""

COURT_HTML = """<html><body><h1>District Court</h1>
<p><strong>Facts</strong></p><p>The fence stands 40 cm on the neighbour's land.</p>
<p><b>Reasons</b></p><p>The claim is admissible. <b>It is also well-founded.</b></p>
<p><strong>Order:</strong></p><p>The fence is to be moved.</p></body></html>"""

COURT_RTF = r"""{\rtf1\ansi{\fonttbl{\f0 Arial;}}{\stylesheet{\s0 Normal;}{\s1\outlinelevel0\b heading 1;}}
\pard\plain\s1\b Facts\par \pard\plain The fence stands 40 cm on the land.\par
\pard\plain\s1\b Reasons\par \pard\plain The claim is admissible. {\b It is also well-founded.}\par
\pard\plain {\b Order}\par \pard\plain The fence is to be moved.\par}"""

NURSING = """Course

The wound is dry.

LEFT KNEE: swollen, warm.
NOTE

WARFARIN
METOPROLOL SUCCINATE

Next visit:
- weigh
- check the dressing:
  left and right

NKDA

Slept well.

Handover

Call the daughter.
"""
