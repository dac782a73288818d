"""Size of the exported file of each network, in bytes."""

from kd.errors import InputError
from kd.tables.metric import PerRun, StoredRun


def exported_bytes(run: StoredRun) -> list[float]:
    """Bytes of each network's file. Raises InputError if the run exported none."""
    if "exported" not in run.result:
        raise InputError(f"{run.workdir} has no exported files: set config.export.")
    return [float(size) for size in run.result["exported"]["bytes"]]


metric = PerRun(exported_bytes, unit="bytes", digits=0, needs=("export",))
