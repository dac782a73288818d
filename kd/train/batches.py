"""Checks of the batches that a run trains on, and of the parts that they are computed in."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager

from kd import registry
from kd.config import ConfigDict
from kd.errors import InputError
from kd.train.plan import Plan


@contextmanager
def shape_errors(what: str) -> Generator[None]:
    """Turns what jax or a module raises on shapes that do not fit into an InputError.

    The message is `what` and the first line of the original error.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{what}: {first}") from error


def last_batch_errors(plan: Plan, size: int) -> AbstractContextManager[None]:
    """`shape_errors` of an update with a short last batch of `size` examples."""
    if plan.accumulate > 1 and size == plan.batch_size:
        return shape_errors(
            f"config.accumulate = {plan.accumulate}: parts of {plan.part_size} examples cannot be "
            "trained on. Take fewer parts, or a larger config.batch_size. What it fails with"
        )
    return shape_errors(
        f"the last batch of an epoch has {size} examples in place of {plan.batch_size} and cannot "
        "be trained on. Leave it out, config.drop_last = True, or take another config.batch_size. "
        "What it fails with"
    )


def check_batches(config: ConfigDict, plan: Plan) -> None:
    """Raises InputError if an objective cannot take the short last batch of an epoch, or the parts
    that batches are computed in.

    It says so by its attributes `one_size` and `least_batch`.
    """
    views = 2 if config.second_view else 1
    last = plan.part_sizes[-1]
    for term, section in config.objective.items():
        maker = registry.find("kd.objectives", section.name)
        least = getattr(maker, "least_batch", 1)
        other = getattr(maker, "one_size", False) and len(plan.part_sizes) > 1
        wanted = "batches of one size" if other else f"{least} examples or more"
        takes = f"config.objective.{term}: {section.name} takes {wanted}, and"
        if views * plan.part_size < least and plan.accumulate > 1:
            raise InputError(
                f"{takes} config.accumulate = {plan.accumulate} shows it {plan.part_size} of a "
                f"batch of {plan.batch_size} at a time. Take fewer parts, or a larger "
                "config.batch_size."
            )
        if other or views * last < least:
            parts = f", in parts of {plan.part_size}" if plan.accumulate > 1 else ""
            has = "has parts of" if plan.parts(plan.batch_sizes[-1]) > 1 else "has"
            raise InputError(
                f"{takes} the last batch of an epoch ({plan.examples} examples in batches of "
                f"{plan.batch_size}{parts}) {has} {last}. Leave it out, config.drop_last = True, "
                "or take another config.batch_size."
            )
