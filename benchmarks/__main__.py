"""Runs `python -m benchmarks`: measures what is missing, prints tables, writes JSON."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from benchmarks import document, record
from benchmarks.record import NAMES
from kd.errors import InputError, unknown


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0, or 2 for invalid input."""
    options = _parser().parse_args(arguments)
    try:
        if options.into:
            document.write(options.into)
            return 0
        for name in options.names or NAMES:
            if name not in NAMES:
                raise unknown("benchmark", name, NAMES)
            module = importlib.import_module(f"benchmarks.{name}")
            benchmark = cast(record.Benchmark, module)
            rows = (
                record.rows(name, options.out)
                if options.print_only
                else record.measure(
                    name,
                    benchmark,
                    options.out,
                    options.repeats,
                    options.toy,
                    options.only,
                    lambda line: print(line, file=sys.stderr, flush=True),
                )
            )
            if rows:
                lines = benchmark.table(record.marked(rows))
                print(f"{benchmark.TITLE}\n\n{record.grid(lines)}\n")
    except InputError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=(
            "Measures what is missing of each benchmark and prints its table. The same command "
            "resumes an interrupted one."
        ),
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--out",
        type=Path,
        default=record.RESULTS,
        help="directory of the JSON files (default: benchmarks/results)",
    )
    parser.add_argument(
        "--repeats", type=int, default=0, help="rounds (default: that of each benchmark)"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases that contain TEXT")
    parser.add_argument("--toy", action="store_true", help="tiny sizes, to show that it works")
    parser.add_argument("--print", dest="print_only", action="store_true", help="measure nothing")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FILE.md",
        help=(
            "measure nothing: write the tables of benchmarks/results between "
            "<!-- table: benchmarks/NAME --> and <!-- /table -->"
        ),
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
