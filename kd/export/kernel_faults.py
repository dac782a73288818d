"""Known faults of vendors' kernels that a file would meet."""

from kd.export import graph

ESP_NN = (
    "On an ESP32-S3, do not run {layers} by esp-nn: its fully connected kernel with a scale for "
    "each channel writes wrong results where the outputs are no multiple of 8 "
    "(github.com/espressif/esp-nn/issues/34). Turn esp-nn off, and compare the golden vectors."
)


def warnings(content: bytes) -> list[str]:
    """A sentence for each fault that applies to a `.tflite` file."""
    model = graph.read(content)
    tensors = model.subgraphs[0].tensors
    layers = []
    for op in model.subgraphs[0].operators:
        if graph.name_of(model, op) != "FULLY_CONNECTED":
            continue
        weights, width = tensors[op.inputs[1]], tensors[op.outputs[0]].shape[-1]
        scales = getattr(weights.quantization, "scale", None)
        if scales is not None and len(scales) > 1 and width % 8:
            layers.append(f"the fully connected layer of {width} outputs")
    return [ESP_NN.format(layers=" and ".join(dict.fromkeys(layers)))] if layers else []
