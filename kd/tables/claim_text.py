"""A claim as Markdown: the sentence, the verdict, and its hypotheses with their numbers."""

from collections.abc import Sequence

from kd.tables.cell_text import number
from kd.tables.contrast import how_tested
from kd.tables.markdown_table import lines
from kd.tables.measure import Entry
from kd.tables.table import Claim, Contrast
from kd.tables.verdict import Outcome, outcomes, verdict


def markdown(claim: Claim, entries: Sequence[Entry]) -> str:
    """The claim, its verdict and its hypotheses.

    Args:
      claim: of the experiment.
      entries: of `kd.tables.measure.of_claim`.
    """
    results = outcomes(claim, entries)
    paragraphs = [
        f"*Claim*: {claim.sentence} ({claim.paper}).",
        f"*Tested on*: {claim.on}.",
        f"***Verdict*: {verdict(results)}.**",
        "\n".join(_table(results)),
        _legend(entries),
    ]
    return "\n\n".join(filter(None, paragraphs))


def _table(results: Sequence[Outcome]) -> list[str]:
    head = ["hypothesis", "claimed", "difference", "95 % interval", "p", "outcome"]
    return lines(head, [_line(result) for result in results], "lrrrrl")


def _line(result: Outcome) -> list[str]:
    contrast, entry = result.hypothesis.contrast, result.entry
    digits, unit = contrast.digits, contrast.unit
    text = f"{number(entry.mean, digits, sign=True)} {unit}".rstrip() if entry.values else "missing"
    difference = entry.comparison.difference if entry.comparison else None
    ends = [number(end, digits, sign=True) for end in difference[1:3]] if difference else []
    interval = f"[{', '.join(ends)}]" if ends else ""
    name = f"{contrast.row}: {_formula(contrast)}"
    return [name, _expected(result), text, interval, _p(result.p), result.word]


def _formula(contrast: Contrast) -> str:
    """The cells of a contrast, such as `a − b`, with their metrics if these differ."""
    several = len({cell.metric for cell in contrast.of}) > 1
    names = [f"*{cell.name}*" + (f" ({cell.metric})" if several else "") for cell in contrast.of]
    terms = names[:1]
    for weight, name in zip(contrast.weights[1:], names[1:], strict=True):
        times = "" if abs(weight) == 1 else f"{number(round(abs(weight), 4))} × "
        terms.append(f"{'−' if weight < 0 else '+'} {times}{name}")
    return " ".join(terms)


def _expected(result: Outcome) -> str:
    h = result.hypothesis
    sign = ">" if h.sign > 0 else "<"
    size = "" if h.reach is None else f", {number(h.reach, sign=True)} or {_more(h.sign)}"
    return f"{sign} {number(h.than)}{size}"


def _more(sign: int) -> str:
    return "more" if sign > 0 else "less"


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else number(p, 3)


def _legend(entries: Sequence[Entry]) -> str:
    """How the hypotheses were tested."""
    by, remark = how_tested(e.comparison for e in entries)
    if not by:
        return ""
    corrected = "p after Holm's correction over the hypotheses of this claim."
    return f"Intervals by {by}; {corrected} {remark}".rstrip()
