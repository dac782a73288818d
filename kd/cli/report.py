"""`kd report`: writes a report of finished runs."""

import argparse

from kd.errors import InputError
from kd.files.escaping import plain

ORDER = 60
HELP = "write a report of finished runs as HTML, JSON and Markdown"
DESCRIPTION = """Writes report.html, which opens offline, report.json and report.md: conclusions and
the evidence for them. With several runs, compares the later ones with the first; all must have been
evaluated on the same examples."""
EXAMPLES = (
    ("kd report runs/digits", "one run"),
    ("kd report runs/digits-role=labels runs/digits --out comparison", "the second with the first"),
    ("kd run --config kd:digits", "if there is no run yet"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd report`."""
    parser.add_argument("run", nargs="+", metavar="RUN", help="directory of a finished run")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="default: RUN/report; with several runs, `report` next to the first",
    )
    parser.add_argument(
        "--stored",
        action="store_true",
        help="use stored predictions only: leave out everything that needs the data and the "
        "networks (images of mistakes, corrupted images, similarity of stages, dead units, "
        "latency)",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="test images to run the networks on (default: as many as take half a minute on two "
        "cores, at least 100)",
    )
    parser.add_argument(
        "--runs",
        default="runs",
        help="directory of the runs to compare with (default: %(default)s)",
    )


def act(options: argparse.Namespace) -> int:
    """Writes the report and prints its path. Raises InputError."""
    if options.images is not None and options.images < 4:
        raise InputError(f"--images {options.images}: expected 4 or more.")
    from kd.runs.workdir import Workdir

    for run in options.run:
        Workdir(run).read("result.json")  # a missing run is refused before the slow imports
    from kd.report.write import write

    if not options.stored:
        from kd.devices import compilation

        compilation.configure_cache("default")
    path = write(options.run, options.out, options.runs, not options.stored, options.images)
    print(plain(path))
    return 0
