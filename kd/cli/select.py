"""`kd select`: chooses the best finished run whose student fits a device."""

import argparse

from kd.errors import InputError

ORDER = 90
HELP = "choose the best finished run whose student fits a device"
DESCRIPTION = """Measures the int8 student of each run (the size of its file and of TFLM's arena),
chooses the smallest one that fits and is not shown to be less accurate than the most accurate one,
and reports why each other run was left out."""
EXAMPLES = (
    ("kd select --flash 64KB --arena 32KB runs/*", "the smallest that fits and is as accurate"),
    (
        "kd select --stack 512 --instructions 100k --target cortex-m3 runs/*",
        "run in an emulator of the processor",
    ),
    ("kd run --config kd:digits", "if there is no run yet"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd select`."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directory of a finished run")
    parser.add_argument("--flash", metavar="SIZE", help="limit of the file, such as 64KB")
    parser.add_argument("--arena", metavar="SIZE", help="limit of TFLM's working memory")
    parser.add_argument(
        "--stack", metavar="SIZE", help="limit of the C program's stack, such as 512"
    )
    parser.add_argument(
        "--instructions",
        metavar="N",
        help="limit of the C program's instructions an inference, such as 500k",
    )
    parser.add_argument(
        "--target",
        metavar="CPU",
        help="processor for these two, in an emulator: cortex-m3, cortex-m4 or cortex-m7; "
        "default: cortex-m4",
    )
    parser.add_argument(
        "--min_accuracy",
        type=float,
        default=0.0,
        metavar="FRACTION",
        help="lowest accuracy of the int8 student on the evaluated images, such as 0.9",
    )


def act(options: argparse.Namespace) -> int:
    """Prints the measured runs and the choice. Raises InputError, or RunError if none fits."""
    from kd.export import selection

    size = lambda text: None if text is None else selection.size(text)
    budget = selection.Budget(
        size(options.flash),
        size(options.arena),
        options.min_accuracy,
        size(options.stack),
        None if options.instructions is None else selection.count(options.instructions),
        options.target or selection.TARGET,
    )
    if options.target is not None and not budget.on_target:
        raise InputError(
            f"--target {options.target}: only --stack and --instructions are measured there. Add "
            "one of them, or leave --target out."
        )
    print(selection.act(options.runs, budget))
    return 0
