"""Text of strangers in Markdown, HTML, CSV, terminals, drawings and C."""

import base64
import csv
import html
import io
import json
import re
import shutil
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import kd
from kd.cli.main import main
from kd.export import c_source
from kd.export.selection import Candidate, _line
from kd.files import escaping
from kd.files.parsers import DIGESTS
from kd.report import uncertainty
from kd.report.figures import canvas

NAME = (
    "_x <b onload=1>*y*\n# HEADING\r\x1b[31m\x07\x9b\u202e\u2066\u200b\ufeff\u2028|`c`![i](j)$\\f{"
)
HOSTILE = NAME + "</td></script><script>\ud800\n\n- item\n=1+1"


def is_clean(text: str) -> bool:
    """Whether a text has no invisible character but ends of lines."""
    hidden = [c for c in text if unicodedata.category(c) in escaping.INVISIBLE and c not in "\n\t"]
    return not hidden and not re.search(r"^\s*(- |\| |> )*# HEADING", text, re.MULTILINE)


def is_plain_html(page: str) -> bool:
    """Whether a page has no tag, handler or script of `HOSTILE`."""
    return not re.search(r"<b on|<script|<img src=.j|<h1>HEADING|<code>c|<em>y|onload=1>", page)


def rendered(text: str) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)


def test_what_cannot_be_seen_is_shown():
    assert escaping.plain("a\x1b[0m\u202eb\n\ud800\U000e0041é 字") == (
        r"a\x1b[0m\u202eb\n\ud800\U000e0041é 字"
    )
    assert escaping.terminal("a\n\tb\r\x9b") == "a\n\tb\\r\\x9b"
    assert escaping.message("a\nkd run: done\n  b") == "a\n  kd run: done\n  b"
    everything = "".join(map(chr, range(0x110000)))
    assert is_clean(escaping.plain(everything))
    everything.encode(errors="surrogatepass")
    escaping.plain(everything).encode()


@pytest.mark.parametrize("place", ["{}", "- {}", "# {}", "| a |\n| --- |\n| {} |", "x {} y"])
@pytest.mark.parametrize(
    "text",
    [
        *(HOSTILE, "# a", "- a", "+ a", "1. a", "1) a", "> a", "===", "---", "a | b", "[a]: b"),
        *("[a](b)", "![a](b)", "[a][b]", "<http://a>", "&lt;script&gt;", "*a*", "_a_", "`a`"),
        *("~~a~~", "\\*a*", "a\\", "<!-- a", "    a", "\ta", "***", "* * *", "a_b", "[1, 2]"),
    ],
)
def test_markdown_shows_the_text_and_nothing_else(text, place):
    page = rendered(place.format(escaping.markdown(text)))
    tags = set(re.findall(r"<(\w+)", page))
    assert tags <= {*re.findall(r"<(\w+)", rendered(place.format("word"))), "p"}, page
    shown = html.unescape(re.sub(r"<[^>]*>", "", page)).strip()
    assert escaping.plain(text).strip().replace("\\", "") in shown.replace("\\", "")


def test_ordinary_text_stays_as_it_is():
    for text in (
        "my_run, 98.2 % [97.1, 99.0]",
        "config.min_accuracy = 0.1",
        "-0.50",
        "a - b",
    ):
        assert escaping.markdown(text) == text
    for value in ("my run", "-0.5", "0.1 -0.2", "1e-5", -3, None, 0.5):
        assert escaping.csv(value) == value


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =1", "\t=1"])
def test_a_text_of_csv_is_no_formula(text):
    shown = escaping.csv(text)
    assert isinstance(shown, str) and shown.startswith(("'", "\\"))


def test_code_spans_do_not_end_early():
    for text in ("a", "a`b", "``", "`a", "a`", "", " ", HOSTILE, "a\n# b"):
        page = rendered("x " + escaping.code(text) + " y")
        assert page.count("<code>") == 1 and "<script" not in page and "<h1" not in page


def test_names_in_a_drawing_are_text():
    with canvas(1) as drawing:
        drawing.axes[0].plot([0, 1], label=escaping.plain("$\\frac{<b>& \x1b"))
        drawing.axes[0].legend()
    ET.fromstring(drawing.svg)


def test_powers_on_an_axis_of_a_drawing_are_not_mathematics():
    with canvas(2) as drawing:
        for axes, values in zip(drawing.axes, ([1e3, 1e6], [0.02, 0.07]), strict=True):
            axes.plot([1, 2], values)
            axes.set_yscale("log")
    assert "$" not in drawing.svg and "10⁴" in drawing.svg and "4×10⁻²" in drawing.svg


def strings(value, text: str):
    """The same content with another text in place of each."""
    if isinstance(value, dict):
        return {k: strings(v, text) for k, v in value.items()}
    if isinstance(value, list):
        return [strings(v, text) for v in value]
    return text if isinstance(value, str) else value


@pytest.fixture
def hostile(finished) -> str:
    """A finished run in which each text that may be anything is hostile, its directory too."""
    name = f"runs/{NAME}"
    shutil.move("runs/small", name)
    shutil.move("runs/small-teacher", f"{name} teacher")
    for run in (name, f"{name} teacher"):
        result = json.loads(Path(run, "result.json").read_text())
        result["class_names"] = [f"{HOSTILE}{i}" for i in range(10)]
        result["hardware"] = strings(result["hardware"], HOSTILE)
        result["git_commit"] = HOSTILE
        if result["teacher"]:
            result["teacher"]["run"] = f"{name} teacher"
        del result[DIGESTS]
        Path(run, "result.json").write_text(json.dumps(result))
    config = json.loads(Path(name, "config.json").read_text())
    shutil.copytree(f"{name} teacher", "runs/plain")
    config["compare"] = {HOSTILE: "plain.py"}
    config["teacher"] |= {"run": f"{name} teacher", "config": ""}
    config["acceptance"] = {"max_drop": 0.01, "min_agreement": 0.9}
    Path(name, "config.json").write_text(json.dumps(config))
    return name


@pytest.mark.slow
def test_a_hostile_run_is_reported_printed_and_refused_as_text(hostile, capsys):
    assert main(["report", hostile, f"{hostile} teacher", "--stored", "--out", "out"]) == 0
    assert main(["report", hostile, "--stored", "--out", "one"]) == 0
    assert is_clean(capsys.readouterr().out)
    for folder in ("out", "one"):
        page, text = (Path(folder, f"report.{end}").read_text() for end in ("html", "md"))
        assert is_clean(page) and is_clean(text)
        assert is_plain_html(page) and is_plain_html(rendered(text)), folder
        assert "HEADING" in page and "HEADING" in text
        for drawing in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page):
            ET.fromstring(base64.b64decode(drawing))
    assert is_clean(kd.load(hostile).table()) and is_clean(repr(kd.load(hostile)))
    assert "HEADING" in kd.load(hostile).table()
    for arguments in (["report", NAME], ["pack", hostile, "--out", f"{NAME}.safetensors"]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert is_clean(error.replace("\n  #", " #")) and "HEADING" in error


@pytest.mark.slow
def test_a_model_card_shows_hostile_settings_as_text(finished, small_data, capsys):
    data = Path(NAME + ".npz").absolute()
    shutil.copy(small_data, data)
    path, result = Path("runs/small/config.json"), Path("runs/small/result.json")
    content = json.loads(result.read_text())
    del content[DIGESTS]
    result.write_text(json.dumps(content))
    config = json.loads(path.read_text())
    config["data"]["path"] = str(data)
    path.write_text(json.dumps(config))
    arguments = ["export", "runs/small", "--format", "stablehlo", "--out", "archive"]
    assert main(arguments) == 0
    assert is_clean(capsys.readouterr().out)
    from kd.export import card

    report = json.loads(Path("archive/report.json").read_text())
    report |= {"run": HOSTILE, "init": {"run": HOSTILE}, "seed_chosen": HOSTILE}
    report["teacher"]["groups"][0]["run"] = HOSTILE
    config["student"]["note"] = config["augment"] = config["init"]["take"] = HOSTILE
    config["objective"]["kd"]["note"] = HOSTILE
    other = report | {"imported": {"checkpoint": HOSTILE, "sha256": HOSTILE}}
    written = Path("archive/model_card.md").read_text()
    for text in (written, card.markdown(report, config), card.markdown(other, config)):
        assert is_clean(text) and is_plain_html(rendered(text).replace("<code>c", "<code> c"))


def test_lines_of_select_uncertainty_tables_and_c_are_clean(capsys):
    assert is_clean(_line(Candidate(HOSTILE, HOSTILE))) and "\n" not in _line(
        Candidate(HOSTILE, "")
    )
    content = {"familiar": HOSTILE, "foreign": HOSTILE, "networks": {HOSTILE: {"accuracy": [0.5]}}}
    assert is_clean(uncertainty.table(content))
    from kd.tables import command, markdown_table, run_facts

    facts = {
        "hardware": dict.fromkeys(("platform", "cores", "machine", "devices", "device"), HOSTILE)
    }
    line = markdown_table.lines(["a"], [[escaping.markdown(run_facts.hardware(facts))]], "l")
    assert is_clean("\n".join(line)) and len(line) == 3 and is_plain_html(rendered("\n".join(line)))
    command.tell(f"FAILED x: {HOSTILE}")
    assert is_clean(capsys.readouterr().err.replace("\n  #", " "))
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow([escaping.csv("=" + HOSTILE)])
    assert is_clean(row.getvalue()) and row.getvalue().startswith("'=")
    assert is_clean(c_source._text(HOSTILE.replace("\ud800", "")))
