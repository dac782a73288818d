"""StableHLO: a program with its weights that jax alone reads, on CPU, GPU and TPU."""

from pathlib import Path
from typing import Any

from kd.export.formats import Format, Settings
from kd.export.gates import Limit


def write(source: Any, directory: Path, settings: Settings) -> Any:
    """Writes `model.stablehlo`. Its logits must equal the network's in every bit."""
    from kd.export import archive, checks

    content = archive.serialize(source)
    (directory / "model.stablehlo").write_bytes(content)
    comparison = checks.compare_network(source, archive.load(content), archive.original(source))
    image, output = comparison.golden.image, comparison.golden.output
    shape = ["b", *image.shape[1:]]
    report = {
        "input": {"shape": shape, "dtype": str(image.dtype), "meaning": "as stored"},
        "output": {"shape": ["b", output.shape[1]], "dtype": "float32"},
        "operations": [],
        "flash_bytes": len(content),
        "calibration": None,
        "checks": comparison.checks,
    }
    error = comparison.checks[source.result["split"]]["error_max"]
    figures = {"archive_error": error, **comparison.figures}
    return checks.Written(report, figures, comparison.golden)


FORMAT = Format(
    help="an archive for jax",
    card=(
        "a StableHLO program with its weights, which `kd.export.archive.open_archive` checks and "
        "runs, and `jax.export.deserialize` reads (CPU, CUDA, TPU)"
    ),
    write=write,
    limits={"archive_error": Limit(0.0, False, "largest difference of a logit", 0.0)},
)
