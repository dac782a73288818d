"""StableHLO to LiteRT by the bindings inside the `litert_converter` wheel, which no documentation
promises: pinned exactly.

They are what its makers call for PyTorch. They take JAX's text as it is, fold BatchNorm into
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
    has no equal of it.
    """
    try:
        with silence.hear():
            content = _converted(lowered)
    except (RuntimeError, ValueError, ir.MLIRError) as error:
        told = str(error).strip() or type(error).__name__
        first = told.splitlines()[0].removesuffix(":")
        raise InputError(_told(lowered, first[:200])) from error
    for op in graph.operations(content):
        if op.name == "CUSTOM" or op.name.startswith("STABLEHLO"):
            raise InputError(_told(lowered, op.name, op.layer))
    return content


def _converted(lowered: Lowered) -> bytes:
    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(lowered.text)
        api.set_signature(module.operation, SIGNATURE, [INPUT], [OUTPUT])
        config = api.ConvertToTFLConfig()
        # Trained scales are legalized for programs of PyTorch alone.
        config.model_origin_framework = "PYTORCH" if lowered.scales else "JAX"
        if lowered.scales:
            config.qdq_conversion_mode = "STATIC"
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        return bytes(api.export_flatbuffer_to_bytes(module.operation))


def _told(lowered: Lowered, why: str, layer: str = "the network") -> str:
    scales = fake_quant.VERBS  # are no layer's fault
    lines = [s for s in lowered.text.splitlines() if not any(v in s for v in scales)]
    unusual = layer_names.unusual("\n".join(lines))[:5] or [f"an operation in {layer}"]
    found = ", ".join(unusual)
    return (
        f"LiteRT has no equal of {found} ({why}). Use another layer there, or --format stablehlo."
    )
