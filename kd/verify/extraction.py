"""The graph of a network, from its trace: any module whose operations have a rule here."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from scipy import sparse

from kd.errors import InputError
from kd.trace import MOVES, bind, constants, is_relu, layer, needed, operation, trace
from kd.types import PyTree
from kd.verify import matrices
from kd.verify.expressions import Expression, is_selection, limits
from kd.verify.graph import Affine, Clip, Graph, Image, Maximum, Node, Weights

LARGEST = 150_000_000
"""Most entries of one matrix: 2 GB."""


def extract(
    network: Callable[[PyTree, Any], Any], variables: PyTree, shape: Sequence[int]
) -> Graph:
    """The graph of `network(variables, image) -> logits [1, c]`.

    Args:
      network: of raw images as float32 [1, *shape], with the normalisation.
      variables: its weights.
      shape: of one image.

    Raises:
      InputError: an operation has no rule, or a layer is too large; with its name and layer.
    """
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    traced = trace(network, variables, image)
    known = constants(traced, variables)
    return _Extraction(traced.jaxpr, known).graph()


class _Extraction:
    """Evaluates a jaxpr on expressions."""

    def __init__(self, jaxpr: core.Jaxpr, known: dict[core.Var, Any]):
        self._jaxpr = jaxpr
        self._values: dict[Any, Any] = dict(known)
        image = jaxpr.invars[-1]
        self._nodes: list[Node] = [Image(int(np.prod(image.aval.shape)))]  # pyrefly: ignore
        self._values[image] = self._expression(0, image.aval.shape)  # pyrefly: ignore
        self._layer = "the network"

    def graph(self) -> Graph:
        output = self._jaxpr.outvars[0]
        for eqn in needed(self._jaxpr, output, self._values):
            operands = [self._read(v) for v in eqn.invars]
            self._layer = layer(eqn)
            results = self._apply(eqn, operands)
            self._values |= zip(eqn.outvars, results, strict=True)
        logits = self._values[output]
        if not isinstance(logits, Expression):
            raise InputError("the logits do not depend on the image: there is nothing to verify.")
        return _pruned(self._nodes, self._materialised(logits, always=True))

    def _read(self, v: Any) -> Any:
        if isinstance(v, core.Literal):
            return np.asarray(v.val)
        x = self._values[v]
        return x if isinstance(x, Expression) else np.asarray(x)

    def _expression(self, node: int, shape: Sequence[int]) -> Expression:
        size = self._nodes[node].size
        zero = np.zeros(size)
        unit = sparse.csr_array(sparse.eye_array(size, format="csr"))
        return Expression(tuple(shape), (node,), (unit,), zero, zero, is_node=True)

    def _materialised(self, x: Expression, always: bool = False) -> int:
        """Index of a node with the value of x."""
        if x.is_node and not (always and not isinstance(self._nodes[x.inputs[0]], Affine)):
            return x.inputs[0]
        weights = tuple(Weights(m) for m in x.matrices)
        count = x.operations + len(weights)
        layer = x.layer or self._layer
        node = Affine(x.inputs, weights, x.bias, x.magnitude, count, layer)
        return self._add(node)

    def _add(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _apply(self, eqn: core.JaxprEqn, operands: list[Any]) -> list[Any]:
        name = eqn.primitive.name
        signals = [isinstance(x, Expression) for x in operands]
        shapes = [v.aval.shape for v in eqn.outvars]  # pyrefly: ignore
        if name in ("add", "sub", "mul", "div", "max", "min"):
            operands = [self._spread(x, shapes[0]) for x in operands]
        x = operands[signals.index(True)]
        if is_relu(eqn):
            return [self._clip(x, 0.0, np.inf)]
        if name in ("max", "min", "clamp") and sum(signals) == 1:
            low, high = limits(name, operands)
            return [self._clip(x, low, high)]
        if name in ("convert_element_type", "reduce_precision", "stop_gradient"):
            if eqn.outvars[0].aval.dtype == jnp.float32:  # pyrefly: ignore
                return [x]
        elif name in ("add", "sub"):
            return [self._sum(operands, name == "sub", shapes[0])]
        elif (name == "mul" and sum(signals) == 1) or (name == "div" and signals == [True, False]):
            constant = operands[signals.index(False)].astype(np.float64)
            factor = np.broadcast_to(1 / constant if name == "div" else constant, x.shape)
            return [self._scaled(x, factor.ravel())]
        elif name == "neg":
            return [self._scaled(x, np.full(x.size, -1.0))]
        elif name == "concatenate":
            return [self._joined(operands, eqn.params["dimension"], shapes[0])]
        elif name == "dot_general" and sum(signals) == 1:
            numbers, constant = eqn.params["dimension_numbers"], operands[signals.index(False)]
            if not numbers[1][0]:  # no batch axes
                self._check_size(np.prod(shapes[0]) * constant.size / max(shapes[0][-1], 1))
                matrix = matrices.product(x.shape, constant, numbers, signals[0])
                return [self._mapped(x, matrix, shapes[0])]
        elif name == "conv_general_dilated" and signals == [True, False]:
            if eqn.params["batch_group_count"] == 1:
                out = eqn.params["dimension_numbers"].rhs_spec[0]
                kernel = operands[1]
                self._check_size(np.prod(shapes[0]) * kernel.size / kernel.shape[out])
                matrix = matrices.convolution(x.shape, kernel, eqn.params)
                return [self._mapped(x, matrix, shapes[0])]
        elif name in ("reduce_sum", "reduce_max"):
            seen = matrices.reduced(x.shape, eqn.params["axes"])
            return [self._window(x, seen, name == "reduce_max", shapes[0])]
        elif name in ("reduce_window_sum", "reduce_window_max"):
            seen = matrices.pooled(x.shape, eqn.params)
            return [self._window(x, seen, name == "reduce_window_max", shapes[0])]
        elif signals[0] and (name in MOVES or (name == "pad" and not signals[1])):
            moved = self._moved(eqn, operands)
            if moved is not None:
                return moved
        raise InputError(
            f"kd verify has no rule for the operation {operation(eqn, sum(signals))} as it is used "
            f"in {self._layer}. It knows convolutions, dense layers, BatchNorm, ReLU, ReLU6, sums, "
            "concatenation, means and pooling, in float32."
        )

    def _clip(self, x: Expression, low: Any, high: Any) -> Expression:
        low, high = (np.broadcast_to(np.float64(v), x.shape).ravel() for v in (low, high))
        source = self._materialised(x)
        before = self._nodes[source]
        if isinstance(before, Clip):  # of a clipping: one with the limits of both
            low = np.minimum(np.maximum(before.low, low), high)
            high = np.minimum(np.maximum(before.high, low), high)
            source = before.inputs[0]
        return self._expression(self._add(Clip((source,), low, high, self._layer)), x.shape)

    def _scaled(self, x: Expression, factor: np.ndarray) -> Expression:
        diagonal = sparse.csr_array(sparse.diags_array(factor, format="csr"))
        return self._mapped(x, diagonal, x.shape)

    def _mapped(self, x: Expression, matrix: sparse.csr_array, shape: Sequence[int]) -> Expression:
        """`matrix` times x: composed where each entry of the product is a single product, so that
        no sum of weights is rounded; else x becomes a node first.
        """
        if not x.is_node and not (
            is_selection(matrix)
            or all(is_selection(m) and is_selection(m.T.tocsr()) for m in x.matrices)
        ):
            x = self._expression(self._materialised(x), x.shape)
        widest = int(np.diff(matrix.indptr).max(initial=0))
        matrices = (matrix,) if x.is_node else tuple((matrix @ m).tocsr() for m in x.matrices)
        return Expression(
            tuple(shape),
            x.inputs,
            matrices,
            matrix @ x.bias,
            abs(matrix) @ x.magnitude,
            x.operations + 1 + widest,
            layer=x.layer if is_selection(matrix) else self._layer,
        )

    def _spread(self, x: Any, shape: Sequence[int]) -> Any:
        """x with its axes of size 1 repeated to the shape of a result."""
        if not isinstance(x, Expression) or x.shape == tuple(shape):
            return x
        place = np.broadcast_to(np.arange(x.size).reshape(x.shape), shape).ravel()
        return self._mapped(x, matrices.places(place, x.size), shape)

    def _sum(self, operands: list[Any], is_difference: bool, shape: Sequence[int]) -> Expression:
        terms = []
        for place, x in enumerate(operands):
            if not isinstance(x, Expression):
                constant = np.broadcast_to(np.asarray(x, np.float64), shape).ravel()
                x = Expression(tuple(shape), (), (), constant, abs(constant))
            if is_difference and place == 1:
                x = self._scaled(x, np.full(x.size, -1.0))
            terms.append(x)
        a, b = terms
        return Expression(
            tuple(shape),
            a.inputs + b.inputs,
            a.matrices + b.matrices,
            a.bias + b.bias,
            a.magnitude + b.magnitude,
            max(a.operations, b.operations) + 1,
            layer=b.layer or a.layer,
        )

    def _joined(self, operands: list[Any], axis: int, shape: Sequence[int]) -> Expression:
        index = np.arange(int(np.prod(shape))).reshape(shape)
        sizes = [np.shape(x) if not isinstance(x, Expression) else x.shape for x in operands]
        parts = np.split(index, np.cumsum([size[axis] for size in sizes])[:-1], axis)
        total: Any = np.zeros(shape)
        for x, part in zip(operands, parts, strict=True):
            place = np.full(index.size, -1)
            place[part.ravel()] = np.arange(part.size)
            matrix = matrices.places(place, part.size)
            if isinstance(x, Expression):
                spread: Any = self._mapped(x, matrix, shape)
            else:
                spread = (matrix @ x.astype(np.float64).ravel()).reshape(shape)
            total = self._sum([total, spread], False, shape)
        return total

    def _window(
        self, x: Expression, seen: np.ndarray, is_maximum: bool, shape: Sequence[int]
    ) -> Expression:
        if is_maximum:
            node = Maximum((self._materialised(x),), seen, self._layer)
            return self._expression(self._add(node), shape)
        return self._mapped(x, matrices.sums(seen, x.size), shape)

    def _moved(self, eqn: core.JaxprEqn, operands: list[Any]) -> list[Any] | None:
        """Results of an operation that moves values, by what it does to their indices."""
        x, *rest = operands
        index = jnp.arange(1, x.size + 1, dtype=jnp.int32).reshape(x.shape)
        constant = 0.0
        if eqn.primitive.name == "pad":
            constant, rest = float(rest[0]), [jnp.int32(0)]
        results = []
        for moved in bind(eqn, [index, *map(jnp.asarray, rest)]):
            place = np.asarray(moved).ravel().astype(np.int64) - 1
            if (place < -1).any() or (place >= x.size).any():
                return None
            y = self._mapped(x, matrices.places(place, x.size), moved.shape)
            if constant:
                y = self._sum([y, (constant * (place < 0)).reshape(y.shape)], False, y.shape)
            results.append(y)
        return results

    def _check_size(self, entries: float) -> None:
        """Raises InputError for a matrix of more than `LARGEST` entries."""
        if entries > LARGEST:
            raise InputError(
                f"{self._layer} has {int(entries):,} products, and kd verify keeps matrices of at "
                f"most {LARGEST:,}. Verify a smaller network, or one of smaller images."
            )


def _pruned(nodes: list[Node], output: int) -> Graph:
    """The graph of the nodes that the output depends on."""
    used = {0, output}
    for i in range(output, -1, -1):
        if i in used:
            used |= set(nodes[i].inputs)
    index = {old: new for new, old in enumerate(sorted(used))}
    kept = [nodes[i] for i in sorted(used)]
    for node in kept:
        node.inputs = tuple(index[i] for i in node.inputs)  # pyrefly: ignore
    return Graph(kept)
