"""Text that comes from files (names of classes, runs and data sets, settings, errors) for each
medium that shows it.

Whoever wrote a file chose its text: it must not become markup, move a terminal's cursor, turn the
direction of writing, begin a line of its own, or become a formula of a spreadsheet. Imports no jax.
"""

import html as _html
import re
import unicodedata

INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of control and format characters, surrogates, and line and paragraph ends: C0,
C1, ESC, marks of direction, zero-width characters, tags.
"""

MARKUP = re.compile(r"[\\`*~|]|(?<!\w)_|_(?!\w)|\](?=[(\[:])|!(?=\[)|<|&(?=#?\w+;)")
"""Characters that Markdown or HTML inside it would take for markup."""

BLOCK = re.compile(r"^(?=#{1,6}(\s|$)|[-+](\s|$)|>|=+\s*$|-+\s*$)")
"""Before a character that begins a block of Markdown at the start of a line."""

NUMBERED = re.compile(r"^(\d+)(?=[.)](\s|$))")

FORMULA = re.compile(r"^\s*[=+\-@]")
NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
NUMBERS = re.compile(rf"{NUMBER}( {NUMBER})*")


def plain(text: object) -> str:
    """A text on one line, with what cannot be seen as in Python: `\\x1b`, `\\u202e`."""
    return _visible(str(text), "")


def terminal(text: object) -> str:
    """Lines for a terminal or a log: as `plain`, but ends of lines and tabs stay."""
    return _visible(str(text), "\n\t")


def _visible(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        _code(c) if unicodedata.category(c) in INVISIBLE and c not in kept else c for c in text
    )


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode()


def html(text: object) -> str:
    """Text of an HTML element or of a quoted attribute."""
    return _html.escape(plain(text))


def markdown(text: object) -> str:
    """Text of a paragraph, a heading, an item of a list or a cell of a table of Markdown."""
    entities = {"<": "&lt;", "&": "&amp;"}
    escaped = MARKUP.sub(lambda m: entities.get(m[0], "\\" + m[0]), plain(text).strip())
    return NUMBERED.sub(r"\1\\", BLOCK.sub(r"\\", escaped))


def code(text: object) -> str:
    """A span of code in Markdown, in a fence that the text does not end."""
    content = plain(text)
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if not content.strip() or content.startswith("`") or content.endswith("`") else ""
    return f"{fence}{pad}{content}{pad}{fence}"


def message(text: object) -> str:
    """A message for a terminal: lines after the first are indented, so that none of them passes for
    another message.
    """
    return re.sub(r"\n(?!  )", "\n  ", terminal(text))


def csv(value: object) -> object:
    """A cell of CSV: a text that a spreadsheet would compute is led by an apostrophe."""
    if not isinstance(value, str):
        return value
    shown = plain(value)
    is_formula = FORMULA.match(shown) and not NUMBERS.fullmatch(shown)
    return "'" + shown if is_formula else shown
