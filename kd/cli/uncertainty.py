"""`kd uncertainty`: uncertainty of a student and its ensemble, in and out of distribution."""

import argparse

ORDER = 70
HELP = "measure the uncertainty of a student and its teacher, in and out of distribution"
DESCRIPTION = """Splits the uncertainty of a finished student, and of the ensemble that it was
distilled from (or of the one member that each student learned from), into the part inherent in the
data (aleatoric) and the disagreement of the members (epistemic), and measures how well each of them
detects images of another data set."""
EXAMPLES = (
    (
        'kd uncertainty "runs/ensembles-method=end2,seeds=5" --foreign mnist',
        "after kd run --config kd:ensembles:method=end2,seeds=5",
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd uncertainty`."""
    parser.add_argument("run", metavar="RUN", help="directory of a finished run")
    parser.add_argument(
        "--foreign",
        required=True,
        metavar="NAME",
        help="data set that is out of distribution, such as mnist",
    )
    parser.add_argument("--foreign_path", help="path of `--foreign arrays`")


def act(options: argparse.Namespace) -> int:
    """Measures, writes the result and prints it. Raises InputError."""
    from kd.report import uncertainty

    path = {} if options.foreign_path is None else {"path": options.foreign_path}
    print(uncertainty.write(options.run, {"name": options.foreign, **path}))
    return 0
