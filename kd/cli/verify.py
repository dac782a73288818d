"""`kd verify`: proves or refutes that a student's classes hold around its images."""

import argparse
import dataclasses
from pathlib import Path

from kd.errors import InputError

ORDER = 75
HELP = "prove or refute that a student's classes do not change around its images"
DESCRIPTION = """For each image and radius: proved, refuted with a stored witness, or open, of a
finished run's student, its teacher, their ensemble and the runs that it is compared with. Writes
verify.json, verify.npz with the witnesses, and verify.md."""
EXAMPLES = (
    ("kd verify runs/digits --exact 10", "after kd run --config kd:digits"),
    ("kd verify runs/digits --check", "whether the certificates are of these weights"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd verify`."""
    parser.add_argument("run", metavar="RUN", help="directory of a finished run")
    parser.add_argument(
        "--radius",
        default="1,2,4,8",
        metavar="R,...",
        help="radii of the balls: levels of pixels, of which only 0 to 255 exist; of raw floats "
        "standard deviations of the data (default: %(default)s)",
    )
    parser.add_argument(
        "--norm",
        choices=("linf", "l2"),
        default="linf",
        help="which distance (default: %(default)s)",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="evaluated images, with the classes as frequent as in all (default: 500)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="I",
        help="index of the seed (default: the best on validation images, or the first)",
    )
    parser.add_argument(
        "--every_seed",
        action="store_true",
        help="certificates of all seeds, in directories seed0, ... of --out",
    )
    parser.add_argument(
        "--exact",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="seconds an image for mixed-integer programs on what stays open (default: 0, none)",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also the integer network in RUN/export/c or RUN/export/litert-int8",
    )
    parser.add_argument(
        "--against",
        choices=("teacher",),
        help="also prove that student and teacher name one class, and bound their logits' distance",
    )
    parser.add_argument(
        "--only", default="", metavar="NAME,...", help="these networks beside the student, no other"
    )
    parser.add_argument("--out", metavar="DIR", help="directory to write (default: RUN)")
    parser.add_argument(
        "--vnnlib",
        metavar="DIR",
        help="also write the student as ONNX, a property for each image and radius, and "
        "instances.csv, for other verifiers",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="compare certificates with the weights and images that they are of, and run every "
        "witness again",
    )
    parser.add_argument(
        "--runs",
        default="runs",
        help="directory of the runs to compare with (default: %(default)s)",
    )


def act(options: argparse.Namespace) -> int:
    """Verifies or checks, and prints the result. Raises InputError."""
    from kd.runs.workdir import Workdir

    if options.every_seed and options.seed is not None:
        raise InputError("--every_seed is of all seeds: leave out --seed.")
    # A missing run is refused before the slow imports.
    result = Workdir(options.run).read("result.json")
    from kd.devices import compilation
    from kd.verify import command

    compilation.configure_cache("default")
    names = (
        "run",
        "radius",
        "norm",
        "images",
        "seed",
        "exact",
        "out",
        "runs",
        "only",
        "int8",
        "against",
        "vnnlib",
    )
    chosen = command.Options(**{name: getattr(options, name) for name in names})
    act = command.check if options.check else command.act
    if not options.every_seed:
        print(act(chosen))
        return 0
    for seed in result["seeds"]:
        out = f"{(options.out or options.run).rstrip('/')}/seed{seed}"
        vnnlib = options.vnnlib and str(Path(options.vnnlib) / f"seed{seed}")
        print(act(dataclasses.replace(chosen, seed=seed, out=out, vnnlib=vnnlib)))
    return 0
