"""`kd verify`: certificates of a finished run's student and of what it is compared with."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd import __version__
from kd.data.base import stratified
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.export.source import Source
from kd.files.escaping import plain
from kd.files.parsers import parse_npz
from kd.files.writing import refusals
from kd.runs import certificates as stored
from kd.runs.networks import weights_hash
from kd.runs.text_table import text_table
from kd.runs.workdir import Workdir
from kd.values import counted
from kd.verify import properties, records
from kd.verify.agreement import agreements
from kd.verify.certificates import Question, certify
from kd.verify.difference import differences
from kd.verify.networks import Subject, exported, of_run

IMAGES = 500
"""Images by default, where the test set has more."""

SPEED = 2e9
"""Products a second of one core, for the cost that is told first."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to verify; see `kd verify --help`."""

    run: str
    radius: str = "1,2,4,8"
    norm: str = "linf"
    images: int | None = None
    seed: int | None = None
    exact: float = 0.0
    out: str | None = None
    runs: str = "runs"
    only: str = ""
    int8: bool = False
    against: str | None = None
    vnnlib: str | None = None

    @property
    def directory(self) -> Workdir:
        """Where `verify.json` is."""
        return Workdir(self.run if self.out is None else self.out)


def act(options: Options, tell: Callable[[str], Any] = print) -> str:
    """Verifies, writes `verify.json`, `verify.npz` and `verify.md`; returns what is printed.

    Args:
      options: of the command.
      tell: gets the cost before it starts.

    Raises:
      InputError: the options, the run, its data or a network do not allow it; nothing was written.
    """
    source, subjects = _opened(options, options.seed)
    radii = _radii(options.radius, _is_pixels(source))
    if options.exact and options.norm != "linf":
        raise InputError("--exact is of L-infinity balls. Leave it out, or take --norm linf.")
    if not (math.isfinite(options.exact) and options.exact >= 0):
        raise InputError(f"--exact {options.exact}: expected seconds, 0 or more.")
    if options.vnnlib is not None:
        properties.check(Path(options.vnnlib), options.norm)
    teacher = _teacher(subjects) if options.against else None
    student, file = subjects[0], subjects[1 if options.int8 else 0]
    subjects = _chosen(subjects, options.only)
    index = _index(source, options.images)
    question = _question(source, index, options)
    cost = _cost(subjects, len(index), len(radii), options)
    with refusals(options.directory.path):
        options.directory.path.mkdir(parents=True, exist_ok=True)
    tell(cost)
    if options.vnnlib is not None:
        tell(properties.write(Path(options.vnnlib), source, question, index, radii))
    content = _head(source, options, index, radii)
    arrays: dict[str, np.ndarray] = {}
    for k, subject in enumerate(subjects):
        results = list(certify(subject, question, radii))
        content["networks"].append(records.entry(subject, results))
        for i, result in enumerate(results):
            arrays |= records.witnesses(result, f"{k}_{i}")
    if teacher is not None:
        rows = list(agreements(subjects[0], teacher, question, radii))
        content["agreement"] = {"teacher": teacher.name, "radii": rows}
    if options.int8:
        content["difference"] = {"radii": list(differences(student, file, question, radii))}
    content["conclusion"] = stored.conclusion(content)
    records.write(options.directory, content, arrays)
    return text(content, options.directory)


def text(content: dict[str, Any], directory: Workdir) -> str:
    """The conclusion, the table and where the files are."""
    lines = [content["conclusion"], "", *text_table(stored.table(content)), ""]
    for grid in filter(None, (stored.agreement(content), stored.difference(content))):
        lines += [*text_table(grid), ""]
    for network in content["networks"]:
        if network["by_intervals"]:
            layers = ", ".join(network["by_intervals"])
            lines.append(f"{network['name']}: too wide for linear bounds, by intervals: {layers}")
    if any(r["open"] for n in content["networks"] for r in n["radii"]) and not content["exact"]:
        lines.append("Images are open: --exact 10 decides more of them, at 10 s an image at most.")
    return "\n".join([*map(plain, lines), plain(stored.note(content)), plain(directory.path)])


def _opened(options: Options, seed: int | None) -> tuple[Source, list[Subject]]:
    """The run and its networks, the student first, and then its int8 file where asked for."""
    source, subjects = of_run(Workdir(options.run), seed, options.runs)
    if options.int8:
        if options.norm != "linf":
            raise InputError("--int8 is of L-infinity balls. Leave it out, or take --norm linf.")
        subjects.insert(1, exported(source, subjects[0]))
    return source, subjects


def _teacher(subjects: Sequence[Subject]) -> Subject:
    """The ensemble, or the one teacher. Raises InputError where there is none."""
    teachers = [s for s in subjects if s.name == "teacher" or len(s.members) > 1]
    if not teachers:
        raise InputError("--against teacher: this run has no teacher.")
    return teachers[-1]


def _is_pixels(source: Source) -> bool:
    image = source.dataset.test.image
    return not isinstance(image, Pictures) and image.dtype == np.uint8


def _radii(value: str, pixels: bool) -> list[float]:
    """The radii, sorted. Raises InputError."""
    try:
        radii = sorted({float(part) for part in value.split(",")})
    except ValueError:
        radii = [math.nan]
    most = 255.0 if pixels else math.inf
    if not all(0 < r <= most and math.isfinite(r) for r in radii):
        unit = "levels from above 0 to 255" if pixels else "standard deviations above 0"
        raise InputError(f"--radius {value}: expected {unit}, such as 1,2,4,8.")
    return radii


def _chosen(subjects: list[Subject], only: str) -> list[Subject]:
    """The subjects that are asked for; the student always, and first."""
    if not only:
        return subjects
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in [subject.name for subject in subjects]:
            known = ", ".join(subject.name for subject in subjects)
            raise InputError(f"--only {name}: this run has {known}.")
    return [s for i, s in enumerate(subjects) if i == 0 or s.name in (*names, stored.INT8)]


def _index(source: Source, images: int | None) -> np.ndarray:
    """Indices of the images, with the classes as frequent as in all. Raises InputError."""
    label, n = source.dataset.test.label, len(source.dataset.test.label)
    if images is None and not _is_pixels(source):
        raise InputError(
            "give --images N: the examples are no arrays of pixels, of which kd verify takes "
            f"{IMAGES} by itself."
        )
    if images is not None and images < 1:
        raise InputError(f"--images {images}: expected 1 or more.")
    count = min(n, IMAGES if images is None else images)
    if count == n:
        return np.arange(n)
    chosen = np.flatnonzero(stratified(label, count, seed=0))
    return chosen if len(chosen) == count else np.linspace(0, n - 1, count).round().astype(int)


def _question(source: Source, index: np.ndarray, options: Options) -> Question:
    split = source.dataset.test
    image = split.image
    raw = image.centered(index) if isinstance(image, Pictures) else image[index]
    pixels = raw.dtype == np.uint8
    unit = np.ones(1) if pixels else np.asarray(source.dataset.std, np.float64)
    return Question(raw, split.label[index], options.norm, unit, options.exact)


def _cost(subjects: Sequence[Subject], images: int, radii: int, options: Options) -> str:
    """What the bounds will cost at most, in words. Builds the graphs, so that a network that cannot
    be verified is refused before anything is computed.
    """
    products = {s.name: sum(m.crown.products for m in s.members) for s in subjects}
    seconds = sum(products.values()) * images * radii / SPEED
    parts = ", ".join(f"{name} {value:z.2g}" for name, value in products.items())
    line = (
        f"{counted(images, 'image')} at {radii} {'radius' if radii == 1 else 'radii'}. Products "
        f"an image: {parts}; about "
        f"{max(seconds, 1):z.0f} s on one core, and the attacks"
    )
    if options.exact:
        line += f"; at most {options.exact:zg} s for each image that stays open"
    return f"{line}."


def _head(
    source: Source, options: Options, index: np.ndarray, radii: Sequence[float]
) -> dict[str, Any]:
    """Content of `verify.json` without its networks."""
    unit = "in levels of the pixels, within 0 to 255"
    if not _is_pixels(source):
        unit = "in standard deviations of the data, without limits"
    test = source.dataset.test
    return {
        "kd": __version__,
        "run": str(source.workdir),
        "seed": source.seed,
        "weights": source.result.get("weights"),
        "evaluated": weights_hash(test),
        "data": source.config["data"]["name"],
        "split": source.result["split"],
        "examples": len(test.label),
        "index": index.tolist(),
        "norm": options.norm,
        "radii": list(radii),
        "unit": unit,
        "exact": options.exact,
        "options": dataclasses.asdict(options),
        "networks": [],
    }


def check(options: Options) -> str:
    """Compares certificates with what they are of: weights, data and every witness.

    Raises:
      InputError: there are none, they are damaged, or of something else.
    """
    directory = options.directory
    content = stored.read(directory)
    if content is None:
        raise InputError(f"{directory} has no {stored.FILE}: run `kd verify` first.")
    options = dataclasses.replace(options, int8=content.get("options", {}).get("int8", False))
    source, subjects = _opened(options, content["seed"])
    refuse = lambda what: InputError(
        f"{directory.path / stored.FILE} is of {what} than {options.run} has now. Verify it again."
    )
    if content["evaluated"] != weights_hash(source.dataset.test):
        raise refuse("other images")
    known = {subject.name: subject for subject in subjects}
    path = directory.path / stored.WITNESSES
    try:
        with path.open("rb") as file:
            arrays = parse_npz(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    if content["witnesses"] != records.digest(directory):
        raise InputError(f"{path} is not what was written beside {stored.FILE}. Verify again.")
    question = _question(source, np.array(content["index"]), options)
    count = 0
    for k, network in enumerate(content["networks"]):
        subject = known.get(network["name"])
        if subject is None or [m.sha256 for m in subject.members] != network["sha256"]:
            raise refuse(f"other weights of the {network['name']}")
        for i, _ in enumerate(network["radii"]):
            if f"{k}_{i}_index" not in arrays:
                continue
            index, image = arrays[f"{k}_{i}_index"], arrays[f"{k}_{i}_image"]
            if not subject.misses(image, question.label[index]).all():
                raise refuse(f"a {network['name']} that got its witnesses wrong, another network")
            count += len(index)
    return (
        f"{directory.path / stored.FILE}: the weights and images are those of {options.run}, and "
        f"{count:,} images that refute get another class than the label."
    )
