"""`kd import`: makes a finished run from a PyTorch checkpoint."""

import argparse

ORDER = 40
HELP = "make a finished run, usable as a teacher, from a PyTorch checkpoint"
DESCRIPTION = """Converts a published checkpoint (.pth, .pt, .safetensors) to a run directory and
evaluates it on its data set. Needs no PyTorch and executes no pickled code."""
EXAMPLES = (
    (
        "kd import resnet32x4.pth --model resnet32x4 --out runs/resnet32x4",
        'then teacher.run = "runs/resnet32x4" in a config',
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kd import`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("--model", required=True, metavar="NAME", help="such as resnet32x4")
    parser.add_argument("--out", required=True, metavar="DIR", help="the run directory to write")
    parser.add_argument(
        "--data",
        default="cifar100",
        metavar="NAME",
        help="data set that it was trained on (default: %(default)s)",
    )
    parser.add_argument(
        "--entry",
        metavar="NAME",
        help="entry of the checkpoint that holds the weights, such as state_dict_ema, where "
        "several do",
    )
    parser.add_argument("--data_path", help="path of `--data arrays` or `--data folder`")


def act(options: argparse.Namespace) -> int:
    """Imports the checkpoint and prints its accuracy. Raises InputError."""
    from kd.train.imported import import_run

    path = {} if options.data_path is None else {"path": options.data_path}
    data = {"name": options.data, **path}
    result = import_run(options.checkpoint, options.model, options.out, data, options.entry)
    if result is None:
        print(
            f"{options.model}: imported, but not evaluated, because the data set {options.data} is "
            "not prepared on this machine. Once it is, the same command evaluates it, and so does "
            f"a run with this teacher.\n{options.out}"
        )
        return 0
    accuracy = 100 * result["final"]["accuracy"][0]
    print(
        f"{options.model}: {result['parameters']:,} parameters, {accuracy:z.2f} % of "
        f"{result['examples']:,} {result['split']} images of {options.data}, sha256 "
        f"{result['imported']['sha256']}\n{options.out}"
    )
    return 0
