"""The page around pictures and tables: one file, no script, no network; for phones, desks, paper, light and dark."""

import html
import shlex
from collections.abc import Iterable, Sequence

from lift_jax.text import printable

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #fff; --ink: #1f2430; --muted: #5c6470; --grid: #d9dde3;
  --many: #0072b2; --medium: #009e73; --few: #d55e00; --code: #f3f5f7; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #14171c; --card: #1b1f26; --ink: #e4e8ee;
  --muted: #9aa4b1; --grid: #343b46; --many: #4db2ec; --medium: #2fc79b; --few: #ff8a3d; --code: #232933; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
p { margin: .25rem 0 .75rem; max-width: 46rem; }
.muted, figcaption, caption { color: var(--muted); }
main { columns: 2 26rem; column-gap: 1rem; }
section { background: var(--card); border: 1px solid var(--grid); border-radius: 8px; padding: 1rem; margin: 0 0 1rem;
  break-inside: avoid; }
section.wide { column-span: all; margin-top: 1rem; }
figure { margin: 0; }
figcaption { font-size: .875rem; margin-top: .5rem; }
figure > svg { display: block; width: 100%; max-width: 30rem; height: auto; margin: 0 auto; }
svg text { font-family: inherit !important; }
.scroll { overflow-x: auto; background: linear-gradient(to left, var(--card) 50%, transparent) right / 2rem 100% local,
  linear-gradient(to left, var(--grid), transparent) right / .75rem 100%; background-repeat: no-repeat; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid var(--grid); font-weight: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0;
  background: var(--card); overflow-wrap: anywhere; min-width: min(8rem, 28vw); }
td:not(:first-child) { white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
thead th { color: var(--muted); vertical-align: bottom; font-size: .875rem; }
tr.strong td, tr.strong th { font-weight: 600; }
.dot { display: inline-block; width: .65em; height: .65em; border-radius: 50%; margin-right: .4em; }
.many { background: var(--many); } .medium { background: var(--medium); } .few { background: var(--few); }
pre { background: var(--code); padding: .75rem; border-radius: 6px; overflow-x: auto;
  font-size: .875rem; margin: 0 0 .75rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr)); gap: .75rem; }
.pictures img { width: 100%; height: auto; display: block; border-radius: 4px; }
.pictures figcaption { line-height: 1.3; overflow-wrap: anywhere; }
.pictures b { color: var(--ink); font-weight: 600; }
details > summary { cursor: pointer; }
details[open] > summary { margin-bottom: .5rem; }
@media (min-width: 48rem) { .pictures { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); } }
@media (max-width: 30rem) { body { padding: .75rem .5rem; } section { padding: .75rem; border-radius: 6px; }
  table { font-size: .875rem; } th, td { padding: .3rem .2rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } main { columns: 2; }
  section.long { break-inside: auto; } details > summary { display: none; }
  details::details-content { content-visibility: visible; } .scroll { overflow: visible; background: none; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; } td:not(:first-child) { white-space: normal; }
  section.long table { font-size: 8pt; line-height: 1.2; } section.long td { padding: .1rem .5rem; } }
"""


def page(title: str, intro: str, sections: Iterable[str]) -> str:
    """Makes a whole page; `intro` and `sections` are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{_text(title)}</h1>\n{intro}</header>\n<main>\n" + "\n".join(sections) + "\n</main>\n"
        "</body>\n</html>\n"
    )


def section(title: str, body: str, style: str = "") -> str:
    """Makes a box of the page; `body` is HTML already, `style` any of "wide" and "long"."""
    return f'<section class="{style}"><h2>{_text(title)}</h2>\n{body}</section>'


def paragraph(text: str, style: str = "") -> str:
    """Makes a paragraph of plain text."""
    return f'<p class="{style}">{_text(text)}</p>\n'


def figure(svg: str, caption: str) -> str:
    """Puts a picture above the sentence that says what it shows."""
    label = _text(caption)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return f"<figure>{svg}<figcaption>{_text(caption)}</figcaption></figure>\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], strong: Iterable[int] = ()) -> str:
    """Makes a table of plain text; the rows numbered in `strong` stand out."""
    marked = set(strong)
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    body = ""
    for index, row in enumerate(rows):
        cells = "".join(f"<td>{_text(printable(cell))}</td>" for cell in row)
        body += f"<tr{' class=strong' if index in marked else ''}>{cells}</tr>\n"
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Lists names and what belongs to them, as plain text."""
    return "<dl>" + "".join(f"<dt>{_text(a)}</dt><dd>{_text(b)}</dd>\n" for a, b in rows) + "</dl>\n"


def command(text: str) -> str:
    """Shows a shell command, a flag on each line, which can be pasted as it stands."""
    try:
        words = shlex.split(text)
    except ValueError:  # of a run.json that was written by hand
        words = [text]
    lines = [""]
    for word in words:
        lines += [""] if word.startswith("--") else []
        lines[-1] += f"{' ' if lines[-1] else ''}{shlex.quote(word)}"
    return "<pre>" + " \\\n    ".join(map(_text, lines)) + "</pre>\n"


def folded(summary: str, body: str) -> str:
    """Folds away what is shown on a click, and in print; `body` is HTML already."""
    return f"<details><summary>{_text(summary)}</summary>{body}</details>\n"


def picture(uri: str, lines: Sequence[str]) -> str:
    """Makes a small picture; the first line of its caption stands out."""
    first, *rest = (_text(printable(line)) for line in lines)
    return (
        f'<figure><img src="{uri}" alt="{first}" width="160" height="160">'
        f"<figcaption><b>{first}</b><br>{'<br>'.join(rest)}</figcaption></figure>"
    )


def _text(text: str) -> str:
    """Makes plain text into HTML; what cannot be printed is escaped."""
    return html.escape(printable(text, None), quote=True)
