"""A report as one HTML file that opens offline: style, drawings and pictures are inside it.

Written by hand with `kd.files.escaping`: the page is a flat list of blocks, 70 lines here without
the style; a template engine (Jinja2) would be one more dependency for the same seven templates.
"""

import base64
from typing import Any

from kd.files.escaping import html
from kd.report.blocks import (
    Block,
    Facts,
    Figure,
    Grid,
    Heading,
    Heat,
    Note,
    Pictures,
    Points,
    Table,
)
from kd.report.conclusions import STATES
from kd.report.format import short
from kd.report.layout import CODE, blocks, subtitle

STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1c1f23;--soft:#5a626b;--line:#d8dce1;
--box:#f4f5f7;--link:#1a66b0;--met:#eef7f1;--undecided:#fdf7e7;--not-met:#fbeeed}
@media screen and (prefers-color-scheme:dark){:root{--page:#121212;--ink:#e4e6e9;--soft:#a4abb4;
--line:#3a3f45;--box:#1e2125;--link:#7ab3ea;--met:#13261b;--undecided:#2a2410;--not-met:#2d1715}
img.figure{filter:invert(.93) hue-rotate(180deg)}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:56rem;padding:2.5rem 1.5rem 5rem;background:var(--page);
color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,
sans-serif;overflow-wrap:break-word}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .25rem}
h2{font-size:1.25rem;margin:3rem 0 .75rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1.05rem;margin:2rem 0 .5rem}
p{margin:.6rem 0}
p.note,p.under,dl{color:var(--soft);font-size:.9rem}
dl{margin:.75rem 0;display:grid;grid-template-columns:minmax(6rem,max-content) 1fr;
gap:.1rem 1rem;font-size:.82rem;line-height:1.45}
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}
code{font:.95em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:var(--ink)}
.verdict{margin:1.5rem 0 0;padding:1rem 1.25rem;border-left:6px solid #8a929b;
background:var(--box);border-radius:0 6px 6px 0}
.verdict b{display:block;font-size:1.2rem;margin-bottom:.15rem}
.verdict.met{border-color:#2a8c55;background:var(--met)}
.verdict.undecided{border-color:#c48a00;background:var(--undecided)}
.verdict.not-met{border-color:#b8322a;background:var(--not-met)}
ul{margin:1.25rem 0 0;padding-left:1.2rem}
ul li{margin:.35rem 0}
.wide{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{white-space:normal;max-width:8rem;font-weight:600;color:var(--soft);border-bottom-width:2px;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;padding-left:0}
table.heat td{text-align:center;min-width:4rem;border:2px solid var(--page)}
table.heat th{border:0;text-align:center}table.heat th:first-child{text-align:left}
img.figure{display:block;max-width:100%;height:auto;margin:.75rem 0}
figure.row{display:grid;grid-template-columns:6.5rem 1fr;gap:.75rem;align-items:start;
margin:.9rem 0}
figure.row>b{font-size:.9rem;padding-top:.25rem;overflow-wrap:anywhere}
.pictures{display:flex;flex-wrap:wrap;gap:.75rem}
.pictures div{width:5rem;font-size:.72rem;line-height:1.3;color:var(--soft);text-align:center}
.pictures img{display:block;margin:0 auto .15rem;width:4.5rem;height:4.5rem;
object-fit:contain;image-rendering:pixelated;background:#eef0f2;border:1px solid var(--line)}
details{margin:.75rem 0}summary{cursor:pointer;color:var(--link);font-size:.9rem}
@media(max-width:40rem){body{padding:1.25rem 1rem 3rem}figure.row{grid-template-columns:1fr}
dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 .4rem}}
@media print{body{max-width:none;padding:0;font-size:11pt}.wide{overflow:visible}
th,td{padding:.2rem .4rem}table{font-size:.75rem}
h2,h3{break-after:avoid}h2{margin-top:1.75rem}
tr,img,figure.row,.verdict,li{break-inside:avoid}*{print-color-adjust:exact}
details::details-content{content-visibility:visible;block-size:auto}summary{list-style:none}}
"""


def as_html(content: dict[str, Any], title: str) -> str:
    """The text of `report.html`, from the content of `report.json`."""
    runs = content["runs"]
    parts = [f"<h1>{html(title)}</h1>"]
    parts.append(f"<p class=under>{html(subtitle(runs))}</p>")
    if len(runs) == 1:
        parts.append(_facts(Facts(runs[0]["provenance"], CODE)))
    parts += [
        _verdict(run, len(runs) > 1)
        for run in runs
        if len(runs) == 1 or run["verdict"]["state"] != "none"
    ]
    parts.append(_points(content["conclusions"]))
    parts += [_block(block) for block in blocks(content)]
    head = (
        '<meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{html(title)}</title><style>{STYLE}</style>"
    )
    body = "\n".join(parts)
    return f"<!doctype html>\n<html lang=en><head>{head}</head><body>\n{body}\n</body></html>\n"


def _verdict(run: dict[str, Any], named: bool) -> str:
    verdict = run["verdict"]
    css_class = f"verdict {verdict['state'].replace(' ', '-')}"
    name = f"{short(run['run'])}: " if named else ""
    title = html(name + STATES[verdict["state"]])
    return f"<div class='{css_class}'><b>{title}</b>{html(verdict['text'])}</div>"


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html(block.text)}</h{block.level}>"
    if isinstance(block, Note):
        return f"<p class=note>{html(block.text)}</p>"
    if isinstance(block, Points):
        return _points(block.lines)
    if isinstance(block, Facts):
        return _facts(block)
    if isinstance(block, Table | Heat):
        drawn = _heat(block) if isinstance(block, Heat) else _table(block.grid)
        table = f"<div class=wide>{drawn}</div>"
        if block.fold:
            return f"<details><summary>{html(block.fold)}</summary>{table}</details>"
        return table
    if isinstance(block, Figure):
        data = base64.b64encode(block.svg.encode()).decode()
        return f'<img class=figure alt="{html(block.alt)}" src="data:image/svg+xml;base64,{data}">'
    return _pictures(block)


def _facts(block: Facts) -> str:
    items = []
    for name, text in block.items:
        shown = f"<code>{html(text)}</code>" if name in block.code else html(text)
        items.append(f"<dt>{html(name)}</dt><dd>{shown}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _points(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{html(line)}</li>' for line in lines)}</ul>"


def _table(grid: Grid) -> str:
    head, *body = grid
    rows = ["".join(f"<th>{html(c)}</th>" for c in head)]
    rows += ["".join(f"<td>{html(c)}</td>" for c in row) for row in body]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _heat(block: Heat) -> str:
    head = "".join(f"<th>{html(c)}</th>" for c in (block.corner, *block.columns))
    rows = [
        f"<th>{html(name)}</th>" + "".join(_cell(v) for v in values)
        for name, values in zip(block.rows, block.values, strict=True)
    ]
    return f"<table class=heat>{''.join(f'<tr>{row}</tr>' for row in (head, *rows))}</table>"


def _cell(value: float | None) -> str:
    """A cell from white at 0 to deep blue at 1, with readable letters."""
    if value is None:
        return "<td>-</td>"
    depth = min(1.0, max(0.0, value))
    mixed = [round(255 + (to - 255) * depth) for to in (16, 82, 148)]
    letters = "#fff" if depth > 0.5 else "#1c1f23"
    style = f"background:rgb({mixed[0]},{mixed[1]},{mixed[2]});color:{letters}"
    return f"<td style='{style}'>{value:z.2f}</td>"


def _pictures(block: Pictures) -> str:
    shown = "".join(
        f'<div><img alt="" src="data:image/png;base64,{data}">{html(caption)}</div>'
        if data
        else f"<div>{html(caption)}</div>"
        for data, caption in block.pictures
    )
    return f"<figure class=row><b>{html(block.title)}</b><div class=pictures>{shown}</div></figure>"
