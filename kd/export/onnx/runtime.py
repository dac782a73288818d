"""ONNX Runtime on this machine's processor; the only user of the package `onnxruntime`."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from jaxtyping import Float, Shaped

from kd.errors import RunError
from kd.export.onnx.model import INPUT, OUTPUT

PRECISE = "session.x64quantprecision"
"""Setting that keeps sums of products exact on x86-64 without VNNI, whose instruction for 8-bit
products saturates at 16 bits.
"""


class Session:
    """A model, ready to run on one thread.

    Args:
      content: the model.
      precise: whether to set `PRECISE`.
    """

    def __init__(self, content: bytes, precise: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        if precise:
            options.add_session_config_entry(PRECISE, "1")
        providers = ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # its own classes, which are no public names
            first = str(error).strip().splitlines()[0]
            raise RunError(f"ONNX Runtime refuses the model: {first}") from error

    def __call__(self, image: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
        """Logits of a batch of raw examples, in the type that the model takes."""
        return np.asarray(self._session.run([OUTPUT], {INPUT: image})[0])

    def outputs(
        self, names: Sequence[str], inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Outputs of these names, where the model takes any inputs; others are left out."""
        known = {entry.name for entry in self._session.get_inputs()}
        read = {name: array for name, array in inputs.items() if name in known}
        results = self._session.run(list(names), read)
        return {name: np.asarray(array) for name, array in zip(names, results, strict=True)}


def version() -> str:
    """Of ONNX Runtime."""
    return onnxruntime.__version__
