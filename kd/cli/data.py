"""`kd data`: inspects the data set of a config, before anything is trained."""

import argparse

ORDER = 28
OVERRIDES = True
READS_RUNS = False
HELP = "inspect a config's data set: classes, duplicates, scale, a picture"
DESCRIPTION = """Prints what a run of CONFIG would train and be evaluated on: shapes, kind and
values, the images of each class and which are rare, images without a label, duplicates within and
between the splits, values far from their scale; and draws sixteen training examples after
augmentation. Nothing is trained, and no teacher is needed."""
EPILOG = "Further arguments override keys of the config: --config.data.labelled=100"
EXAMPLES = (
    ("kd data kd:digits", "the digits of scikit-learn, no download"),
    ("kd data mine.py --out mine.png", "your own data set; the picture goes to mine.png"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd data`."""
    parser.add_argument(
        "file",
        metavar="CONFIG",
        help="config file and its arguments, FILE.py[:key=value,...], or kd:NAME",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the picture, a PNG (default: <config and arguments>-data.png here)",
    )


def act(options: argparse.Namespace) -> int:
    """Prints the text and the path of the picture. Raises InputError."""
    import contextlib
    import io
    import sys

    from kd import build, signals
    from kd import config as configs
    from kd.config import ConfigDict
    from kd.config.defaults import TEACHER
    from kd.files.escaping import plain, terminal

    config = ConfigDict(configs.load(options.file).to_dict())
    config.teacher = ConfigDict(TEACHER)  # nothing is read of it
    config = build.overridden(configs.complete(config), options.overrides)
    from kd.data import survey
    from kd.train import overview

    said, again = io.StringIO(), []  # what loading prints, of which the text below has a part
    try:
        with contextlib.redirect_stderr(said):
            dataset = build.make_data(config)
        again = list(survey.all_remarks(dataset, "held-out" if config.holdout else "test"))
    finally:
        for line in said.getvalue().splitlines():
            if not any(line.endswith(text) for text in again):
                print(line, file=sys.stderr)
    signals.poll()
    print(terminal("\n".join(overview.lines(config, dataset, again))))
    path = options.out or f"{configs.default_workdir(options.file).name}-data.png"
    overview.draw(config, dataset, path)
    print(f"\nsixteen training examples after augmentation: {plain(path)}")
    return 0
