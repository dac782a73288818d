"""`kd experiments`: lists the experiments that ship with kd."""

import argparse

ORDER = 22
READS_RUNS = False
HELP = "list the experiments that ship with kd, or describe one"
DESCRIPTION = """Lists the experiments that ship with kd, for
`kd table kd:NAME[:argument]`. With a NAME, prints what that one does, its
arguments and where its file is."""
EXAMPLES = (
    ("kd experiments", "all of them"),
    ("kd experiments labels", "one of them"),
    ("cp $(kd experiments labels --path) mine.py", "a copy to change"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd experiments`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as labels")
    parser.add_argument(
        "--path", action="store_true", help="print only the path of the file, or of the directory"
    )


def act(options: argparse.Namespace) -> int:
    """Prints the list, or the page of one. Raises InputError for an unknown name."""
    from kd.config import listing, shipped

    name, kind = options.name, "experiment"
    if options.path:
        print(shipped.find(name, kind) if name else shipped.home() / "experiments")
    else:
        print(listing.page(name, kind) if name else listing.lines(kind))
    return 0
