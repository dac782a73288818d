"""A metric and its keywords, as an experiment writes them.

Examples: `errors`, `accuracy(of=3)`, `errors(bias=(7, 8), chosen_on="test")`.
"""

import ast
import dataclasses
from functools import partial
from typing import Annotated, Any

from kd import registry
from kd.errors import InputError, unknown
from kd.ranges import Natural, Range
from kd.tables.metric import Metric, PerNetwork, PerRun


@dataclasses.dataclass(frozen=True)
class MetricCall:
    """A metric and its keywords; all but the first two attributes are keywords.

    Attributes:
      name: a file of `kd.tables.metrics`, or a dotted path.
      metric: what the name stands for.
      of: evaluate on examples of these classes only; of recall, precision and F1, their mean over
        these classes.
      bias: add a number to the logits of these classes. It is the same for all examples, and
        chosen for the fewest errors on `chosen_on`.
      chosen_on: "validation" or "test".
      ensemble: evaluate the mean probability of all seeds.
      peer: evaluate this peer of each cohort. Otherwise a seed's value is the mean of its peers'.
      together: evaluate the mean probability of each cohort.
      exported: evaluate the exported files, which a run with `config.export` has.
      radius: of the balls of certificates; for metrics that are about these.
    """

    name: str
    metric: Metric
    of: tuple[Natural, ...] = ()
    bias: tuple[Natural, ...] = ()
    chosen_on: str = "validation"
    ensemble: bool = False
    peer: Natural | None = None
    together: bool = False
    exported: bool = False
    radius: Annotated[float, Range(0)] = 0.0

    @property
    def uses_test(self) -> bool:
        """True if something was chosen on the test set."""
        return bool(self.bias) and self.chosen_on == "test"

    @property
    def uses_validation(self) -> bool:
        """True if something was chosen on the validation set."""
        return bool(self.bias) and self.chosen_on == "validation"

    @property
    def needs(self) -> tuple[str, ...]:
        """Config keys that the run must set."""
        validation = ("validation",) if self.uses_validation else ()
        export = ("export",) if self.exported else ()
        return (*self.metric.needs, *validation, *export)


KEYWORDS = tuple(f.name for f in dataclasses.fields(MetricCall)[2:] if f.name != "radius")
"""Keywords of `PerNetwork` metrics."""


def parse(text: str) -> MetricCall:
    """The metric that a text stands for. Raises InputError."""
    name, keywords = _split(text)
    metric = registry.find("kd.tables.metrics", name, "metric")
    if not isinstance(metric, Metric):  # a user's function
        metric = PerNetwork(metric)
    taken = metric.keywords if isinstance(metric, PerRun) else KEYWORDS
    if keywords and not taken:
        raise InputError(f"metric {text!r}: {name} takes no keywords.")
    for key in keywords:
        if key not in taken:
            raise unknown(f"keyword of metric {name}", key, taken)
    for key in ("of", "bias"):
        if key in keywords:
            keywords[key] = _classes(keywords[key])
    call = registry.make(partial(MetricCall, name, metric), keywords, f"metric {text!r}")
    _check(call, text)
    return call


def _split(text: str) -> tuple[str, dict[str, Any]]:
    """Name and keywords of a metric's text, which is parsed and never executed."""
    try:
        node = ast.parse(text, mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        name = ast.unparse(call.func)
        assert not call.args and all(part.isidentifier() for part in name.split("."))
        return name, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AssertionError, TypeError, RecursionError, MemoryError):
        raise InputError(
            f"metric {text!r}: expected a name, or a name with keywords such as 'errors(of=3, "
            "bias=3)'."
        ) from None


def _check(call: MetricCall, text: str) -> None:
    """Raises InputError for keywords that have wrong values or do not go together."""
    if call.exported and call.bias:
        raise InputError(f"metric {text!r}: exported files have no bias. Leave out one of them.")
    if call.chosen_on not in ("validation", "test"):
        raise unknown("value of chosen_on", str(call.chosen_on), ("validation", "test"))
    metric = call.metric
    required = metric.required if isinstance(metric, PerNetwork) else ()
    for key in metric.keywords if isinstance(metric, PerRun) else required:
        if not getattr(call, key):
            raise InputError(f"metric {text!r}: {key} is missing, as in '{call.name}({key}=3)'.")


def _classes(value: Any) -> tuple[Any, ...]:
    return () if value is None else value if isinstance(value, tuple) else (value,)
