"""StableHLO to LiteRT by the undocumented bindings of the `litert_converter` wheel, pinned exactly.

Its makers use these bindings for PyTorch. They take JAX's text unchanged, fold BatchNorm into
convolutions and fuse ReLU.
"""

from litert_converter import converter_api_ext as api
from litert_converter.mlir import ir, passmanager

from kd.errors import InputError
from kd.export import fake_quant, graph, layer_names, silence
from kd.export.lower import Lowered

SIGNATURE = "serving_default"
INPUT, OUTPUT = "image", "logits"


def convert(lowered: Lowered) -> bytes:
    """A `.tflite` file of the program. Raises InputError, with operations and layers, where LiteRT
    lacks one of its operations.
    """
    try:
        with silence.capture():
            content = _converted(lowered)
    except (RuntimeError, ValueError, ir.MLIRError) as error:
        message = str(error).strip() or type(error).__name__
        first = message.splitlines()[0].removesuffix(":")
        raise InputError(_message(lowered, first[:200])) from error
    for op in graph.operations(content):
        if op.name == "CUSTOM" or op.name.startswith("STABLEHLO"):
            raise InputError(_message(lowered, op.name, op.layer))
    return content


def _converted(lowered: Lowered) -> bytes:
    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(lowered.text)
        api.set_signature(module.operation, SIGNATURE, [INPUT], [OUTPUT])
        config = api.ConvertToTFLConfig()
        # Trained scales are legalized only for programs of PyTorch.
        config.model_origin_framework = "PYTORCH" if lowered.scales else "JAX"
        if lowered.scales:
            config.qdq_conversion_mode = "STATIC"
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        return bytes(api.export_flatbuffer_to_bytes(module.operation))


def _message(lowered: Lowered, why: str, layer: str = "the network") -> str:
    scales = fake_quant.CALLS  # belong to no layer
    lines = [s for s in lowered.text.splitlines() if not any(call in s for call in scales)]
    unusual = layer_names.unusual("\n".join(lines))[:5] or [f"an operation in {layer}"]
    return (
        f"LiteRT has no equal of {', '.join(unusual)} ({why}). Use another layer there, or "
        "--format stablehlo."
    )
