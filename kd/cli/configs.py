"""`kd configs`: lists the configs that ship with kd."""

import argparse

ORDER = 12
READS_RUNS = False
HELP = "list the configs that ship with kd, or describe one"
DESCRIPTION = """Lists the configs that ship with kd, for
`kd run --config kd:NAME[:key=value,...]`. With a NAME, prints what that one does, its
arguments and where its file is."""
EXAMPLES = (
    ("kd configs", "all of them"),
    ("kd configs digits", "one, with its arguments"),
    ("cp $(kd configs digits --path) mine.py", "a copy to change"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd configs`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as digits")
    parser.add_argument(
        "--path", action="store_true", help="print only the path of the file, or of the directory"
    )


def act(options: argparse.Namespace) -> int:
    """Prints the list, or the page of one. Raises InputError for an unknown name."""
    from kd.config import listing, shipped

    name, kind = options.name, "config"
    if options.path:
        print(shipped.find(name, kind) if name else shipped.home() / "configs")
    else:
        print(listing.page(name, kind) if name else listing.lines(kind))
    return 0
