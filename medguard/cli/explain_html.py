"""Explanations as one HTML page: no script, nothing loaded, readable without colour. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from medguard.cli.explain_view import LEGEND, Explained, facts, split_space, visible
from medguard.explain import Span

__all__ = ["to_html"]

_MOST_LISTED: Final = 10
_STYLE: Final = """
body { font: 1rem/1.7 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
body, mark { color: #111; background: #fff; }
dt { font-weight: bold; float: left; clear: left; width: 7rem; }
dd { margin-left: 7.5rem; }
p.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
p.text { border: 1px solid #767676; padding: 1rem; }
mark { text-decoration: underline; text-underline-offset: .2em; }
mark.l1 { text-decoration-thickness: 1px; }
mark.l2 { text-decoration-thickness: 2px; }
mark.l3 { text-decoration-thickness: 4px; font-weight: bold; }
mark.raises.l1 { background: #fdebd9; }
mark.raises.l2 { background: #fbc48d; }
mark.raises.l3 { background: #f49a6c; }
mark.lowers { text-decoration-style: dotted; }
mark.lowers.l1 { background: #e3effa; }
mark.lowers.l2 { background: #b5d6f2; }
mark.lowers.l3 { background: #86bbe8; }
td, th { text-align: left; padding: 0 1.5rem .2rem 0; vertical-align: top; }
td { unicode-bidi: isolate; overflow-wrap: anywhere; }
"""
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>MedGuard explanation</title>
<style>{style}</style>
</head>
<body>
<h1>What the classifier reacts to</h1>
{sections}
<p>{legend}. Each part was left out in turn and the rest scored again; the figures are the change of the score
in log-odds. They tell what this classifier ({classifier}) reacts to, not what is harmful. This page holds the
text it explains: treat it as you treat the text.</p>
</body>
</html>
"""


def to_html(explained: Sequence[Explained]) -> str:
    """Render explanations; every character of the text is escaped or spelt out.

    Raises:
        ValueError: There is none.
    """
    if not explained:
        raise ValueError("a page needs at least one explanation")
    return _PAGE.format(
        style=_STYLE,
        sections="\n".join(_section(item) for item in explained),
        legend=escape(LEGEND),
        classifier=_escaped(explained[0].verdict.classifier_id or "unnamed"),
    )


def _section(item: Explained) -> str:
    rows = (f"<dt>{escape(name) or '&nbsp;'}</dt><dd>{_escaped(fact)}</dd>" for name, fact in facts(item))
    return "\n".join(
        [
            "<section>",
            f"<h2>The {item.verdict.stage.value}</h2>",
            f"<dl>{''.join(rows)}</dl>",
            f'<p class="text" dir="auto">{"".join(_span(item, span) for span in item.explanation.spans)}</p>',
            "<table>",
            "<caption>Parts that change the score most</caption>",
            '<tr><th scope="col">Part</th><th scope="col">Log-odds</th></tr>',
            *_table_rows(item),
            "</table>",
            "</section>",
        ]
    )


def _span(item: Explained, span: Span) -> str:
    shade = item.shade(span)
    words, space = (_escaped(part) for part in split_space(item.text_of(span)))
    title = f'title="{span.attribution:+.2f} log-odds"'
    if not shade.level:
        return f"<span {title}>{words}</span>{space}"
    direction = "raises" if span.attribution > 0 else "lowers"
    return f'<mark class="{direction} l{shade.level}" {title}>{words}<sup>{shade.signs}</sup></mark>{space}'


def _table_rows(item: Explained) -> Iterator[str]:
    largest = sorted(item.explanation.spans, key=lambda span: -abs(span.attribution))
    for span in largest[:_MOST_LISTED]:
        yield f"<tr><td>{_escaped(item.text_of(span).strip())}</td><td>{span.attribution:+.2f}</td></tr>"


def _escaped(text: str) -> str:
    return escape(visible(text), quote=True)
