"""Size of the exported file of each network, in bytes."""

from kd.tables.metric import PerRun, StoredRun


def exported_bytes(run: StoredRun) -> list[float]:
    """Bytes of each network's file. Raises InputError if the run exported none."""
    return [float(size) for size in run.exported()["bytes"]]


metric = PerRun(exported_bytes, unit="bytes", digits=0, better="lower", needs=("export",))
