"""The command `kd` and its verbs. Heavy imports wait until a verb needs them, so that `--help` is
quick.
"""

import argparse
import sys
from collections.abc import Sequence

from kd import __version__
from kd.cli import export
from kd.errors import InputError, RunError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, 1 where a run failed, 2 where the input is
    at fault.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.verb != "run":
        parser.error(f"unexpected {' '.join(rest)}")
    try:
        return options.act(options, rest)
    except InputError as error:
        print(f"kd {options.verb}: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"kd {options.verb}: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a directory that may not be written
        print(f"kd {options.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"kd {options.verb}: interrupted. The same command goes on from the last checkpoint.",
            file=sys.stderr,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kd", description="Knowledge distillation in JAX.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"kd {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    run = verbs.add_parser(
        "run",
        help="train what a config describes, its teacher first",
        description=(
            "Trains what a config describes, its teacher first where that is missing, and prints "
            "the table of the runs that belong together. The same command resumes what was cut "
            "off and leaves alone what is finished."
        ),
        epilog=(
            "Any key of the config can be set: --config.epochs=5 "
            "--config.optimizer.learning_rate=0.1"
        ),
        allow_abbrev=False,
    )
    run.add_argument(
        "--config",
        required=True,
        metavar="FILE.py[:key=value,...]",
        help="config file and its arguments",
    )
    run.add_argument(
        "--workdir", help="directory of this run (default: RUNS/<config and arguments>)"
    )
    run.add_argument(
        "--runs",
        default="runs",
        help="where runs without a directory of their own lie (default: %(default)s)",
    )
    run.add_argument(
        "--print_config",
        action="store_true",
        help="print the whole config, every default spelled out, and stop",
    )
    run.add_argument(
        "--stopped_status",
        type=int,
        default=0,
        metavar="N",
        help=(
            "exit status after SIGTERM, for launchers that must tell a saved run from a finished "
            "one (default: %(default)s)"
        ),
    )
    several = run.add_argument_group(
        "several processes",
        "One program on the devices of all of them: the same command in each, but for --process.",
    )
    several.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="of process 0 (default: $JAX_COORDINATOR_ADDRESS)",
    )
    several.add_argument("--processes", metavar="N", help="how many (default: $JAX_NUM_PROCESSES)")
    several.add_argument("--process", metavar="I", help="which, from 0 (default: $JAX_PROCESS_ID)")
    several.add_argument(
        "--distributed",
        action="store_true",
        help="ask the cluster (a TPU slice, SLURM) for what is not given",
    )
    run.set_defaults(act=_run)

    table = verbs.add_parser(
        "table",
        help="run what is missing of a table of experiments, and print it",
        description=(
            "Runs the missing cells of an experiment, teachers first, and prints its table beside "
            "the paper's numbers. The same command goes on where it was interrupted."
        ),
        allow_abbrev=False,
    )
    table.add_argument("file", metavar="EXPERIMENT.py[:arguments]", help="see kd.tables.experiment")
    table.add_argument(
        "--print",
        dest="print_only",
        action="store_true",
        help="run nothing: print from finished runs and published results",
    )
    table.add_argument(
        "--only", default="", metavar="PATTERN", help="cells to run, by row or config"
    )
    table.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time")
    table.add_argument(
        "--dry_run", action="store_true", help="say what would run, with an estimate"
    )
    table.add_argument("--seeds", type=int, metavar="N", help="in place of the experiment's")
    table.add_argument("--runs", default="runs", help="where the runs lie (default: %(default)s)")
    table.add_argument("--csv", action="store_true", help="print CSV")
    table.add_argument(
        "--out",
        metavar="DIR",
        help="where Markdown, CSV and figures are written (default: RUNS, with --print nowhere)",
    )
    table.add_argument(
        "--publish",
        action="store_true",
        help=(
            "run nothing: write finished cells to results/NAME.json beside the experiment, and "
            "where all are, figures"
        ),
    )
    table.add_argument(
        "--into",
        metavar="FILE.md",
        help=(
            "also write the tables between <!-- table: NAME -->, or NAME: TITLE for one, and <!-- "
            "/table -->"
        ),
    )
    table.set_defaults(act=_table)

    prepare = verbs.add_parser(
        "prepare",
        help="download or convert a data set for TensorFlow Datasets, without TensorFlow",
        description=(
            "Prepares data sets where TensorFlow Datasets looks for them, without TensorFlow."
        ),
        allow_abbrev=False,
    )
    prepare.add_argument("names", nargs="+", metavar="NAME", help="such as mnist")
    prepare.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        help="take the files from this directory instead of downloading them",
    )
    prepare.add_argument("--data_dir", help="default: that of TensorFlow Datasets")
    prepare.set_defaults(act=_prepare)

    imported = verbs.add_parser(
        "import",
        help="make a finished run, usable as a teacher, of a PyTorch checkpoint",
        description=(
            "Turns a published checkpoint (.pth, .pt, .safetensors) into a run directory, "
            "evaluated on its data set, without PyTorch and without executing what is pickled."
        ),
        allow_abbrev=False,
    )
    imported.add_argument("checkpoint", metavar="CHECKPOINT")
    imported.add_argument("--model", required=True, metavar="NAME", help="such as resnet32x4")
    imported.add_argument("--out", required=True, metavar="DIR", help="the run directory to write")
    imported.add_argument(
        "--data",
        default="cifar100",
        metavar="NAME",
        help="what it was trained on (default: %(default)s)",
    )
    imported.add_argument("--data_path", help="of `--data arrays` and `--data folder`")
    imported.set_defaults(act=_import)

    packed = verbs.add_parser(
        "pack",
        help="write a finished run's network as one file of PyTorch's names, with its sha256",
        description=(
            "Writes a network of a finished run to one .safetensors file under PyTorch's names, "
            "which `kd import` and PyTorch read back, and its sha256 to SHA256SUMS beside it."
        ),
        allow_abbrev=False,
    )
    packed.add_argument("run", metavar="RUN", help="directory of a finished run")
    packed.add_argument("--out", required=True, metavar="FILE.safetensors")
    packed.add_argument(
        "--member", type=int, default=0, metavar="I", help="which seed's (default: 0)"
    )
    packed.set_defaults(act=_pack)

    report = verbs.add_parser(
        "report",
        help="write what finished runs show as a page, JSON and Markdown",
        description=(
            "Writes report.html, which opens offline, report.json and report.md: what a reader "
            "should conclude, and the evidence. Of several runs it compares the later ones with "
            "the first; all must have been evaluated on the same examples."
        ),
        allow_abbrev=False,
    )
    report.add_argument("run", nargs="+", metavar="RUN", help="directory of a finished run")
    report.add_argument(
        "--out",
        metavar="DIR",
        help="default: RUN/report, of several runs the directory report beside the first",
    )
    report.add_argument(
        "--stored",
        action="store_true",
        help=(
            "from stored predictions alone: without what needs the data and the networks "
            "(mistakes as pictures, corrupted images, likeness of stages, dead units, latency)"
        ),
    )
    report.add_argument(
        "--images",
        type=int,
        metavar="N",
        help=(
            "test images to run the networks on (default: as many as half a minute on two cores "
            "allows, at least 100)"
        ),
    )
    report.add_argument(
        "--runs", default="runs", help="where the runs to compare with lie (default: %(default)s)"
    )
    report.set_defaults(act=_report)

    uncertainty = verbs.add_parser(
        "uncertainty",
        help=(
            "what a finished student and its ensemble do not know, and whether it shows on "
            "foreign images"
        ),
        description=(
            "Splits the uncertainty of a finished student, and of the ensemble that taught it, "
            "into what the data leave open and what the members disagree about, and says how well "
            "each tells the test images of another set from its own."
        ),
        allow_abbrev=False,
    )
    uncertainty.add_argument("run", metavar="RUN", help="directory of a finished run")
    uncertainty.add_argument(
        "--foreign", required=True, metavar="NAME", help="a data set, such as mnist"
    )
    uncertainty.add_argument("--foreign_path", help="of `--foreign arrays`")
    uncertainty.set_defaults(act=_uncertainty)
    export.add(verbs)
    return parser


def _run(options: argparse.Namespace, overrides: list[str]) -> int:
    from kd import config as configs
    from kd.config import override
    from kd.runs.workdir import Workdir

    config, overrides = override.rename(configs.load(options.config), overrides)
    path = options.workdir or configs.default_workdir(options.config, options.runs)
    workdir = Workdir(path)
    moved = any(argument.startswith("--config.data.") for argument in overrides)
    if not (options.print_config or workdir.finished or moved):
        from kd import data

        # Before jax is imported, so that missing data are told of at once.
        section = config.data.to_dict()
        data.load(section.pop("name"), **section)

    from kd.build import spell_out

    config = spell_out(override.override(spell_out(config), overrides))
    if options.print_config:
        print(config)
        return 0
    from kd.devices import compilation, processes
    from kd.runs import summary
    from kd.train.run import run_all
    from kd.train.signals import Stopped, stopped_by_signal

    given = options.coordinator, options.processes, options.process
    processes.join(*given, detect=options.distributed)
    compilation.configure_cache(config.compilation_cache)

    try:
        with stopped_by_signal():
            runs = run_all(config, workdir, options.runs)
    except Stopped as stopped:
        print(f"kd run: {stopped}. The same command goes on from there.")
        return options.stopped_status
    if processes.is_writer():
        print(summary.table(config, runs))
    return 0


def _table(options: argparse.Namespace, rest: list[str]) -> int:
    from kd.cli import table

    given = {k: v for k, v in vars(options).items() if k not in ("verb", "act")}
    return table.act(table.Options(**given))


def _prepare(options: argparse.Namespace, rest: list[str]) -> int:
    from kd.data import prepare

    prepare.run(options.names, options.source, options.data_dir)
    return 0


def _import(options: argparse.Namespace, rest: list[str]) -> int:
    from kd.train.imported import import_run

    path = {} if options.data_path is None else {"path": options.data_path}
    data = {"name": options.data, **path}
    result = import_run(options.checkpoint, options.model, options.out, data)
    if result is None:
        print(
            f"{options.model}: imported without evaluation, for the data set {options.data} is not "
            "prepared here; the same command, or a run with this teacher, evaluates it once it "
            f"is\n{options.out}"
        )
        return 0
    accuracy = 100 * result["final"]["accuracy"][0]
    print(
        f"{options.model}: {result['parameters']:,} parameters, {accuracy:.2f} % of "
        f"{result['examples']:,} {result['split']} images of {options.data}, sha256 "
        f"{result['imported']['sha256']}\n{options.out}"
    )
    return 0


def _pack(options: argparse.Namespace, rest: list[str]) -> int:
    from kd.runs.pack import pack

    print(f"{pack(options.run, options.out, options.member)}  {options.out}")
    return 0


def _report(options: argparse.Namespace, rest: list[str]) -> int:
    from kd.report import write

    if options.images is not None and options.images < 4:
        raise InputError(f"--images {options.images}: expected 4 or more.")
    if not options.stored:
        from kd.devices import compilation

        compilation.configure_cache("default")
    given = options.out, options.runs, not options.stored, options.images
    print(write.write(options.run, *given))
    return 0


def _uncertainty(options: argparse.Namespace, rest: list[str]) -> int:
    from kd.report import uncertainty as foreign

    path = {} if options.foreign_path is None else {"path": options.foreign_path}
    print(foreign.write(options.run, {"name": options.foreign, **path}))
    return 0
