"""The registry of formats: one entry decides recognition, the choice among forms, and the reader's version."""

import io
import zipfile

import pytest

from fine_tune_assets.reports.formats.document_formats import (
    DOCUMENT_FORMATS,
    FORMAT_BY_KIND,
    KIND_BY_SUFFIX,
    detect_attachment_kind,
)
from fine_tune_assets.reports.reader_version import PARSERS
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason
from fine_tune_assets_tests.reports.sample_files import REPORT, as_ccda, as_docx, as_html, as_pdf, as_rtf

WRITTEN = {
    "pdf": as_pdf(REPORT),
    "docx": as_docx(REPORT),
    "rtf": as_rtf(REPORT),
    "html": as_html(REPORT),
    "ccda": as_ccda(REPORT),
}
WRONG = "application/octet-stream"


def archive(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for name, member in members.items():
            written.writestr(name, member)
    return content.getvalue()


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_document_is_recognized_by_its_content_alone(kind: str) -> None:
    assert detect_attachment_kind(WRITTEN[kind], WRONG) == kind
    assert [one.kind for one in DOCUMENT_FORMATS if one.recognize(WRITTEN[kind])] == [kind]


@pytest.mark.parametrize("media_type", [WRONG, FORMAT_BY_KIND["docx"].media_types[0], "text/plain"])
def test_another_kind_of_archive_is_no_word_document(media_type: str) -> None:
    """An OpenDocument text is a ZIP archive too; as a Word document it would be called corrupt."""
    odt = archive(mimetype=b"application/vnd.oasis.opendocument.text", content=b"<office/>")
    for content in (odt, b"PK\x03\x04 and nothing else"):
        with pytest.raises(UnreadableError) as refused:
            detect_attachment_kind(content, media_type)
        assert refused.value.reason is UnreadableReason.UNSUPPORTED_FORMAT


def test_without_a_known_content_the_media_type_decides() -> None:
    assert detect_attachment_kind(b"Cough.", "text/plain; charset=utf-8") == "text"


def test_each_form_has_its_own_place() -> None:
    """Otherwise the order of a bundle would decide which form of a report is trained on."""
    assert len({one.loss for one in DOCUMENT_FORMATS}) == len(DOCUMENT_FORMATS)
    assert min(DOCUMENT_FORMATS, key=lambda one: one.loss).kind == "text"


def test_a_new_version_of_a_parser_reads_the_batches_again() -> None:
    assert {parser for one in DOCUMENT_FORMATS for parser in one.parsers} <= set(PARSERS)


def test_no_suffix_belongs_to_two_formats() -> None:
    assert len(KIND_BY_SUFFIX) == sum(len(one.suffixes) for one in DOCUMENT_FORMATS)
