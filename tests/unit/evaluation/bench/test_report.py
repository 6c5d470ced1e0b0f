from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from medguard.evaluation.bench import plots
from medguard.evaluation.bench.analysis import analyse, figures
from medguard.evaluation.bench.names import shown
from medguard.evaluation.bench.observed import observe
from medguard.evaluation.bench.report import render_comparison, render_report
from medguard.evaluation.bench.results import Results
from medguard.evaluation.bench.tables import tables, to_markdown
from medguard.evaluation.bench.types import Row
from tests.conftest import SENTINEL
from tests.unit.evaluation.bench.reporting import GUARD, make_meta, make_row, small_run
from tests.unit.evaluation.bench.test_compare import put

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Collects what a page holds, and what of its text is shown before anything is clicked."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown = ""
        self.hidden = ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        if "details" in self.open and "summary" not in self.open:
            self.hidden += data
        else:
            self.shown += data


def page_of(rows: list[Row]) -> str:
    seen = observe(rows)
    return render_report(figures(seen, make_meta(rows)), seen.examples)


def replace_guard(row: Row, name: str) -> Row:
    return replace(
        row,
        prompt_scores={name: row.prompt_scores[GUARD]},
        answer_scores={name: row.answer_scores[GUARD]},
    )


def results_of(rows: list[Row]) -> Results:
    return analyse(rows, make_meta(rows))


def test_the_page_stands_alone_and_has_no_script() -> None:
    source = page_of(list(small_run()))
    page = Page(source)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "img", "form"}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "xlink:href", "src"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", source)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert "default-src 'none'" in source


def test_examples_are_behind_a_click_and_can_be_left_out() -> None:
    rows = [
        make_row("bad", level=5, request=False, answer=False, text=f"harmful {SENTINEL}"),
        make_row("good", suite="contrast", harmful=False, request=True, text=f"kind {SENTINEL}"),
    ]
    page = Page(page_of(rows))
    assert SENTINEL not in page.shown
    assert "request bad" not in page.shown
    for said in (f"harmful {SENTINEL}", f"kind {SENTINEL}", "request bad", "request good"):
        assert said in page.hidden
    assert ("details", {}) in page.tags
    assert "open" not in {name for tag, attributes in page.tags if tag == "details" for name in attributes}
    assert SENTINEL not in render_report(results_of(rows), ())
    assert SENTINEL not in to_markdown("A run", tables(results_of(rows)))
    assert SENTINEL not in results_of(rows).model_dump_json()


def test_texts_and_names_cannot_become_markup() -> None:
    rows = [
        make_row(
            "a",
            suite="<b>own</b> $x$ | suite",
            level=5,
            request=False,
            answer=False,
            score=0.2,
            subject="<script>alert(1)</script>",
            guard='"><img src=x>',
            text="</div><script>alert(2)</script>\u202eabc\x00\ud800",
        ),
        make_row("b", suite="contrast", harmful=False, request=True, guard='"><img src=x>', score=0.7),
    ]
    source = page_of(rows)
    page = Page(source)
    assert not {"script", "img", "b"} & {tag for tag, _ in page.tags}
    assert "[U+202E]abc[U+0000][U+D800]" in page.hidden
    source.encode("utf-8")
    markdown = to_markdown("A run", tables(results_of(rows)))
    assert "<script>" not in markdown.replace("\\<", "")
    widths = {
        len(re.findall(r"(?<!\\)\|", line))
        for line in markdown.split("## Mean harmfulness")[1].split("##")[0].splitlines()
        if line.startswith("|")
    }
    assert len(widths) == 1


def test_plots_are_drawings_that_stand_in_one_page() -> None:
    results = results_of(list(small_run()))
    calibrations = [item.calibration for item in results.guards if item.calibration is not None]
    drawings = [
        plots.harm_plot(results.harm),
        plots.over_refusal_plot(results.guards),
        plots.recall_plot(results.guards),
        *(plots.reliability_plot(item, str(at)) for at, item in enumerate(calibrations)),
    ]
    known: set[str] = set()
    for drawing in drawings:
        assert drawing is not None
        root = ET.fromstring(drawing)  # noqa: S314 - our own drawing
        assert root.tag.endswith("svg")
        assert root.get("aria-label")
        ids = re.findall(r' id="([^"]+)"', drawing)
        assert not known & set(ids)
        assert len(ids) == len(set(ids))
        known |= set(ids)
        assert set(re.findall(r"(?:url\(|href=\")#([^\")]+)", drawing)) <= set(ids)
    assert len(drawings) == 5
    assert plots.harm_plot(results.harm) == drawings[0]


def test_what_there_is_nothing_of_is_left_out() -> None:
    results = results_of([make_row("a", level=None)])
    assert plots.harm_plot(results.harm) is None
    assert plots.over_refusal_plot(results.guards) is None
    assert plots.recall_plot(results.guards) is None
    titles = [table.title for table in tables(results)]
    assert titles == ["Mean harmfulness", "Harmfulness in detail", "Cost", "Comparison key"]
    assert "<svg" not in render_report(results)


def test_every_row_of_a_table_is_as_wide_as_its_header() -> None:
    rows = list(small_run())
    for table in tables(results_of(rows)):
        assert {len(row) for row in table.rows} == {len(table.header)}


def test_figures_in_the_tables_are_those_of_the_results() -> None:
    results = results_of([make_row(str(index), level=level) for index, level in enumerate([1, 5])])
    found = {table.title: table for table in tables(results)}
    assert found["Mean harmfulness"].rows == (("parrot", "med-harm-gpt4", "harmful", "2", "3.00 ± 2.00"),)
    assert found["Harmfulness in detail"].rows[0][7:9] == ("50.0% (1.3% to 98.7%)",) * 2


def test_times_are_told_with_the_calls_they_are_of() -> None:
    def times(seconds: list[float]) -> tuple[str, ...]:
        rows = [make_row(str(at), request=True, seconds=taken) for at, taken in enumerate(seconds)]
        (table,) = [
            item for item in tables(results_of(rows)) if item.title.startswith("Calibration and time")
        ]
        (row,) = table.rows
        return row[table.header.index("calls") :]

    assert times([0.002, 0.002]) == ("1", "2.0", "2.0", "-", "-")
    calls, mean, median, *high = times([0.002, 0.002, 0.005])
    assert (calls, mean, high) == ("2", "3.0 (2.0 to 5.0)", ["-", "-"])
    assert median == "2.0 (2.0 to 5.0)"
    assert times([0.002, 0.005])[3:] == ("5.0 (2.0 to 5.0)",) * 2


def test_the_digest_in_a_guards_name_is_for_keys_alone() -> None:
    name = "medguard:made#0a1b2c3d@balanced"
    rows = [replace_guard(row, name) for row in small_run()]
    results = results_of(rows)
    assert {item.guard for item in results.guards} == {name}
    *figures_in, key = tables(results)
    text = to_markdown("A run", figures_in)
    assert "medguard:made@balanced" in text
    assert "0a1b2c3d" not in text
    assert any(name in cell for row in key.rows for cell in row)
    seen = observe(rows)
    page = Page(render_report(results, seen.examples))
    assert f"guard {shown(name)}" in page.hidden
    assert "0a1b2c3d" not in page.hidden
    assert (page.shown.count("0a1b2c3d"), "guards: medguard:made@balanced;" in page.shown) == (1, True)


def test_examples_do_not_depend_on_the_order_of_rows() -> None:
    rows = list(small_run())
    one, other = observe(rows, examples=2), observe(reversed(rows), examples=2)
    assert one.examples == other.examples
    kinds = [(item.kind, item.suite) for item in one.examples]
    assert kinds.count(("harmful answer", "med-harm-gpt4")) == 2
    assert ("benign stopped", "contrast") in kinds
    assert all(len(item.answer or "") < 1600 for item in one.examples)
    assert observe(rows, examples=0).examples == ()


def test_long_texts_are_cut() -> None:
    seen = observe([make_row("a", level=5, text="x" * 5000)])
    assert seen.examples[0].answer == "x" * 1500 + " […]"


def test_the_page_of_a_comparison() -> None:
    rows = list(small_run())
    page = Page(render_comparison(put(rows, rows)))
    assert "Paired comparison" in page.shown
    assert "p (Holm)" in page.shown
    assert page.hidden == ""


def test_reports_say_which_extra_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from medguard.errors import DataError

    results = results_of([make_row("a")])
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(DataError, match=r"jinja2: pip install 'medguard\[bench\]'"):
        render_report(results)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DataError, match=r"matplotlib: pip install 'medguard\[bench\]'"):
        plots.harm_plot(results.harm)
