"""No teacher: the student learns from labels alone."""

from kd.teachers.kind import Context, Kind
from kd.types import Teacher


def none() -> Teacher:
    """No teacher. `frozen["teacher"]` is `()`."""
    return Teacher(lambda *_: None, stored=True)


def _make(context: Context) -> Teacher:
    del context
    return none()


KIND = Kind("none", _make, ignores_runs=True)
