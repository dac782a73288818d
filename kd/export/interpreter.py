"""Runs a `.tflite` file here by LiteRT, with its optimized or its reference kernels."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from jaxtyping import Shaped

REFERENCE = OpResolverType.BUILTIN_REF
"""Reference kernels, which those of TFLM derive from. The default ones differ from them by up to
three units.
"""

OPTIMIZED = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def run(
    content: bytes, inputs: Shaped[np.ndarray, "n ..."], kernels: OpResolverType = REFERENCE
) -> Shaped[np.ndarray, "n c"]:
    """Outputs of examples, run one at a time, in the file's types."""
    parts = np.array_split(inputs, min(os.cpu_count() or 1, len(inputs)))

    def outputs_of(examples: np.ndarray) -> np.ndarray:
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
        return np.concatenate(list(pool.map(outputs_of, parts)))


def tensors(
    content: bytes, inputs: Shaped[np.ndarray, "n ..."], names: Sequence[str]
) -> Iterator[list[np.ndarray]]:
    """For each example, the values of the tensors of these names."""
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
