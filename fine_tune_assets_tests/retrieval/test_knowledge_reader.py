"""Documents of every format, and every way in which one can be wrong. A bad one costs only itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.defs.s09_served_models.knowledge import read_documents
from fine_tune_assets.retrieval.documents import Block, Document, DocumentFault
from fine_tune_assets.retrieval.knowledge_reader import ReadKnowledge, read_knowledge
from fine_tune_assets.retrieval.queries import run_query
from fine_tune_assets_tests.reports.making_files import _pdf, _pdf_text

FACTS = "patient_free: true\nlabels: [everyone]\n"
MARKER = "Zyxomarkwort"


def read(folder: Path, variables: Mapping[str, str] | None = None) -> ReadKnowledge:
    def query(asked: Mapping[str, Any]) -> list[Block]:
        return run_query(asked, folder / "keys", (variables or {}).get)

    return read_knowledge(folder / "knowledge", lambda content: content.decode(), query)


def put(folder: Path, name: str, content: str | bytes, facts: str = FACTS) -> Path:
    path = folder / "knowledge" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "knowledge" / "knowledge.yaml").write_text(facts, encoding="utf-8")
    return path


def only(found: ReadKnowledge) -> Document:
    assert found.unreadable == ()
    (document,) = found.documents
    return document


def fault(found: ReadKnowledge) -> tuple[DocumentFault, str]:
    assert found.documents == ()
    (one,) = found.unreadable
    return one.fault, one.detail


def test_markdown_has_its_headings_and_tables_have_theirs(tmp_path: Path) -> None:
    text = "---\ntitle: Leave\nversion: 0123\n---\n# Leave\nIntro.\n## Days\nFull: 20.\n\n"
    text += "| Who | Days |\n|---|---|\n| Full | 20 |\n## Ask\nNow.\n"
    document = only(read_after(tmp_path, "leave.md", text))
    assert (document.facts.title, document.facts.version) == ("Leave", "0123")
    assert document.blocks == (
        Block("Intro.", ("Leave",)),
        Block("Full: 20.", ("Leave", "Days")),
        Block("Who: Full; Days: 20", ("Leave", "Days"), "Who | Days"),
        Block("Now.", ("Leave", "Ask")),
    )


def read_after(folder: Path, name: str, content: str | bytes, facts: str = FACTS) -> ReadKnowledge:
    put(folder, name, content, facts)
    return read(folder)


def test_a_hash_in_code_is_no_heading(tmp_path: Path) -> None:
    document = only(read_after(tmp_path, "a.md", "# A\n```sh\n# not a heading\nls\n```\n"))
    assert {block.headings for block in document.blocks} == {("A",)}


def test_html_keeps_headings_and_tables_and_nothing_hidden(tmp_path: Path) -> None:
    page = (
        "<html><head><title>x</title><style>p{}</style></head><body><h1>Visits</h1><script>steal()</script><p>From&nbsp;14:00.</p>"
        "<h2>Wards</h2><table><tr><th>Ward</th><th>To</th></tr><tr><td>Intensive</td><td>18:00</td></tr></table>"
        "<ul><li>One</li><li>Two</li></ul></body></html>"
    )
    document = only(read_after(tmp_path, "visits.html", page))
    assert document.facts.title == "Visits"
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
def test_no_text_of_a_table_is_lost(tmp_path: Path, page: str, texts: list[str]) -> None:
    """A single row is no header; ends of cells may be left out; a caption is text."""
    assert [block.text for block in only(read_after(tmp_path, "table.html", page)).blocks] == texts


def test_a_row_of_a_table_never_stands_without_its_names(tmp_path: Path) -> None:
    document = only(read_after(tmp_path, "prices.csv", "Medicine;Price\nAspirin;1,20\n\nIbuprofen;2,10\n"))
    assert [block.text for block in document.blocks] == [
        "Medicine: Aspirin; Price: 1,20",
        "Medicine: Ibuprofen; Price: 2,10",
    ]
    assert {block.header for block in document.blocks} == {"Medicine | Price"}


def test_a_pdf_is_read_by_the_reports_reader(tmp_path: Path) -> None:
    """In its own process: a hostile file costs only itself."""
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
    with read_documents(Settings(data_dir=tmp_path)) as found:
        (document,), (broken,) = found.documents, found.unreadable
    assert document.blocks == (Block("Staff have 20 days of leave."),)
    assert (broken.source, broken.fault) == ("broken.pdf", DocumentFault.NOT_READ)
    assert MARKER not in broken.detail


def test_rows_of_a_query_are_a_document(tmp_path: Path) -> None:
    url = database(tmp_path)
    put(
        tmp_path, "prices.sql.yaml", "query: SELECT name, price FROM prices ORDER BY name\nurl_env: KNOWLEDGE_URL_ERP\n"
    )
    document = only(read(tmp_path, {"KNOWLEDGE_URL_ERP": url}))
    assert (document.kind, document.facts.title) == ("sql", "Prices")
    assert [block.text for block in document.blocks] == ["name: Aspirin; price: 1.2"]
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "erp.url").write_text(url + "\n", encoding="utf-8")
    put(tmp_path, "prices.sql.yaml", "query: SELECT name FROM prices\nurl_file: erp.url\ntitle: Price list\n")
    assert only(read(tmp_path)).facts.title == "Price list"


def database(folder: Path) -> str:
    url = f"sqlite:///{folder / 'erp.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE prices (name text, price real)"))
        connection.execute(sa.text("INSERT INTO prices VALUES ('Aspirin', 1.2)"))
    engine.dispose()
    return url


@pytest.mark.parametrize(
    ("said", "wanted", "detail"),
    [
        ("query: DELETE FROM prices\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.BAD_QUERY, "one SELECT"),
        ("query: SELECT 1; DROP TABLE prices\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.BAD_QUERY, "one SELECT"),
        (
            "query: WITH x AS (SELECT 1) INSERT INTO prices SELECT 'a', 1 FROM x\nurl_env: KNOWLEDGE_URL_ERP",
            DocumentFault.BAD_QUERY,
            "refused",
        ),
        ("query: SELECT nothing FROM prices\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.BAD_QUERY, "OperationalError"),
        ("query: SELECT 1\nurl_env: PATH", DocumentFault.NO_DATABASE, "must start with KNOWLEDGE_URL_"),
        ("query: SELECT 1\nurl_env: KNOWLEDGE_URL_OTHER", DocumentFault.NO_DATABASE, "holds no address"),
        ("query: SELECT 1\nurl_file: ../../etc/passwd", DocumentFault.NO_DATABASE, "a name in the keys folder"),
        ("query: SELECT 1", DocumentFault.NO_DATABASE, "Name one of"),
        ("query: SELECT 1\nurl: sqlite:///x.db\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.BAD_FACTS, "unknown key url"),
        ("query: SELECT name FROM prices WHERE price > 9\nurl_env: KNOWLEDGE_URL_ERP", DocumentFault.EMPTY, "no rows"),
        ("query: SELECT 1\nurl_env: KNOWLEDGE_URL_ERP\nrefresh_minutes: soon", DocumentFault.BAD_QUERY, "refresh_minutes"),
    ],
)  # fmt: skip
def test_a_query_only_reads_and_holds_no_secret(tmp_path: Path, said: str, wanted: DocumentFault, detail: str) -> None:
    url = database(tmp_path)
    put(tmp_path, "q.sql.yaml", said)
    found, why = fault(read(tmp_path, {"KNOWLEDGE_URL_ERP": url, "PATH": url}))
    assert found is wanted
    assert detail in why
    with sa.create_engine(url).connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM prices")).scalar() == 1


@pytest.mark.parametrize(
    ("name", "content", "facts", "wanted", "detail"),
    [
        ("a.md", "---\nlable: x\n---\nText", FACTS, DocumentFault.BAD_FACTS, "unknown key lable"),
        ("a.md", "---\ntitle: [x\n---\nText", FACTS, DocumentFault.BAD_FACTS, "no valid YAML"),
        ("a.md", "---\ntitle: x\nText", FACTS, DocumentFault.BAD_FACTS, "not closed"),
        ("a.md", "---\nvalid_from: 2026-02-30\n---\nText", FACTS, DocumentFault.BAD_FACTS, "valid_from must be a day"),
        (
            "a.md",
            "---\nvalid_from: 2026-02-02\nvalid_to: 2026-02-01\n---\nText",
            FACTS,
            DocumentFault.BAD_FACTS,
            "before",
        ),
        ("a.md", "---\nlabels: everyone\n---\nText", FACTS, DocumentFault.BAD_FACTS, "labels must be a list"),
        ("a.md", "---\nlabels: [HR]\n---\nText", FACTS, DocumentFault.BAD_FACTS, "small letters"),
        ("a.md", "Text", "patient_free: true\n", DocumentFault.NO_LABELS, "who may see it"),
        ("a.md", "Text", "labels: [everyone]\n", DocumentFault.NOT_DECLARED, "patient_free: true"),
        ("a.md", "---\npatient_free: no\n---\nText", FACTS, DocumentFault.NOT_DECLARED, "patient_free: true"),
        ("a.md", "Text", "title: All\n" + FACTS, DocumentFault.BAD_FACTS, "can't name a title"),
        ("a.md", "# Only a heading\n", FACTS, DocumentFault.EMPTY, "no text"),
        ("a.txt", b"\xff\xfe\x00", FACTS, DocumentFault.NOT_TEXT, "zero byte"),
        ("a.txt", "größe".encode("latin-1"), FACTS, DocumentFault.NOT_TEXT, "UTF-8"),
        ("a.csv", "A,B\n1,2,3\n", FACTS, DocumentFault.BAD_TABLE, "1 rows have other cells"),
        ("a.csv", 'A,B\n"1,2\n', FACTS, DocumentFault.BAD_TABLE, "quote"),
        ("a.docx", b"PK", FACTS, DocumentFault.UNSUPPORTED_FORMAT, "*.sql.yaml"),
    ],
)
def test_what_is_wrong_is_said_and_costs_no_other_document(
    tmp_path: Path, name: str, content: str | bytes, facts: str, wanted: DocumentFault, detail: str
) -> None:
    put(tmp_path, "good.md", f"---\n{FACTS}title: Good\n---\nGood text.", facts)
    if wanted is DocumentFault.BAD_FACTS and facts.startswith("title"):
        facts = "title: All\n" + FACTS
    put(tmp_path, f"other/{name}", content, facts)
    found = read(tmp_path)
    one = next(one for one in found.unreadable if one.source == f"other/{name}")
    assert one.fault is wanted
    assert detail in one.detail
    if not facts.startswith("title"):
        assert [document.source for document in found.documents] == ["good.md"]


def test_no_detail_repeats_what_a_document_says(tmp_path: Path) -> None:
    put(tmp_path, "a.md", f"---\n{MARKER} and more: x\n---\n{MARKER}")
    put(tmp_path, "b.csv", f'{MARKER},B\n"{MARKER}\n')
    put(tmp_path, "c.md", f"---\n{MARKER}: [\n---\n")
    found = read(tmp_path)
    assert len(found.unreadable) == 3
    assert [one.source for one in found.unreadable if f"{MARKER} and" in one.detail or f'"{MARKER}' in one.detail] == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "knowledge.txt", "x")
    (tmp_path / "secret.txt").write_text(MARKER, encoding="utf-8")
    (tmp_path / "knowledge" / "knowledge.txt").unlink()
    (tmp_path / "knowledge" / "link.txt").symlink_to(tmp_path / "secret.txt")
    assert fault(read(tmp_path))[0] is DocumentFault.NOT_A_FILE


def test_files_about_documents_are_none(tmp_path: Path) -> None:
    for name in ("README.md", "LICENSE", ".hidden.md", "a.md.partial", "a.txt~"):
        put(tmp_path, name, "x")
    assert read(tmp_path) == ReadKnowledge((), ())
    assert read(tmp_path / "nothing") == ReadKnowledge((), ())


def test_a_name_that_only_begins_so_is_a_document(tmp_path: Path) -> None:
    """A hospital has policies on licences."""
    put(tmp_path, "license-renewal-policy.md", "Every year.")
    assert [document.source for document in read(tmp_path).documents] == ["license-renewal-policy.md"]


def test_the_nearest_folder_says_last(tmp_path: Path) -> None:
    put(tmp_path, "hr/pay/bands.txt", "Band 12.")
    (tmp_path / "knowledge" / "hr" / "knowledge.yaml").write_text(
        "labels: [hr]\nvalid_to: 2026-12-31\n", encoding="utf-8"
    )
    (tmp_path / "knowledge" / "hr" / "pay" / "bands.txt.meta.yaml").write_text(
        "valid_to: 2026-06-30\n", encoding="utf-8"
    )
    facts = only(read(tmp_path)).facts
    assert (facts.labels, facts.valid_to, facts.title) == (("hr",), "2026-06-30", "Bands")


def test_every_document_of_the_sample_is_read() -> None:
    with read_documents(Settings(data_dir=PROJECT_DIR / "data")) as found:
        assert found.unreadable == ()
        assert {document.kind for document in found.documents} == {"markdown", "text", "html", "csv"}
        assert {label for document in found.documents for label in document.facts.labels} == {
            "everyone",
            "clinical",
            "pharmacy",
        }
