"""The model card of an export: what it is, what it was made from, what was measured, where its
limits are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kd.export.gates import LIMITS
from kd.teachers import kind

FORMATS = {
    "stablehlo": (
        "a StableHLO program with its weights, which `jax.export.deserialize` reads (CPU, CUDA, "
        "TPU)"
    ),
    "litert": "a LiteRT (`.tflite`) file",
    "c": "a LiteRT file as a C array, with C11 kernels where they were asked for",
}


def markdown(report: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The card, from the content of `report.json` and the config of the run."""
    kind = "int8" if report["int8"] else "float32"
    parts = [
        f"# {report['run']}: {kind} {report['format']}",
        f"This is {FORMATS[report['format']]}, {kind}, of the student of {network(report)} "
        f"({report['seed_chosen']}). {_waived(report['gates'])}".strip(),
        "## Network\n\n" + _bullets(_network(report, config)),
        "## Data and method\n\n" + _bullets(_method(report, config)),
        "## Measured\n\n" + _bullets(_measured(report)),
        "## Gates\n\n" + _gates(report["gates"]),
        "## Limits\n\n" + _bullets(_limits(report)),
    ]
    return "\n\n".join(parts) + "\n"


def network(report: Mapping[str, Any]) -> str:
    """Which of a run's networks it is, in words."""
    peer = report["peer"]
    return f"seed {report['seed']}" + ("" if peer is None else f", peer {peer}")


def _waived(gates: Sequence[Mapping[str, Any]]) -> str:
    names = [g["name"] for g in gates if g["waived"] and not g["passed"]]
    if not names:
        return ""
    return f"**It failed {', '.join(names)}; whoever exported it waived that.**"


def _network(report: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    settings = {k: v for k, v in config["student"].items() if k != "name" and v != ""}
    told = ", ".join(f"{k} {v}" for k, v in settings.items())
    lines = [
        f"`{config['student']['name']}`" + (f": {told}" if told else ""),
        f"{report['parameters']:,} parameters, {report['macs']:,} multiply-accumulates",
        f"input {_end(report['input'])}: {report['input']['meaning']}",
        f"output {_end(report['output'])}: logits of {report['classes']} classes",
    ]
    if report["operations"]:
        lines.append(f"operations: {', '.join(report['operations'])}")
    return lines


def _end(end: Mapping[str, Any]) -> str:
    shape = " x ".join(map(str, end["shape"]))
    if not end.get("scale"):
        return f"{shape} {end['dtype']}"
    return f"{shape} {end['dtype']}, scale {end['scale']:.9g}, zero point {end['zero_point']}"


def _method(report: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    given = {k: v for k, v in config["data"].items() if k != "name" and v}
    data = ", ".join(f"{k} {v}" for k, v in given.items())
    lines = [f"data: `{config['data']['name']}`" + (f" ({data})" if data else "")]
    if report["imported"]:
        own = report["imported"]
        return [
            *lines,
            f"weights of {own['checkpoint']} (sha256 {own['sha256']}); nothing is known here of "
            "how they were trained",
        ]
    terms = []
    for section in config["objective"].values():
        rest = {k: v for k, v in section.items() if k not in ("name", "weight")}
        terms.append(f"{section['weight']} x `{section['name']}`" + (f" {rest}" if rest else ""))
    if report["init"]:
        own = config["init"]["take"]
        part = f", of which `{own}` was taken over" if own else ""
        lines.append(f"started from the weights of {report['init']['run']}{part}")
    return [
        *lines,
        *_teachers(report["teacher"], config["teacher"].get("name")),
        f"objective: {' + '.join(terms)}",
        f"{report['epochs']} epochs, batches of {config['batch_size']}, augmentation: "
        f"{config['augment'] or 'none'}",
    ]


def _teachers(taught: Mapping[str, Any] | None, name: str | None) -> list[str]:
    """Runs that taught, a line for each; where there are none, what did in their place."""
    if taught is None:
        description = kind.describe(name) if name else ""
        return [f"teacher: {description}" if description else "no run as a teacher"]
    lines = []
    for group in taught["groups"]:
        line = f"teacher: {group['run']}, members {group['members']}"
        if group["accuracy"] is not None:
            line += f", mean accuracy {100 * group['accuracy']:.2f} %"
        lines.append(line)
    return lines


def _measured(report: Mapping[str, Any]) -> list[str]:
    lines = [f"the file of the network: {report['flash_bytes']:,} bytes"]
    checks = report["checks"]
    for name in ("test", "validation", "reference"):
        if name in checks:
            lines.append(_accuracy(name, checks[name]))
    if "tflm" in checks:
        tflm = checks["tflm"]
        lines.append(
            f"TFLM on a 64-bit host: arena {tflm['arena_bytes']:,} bytes, of which "
            f"{tflm['arena_head_bytes']:,} are activations and the same everywhere, the rest "
            "structures that are smaller on 32 bits"
        )
    if "kernels" in checks:
        own = checks["kernels"]
        lines.append(
            f"generated kernels: arena {own['arena_bytes']:,} bytes, constants "
            f"{own['constant_bytes']:,} bytes"
        )
    if report["calibration"]:
        lines.append(
            f"ranges of int8: least and largest values over {report['calibration']['images']:,} "
            "training images"
        )
    elif report["int8"]:
        lines.append("ranges of int8: those that the student was trained with")
    return lines


def _accuracy(name: str, found: Mapping[str, Any]) -> str:
    where = "reference kernels" if name == "reference" else f"{name} images"
    return (
        f"{where}: accuracy {100 * found['accuracy']:.2f} % (the network itself "
        f"{100 * found['float_accuracy']:.2f} %) on {found['images']:,} images, the same class on "
        f"{100 * found['agreement']:.2f} %, logits off by {found['error_mean']:.3g} on average and "
        f"{found['error_max']:.3g} at most, of up to {found['largest_logit']:.3g}"
    )


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| gate | measured | asked for | | what it is |", "| --- | ---: | ---: | --- | --- |"]
    for g in gates:
        sign = "≥" if g["at_least"] else "≤"
        state = "passed" if g["passed"] else "**WAIVED**" if g["waived"] else "failed"
        lines.append(
            f"| {g['name']} | {g['value']:.6g} | {sign} {g['limit']:g} | {state} | "
            f"{LIMITS[g['name']].what} |"
        )
    return "\n".join(lines)


def _limits(report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"The accuracy is that on {report['split']} images of this data set, which came the same "
        "way as the training images; on pictures of another camera it will be another.",
        "It always names one of its classes, and knows no other thing. Its logits are not "
        "calibrated probabilities.",
    ]
    if report["format"] != "stablehlo":
        lines.append(
            "Nothing here was timed on a microcontroller, and its results there are equal up to "
            "one unit of the output only where its kernels pass the golden vectors."
        )
    return lines


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
