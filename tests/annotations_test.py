"""In the tests the functions of kd hold their callers to their annotations, see `conftest.py`."""

import numpy as np
import pytest
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import TypeCheckError

from kd.config import loading
from kd.metrics import scores


def test_a_wrong_type_is_refused_where_no_shapes_are_named():
    with pytest.raises(BeartypeCallHintParamViolation):
        loading.load(3)


def test_a_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError):
        scores.accuracy(np.zeros((1, 4, 10), np.float32), np.zeros(5, np.int32))
