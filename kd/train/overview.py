"""What is understood of the data set of a config, as text and a picture: `kd data`."""

import io
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from kd.config import ConfigDict
from kd.data import remarks, survey
from kd.data.augment import make_augment
from kd.data.base import UNKNOWN, Dataset
from kd.data.class_weights import counts
from kd.data.pictures import Pictures
from kd.files.escaping import plain
from kd.files.writing import refusals, replacing
from kd.init import state_key
from kd.runs.text_table import text_table
from kd.train.program import seed_keys

LONG = 24
"""More classes than this are not listed one by one."""

SHOWN = 8
"""Of so many, the classes with the fewest and the most images."""

EXAMPLES = 16
"""In the picture."""


def lines(config: ConfigDict, dataset: Dataset, problems: Sequence[str]) -> Iterator[str]:
    """The text: size, kind, values, classes, remarks.

    Args:
      config: spelled out.
      dataset: from `kd.build.make_data`.
      problems: from `kd.data.survey.all_remarks`.
    """
    split = "held-out" if config.holdout else "test"
    yield f"data set {config.data.name}: {remarks.summary(dataset, split)}"
    image = survey.values(dataset.train)
    noun = remarks.NOUNS.get(image.ndim - 1, "examples")
    sampled = f" (of {len(image)} decoded)" if isinstance(dataset.train.image, Pictures) else ""
    yield (
        f"kind: {noun} [{', '.join(map(str, image.shape[1:]))}], {image.dtype}; values from "
        f"{image.min():z.6g} to {image.max():z.6g}{sampled}"
    )
    yield from _normalisation(dataset, image)
    settings = {key: config[key] for key in ("holdout", "validation", "train_classes", "augment")}
    used = [f"{key} = {value!r}" for key, value in settings.items() if value]
    if used:
        yield f"config: {', '.join(used)}"
    yield ""
    yield from _classes(dataset, split)
    yield ""
    yield from (f"- {text}" for text in problems)
    if not problems:
        yield "Nothing looks wrong."


def _normalisation(dataset: Dataset, image: np.ndarray) -> Iterator[str]:
    """Mean and deviation of the channels, as networks see them."""
    scale = 255 if image.dtype == np.uint8 else 1
    axes = tuple(range(image.ndim - 1))
    mean = (image.mean(axes, np.float64) / scale - dataset.mean) / dataset.std
    std = image.std(axes, dtype=np.float64) / scale / np.asarray(dataset.std)
    text = lambda numbers: (
        ", ".join(f"{v:z.4g}" for v in numbers[:4]) + ", ..." * (len(numbers) > 4)
    )
    yield (
        f"normalised by mean ({text(dataset.mean)}) and std ({text(dataset.std)}): then the mean "
        f"is {text(mean)} and the deviation {text(std)}"
    )


def _classes(dataset: Dataset, split: str) -> Iterator[str]:
    """A table of the classes, with their images in each split and their share of train."""
    c, label = dataset.num_classes, dataset.train.label
    splits = {"train": dataset.train, "validation": dataset.validation, split: dataset.test}
    of = {name: counts(part.label, c) for name, part in splits.items() if part is not None}
    total = max(int((label != UNKNOWN).sum()), 1)
    rare = set(survey.rare_classes(dataset))
    order = np.arange(c)
    if c > LONG:
        order = np.argsort(of["train"], kind="stable")
    grid = [["class", *of, "% of train", ""]]
    for k in order:
        name = dataset.class_names[k] if dataset.class_names else str(k)
        share = 100 * of["train"][k] / total
        numbers = [f"{count[k]:,}" for count in of.values()]
        grid.append([name, *numbers, f"{share:z.2f}", "rare" if k in rare else ""])
    table = text_table(grid)
    if c > LONG:
        table = [*table[: SHOWN + 1], f"... {c - 2 * SHOWN:,} more ...", *table[-SHOWN:]]
    yield from table


def draw(config: ConfigDict, dataset: Dataset, path: os.PathLike | str) -> None:
    """Writes a PNG of sixteen training examples as the student sees them in the first epoch.

    Args:
      config: spelled out; its augmentation is applied, of the first seed.
      dataset: of the run.
      path: of the file.

    Raises:
      InputError: the augmentation does not fit the data.
      RunError: the file cannot be written.
    """
    index = _spread(dataset.train.label)
    shown = _augmented(config, dataset, index)
    content = _png(shown, [_name(dataset, i) for i in index.tolist()])
    with refusals(path), replacing(epath.Path(path)) as part:
        part.write_bytes(content)


def _spread(label: np.ndarray) -> np.ndarray:
    """Indices of sixteen examples of as many classes as there are, in turn."""
    members = [np.flatnonzero(label == k)[:EXAMPLES] for k in np.unique(label)]
    chosen = np.linspace(0, len(members) - 1, min(len(members), EXAMPLES)).round().astype(int)
    members = [members[i] for i in chosen]
    turns = [m[i] for i in range(EXAMPLES) for m in members if i < len(m)]
    return np.array(turns[:EXAMPLES])


def _name(dataset: Dataset, index: int) -> str:
    k = int(dataset.train.label[index])
    if k == UNKNOWN:
        return "no label"
    return dataset.class_names[k] if dataset.class_names else str(k)


def _augmented(config: ConfigDict, dataset: Dataset, index: np.ndarray) -> np.ndarray:
    """The examples after augmentation, before normalisation: pixels in [0, 1], floats as stored."""
    images: Any = dataset.train.image
    if isinstance(images, Pictures):
        image = images.cropped(index, config.seed, 0)
    else:
        image = images[index]
    example = jax.ShapeDtypeStruct(image.shape[1:], image.dtype)
    augment = make_augment(config.augment, dataset.mean, dataset.std, example)
    batch = {"image": image, "index": index.astype(np.int32), "epoch": np.int32(0)}
    key = state_key(seed_keys(config.seed, 1)[0])
    normalised = np.asarray(jax.jit(augment)(key, batch)["image"], np.float64)
    return normalised * np.asarray(dataset.std) + np.asarray(dataset.mean)


def _png(examples: np.ndarray, names: list[str]) -> bytes:
    """Four rows of four: images, or curves of series and tables."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7.6), layout="constrained")
    FigureCanvasAgg(figure)
    plots = np.ravel(figure.subplots(4, 4))
    low, high = float(examples.min()), float(examples.max())
    if low > -1e-3 and high < 1.001:  # pixels
        low, high = 0.0, 1.0
    for axes in plots:
        axes.set_axis_off()
    for axes, example, name in zip(plots, examples, names, strict=False):
        axes.set_title(plain(name)[:24], fontsize=9, parse_math=False)
        if example.ndim == 3:
            picture = example if example.shape[-1] == 3 else example[..., 0]
            picture = np.clip((picture - low) / max(high - low, 1e-12), 0, 1)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        else:
            axes.set_axis_on()
            axes.tick_params(labelsize=6)
            axes.plot(example.reshape(len(example), -1)[:, :8], linewidth=0.8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()
