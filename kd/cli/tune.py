"""`kd tune`: chooses settings on held-out images."""

import argparse
import dataclasses

ORDER = 24
RESUMES = True
HELP = "choose settings on held-out images, each trial an ordinary run"
DESCRIPTION = """Tries settings of a config, as Optuna proposes them, and chooses by the accuracy on
held-out training images, never by the test set. Each trial is an ordinary run, in
RUNS/<config>-tune/; trials whose curve is below the median of the others are stopped early. Prints
the trials and the command that trains with the best settings on all images. The same command goes
on with an interrupted search."""
EPILOG = """Other keys of the config can be set as for kd run: --config.epochs=5. Each trial trains
all seeds of the config, and their mean is what counts."""
OVERRIDES = True
EXAMPLES = (
    (
        "kd tune kd:digits:role=labels --over optimizer.learning_rate=1e-3..1e-1:log --holdout 0.2",
        "twenty trials of one setting",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd tune`."""
    from kd.cli.table import add_engine

    parser.add_argument(
        "config", metavar="FILE.py[:key=value,...]", help="config, as for kd run --config"
    )
    parser.add_argument(
        "--over",
        action="append",
        default=[],
        metavar="KEY=RANGE",
        help="a key of the config, and what is tried: LOW..HIGH, LOW..HIGH:log or A,B,C (may be "
        "repeated)",
    )
    parser.add_argument(
        "--trials", type=int, default=20, metavar="N", help="trials in all (default: 20)"
    )
    parser.add_argument(
        "--holdout",
        type=float,
        metavar="PART",
        help="part of the training images to choose on (default: the config's holdout)",
    )
    parser.add_argument(
        "--name", default="tune", help="of the search, for several of one config (default: tune)"
    )
    parser.add_argument("--runs", default="runs", help="directory of the runs (default: runs)")
    parser.add_argument("--jobs", type=int, metavar="N", help="trials at a time (default: 1)")
    add_engine(parser)


def act(options: argparse.Namespace) -> int:
    """Runs the trials and prints them; returns 1 if none came to an end. Raises InputError."""
    from kd.tune import command

    names = [field.name for field in dataclasses.fields(command.Options)]
    return command.act(command.Options(**{name: getattr(options, name) for name in names}))
