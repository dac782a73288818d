"""`kd export`: writes a finished student for a device."""

import argparse

from kd.export import formats

ORDER = 80
HELP = "write the student of a finished run for a device, and verify the file"
DESCRIPTION = """Writes the student of a finished run as a file that runs without kd, with
report.json, golden vectors and a model card. Nothing is written if a check (gate) fails."""
EXAMPLES = (
    ("kd export runs/digits --format c", "int8 as C, with kernels and a program that checks it"),
    ("kd export runs/digits --format stablehlo", "an archive that jax alone reads"),
    ("kd run --config kd:digits", "if there is no run yet"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd export`, those of the formats included."""
    parser.add_argument("run", metavar="RUN", help="directory of a finished run")
    formats.add_arguments(parser)
    parser.add_argument("--out", metavar="DIR", help="default: RUN/export/FORMAT")
    parser.add_argument(
        "--seed",
        type=int,
        metavar="I",
        help="index of the seed (default: the best on validation images, or the first)",
    )
    parser.add_argument(
        "--peer",
        type=int,
        metavar="I",
        help="index of the peer in a cohort (default: chosen as the seed is)",
    )
    parser.add_argument(
        "--coverage",
        metavar="PERCENT,...",
        help="coverage of prediction sets, calibrated on validation images (default: 90,95,99 "
        "where the run kept some)",
    )
    parser.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set the limit of a gate, such as agreement=0.98; see docs/export.md",
    )
    parser.add_argument(
        "--waive",
        action="append",
        default=[],
        metavar="NAME",
        help="continue if this gate fails, and note it in the model card",
    )


def act(options: argparse.Namespace) -> int:
    """Exports and prints what was verified. Raises InputError, or RunError if a gate fails."""
    from kd.export import command

    print(command.act(command.Options.from_arguments(vars(options))))
    return 0
