"""`kd import`: makes a finished run from a PyTorch checkpoint."""

import argparse
import ast
import math
from collections.abc import Mapping
from typing import Any

from kd.errors import InputError

ORDER = 40
HELP = "make a finished run, usable as a teacher, from a PyTorch checkpoint"
DESCRIPTION = """Converts a published checkpoint (.pth, .pt, .safetensors), or a directory with
config.json as Hugging Face and timm write it, to a run directory, and evaluates it on its data set.
Needs no PyTorch and executes no pickled code."""
EXAMPLES = (
    (
        "kd import resnet32x4.pth --model resnet32x4 --out runs/resnet32x4",
        'then teacher.run = "runs/resnet32x4" in a config',
    ),
    ("kd import vit-base/ --out runs/vit --data imagenet", "config.json says which network it is"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd import`."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="the file or the directory to convert"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="such as resnet32x4; of a directory config.json says it"
    )
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="setting of the network, such as width=48; may be repeated",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the run directory to write")
    parser.add_argument(
        "--data",
        default="cifar100",
        metavar="NAME",
        help="data set that it was trained on (default: %(default)s)",
    )
    parser.add_argument(
        "--entry",
        metavar="NAME",
        help="entry of the checkpoint that holds the weights, such as state_dict_ema, where "
        "several do",
    )
    for name, values in (("mean", "0.5,0.5,0.5"), ("std", "0.5,0.5,0.5")):
        parser.add_argument(
            f"--{name}",
            metavar="NUMBERS",
            help=f"{name} that pixels in [0, 1] are normalised with, for each channel, such as "
            f"{values} (default: of the directory, else of the data)",
        )
    parser.add_argument("--data_path", help="path of `--data arrays` or `--data folder`")


def act(options: argparse.Namespace) -> int:
    """Imports the checkpoint and prints its accuracy. Raises InputError."""
    from kd.train.imported import import_run

    path = {} if options.data_path is None else {"path": options.data_path}
    data = {"name": options.data, **path}
    normalisation = {
        key: _numbers(key, text)
        for key, text in (("mean", options.mean), ("std", options.std))
        if text is not None
    }
    settings = dict(_setting(text) for text in options.setting)
    result = import_run(
        options.checkpoint,
        options.model,
        options.out,
        data,
        options.entry,
        settings,
        normalisation,
    )
    name = options.model or options.checkpoint
    if result is None:
        print(
            f"{name}: imported, but not evaluated, because the data set {options.data} is "
            "not prepared on this machine. Once it is, the same command evaluates it, and so does "
            f"a run with this teacher.\n{options.out}"
        )
        return 0
    accuracy = 100 * result["final"]["accuracy"][0]
    print(
        f"{name}: {result['parameters']:,} parameters, {accuracy:z.2f} % of "
        f"{result['examples']:,} {result['split']} images of {options.data}{_seen(result)}, sha256 "
        f"{result['imported']['sha256']}\n{options.out}"
    )
    return 0


def _seen(result: Mapping[str, Any]) -> str:
    """What the network saw of the images, where it is not what the data have."""
    view = result["imported"].get("view")
    if not view:
        return ""
    size = f" resized to {' x '.join(map(str, view['size']))}," if "size" in view else ""
    moments = " and ".join(f"{key} {view[key]}" for key in ("mean", "std"))
    return f",{size} normalised by {moments}"


def _numbers(key: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    least = 0 if key == "std" else -math.inf
    if not numbers or not all(math.isfinite(x) and x > least for x in numbers):
        raise InputError(
            f"--{key} {text}: expected numbers{' above 0' if key == 'std' else ''}, divided by "
            "commas, such as 0.5,0.5,0.5."
        )
    return numbers


def _setting(text: str) -> tuple[str, Any]:
    """The name and value of `KEY=VALUE`; what is no Python literal is text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier() or key == "num_classes":
        raise InputError(
            f"--setting {text}: expected KEY=VALUE, such as width=48. The classes are those of the "
            "weights."
        )
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return key, value
