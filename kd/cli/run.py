"""`kd run`: trains what a config describes."""

import argparse
import sys
from typing import Annotated, Any

ORDER = 10
RESUMES = True
HELP = "train what a config describes, its teacher first"
DESCRIPTION = """Trains what a config describes. Trains its teacher first if that run does not exist
yet. Prints a table of the run, its teacher and the runs to compare with. The same command resumes
an interrupted run and leaves a finished one unchanged."""
EPILOG = (
    """Any key of the config can be set: --config.epochs=5 --config.optimizer.learning_rate=0.1"""
)
OVERRIDES = True  # --config.key=value
EXAMPLES = (
    ("kd run --config kd:digits", "train teachers and a student: a minute, no download"),
    ("kd run --config kd:digits --config.seeds=2", "with a key of the config changed"),
    ("kd configs", "list the configs that ship with kd"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd run`."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE.py[:key=value,...]",
        help="config file and its arguments; kd:NAME[:key=value,...] for one that ships with kd, "
        "see kd configs",
    )
    parser.add_argument(
        "--workdir",
        help="directory of this run (default: RUNS/<config and arguments>, and where that belongs "
        "to another config, also named after the overrides)",
    )
    parser.add_argument(
        "--runs",
        default="runs",
        help="directory for runs without a --workdir (default: %(default)s)",
    )
    parser.add_argument(
        "--print_config",
        action="store_true",
        help="print the complete config, including all defaults, and stop",
    )
    parser.add_argument(
        "--stopped_status",
        type=int,
        metavar="N",
        help="exit status when a signal stopped the run, for launchers that must distinguish a "
        "saved run from a finished one (default: 0 after SIGTERM and SIGHUP, 130 after Ctrl-C)",
    )
    parser.add_argument(
        "--no_wait",
        action="store_true",
        help="fail if another process trains this run or one that it builds on, instead of waiting "
        "for it",
    )
    processes = parser.add_argument_group(
        "several processes",
        "One program on the devices of all processes. Start the same command in each of them, with "
        "a different --process.",
    )
    processes.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="address of process 0 (default: $JAX_COORDINATOR_ADDRESS)",
    )
    processes.add_argument(
        "--processes", metavar="N", help="number of processes (default: $JAX_NUM_PROCESSES)"
    )
    processes.add_argument(
        "--process", metavar="I", help="index of this process, from 0 (default: $JAX_PROCESS_ID)"
    )
    processes.add_argument(
        "--distributed",
        action="store_true",
        help="get the three settings above from the cluster (a TPU slice, SLURM)",
    )


def act(options: argparse.Namespace) -> int:
    """Trains what is missing and prints the table; or prints the config.

    Raises:
      InputError: the config, its data or the run directory cannot be used.
      RunError: the training failed.
    """
    from kd.config import default_workdir, load
    from kd.config.override import rename
    from kd.ranges import Range, check
    from kd.runs.workdir import Workdir

    if options.stopped_status is not None:
        check("--stopped_status", Annotated[int, Range(0, 255)], options.stopped_status)
    config, overrides = rename(load(options.config), options.overrides)
    workdir = Workdir(options.workdir or default_workdir(options.config, options.runs))
    data_changed = any(argument.startswith("--config.data.") for argument in overrides)
    if not (options.print_config or workdir.finished or data_changed):
        _load_data(config.data.to_dict())

    from kd.build import overridden

    config = overridden(config, overrides)
    if options.print_config:
        print(config)
        return 0
    if options.overrides and not options.workdir:
        workdir = _beside(workdir, config, options.overrides)
    return _train(config, workdir, options)


def _beside(workdir: Any, config: Any, overrides: list[str]) -> Any:
    """The directory of a run with overrides: the config's, unless that belongs to another config.

    Then it is one that is named after the overrides, as for `kd.run`.

    Args:
      workdir: the config's (a Workdir).
      config: with the overrides (a ConfigDict).
      overrides: as on the command line.
    """
    from kd.build import as_today
    from kd.config import named_after
    from kd.config.identity import differences
    from kd.errors import InputError
    from kd.runs.workdir import Workdir

    try:
        stored = workdir.read("config.json")
    except InputError:  # no run: training says why, if it is something else
        return workdir
    if not differences(config.to_dict(), as_today(stored)):
        return workdir
    text = " ".join(overrides).replace(" --config.", "\n--config.")
    pairs = (line.removeprefix("--config.").replace(" ", "=", 1) for line in text.split("\n"))
    changes = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    beside = Workdir(named_after(workdir.path, changes))
    line = f"kd run: {workdir.path} belongs to another config; this run is {beside.path}"
    print(line, file=sys.stderr)
    return beside


def _load_data(section: dict[str, Any]) -> None:
    """Loads the data set before jax is imported, so that a missing one is reported at once."""
    from kd import data, registry
    from kd.config.defaults import LABELS

    name = section.pop("name")
    taken = registry.keywords_of(registry.find("kd.data", name, "load")) or ()
    data.load(name, **{k: v for k, v in section.items() if k in taken or k not in LABELS})


def _train(config: Any, workdir: Any, options: argparse.Namespace) -> int:
    """Trains the config (a ConfigDict) in `workdir` (a Workdir); returns the exit status."""
    from kd.devices import compilation, peers, processes
    from kd.runs import summary
    from kd.runs.networks import with_notice
    from kd.train.places import command
    from kd.train.run import run_all

    before = workdir.finished

    processes.join(
        options.coordinator, options.processes, options.process, detect=options.distributed
    )
    compilation.configure_cache(config.compilation_cache)
    try:
        text = command(options.config, options.overrides)
        runs = run_all(config, workdir, options.runs, not options.no_wait, text)
    except Exception as error:
        if processes.is_collective(error):
            peers.await_end()
        raise
    if processes.is_writer():
        table = summary.table(config, runs)
        print(with_notice(table, workdir) if before else table)
    peers.leave()
    return 0
