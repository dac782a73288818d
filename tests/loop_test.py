"""The plan of a run: which batches each call trains on."""

import pytest

from kd.errors import InputError
from kd.train.plan import Plan


def spans(plan, step=0):
    return [(c.epoch, c.start, c.count, c.batch_size, c.step) for c in plan.calls(step)]


def test_an_epoch_is_calls_of_full_batches_and_one_of_the_short_batch():
    plan = Plan(examples=50, batch_size=8, epochs=2, steps_per_call=4)
    assert (plan.full, plan.tail, plan.steps_per_epoch, plan.steps) == (6, 2, 7, 14)
    assert plan.batch_sizes == [8, 2]
    assert spans(plan) == [
        (0, 0, 4, 8, 0),
        (0, 32, 2, 8, 4),
        (0, 48, 1, 2, 6),
        (1, 0, 4, 8, 7),
        (1, 32, 2, 8, 11),
        (1, 48, 1, 2, 13),
    ]
    assert [c.ends_epoch for c in plan.calls(0)] == [False, False, True] * 2


def test_a_run_resumes_at_any_call():
    plan = Plan(examples=50, batch_size=8, epochs=3, steps_per_call=4)
    all_calls = spans(plan)
    for i, call in enumerate(all_calls):
        assert spans(plan, call[-1]) == all_calls[i:]
    assert spans(plan, plan.steps) == []


def test_drop_last_leaves_out_the_short_batch():
    plan = Plan(50, 8, 1, 100, drop_last=True)
    assert spans(plan) == [(0, 0, 6, 8, 0)]
    assert plan.examples_per_epoch == 48
    assert next(plan.calls(0)).ends_epoch


def test_fewer_examples_than_a_batch_make_one_short_batch():
    plan = Plan(5, 8, 1, 100)
    assert plan.batch_sizes == [5] and spans(plan) == [(0, 0, 1, 5, 0)]
    with pytest.raises(InputError, match="leaves nothing"):
        Plan(5, 8, 1, 100, drop_last=True)
