"""What objectives ask of a run, checked before it begins."""

from kd import registry
from kd.build import needs, settings_of
from kd.config import ConfigDict
from kd.errors import InputError
from kd.train.plan import Plan


def check_views(config: ConfigDict) -> None:
    """Raises InputError where a term looks at two views of each image and the config shows one, or
    the other way round.
    """
    needed = needs(config)
    two = [term for term, need in needed.items() if "batch.views" in need]
    once = [term for term, need in needed.items() if "batch.index" in need]
    if two and not config.second_view:
        raise InputError(
            f"config.objective.{two[0]} compares two views of each image: say in "
            "config.second_view how the second is augmented, such as "
            "'crop(4)|flip|rand_augment(2)'."
        )
    if config.second_view and not two:
        raise InputError(
            f"config.second_view = {config.second_view!r}: no term of config.objective looks at a "
            "second view. Leave it out."
        )
    if two and once:
        raise InputError(
            f"config.objective.{once[0]} remembers each image by its index, which must be in a "
            f"batch once, and {two[0]} shows each twice. Leave one of the two out."
        )


def check_length(config: ConfigDict) -> None:
    """Raises InputError where a run ends before what a term's objective names as its
    `least_epochs`.
    """
    for term, section in config.objective.to_dict().items():
        maker = registry.find("kd.objectives", section["name"])
        made = registry.make(maker, settings_of(section, "weight"), f"objective.{term}")
        least = getattr(made, "least_epochs", 0)
        if config.epochs < least:
            raise InputError(
                f"config.objective.{term}: {section['name']} changes over the epochs and is done "
                f"after {least}, and config.epochs is {config.epochs}. Train longer, or shorten "
                f"it: {settings_of(section, 'weight')}."
            )


def check_batches(config: ConfigDict, plan: Plan) -> None:
    """Raises InputError where a term's objective cannot take the short last batch of an epoch, by
    its `one_size` or `least_batch`.
    """
    last = plan.batch_sizes[-1]
    rows = 2 * last if config.second_view else last
    for term, section in config.objective.items():
        maker = registry.find("kd.objectives", section.name)
        least = getattr(maker, "least_batch", 1)
        other = getattr(maker, "one_size", False) and len(plan.batch_sizes) > 1
        if other or rows < least:
            wanted = "batches of one size" if other else f"{least} examples or more"
            raise InputError(
                f"config.objective.{term}: {section.name} takes {wanted}, and the last batch of an "
                f"epoch ({plan.examples} examples in batches of {plan.batch_size}) has {last}. "
                "Leave it out, config.drop_last = True, or take another config.batch_size."
            )
