"""Running a `.tflite` file on this machine: LiteRT with its optimized or its reference kernels, and
its tensors while it runs.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from jaxtyping import Shaped

REFERENCE = OpResolverType.BUILTIN_REF
"""The oracle of microcontrollers: the kernels that TFLM's stem from. The default ones differ from
it by up to three units.
"""

OPTIMIZED = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def run(
    content: bytes, inputs: Shaped[np.ndarray, "n ..."], kernels: OpResolverType = REFERENCE
) -> Shaped[np.ndarray, "n c"]:
    """Outputs of examples, which are given one at a time, in the file's own types."""
    parts = np.array_split(inputs, min(os.cpu_count() or 1, len(inputs)))

    def share(examples: np.ndarray) -> np.ndarray:
        interpreter = _interpreter(content, kernels)
        source = interpreter.get_input_details()[0]["index"]
        target = interpreter.get_output_details()[0]["index"]
        outputs = []
        for example in examples:
            interpreter.set_tensor(source, example[None])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(target)[0])
        return np.stack(outputs)

    with ThreadPoolExecutor(len(parts)) as pool:
        return np.concatenate(list(pool.map(share, parts)))


def tensors(
    content: bytes, inputs: Shaped[np.ndarray, "n ..."], names: Sequence[str]
) -> Iterator[list[np.ndarray]]:
    """The tensors of these names while the file runs, for each example."""
    interpreter = _interpreter(content, REFERENCE, keep=True)
    source = interpreter.get_input_details()[0]["index"]
    index = {d["name"]: d["index"] for d in interpreter.get_tensor_details()}
    for example in inputs:
        interpreter.set_tensor(source, example[None])
        interpreter.invoke()
        yield [interpreter.get_tensor(index[name]) for name in names]


def _interpreter(content: bytes, kernels: OpResolverType, keep: bool = False) -> Interpreter:
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=kernels,
        experimental_preserve_all_tensors=keep,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    return interpreter
