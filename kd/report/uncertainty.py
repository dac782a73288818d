"""Uncertainty of a finished student and its teacher's ensemble, in and out of distribution.

In distribution ("familiar") are the run's test images, out of distribution ("foreign") those of
another data set. Where each student learned from one member (`teacher.members = "paired"`), the
members stand in the place of their ensemble, seed by seed. A student whose `Outputs` have a feature
`heads` [b, m, c] is the ensemble of its heads; one trained by an objective with `DIRICHLET` is a
Dirichlet distribution; any other is one prediction, whose total uncertainty is its entropy.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from kd import build, data, registry
from kd.config import ConfigDict
from kd.config.teachers import ALL, Recorded, recorded
from kd.data.augment import make_normalize
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.files.escaping import plain
from kd.metrics import scores
from kd.metrics.uncertainty import (
    Uncertainty,
    auroc,
    entropy,
    of_dirichlet,
    of_members,
    rank_correlation,
)
from kd.names import trust
from kd.predict import make_logits
from kd.runs.networks import Trained, load_networks
from kd.runs.teacher_input import as_student_sees
from kd.runs.text_table import mean_std, text_table
from kd.runs.workdir import Workdir
from kd.step import make_eval
from kd.types import Batch, Outputs, PyTree

HEADS = "heads"
PAIRED = "its own teacher"
BATCH = 1000  # images per batch


class Prediction(NamedTuple):
    """Logits [n, c] of a network or an ensemble on some images, and their uncertainty.

    `has_mutual` is whether the mutual information is meaningful; one prediction has none.
    """

    logits: np.ndarray
    uncertainty: Uncertainty
    has_mutual: bool


def measure(run: str, foreign: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a run and of its ensemble, or of the teacher of each seed.

    Args:
      run: directory of a finished run.
      foreign: the other data set, as the section `data` of a config.

    Returns:
      `{"familiar", "foreign", "networks": {name: {figure: [a number for each seed, or one]}}}`.
      Entropies are means over examples, in nats. `auroc_total` and `auroc_mutual` are of foreign
      images being more uncertain than familiar ones; `rank_correlation` is that of student and
      ensemble in the mutual information of the familiar images.

    Raises:
      InputError: the run is not finished, a data set is missing, its images have another shape, or
        they are decoded on demand.
    """
    workdir = Workdir(run)
    config = ConfigDict(build.as_today(workdir.read("config.json")))
    if not workdir.finished:
        raise InputError(f"{workdir} is not finished: it has no result.json.")
    with trust.stored(workdir):
        test, dirichlet = build.make_data(config).test, _is_dirichlet(config)
    settings = dict(foreign)
    other = data.load(settings.pop("name"), **settings).test.image
    images: dict[str, Any] = {"familiar": test.image, "foreign": other}
    if any(isinstance(image, Pictures) for image in images.values()):
        raise InputError(
            "kd uncertainty cannot read pictures that are decoded on demand. Give data sets that "
            "are arrays."
        )
    if test.image.shape[1:] != other.shape[1:]:
        raise InputError(
            f"images of {foreign['name']} are {list(other.shape[1:])}, those of {workdir} "
            f"{list(test.image.shape[1:])}. Give a data set of the same shape."
        )
    networks, reference = {}, None
    result = workdir.read("result.json")
    groups = recorded(result["teacher"])
    count = sum(len(group.members) for group in groups)
    if count > 1 and config.teacher.get("members") == "paired":
        networks[PAIRED] = _figures(_paired_teachers(groups[0], result, images), test.label, None)
    elif count > 1:
        ensemble = {name: _ensemble(groups, result, image) for name, image in images.items()}
        reference = ensemble["familiar"].uncertainty.mutual
        networks[f"ensemble of {count}"] = _figures([ensemble], test.label, None)
    students = _by_seed(load_networks(workdir), images, dirichlet)
    networks["student"] = _figures(students, test.label, reference)
    names = {"familiar": config.data.name, "foreign": foreign["name"]}
    return {**names, "networks": networks}


def _is_dirichlet(config: ConfigDict) -> bool:
    makers = (registry.find("kd.objectives", term.name) for term in config.objective.values())
    return any(getattr(maker, "DIRICHLET", False) for maker in makers)


def _logits(trained: Trained, images: np.ndarray) -> np.ndarray:
    """Logits of every network of a run, followed by those of its m heads: [s, 1 + m, n, c]."""
    result = trained.result
    apply = make_eval(trained.model, make_normalize(result["mean"], result["std"]))

    def evaluate(variables: PyTree, batch: Batch) -> Outputs:
        outputs = apply(variables, batch)
        z = outputs.logits[:, None]
        heads = outputs.features.get(HEADS)
        z = z if heads is None else jnp.concatenate([z, heads], axis=1)
        return Outputs(z.reshape(z.shape[0], -1))

    flat = make_logits(evaluate, BATCH, "map")(trained.variables, jnp.asarray(images))
    logits = flat.reshape(*flat.shape[:2], -1, result["num_classes"])
    return np.moveaxis(logits, 2, 1)


def _ensemble(
    groups: Sequence[Recorded], result: Mapping[str, Any], images: np.ndarray
) -> Prediction:
    """The ensemble that taught the student with this result, on these images."""
    logits = []
    for group in groups:
        members = ALL._replace(members=",".join(map(str, group.members)))
        trained = load_networks(Workdir(group.run), group=members)
        logits.append(_logits(as_student_sees(trained, result, group.input), images)[:, 0])
    weights = [weight for group in groups for weight in group.weights]
    stacked = np.concatenate(logits)
    mean = scores.mean_probs(stacked, weights)
    return Prediction(mean, of_members(stacked, weights), True)


def _paired_teachers(
    group: Recorded, result: Mapping[str, Any], images: Mapping[str, np.ndarray]
) -> list[dict[str, Prediction]]:
    """The teacher of each seed's student: one member of the teacher's run."""
    workdir = Workdir(group.run)
    config = ConfigDict(build.as_today(workdir.read("config.json")))
    members = ALL._replace(members=",".join(map(str, group.members)))
    with trust.stored(workdir):
        dirichlet = _is_dirichlet(config)
    trained = as_student_sees(load_networks(workdir, group=members), result, group.input)
    return _by_seed(trained, images, dirichlet)


def _by_seed(
    trained: Trained, images: Mapping[str, np.ndarray], dirichlet: bool
) -> list[dict[str, Prediction]]:
    """For each network of a run, its predictions on each set of images."""
    by_set = {name: _students(trained, image, dirichlet) for name, image in images.items()}
    return [dict(zip(by_set, seed, strict=True)) for seed in zip(*by_set.values(), strict=True)]


def _students(trained: Trained, images: np.ndarray, dirichlet: bool) -> list[Prediction]:
    """Each seed's student on these images."""
    predictions = []
    for z, *heads in _logits(trained, images):
        if heads:
            predictions.append(Prediction(z, of_members(np.stack(heads)), True))
        elif dirichlet:
            predictions.append(Prediction(z, of_dirichlet(z), True))
        else:
            total = entropy(z)
            predictions.append(Prediction(z, Uncertainty(total, total, 0 * total), False))
    return predictions


def _figures(
    predictions: list[dict[str, Prediction]], label: np.ndarray, reference: np.ndarray | None
) -> dict[str, list[float]]:
    rows = []
    for prediction in predictions:
        familiar, foreign = prediction["familiar"], prediction["foreign"]
        values = scores.evaluate(familiar.logits[None], label, None)
        row = {
            **{name: of_seeds[0] for name, of_seeds in values.items()},
            "total": familiar.uncertainty.total.mean(),
            "expected": familiar.uncertainty.expected.mean(),
            "mutual": familiar.uncertainty.mutual.mean(),
            "foreign_total": foreign.uncertainty.total.mean(),
            "foreign_mutual": foreign.uncertainty.mutual.mean(),
            "auroc_total": auroc(familiar.uncertainty.total, foreign.uncertainty.total),
        }
        if familiar.has_mutual:
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
"""Heading, factor and decimals of each figure."""


def table(content: Mapping[str, Any]) -> str:
    """The figures as a text table."""
    grid = [["", *(heading for heading, _, _ in HEADINGS.values())]]
    for name, figures in content["networks"].items():
        cells = [
            mean_std(unit * np.array(figures.get(key, [])), digits)
            for key, (_, unit, digits) in HEADINGS.items()
        ]
        grid.append([name, *cells])
    head = (
        f"Familiar: test images of {content['familiar']}; foreign: of {content['foreign']}. "
        "Entropies of familiar images in nats, mean ± std over seeds; AUROC of foreign images "
        "being more uncertain."
    )
    return "\n".join([plain(head), "", *text_table(grid)])


def write(run: str, foreign: Mapping[str, Any]) -> str:
    """Writes `measure` to RUN/uncertainty-NAME.json; returns the table."""
    content = measure(run, foreign)
    Workdir(run).write(f"uncertainty-{foreign['name']}.json", content)
    return table(content)
