"""`kd pack`: writes a network of a finished run under PyTorch's names."""

import argparse

from kd.files.escaping import plain

ORDER = 50
HELP = "write a network of a finished run as one .safetensors file with PyTorch's names"
DESCRIPTION = """Writes a network of a finished run to one .safetensors file with PyTorch's names
for its weights, which PyTorch and `kd import` can read, and adds its sha256 to SHA256SUMS in the
same directory."""
EXAMPLES = (("kd pack runs/resnet8x4 --out resnet8x4.safetensors", "the weights, for PyTorch"),)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd pack`."""
    parser.add_argument("run", metavar="RUN", help="directory of a finished run")
    parser.add_argument(
        "--out", required=True, metavar="FILE.safetensors", help="the file to write"
    )
    parser.add_argument(
        "--member", type=int, default=0, metavar="I", help="index of the seed (default: 0)"
    )


def act(options: argparse.Namespace) -> int:
    """Writes the file and prints its sha256. Raises InputError."""
    from kd.runs.pack import pack

    print(plain(f"{pack(options.run, options.out, options.member)}  {options.out}"))
    return 0
