"""`kd status`: the status of a table's runs."""

import argparse

ORDER = 22
HELP = "show the status of a table's runs: done, running, waiting, failed"
DESCRIPTION = """Prints a line for each run of an experiment that is not done: on which node it runs
and how far it is, what it waits for, or why it failed. Whatever computes them: this machine, other
machines that share the directory of runs, a Slurm queue or a Ray cluster."""
EXAMPLES = (
    ("kd status kd:labels", "the runs of an experiment that ships with kd"),
    ("kd status experiments/crd_table1.py --watch", "again every ten seconds, until all are done"),
)
READS_RUNS = False
SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd status`."""
    parser.add_argument(
        "file", metavar="EXPERIMENT.py[:arguments]", help="experiment, as for kd table"
    )
    parser.add_argument("--runs", default="runs", help="directory of the runs (default: runs)")
    parser.add_argument("--only", default="", metavar="PATTERN", help="only cells that match")
    parser.add_argument("--seeds", type=int, metavar="N", help="number of seeds, as for kd table")
    parser.add_argument("--all", action="store_true", help="also the runs that are done")
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=SECONDS,
        default=0.0,
        metavar="SECONDS",
        help="print it again and again (default: every 10 seconds), until all runs are done",
    )


def act(options: argparse.Namespace) -> int:
    """Prints the states of the runs. Raises InputError for an experiment that cannot be read."""
    from kd.tables import status

    return status.act(
        options.file, options.runs, options.seeds, options.only, options.all, options.watch
    )
