"""What a finished student does not know, beside the ensemble that taught it: on its own test
images, and on those of another set.

A student whose `Outputs` have a feature `heads` [b, m, c] is taken for the ensemble of its heads;
one that learned by an objective with `DIRICHLET` for a Dirichlet; any other for one prediction,
whose whole uncertainty is the entropy of that.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kd import build as parts
from kd import data, registry
from kd.config import ConfigDict
from kd.config.teachers import ALL, Recorded, recorded
from kd.data.augment import make_normalize
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.metrics import scores as metrics
from kd.metrics.uncertainty import (
    Uncertainty,
    auroc,
    entropy,
    of_dirichlet,
    of_members,
    rank_correlation,
)
from kd.predict import make_logits
from kd.runs.networks import Trained, load_networks
from kd.runs.text_table import mean_std, text_table
from kd.runs.workdir import Workdir
from kd.step import make_eval
from kd.types import Batch, Outputs, PyTree

HEADS = "heads"
BATCH = 1000  # images at a time


class Answer(NamedTuple):
    """What one network, or an ensemble as one, says of some images."""

    logits: np.ndarray  # [n, c]
    uncertainty: Uncertainty
    knows: bool  # whether its mutual information is a claim of its own


def measure(run: str, foreign: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of the run in `run` and of its ensemble; `foreign` is the section `data` of a config.

    Returns:
      `{"familiar", "foreign", "networks": {name: {figure: [a number for each seed, or one]}}}`.
        Entropies are means over
      examples, in nats. `auroc_total` and `auroc_mutual` say how well each tells foreign images
        from familiar ones,
      `rank_correlation` whether student and ensemble order the familiar images alike by mutual
        information.

    Raises:
      InputError: a run that is not finished, a set that is not there, images of another shape or
        decoded as they are needed.
    """
    workdir = Workdir(run)
    config = ConfigDict(parts.as_today(workdir.read("config.json")))
    if not workdir.finished:
        raise InputError(f"{workdir} is not finished: it has no result.json.")
    test = parts.make_data(config).test
    settings = dict(foreign)
    other = data.load(settings.pop("name"), **settings).test.image
    images: dict[str, Any] = {"familiar": test.image, "foreign": other}
    if any(isinstance(image, Pictures) for image in images.values()):
        raise InputError(
            "pictures that are decoded as they are needed are not looked at here: name sets that "
            "are arrays."
        )
    if test.image.shape[1:] != other.shape[1:]:
        raise InputError(
            f"images of {foreign['name']} are {list(other.shape[1:])}, those of {workdir} "
            f"{list(test.image.shape[1:])}."
        )
    networks, reference = {}, None
    taught = recorded(workdir.read("result.json")["teacher"])
    count = sum(len(group.members) for group in taught)
    if count > 1:
        ensemble = {name: _ensemble(taught, own) for name, own in images.items()}
        reference = ensemble["familiar"].uncertainty.mutual
        networks[f"ensemble of {count}"] = _figures([ensemble], test.label, None)
    trained, dirichlet = load_networks(workdir), _is_dirichlet(config)
    by_set = {name: _students(trained, own, dirichlet) for name, own in images.items()}
    students = [dict(zip(by_set, seed, strict=True)) for seed in zip(*by_set.values(), strict=True)]
    networks["student"] = _figures(students, test.label, reference)
    names = {"familiar": config.data.name, "foreign": foreign["name"]}
    return {**names, "networks": networks}


def _is_dirichlet(config: ConfigDict) -> bool:
    named = (registry.find("kd.objectives", term.name) for term in config.objective.values())
    return any(getattr(maker, "DIRICHLET", False) for maker in named)


def _ask(trained: Trained, images: np.ndarray) -> np.ndarray:
    """Logits of every network of a run, and after them those of its heads where it has some: [s, 1
    + m, n, c].
    """
    result = trained.result
    look = make_eval(trained.model, make_normalize(result["mean"], result["std"]))

    def evaluate(variables: PyTree, batch: Batch) -> Outputs:
        outputs = look(variables, batch)
        z = outputs.logits[:, None]
        heads = outputs.features.get(HEADS)
        z = z if heads is None else jnp.concatenate([z, heads], axis=1)
        return Outputs(z.reshape(z.shape[0], -1))

    flat = make_logits(evaluate, BATCH, "map")(trained.variables, jnp.asarray(images))
    found = flat.reshape(*flat.shape[:2], -1, result["num_classes"])
    return np.moveaxis(found, 2, 1)


def _ensemble(groups: Sequence[Recorded], images: np.ndarray) -> Answer:
    """The ensemble that taught."""
    named = [ALL._replace(members=",".join(map(str, g.members))) for g in groups]
    found = [load_networks(Workdir(g.run), group=n) for g, n in zip(groups, named, strict=True)]
    of = [_ask(trained, images)[:, 0] for trained in found]
    members = np.concatenate(of)
    weights = [weight for group in groups for weight in group.weights]
    mean = metrics.mean_probs(members, weights)
    return Answer(mean, of_members(members, weights), True)


def _students(trained: Trained, images: np.ndarray, dirichlet: bool) -> list[Answer]:
    """Each seed's student."""
    answers = []
    for z, *heads in _ask(trained, images):
        if heads:
            answers.append(Answer(z, of_members(np.stack(heads)), True))
        elif dirichlet:
            answers.append(Answer(z, of_dirichlet(z), True))
        else:
            alone = entropy(z)
            answers.append(Answer(z, Uncertainty(alone, alone, 0 * alone), False))
    return answers


def _figures(
    answers: list[dict[str, Answer]], label: np.ndarray, reference: np.ndarray | None
) -> dict[str, list[float]]:
    rows = []
    for answer in answers:
        familiar, foreign = answer["familiar"], answer["foreign"]
        scores = metrics.evaluate(familiar.logits[None], label, None)
        row = {
            **{name: values[0] for name, values in scores.items()},
            "total": familiar.uncertainty.total.mean(),
            "expected": familiar.uncertainty.expected.mean(),
            "mutual": familiar.uncertainty.mutual.mean(),
            "foreign_total": foreign.uncertainty.total.mean(),
            "foreign_mutual": foreign.uncertainty.mutual.mean(),
            "auroc_total": auroc(familiar.uncertainty.total, foreign.uncertainty.total),
        }
        if familiar.knows:
            row["auroc_mutual"] = auroc(familiar.uncertainty.mutual, foreign.uncertainty.mutual)
            if reference is not None:
                row["rank_correlation"] = rank_correlation(familiar.uncertainty.mutual, reference)
        rows.append(row)
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


HEADINGS = {
    "accuracy": ("accuracy %", 100, 2),
    "nll": ("NLL", 1, 3),
    "total": ("total", 1, 3),
    "expected": ("expected", 1, 3),
    "mutual": ("mutual", 1, 3),
    "auroc_total": ("AUROC % of total", 100, 2),
    "auroc_mutual": ("of mutual", 100, 2),
    "rank_correlation": ("rank correlation", 1, 3),
}
"""Of each figure its heading, unit and digits."""


def table(content: Mapping[str, Any]) -> str:
    """The figures as text."""
    grid = [["", *(heading for heading, _, _ in HEADINGS.values())]]
    for name, figures in content["networks"].items():
        cells = [
            mean_std(unit * np.array(figures.get(key, [])), digits)
            for key, (_, unit, digits) in HEADINGS.items()
        ]
        grid.append([name, *cells])
    head = (
        f"Familiar: test images of {content['familiar']}; foreign: of {content['foreign']}. "
        "Entropies of familiar images in nats, mean ± std over seeds; AUROC: foreign images are "
        "the more uncertain."
    )
    return "\n".join([head, "", *text_table(grid)])


def write(run: str, foreign: Mapping[str, Any]) -> str:
    """`measure`, written to RUN/uncertainty-NAME.json; returns the table."""
    content = measure(run, foreign)
    Workdir(run).write(f"uncertainty-{foreign['name']}.json", content)
    return table(content)
