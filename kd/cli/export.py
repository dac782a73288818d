"""The command lines of `kd export` and `kd select`. Imports nothing heavy."""

import argparse

from kd.export import formats


def add(verbs: argparse._SubParsersAction) -> None:
    """Adds `kd export` and `kd select`."""
    export = verbs.add_parser(
        "export",
        help="write a finished run's student for a device, and check that it is the same network",
        description=(
            "Writes the student of a finished run as a file that runs elsewhere, with "
            "report.json, golden vectors and a model card. What fails a gate is not written."
        ),
        allow_abbrev=False,
    )
    export.add_argument("run", metavar="RUN", help="directory of a finished run")
    formats.add_arguments(export)
    export.add_argument("--out", metavar="DIR", help="default: RUN/export/FORMAT")
    export.add_argument(
        "--seed",
        type=int,
        metavar="I",
        help="of the run's seeds (default: the best on validation images, or the first)",
    )
    export.add_argument(
        "--peer",
        type=int,
        metavar="I",
        help="of a cohort of students (default: chosen as the seed is)",
    )
    export.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another limit, such as agreement=0.98; see docs/export.md",
    )
    export.add_argument(
        "--waive",
        action="append",
        default=[],
        metavar="NAME",
        help="go on where this gate fails, and say so in the card",
    )
    export.set_defaults(act=_export)

    select = verbs.add_parser(
        "select",
        help="choose the best finished run whose student fits a device",
        description=(
            "Measures the int8 student of each run (its file and TFLM's arena), chooses the most "
            "accurate one that fits, and says why each other one fell out."
        ),
        allow_abbrev=False,
    )
    select.add_argument("runs", nargs="+", metavar="RUN")
    select.add_argument("--flash", metavar="SIZE", help="for the file, such as 64KB")
    select.add_argument("--arena", metavar="SIZE", help="for TFLM's working memory")
    select.add_argument(
        "--min_accuracy",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the int8 student on the evaluated images, such as 0.9",
    )
    select.set_defaults(act=_select)


def _export(options: argparse.Namespace, rest: list[str]) -> int:
    from kd.export import command

    print(command.act(command.Options.from_arguments(vars(options))))
    return 0


def _select(options: argparse.Namespace, rest: list[str]) -> int:
    from kd.export import selection

    size = lambda text: None if text is None else selection.size(text)
    budget = selection.Budget(size(options.flash), size(options.arena), options.min_accuracy)
    print(selection.act(options.runs, budget))
    return 0
