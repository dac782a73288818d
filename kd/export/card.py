"""The model card of an export: what it is, where it comes from, its measurements and its limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from kd.export import formats
from kd.export.target import boards
from kd.files.escaping import code
from kd.files.escaping import markdown as markdown_text
from kd.runs import certificates, coverage
from kd.teachers import kind
from kd.values import counted


def markdown(report: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The card, from the content of `report.json` and the config of the run."""
    kind = "int8" if report["int8"] else "float32"
    card = formats.load(report["format"]).card
    parts = [
        f"# {markdown_text(report['run'])}: {kind} {report['format']}",
        f"This is {card}, {kind}, of the student of {network(report)} "
        f"({markdown_text(report['seed_chosen'])}). {_waived(report['gates'])}".strip(),
        "## Network\n\n" + _bullets(_network(report, config)),
        "## Data and method\n\n" + _bullets(_method(report, config)),
        "## Measured\n\n" + _bullets(_measured(report)),
        *_sets(report),
        *_certificates(report.get("certificates")),
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
    listed = markdown_text(", ".join(f"{k} {v}" for k, v in settings.items()))
    lines = [
        code(config["student"]["name"]) + (f": {listed}" if listed else ""),
        f"{report['parameters']:,} parameters, {report['macs']:,} multiply-accumulates",
        f"input {_tensor(report['input'])}: {report['input']['meaning']}",
        f"output {_tensor(report['output'])}: logits of {report['classes']} classes",
    ]
    if report["operations"]:
        lines.append(f"operations: {', '.join(report['operations'])}")
    return lines


def _tensor(tensor: Mapping[str, Any]) -> str:
    text = f"{' x '.join(map(str, tensor['shape']))} {tensor['dtype']}"
    if tensor.get("scale"):
        text += f", scale {tensor['scale']:z.9g}, zero point {tensor['zero_point']}"
    return text


def _method(report: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    settings = {k: v for k, v in config["data"].items() if k != "name" and v}
    listed = markdown_text(", ".join(f"{k} {v}" for k, v in settings.items()))
    lines = [f"data: {code(config['data']['name'])}" + (f" ({listed})" if listed else "")]
    if report["imported"]:
        imported = report["imported"]
        return [
            *lines,
            markdown_text(f"weights of {imported['checkpoint']} (sha256 {imported['sha256']})")
            + "; how they were trained is not known here",
        ]
    terms = []
    for section in config["objective"].values():
        rest = {k: v for k, v in section.items() if k not in ("name", "weight")}
        weight, settings = markdown_text(section["weight"]), markdown_text(rest or "")
        terms.append(f"{weight} x {code(section['name'])} {settings}".strip())
    if report["init"]:
        pattern = config["init"]["take"]
        part = f", of which {code(pattern)} was taken over" if pattern else ""
        lines.append(f"started from the weights of {markdown_text(report['init']['run'])}{part}")
    in_parts = config.get("accumulate", 1)
    each = f" in {in_parts} parts" if in_parts > 1 else ""
    mixed = f", mixed by {config['mix']}" if config.get("mix") else ""
    return [
        *lines,
        *_teachers(report["teacher"], config["teacher"].get("name")),
        f"objective: {' + '.join(terms)}",
        markdown_text(
            f"{counted(report['epochs'], 'epoch')}, batches of {config['batch_size']}{each}, "
            f"augmentation: {config['augment'] or 'none'}{mixed}"
        ),
    ]


def _teachers(teacher: Mapping[str, Any] | None, name: str | None) -> list[str]:
    """A line for each teacher's run; without one, a line for the kind of teacher, `name`."""
    if teacher is None:
        description = kind.describe_without_runs(name or "none")
        return [markdown_text(f"teacher: {description}") if description else "no run as a teacher"]
    lines = [markdown_text(f"teacher: {teacher['file']}")] if teacher.get("file") else []
    for group in teacher["groups"]:
        line = f"teacher: {group['run']}, members {group['members']}"
        if group["accuracy"] is not None:
            line += f", mean accuracy {100 * group['accuracy']:z.2f} %"
        lines.append(markdown_text(line))
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
        if "layers_lsb" in tflm:
            lines.append(
                f"TFLM against LiteRT's reference kernels: each of {tflm['layers']} operations by "
                f"itself within {tflm['layers_lsb']:zg} units of its output (the largest in "
                f"{tflm['largest_in']}); the network at its end within {tflm['lsb']:zg}, with the "
                f"same class on {100 * tflm['agreement']:z.2f} % of {tflm['images']:,} images"
            )
    if "kernels" in checks:
        kernels = checks["kernels"]
        lines.append(
            f"generated kernels: arena {kernels['arena_bytes']:,} bytes, constants "
            f"{kernels['constant_bytes']:,} bytes"
        )
    if "target" in report:
        lines.append(boards.summary(report["target"]))
    if "onnx" in checks:
        lines += _onnx(checks["onnx"])
    if report["calibration"]:
        lines.append(
            f"ranges of int8: least and largest values over {report['calibration']['images']:,} "
            "training images"
        )
    elif report["int8"]:
        lines.append("ranges of int8: those that the student was trained with")
    return lines


def _accuracy(name: str, compared: Mapping[str, Any]) -> str:
    images = "reference kernels" if name == "reference" else f"{name} images"
    return (
        f"{images}: accuracy {100 * compared['accuracy']:z.2f} % (the network itself "
        f"{100 * compared['float_accuracy']:z.2f} %) on {compared['images']:,} images, the same "
        f"class on {100 * compared['agreement']:z.2f} %, logits off by "
        f"{compared['error_mean']:z.3g} on average and {compared['error_max']:z.3g} at most, of up "
        f"to {compared['largest_logit']:z.3g}"
    )


def _onnx(measured: Mapping[str, Any]) -> list[str]:
    """How far ONNX Runtime is from LiteRT's reference kernels, with exact sums and by default."""
    far = lambda prefix: (
        f"at most {counted(round(measured[prefix + 'lsb']), 'unit')} of the output, equal on "
        f"{100 * measured[prefix + 'equal']:z.1f} %, the same class on "
        f"{100 * measured[prefix + 'agreement']:z.2f} %"
    )
    least = min(measured["layers"], key=lambda layer: layer["equal"])
    units = counted(round(max(layer["lsb"] for layer in measured["layers"])), "unit")
    host = markdown_text(measured["processor"])
    vnni = {True: ", which has VNNI", False: ", which has no VNNI", None: ""}[measured["vnni"]]
    return [
        f"each layer of the ONNX file, given LiteRT's integers of {measured['layer_images']:,} "
        f"images: at most {units} of its output; fewest are equal after "
        f"{least['operation']} of {markdown_text(least['layer'])}, {100 * least['equal']:z.2f} %. "
        "LiteRT rounds twice, ONNX once; through a network such differences add up",
        f"ONNX Runtime with `session.x64quantprecision=1` against LiteRT's reference kernels, "
        f"{measured['images']:,} images: {far('')}",
        f"ONNX Runtime with its defaults on {host}{vnni}: {far('default_')}. On x86-64 without "
        "VNNI its sums of 8-bit products saturate at 16 bits: set "
        "`session.x64quantprecision=1` there",
    ]


def _certificates(proofs: Mapping[str, Any] | None) -> list[str]:
    """The section of certificates by `kd verify`; empty where the run has none of this network."""
    if proofs is None:
        return []
    subject = "the float32 network"
    if any(row[0] == certificates.INT8 for row in proofs["table"]):
        subject += ", and of the integers of this file"
    text = f"Of {subject}. {proofs['conclusion']} {proofs['note']}"
    parts = [f"## Certificates\n\n{markdown_text(text)}", _grid(proofs["table"])]
    if rows := proofs.get("difference"):
        parts.append("How far the logits of this file can be from those of the float32 network:")
        parts.append(_grid(rows))
    if rows := proofs.get("agreement"):
        parts.append("Student and teacher in the whole ball:")
        parts.append(_grid(rows))
    return parts


def _sets(report: Mapping[str, Any]) -> list[str]:
    """The section of prediction sets; of a run without validation images what they need."""
    known, title = report.get("conformal"), "## Prediction sets and abstention"
    if known is None:
        return [f"{title}\n\nNone: the run kept no validation images ({coverage.KEY} is 0)."]
    names = {"student": "the student", "file": "this int8 file"}
    networks = {name: known[key] for key, name in names.items() if key in known}
    parts = [
        title,
        markdown_text(coverage.note(known, networks)),
        *map(
            _grid,
            (
                coverage.table(networks),
                coverage.thresholds(networks),
                coverage.by_class(networks, known["class_names"]),
            ),
        ),
    ]
    return ["\n\n".join(parts)]


def _grid(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first row is the head."""
    head, *cells = [[markdown_text(cell) for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *cells])


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    limits = formats.limits()
    lines = ["| gate | measured | asked for | | what it is |", "| --- | ---: | ---: | --- | --- |"]
    for g in gates:
        sign = "≥" if g["at_least"] else "≤"
        state = "passed" if g["passed"] else "**WAIVED**" if g["waived"] else "failed"
        lines.append(
            f"| {g['name']} | {g['value']:z.6g} | {sign} {g['limit']:zg} | {state} | "
            f"{limits[g['name']].what} |"
        )
    return "\n".join(lines)


def _limits(report: Mapping[str, Any]) -> list[str]:
    return [
        f"The accuracy is that on {markdown_text(report['split'])} images of this data set, which "
        "were collected as the training images were; on pictures of another camera it will differ.",
        "It always predicts one of its classes, whatever the picture shows. Its logits are not "
        "calibrated probabilities.",
        *formats.load(report["format"]).caveats,
        *report.get("warnings", ()),
    ]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
