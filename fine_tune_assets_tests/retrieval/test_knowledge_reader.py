"""Documents of every format, and every way in which one can be invalid without affecting the others."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.confined_process import ConfinedProcessError, Failure, ProcessLimits
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.defs.s01_raw_reports.knowledge_documents import read_documents
from fine_tune_assets.retrieval.documents import Block, Document, DocumentFault, UnreadableDocumentError
from fine_tune_assets.retrieval.knowledge_reader import (
    PARSER_LIMITS,
    KnowledgeDocuments,
    _decode_answer,
    read_knowledge,
)
from fine_tune_assets.retrieval.sql_queries import run_query
from fine_tune_assets_tests.reports.sample_files import _pdf, _pdf_text

METADATA = "subject_free: true\nlabels: [everyone]\n"
MARKER = "Zyxomarkwort"


def read(
    folder: Path, variables: Mapping[str, str] | None = None, limits: ProcessLimits = PARSER_LIMITS
) -> KnowledgeDocuments:
    def query(request: Mapping[str, Any]) -> list[Block]:
        return run_query(request, folder / "keys", (variables or {}).get)

    return read_knowledge(folder / "knowledge", lambda content: content.decode(), query, limits)


def put(folder: Path, name: str, content: str | bytes, metadata: str = METADATA) -> Path:
    path = folder / "knowledge" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "knowledge" / "knowledge.yaml").write_text(metadata, encoding="utf-8")
    return path


def only(knowledge: KnowledgeDocuments) -> Document:
    assert knowledge.unreadable == ()
    (document,) = knowledge.documents
    return document


def fault(knowledge: KnowledgeDocuments) -> tuple[DocumentFault, str]:
    assert knowledge.documents == ()
    (one,) = knowledge.unreadable
    return one.fault, one.detail


def test_markdown_headings_and_table_headers_are_kept(tmp_path: Path) -> None:
    text = "---\ntitle: Leave\nversion: 0123\n---\n# Leave\nIntro.\n## Days\nFull: 20.\n\n"
    text += "| Who | Days |\n|---|---|\n| Full | 20 |\n## Ask\nNow.\n"
    document = only(read_after(tmp_path, "leave.md", text))
    assert (document.metadata.title, document.metadata.version) == ("Leave", "0123")
    assert document.blocks == (
        Block("Intro.", ("Leave",)),
        Block("Full: 20.", ("Leave", "Days")),
        Block("Who: Full; Days: 20", ("Leave", "Days"), "Who | Days"),
        Block("Now.", ("Leave", "Ask")),
    )


def read_after(folder: Path, name: str, content: str | bytes, metadata: str = METADATA) -> KnowledgeDocuments:
    put(folder, name, content, metadata)
    return read(folder)


def test_a_hash_in_code_is_not_a_heading(tmp_path: Path) -> None:
    document = only(read_after(tmp_path, "a.md", "# A\n```sh\n# not a heading\nls\n```\n"))
    assert {block.headings for block in document.blocks} == {("A",)}


def test_html_keeps_headings_and_tables_without_hidden_text(tmp_path: Path) -> None:
    page = (
        "<html><head><title>x</title><style>p{}</style></head><body><h1>Visits</h1><script>steal()</script><p>From&nbsp;14:00.</p>"
        "<h2>Wards</h2><table><tr><th>Ward</th><th>To</th></tr><tr><td>Intensive</td><td>18:00</td></tr></table>"
        "<ul><li>One</li><li>Two</li></ul></body></html>"
    )
    document = only(read_after(tmp_path, "visits.html", page))
    assert document.metadata.title == "Visits"
    assert document.blocks == (
        Block("From 14:00.", ("Visits",)),
        Block("Ward: Intensive; To: 18:00", ("Visits", "Wards"), "Ward | To"),
        Block("- One\n- Two", ("Visits", "Wards")),
    )


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        ("<h1>A</h1><table><tr><td>Layout of a mail.</td></tr></table><p>z</p>", ["Layout of a mail.", "z"]),
        ("<table><tr><th>Day<th>Hours<tr><td>Mon<td>9-17</table>", ["Day: Mon; Hours: 9-17"]),
        (
            "<table><caption>Opening</caption><tr><th>Day</th></tr><tr><td>Mon</td></tr></table>",
            ["Opening", "Day: Mon"],
        ),
    ],
)
def test_no_table_text_is_lost(tmp_path: Path, page: str, texts: list[str]) -> None:
    """A single row is not a header, closing tags of cells are optional, and captions are text."""
    assert [block.text for block in only(read_after(tmp_path, "table.html", page)).blocks] == texts


def test_table_rows_keep_their_column_names(tmp_path: Path) -> None:
    document = only(read_after(tmp_path, "prices.csv", "Medicine;Price\nAspirin;1,20\n\nIbuprofen;2,10\n"))
    assert [block.text for block in document.blocks] == [
        "Medicine: Aspirin; Price: 1,20",
        "Medicine: Ibuprofen; Price: 2,10",
    ]
    assert {block.header for block in document.blocks} == {"Medicine | Price"}


def test_a_pdf_is_read_by_the_report_reader(tmp_path: Path) -> None:
    """In a subprocess, so that a hostile file affects only itself."""
    content = f"BT /F1 12 Tf 50 700 Td ({_pdf_text('Staff have 20 days of leave.')}) Tj ET".encode()
    stream = b"<< /Length %d >>\nstream\n" % len(content) + content + b"\nendstream"
    pdf = _pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
            stream,
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        ]
    )
    put(tmp_path, "leave.pdf", pdf)
    put(tmp_path, "broken.pdf", b"%PDF-1.4 " + MARKER.encode())
    with read_documents(Settings(data_dir=tmp_path)) as knowledge:
        (document,), (broken,) = knowledge.documents, knowledge.unreadable
    assert document.blocks == (Block("Staff have 20 days of leave."),)
    assert (broken.source, broken.fault) == ("broken.pdf", DocumentFault.READ_FAILED)
    assert MARKER not in broken.detail


def test_query_rows_are_a_document(tmp_path: Path) -> None:
    url = database(tmp_path)
    put(
        tmp_path, "prices.sql.yaml", "query: SELECT name, price FROM prices ORDER BY name\nurl_env: KNOWLEDGE_URL_ERP\n"
    )
    document = only(read(tmp_path, {"KNOWLEDGE_URL_ERP": url}))
    assert (document.kind, document.metadata.title) == ("sql", "Prices")
    assert [block.text for block in document.blocks] == ["name: Aspirin; price: 1.2"]
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "erp.url").write_text(url + "\n", encoding="utf-8")
    put(tmp_path, "prices.sql.yaml", "query: SELECT name FROM prices\nurl_file: erp.url\ntitle: Price list\n")
    assert only(read(tmp_path)).metadata.title == "Price list"


def database(folder: Path) -> str:
    url = f"sqlite:///{folder / 'erp.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE prices (name text, price real)"))
        connection.execute(sa.text("INSERT INTO prices VALUES ('Aspirin', 1.2)"))
    engine.dispose()
    return url


@pytest.mark.parametrize(
    ("content", "expected", "detail"),
    [
        ("query: DELETE FROM prices\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.INVALID_QUERY, "SELECT"),
        ("query: SELECT 1; DROP TABLE prices\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.INVALID_QUERY, "SELECT"),
        (
            "query: WITH x AS (SELECT 1) INSERT INTO prices SELECT 'a', 1 FROM x\nurl_env: KNOWLEDGE_URL_ERP",
            DocumentFault.INVALID_QUERY,
            "OperationalError",
        ),
        ("query: SELECT nothing FROM prices\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.INVALID_QUERY, "OperationalError"),
        ("query: SELECT 1\nurl_env: PATH", DocumentFault.NO_DATABASE, "must start with KNOWLEDGE_URL_"),
        ("query: SELECT 1\nurl_env: KNOWLEDGE_URL_OTHER", DocumentFault.NO_DATABASE, "address"),
        ("query: SELECT 1\nurl_file: ../../etc/passwd", DocumentFault.NO_DATABASE, "`url_file`"),
        ("query: SELECT 1", DocumentFault.NO_DATABASE, "`url_env` or `url_file`"),
        ("query: SELECT 1\nurl: sqlite:///x.db\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.INVALID_METADATA, "unknown key url"),
        ("query: SELECT name FROM prices WHERE price > 9\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.EMPTY, "no rows"),
        ("query: SELECT 1\nurl_env: KNOWLEDGE_URL_ERP\nrefresh_minutes: soon", DocumentFault.INVALID_QUERY, "refresh_minutes"),
    ],
)  # fmt: skip
def test_a_query_is_read_only_and_contains_no_secret(
    tmp_path: Path, content: str, expected: DocumentFault, detail: str
) -> None:
    url = database(tmp_path)
    put(tmp_path, "q.sql.yaml", content)
    actual, message = fault(read(tmp_path, {"KNOWLEDGE_URL_ERP": url, "PATH": url}))
    assert actual is expected
    assert detail in message
    with sa.create_engine(url).connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM prices")).scalar() == 1


@pytest.mark.parametrize(
    ("name", "content", "metadata", "expected", "detail"),
    [
        ("a.md", "---\nlable: x\n---\nText", METADATA, DocumentFault.INVALID_METADATA, "unknown key lable"),
        ("a.md", "---\ntitle: [x\n---\nText", METADATA, DocumentFault.INVALID_METADATA, "YAML"),
        ("a.md", "---\ntitle: x\nText", METADATA, DocumentFault.INVALID_METADATA, "---"),
        (
            "a.md",
            "---\nvalid_from: 2026-02-30\n---\nText",
            METADATA,
            DocumentFault.INVALID_METADATA,
            "valid_from",
        ),
        (
            "a.md",
            "---\nvalid_from: 2026-02-02\nvalid_to: 2026-02-01\n---\nText",
            METADATA,
            DocumentFault.INVALID_METADATA,
            "before",
        ),
        ("a.md", "---\nlabels: everyone\n---\nText", METADATA, DocumentFault.INVALID_METADATA, "labels"),
        ("a.md", "---\nlabels: [HR]\n---\nText", METADATA, DocumentFault.INVALID_METADATA, "labels"),
        ("a.md", "Text", "subject_free: true\n", DocumentFault.NO_LABELS, "`labels: [everyone]`"),
        ("a.md", "Text", "labels: [everyone]\n", DocumentFault.NOT_DECLARED, "`subject_free: true`"),
        ("a.md", "---\nsubject_free: no\n---\nText", METADATA, DocumentFault.NOT_DECLARED, "`subject_free: true`"),
        ("a.md", "Text", "title: All\n" + METADATA, DocumentFault.INVALID_METADATA, "title"),
        ("a.md", "# Only a heading\n", METADATA, DocumentFault.EMPTY, "no text"),
        ("a.txt", b"\xff\xfe\x00", METADATA, DocumentFault.NOT_TEXT, "zero byte"),
        ("a.txt", "größe".encode("latin-1"), METADATA, DocumentFault.NOT_TEXT, "UTF-8"),
        ("a.csv", "A,B\n1,2,3\n", METADATA, DocumentFault.INVALID_TABLE, "1 rows"),
        ("a.csv", 'A,B\n"1,2\n', METADATA, DocumentFault.INVALID_TABLE, "quote"),
        ("a.docx", b"PK", METADATA, DocumentFault.UNSUPPORTED_FORMAT, "*.sql.yaml"),
    ],
)
def test_an_invalid_document_is_reported_and_does_not_affect_others(
    tmp_path: Path, name: str, content: str | bytes, metadata: str, expected: DocumentFault, detail: str
) -> None:
    put(tmp_path, "good.md", f"---\n{METADATA}title: Good\n---\nGood text.", metadata)
    if expected is DocumentFault.INVALID_METADATA and metadata.startswith("title"):
        metadata = "title: All\n" + METADATA
    put(tmp_path, f"other/{name}", content, metadata)
    knowledge = read(tmp_path)
    one = next(one for one in knowledge.unreadable if one.source == f"other/{name}")
    assert one.fault is expected
    assert detail in one.detail
    if not metadata.startswith("title"):
        assert [document.source for document in knowledge.documents] == ["good.md"]


def test_no_detail_quotes_document_content(tmp_path: Path) -> None:
    put(tmp_path, "a.md", f"---\n{MARKER} and more: x\n---\n{MARKER}")
    put(tmp_path, "b.csv", f'{MARKER},B\n"{MARKER}\n')
    put(tmp_path, "c.md", f"---\n{MARKER}: [\n---\n")
    knowledge = read(tmp_path)
    assert len(knowledge.unreadable) == 3
    assert [
        one.source for one in knowledge.unreadable if f"{MARKER} and" in one.detail or f'"{MARKER}' in one.detail
    ] == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "knowledge.txt", "x")
    (tmp_path / "secret.txt").write_text(MARKER, encoding="utf-8")
    (tmp_path / "knowledge" / "knowledge.txt").unlink()
    (tmp_path / "knowledge" / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert fault(read(tmp_path))[0] is DocumentFault.NOT_A_FILE


def test_files_about_documents_are_not_documents(tmp_path: Path) -> None:
    for name in ("README.md", "LICENSE", ".hidden.md", "a.md.partial", "a.txt~"):
        put(tmp_path, name, "x")
    assert read(tmp_path) == KnowledgeDocuments((), ())
    assert read(tmp_path / "nothing") == KnowledgeDocuments((), ())


def test_a_name_that_only_starts_like_license_is_a_document(tmp_path: Path) -> None:
    """Hospitals have policies on licences."""
    put(tmp_path, "license-renewal-policy.md", "Every year.")
    assert [document.source for document in read(tmp_path).documents] == ["license-renewal-policy.md"]


def test_the_nearest_metadata_takes_precedence(tmp_path: Path) -> None:
    put(tmp_path, "hr/pay/bands.txt", "Band 12.")
    (tmp_path / "knowledge" / "hr" / "knowledge.yaml").write_text(
        "labels: [hr]\nvalid_to: 2026-12-31\n", encoding="utf-8"
    )
    (tmp_path / "knowledge" / "hr" / "pay" / "bands.txt.meta.yaml").write_text(
        "valid_to: 2026-06-30\n", encoding="utf-8"
    )
    metadata = only(read(tmp_path)).metadata
    assert (metadata.labels, metadata.valid_to, metadata.title) == (("hr",), "2026-06-30", "Bands")


@pytest.mark.parametrize("name", ["knowledge.yaml", "a.txt.meta.yaml"])
def test_metadata_of_any_size_is_not_loaded(tmp_path: Path, name: str) -> None:
    """Each document reads the metadata of its folders. A part of it could lack the labels that restrict the document."""
    put(tmp_path, "a.txt", "Text.")
    with open(tmp_path / "knowledge" / name, "a", encoding="utf-8") as file:
        file.truncate(10_000_000_000)  # without taking space on disk
    kind, detail = fault(read(tmp_path))
    assert (kind, detail) == (DocumentFault.INVALID_METADATA, f"{name} is larger than 100000 bytes.")


def test_a_thousand_unknown_keys_are_counted_and_ten_named(tmp_path: Path) -> None:
    """The reason is stored, and shown on a page."""
    put(tmp_path, "a.txt", "Text.")
    (tmp_path / "knowledge" / "a.txt.meta.yaml").write_text("".join(f"k{n}: 1\n" for n in range(1000)))
    (left_out,) = read(tmp_path).unreadable
    assert left_out.fault is DocumentFault.INVALID_METADATA
    assert "unknown key k9; 990 other unknown keys" in left_out.detail


def test_every_sample_document_is_readable() -> None:
    with read_documents(Settings(data_dir=PROJECT_DIR / "data")) as knowledge:
        assert knowledge.unreadable == ()
        assert {document.kind for document in knowledge.documents} == {"markdown", "text", "html", "csv"}
        assert {label for document in knowledge.documents for label in document.metadata.labels} == {
            "everyone",
            "clinical",
            "pharmacy",
        }


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"memory_bytes": 200_000_000}, Failure.OUT_OF_MEMORY),
        ({"cpu_seconds": 1, "memory_bytes": 10**10}, Failure.CPU_TIME),
    ],
)
def test_a_document_above_a_limit_is_left_out_alone(tmp_path: Path, limits: dict[str, int], reason: Failure) -> None:
    """Every format and the metadata are parsed in a process with limits: one document must not stop the others, or the run."""
    put(tmp_path, "a.md", "Before.")
    put(tmp_path, "b.html", "<p>a" * 1_500_000)
    put(tmp_path, "d.md", "---\n" + "".join(f"k{n}: [1, 2]\n" for n in range(500_000)) + "---\nText.")
    put(tmp_path, "e.txt", "After.")
    knowledge = read(tmp_path, limits=replace(PARSER_LIMITS, **limits))
    assert [document.source for document in knowledge.documents] == ["a.md", "e.txt"]
    left_out = {one.source: one for one in knowledge.unreadable}
    assert sorted(left_out) == ["b.html", "d.md"]
    assert all(one.fault is DocumentFault.READ_FAILED and reason.value in one.detail for one in left_out.values())


def test_a_parser_that_can_not_start_is_no_fault_of_a_document(tmp_path: Path) -> None:
    """Otherwise every document would leave the index, and answers would rest on nothing."""
    put(tmp_path, "a.md", "Text.")
    with pytest.raises(ConfinedProcessError):
        read(tmp_path, limits=replace(PARSER_LIMITS, memory_bytes=1_000_000))


def test_the_parser_runs_in_another_process_that_ends(tmp_path: Path) -> None:
    """A parser in this process could read the keys."""
    put(tmp_path, "a.md", "Text.")
    own = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    running: list[str] = []

    def query(_request: Mapping[str, Any]) -> list[Block]:
        for child in Path(own).read_text().split():
            running.append(Path(f"/proc/{child}/cmdline").read_bytes().decode())
        return [Block("Row.")]

    put(tmp_path, "b.sql.yaml", "query: SELECT 1\nurl_env: KNOWLEDGE_URL_ERP\n")
    assert len(read_knowledge(tmp_path / "knowledge", lambda content: content.decode(), query).documents) == 2
    confined = [line for line in running if "retrieval.document_parser:serve" in line]
    assert len(confined) == 1
    assert not any(
        "document_parser" in Path(f"/proc/{one}/cmdline").read_text() for one in Path(own).read_text().split()
    )


def test_an_answer_of_the_parser_can_only_contain_data() -> None:
    """A parser that was taken over must not reach into the run."""
    metadata = {"title": "a", "version": "1", "labels": ["hr"], "valid_from": None, "valid_to": None}
    blocks = [{"text": "t", "headings": ["h"], "header": ""}]
    answer = json.loads(json.dumps({"metadata": metadata, "blocks": blocks, "query": {}}))
    assert _decode_answer(answer).blocks == (Block("t", ("h",)),)
    for change in (
        {"metadata": {}},
        {"blocks": [1]},
        {"blocks": "x"},
        {"fault": "made up", "detail": ""},
        {"query": 1},
    ):
        with pytest.raises(UnreadableDocumentError) as caught:
            _decode_answer({**answer, **change})
        assert caught.value.fault is DocumentFault.READ_FAILED
