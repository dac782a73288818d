"""StableHLO to LiteRT by the bindings inside the `litert_converter` wheel, which no documentation promises: pinned exactly.

They are what its makers call for PyTorch. They take JAX's text as it is, fold BatchNorm into convolutions and fuse ReLU.
"""

from litert_converter import converter_api_ext as api
from litert_converter.mlir import ir, passmanager

from kd.errors import InputError
from kd.export.lower import Lowered

SIGNATURE = "serving_default"
INPUT, OUTPUT = "image", "logits"


def convert(lowered: Lowered) -> bytes:
    """A `.tflite` file of the program.

    Raises:
      InputError: an operation that has no equal there.
    """
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
        try:
            api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
            return bytes(api.export_flatbuffer_to_bytes(module.operation))
        except (RuntimeError, ValueError, ir.MLIRError) as error:
            raise InputError(f"LiteRT has no equal of this network: {error}") from error
