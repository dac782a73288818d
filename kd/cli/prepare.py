"""`kd prepare`: downloads or converts data sets."""

import argparse

ORDER = 30
READS_RUNS = False
HELP = "download or convert a data set for TensorFlow Datasets, without TensorFlow"
DESCRIPTION = """Prepares data sets in the directory where TensorFlow Datasets looks for them,
without TensorFlow."""
EXAMPLES = (
    ("kd prepare mnist", "download and verify a data set"),
    ("kd prepare fashion_mnist --from DIR", "take the files from a directory"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd prepare`."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="such as mnist")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        help="take the files from this directory instead of downloading them",
    )
    parser.add_argument("--data_dir", help="default: that of TensorFlow Datasets")


def act(options: argparse.Namespace) -> int:
    """Prepares the data sets. Raises InputError."""
    from kd.data import prepare

    prepare.run(options.names, options.source, options.data_dir)
    return 0
