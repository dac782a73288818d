"""`kd init`: writes a new project."""

import argparse

ORDER = 5
READS_RUNS = False
HELP = "write a small project of your own, which runs at once"
DESCRIPTION = """Writes a project with a config, a data loader, a network, a loss, tests and a
README, which runs at once. The last part of DIRECTORY is the name of its package. Nothing is
written into a directory that is not empty."""
EXAMPLES = (("kd init my_project", "then cd my_project and kd run --config config.py"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd init`."""
    parser.add_argument("directory", metavar="DIRECTORY", help="such as my_project")


def act(options: argparse.Namespace) -> int:
    """Writes the project and says what to do next. Raises InputError or RunError."""
    import shlex

    from kd.files import project
    from kd.files.escaping import plain

    files = project.write(options.directory)
    print(plain(f"{options.directory}: {', '.join(files)}"))
    print("\nNext:")
    if options.directory not in (".", "./"):
        print(plain(f"  cd {shlex.quote(options.directory)}"))
    print("  kd run --config config.py  # about a minute on two cores")
    return 0
