"""`kd table`: runs what a table of experiments lacks, and prints the table."""

import argparse
import dataclasses

ORDER = 20
RESUMES = True
HELP = "run what is missing of a table of experiments, and print it"
DESCRIPTION = """Runs the missing cells of an experiment, teachers first, and prints its tables with
the paper's numbers. The same command resumes an interrupted one."""
EXAMPLES = (
    ("kd table kd:labels --print", "the published table of an experiment that ships with kd"),
    ("kd table kd:labels --dry_run", "what would run, and for how long"),
    ("kd experiments", "list the experiments that ship with kd"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd table`."""
    parser.add_argument(
        "file",
        metavar="EXPERIMENT.py[:arguments]",
        help="experiment file and its argument, kd/tables/experiment.py describes the format; "
        "kd:NAME[:arguments] for one that ships with kd, see kd experiments",
    )
    parser.add_argument(
        "--print",
        dest="print_only",
        action="store_true",
        help="run nothing: print from finished runs and published results",
    )
    parser.add_argument(
        "--only", default="", metavar="PATTERN", help="run only cells whose row or config matches"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at a time (default: 1 on this machine, no limit on a cluster)",
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="list what would run, with an estimate of the time"
    )
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="number of seeds, instead of the experiment's"
    )
    parser.add_argument("--runs", default="runs", help="directory of the runs (default: runs)")
    add_engine(parser)
    parser.add_argument("--csv", action="store_true", help="print CSV instead of Markdown")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="directory for Markdown, CSV and figures (default: RUNS; with --print none)",
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="run nothing: write the results of finished cells to results/NAME.json next to the "
        "experiment, and figures if all cells are finished",
    )
    parser.add_argument(
        "--merge",
        nargs="+",
        default=(),
        metavar="FILE.json",
        help="run nothing: join published results of other machines with those here; refused for "
        "other teachers, configs or commits",
    )
    parser.add_argument(
        "--mixed_commits", action="store_true", help="with --merge: allow runs of other commits"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="run one published cell, drawn at random, again in RUNS/check-N; exits with 1 if it "
        "is more than two standard errors from the published number; goes on with a check that "
        "was stopped",
    )
    parser.add_argument(
        "--into",
        metavar="FILE.md",
        help="also write the tables into this file: all of them between <!-- table: NAME --> and "
        "<!-- /table -->, or one between <!-- table: NAME: TITLE --> and <!-- /table -->",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say where the runs are computed."""
    group = parser.add_argument_group("where the runs are computed")
    group.add_argument(
        "--on",
        default="local",
        metavar="ENGINE",
        help="local, the processes of this machine; slurm, which submits all runs and returns; or "
        "ray, which waits (default: local)",
    )
    group.add_argument(
        "--each",
        default="",
        metavar="KEY=VALUE,...",
        help="resources of each run on a cluster: gpus, cpus, memory, time, and what else the "
        "engine knows, such as partition=gpu for slurm",
    )
    group.add_argument(
        "--retries",
        type=int,
        default=20,
        metavar="N",
        help="how often a run is started again that was stopped, killed or lost with its node "
        "(default: 20); one that fails never is",
    )
    group.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of a Ray cluster (default: this node's)",
    )
    group.add_argument(
        "--header",
        metavar="FILE",
        help="lines for the head of each Slurm script: #SBATCH options, modules, a container",
    )
    group.add_argument(
        "--shared",
        action="store_true",
        help="all nodes see the directory of the runs, though it does not look so",
    )


def act(options: argparse.Namespace) -> int:
    """Runs missing cells and prints the tables; returns 1 if a run failed. Raises InputError."""
    from kd.tables import command

    names = [field.name for field in dataclasses.fields(command.Options)]
    return command.act(command.Options(**{name: getattr(options, name) for name in names}))
