"""The networks that are verified side by side: student, teacher, ensemble, runs to compare with."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from kd.config import default_workdir
from kd.config.teachers import ALL, recorded, recorded_weights
from kd.data.augment import make_normalize
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.export import provenance, reading, requirements
from kd.export.source import Source, open_run
from kd.names import trust
from kd.predict import Networks
from kd.runs import certificates
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir
from kd.step import make_eval
from kd.teachers.reduction import find, reference_logits
from kd.types import PyTree
from kd.verify import integers
from kd.verify.bounds import Balls
from kd.verify.crown import Crown
from kd.verify.extraction import extract
from kd.verify.graph import Graph


@dataclasses.dataclass(eq=False)
class Member:
    """One network: its weights, and its graph.

    Attributes:
      model: the architecture.
      variables: its weights.
      shape: of one raw image.
      mean, std: of its normalisation.
      pixels: whether raw images are uint8.
      classes: number of classes.
    """

    model: nn.Module
    variables: PyTree
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixels: bool
    classes: int

    def apply(self, variables: PyTree, image: Any) -> Any:
        """Logits [b, c] of raw images as float32: levels of pixels, or floats as stored."""
        if self.pixels:
            image = image * np.float32(1 / 255)
        normalize = make_normalize(self.mean, self.std)
        return make_eval(self.model, normalize)(variables, {"image": image}).logits

    @functools.cached_property
    def crown(self) -> Crown:
        """Linear bounds of its graph. Raises InputError for an operation without a rule."""
        with jax.default_device(jax.devices("cpu")[0]):
            return Crown(extract(self.apply, self.variables, self.shape))

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of all its arrays and their names."""
        return certificates.sha256(self.variables)

    def balls(self, balls: Balls) -> Balls:
        """Balls in the unit of its graph."""
        return balls

    def logits(self, image: np.ndarray) -> Float[np.ndarray, "n c"]:
        """Logits of raw images [n, ...] as the run computes them, on the CPU; levels of pixels may
        be fractions.
        """
        if self.pixels and image.dtype != np.uint8:
            image = image.astype(np.float32) * np.float32(1 / 255)
        stacked = jax.tree.map(lambda x: jnp.asarray(x)[None], self.variables)
        networks = Networks(
            self.model, stacked, self.shape, self.classes, self.mean, self.std, how="map"
        )
        with jax.default_device(jax.devices("cpu")[0]):
            return networks.logits(image)[0]


@dataclasses.dataclass(eq=False)
class File(Member):
    """The integer network in an exported file, attacked by the gradient of the float network.

    Attributes:
      content: of the `.tflite` file.
    """

    content: bytes = b""

    @functools.cached_property
    def _graph(self) -> tuple[Graph, np.ndarray]:
        return integers.read(self.content)

    @functools.cached_property
    def crown(self) -> Crown:
        """Linear bounds of its graph. Raises InputError for an operation without a rule."""
        return Crown(self._graph[0])

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.content).hexdigest()

    def balls(self, balls: Balls) -> Balls:
        """Balls with the rounding terms of the file."""
        reach = np.broadcast_to(self._graph[1], (len(balls), len(self._graph[1])))
        rest = reach[:, balls.image.shape[1] :]
        join = lambda x, y: np.concatenate([x, y], axis=1)
        radius = balls.radius
        if radius is not None:  # each rounding is free, whatever the others are
            raise InputError("--int8 is of L-infinity balls. Leave it out, or take --norm linf.")
        return Balls(join(balls.image, 0 * rest), join(balls.low, -rest), join(balls.high, rest))

    def logits(self, image: np.ndarray) -> Float[np.ndarray, "n c"]:
        """Integers of raw images by the reference kernels; only bytes are inputs of the file."""
        from kd.export import interpreter

        return interpreter.run(self.content, _bytes(image)).astype(np.float32)

    def on_device(self, image: np.ndarray) -> Float[np.ndarray, "n c"]:
        """Integers of raw images by the kernels of TFLM."""
        from kd.export import micro

        return micro.run(self.content, _bytes(image))[0].astype(np.float32)


@dataclasses.dataclass(eq=False)
class Subject:
    """What is verified: a network, or an ensemble that predicts by a reduction of its members.

    Attributes:
      name: in tables.
      run: directory of its run, or those of its members.
      which: index of the network in its run, in words.
      members: its networks.
      weights: of the members, of sum one.
      reduce: how they predict together.
    """

    name: str
    run: str
    which: str
    members: list[Member]
    weights: list[float] = dataclasses.field(default_factory=lambda: [1.0])
    reduce: Any = "probs"

    def logits(self, image: np.ndarray) -> Float[np.ndarray, "n c"]:
        """What it predicts for raw images, as logits."""
        each = np.stack([member.logits(image) for member in self.members])
        return each[0] if len(each) == 1 else reference_logits(each, self.weights, self.reduce)

    def misses(self, image: np.ndarray, label: np.ndarray) -> Bool[np.ndarray, " n"]:
        """Whether it gives raw images another class than their label: an exported file by the
        reference kernels and, because a rounding may decide, by those of TFLM, too.
        """
        wrong = self.logits(image).argmax(-1) != label
        (member, *_) = self.members
        if isinstance(member, File) and wrong.any():
            wrong[wrong] = member.on_device(image[wrong]).argmax(-1) != label[wrong]
        return wrong

    def attacked(self) -> Callable[[Any], Any]:
        """Logits of raw images as float32, to be differentiated: of an ensemble the logarithm of
        the mean probability, or the mean of the logits.
        """
        if len(self.members) == 1:
            member = self.members[0]
            return lambda image: member.apply(member.variables, image)

        def together(image: Any) -> Any:
            each = jnp.stack([m.apply(m.variables, image) for m in self.members])
            weights = jnp.asarray(self.weights)[:, None, None]
            if self.reduce == "logits":
                return jnp.sum(weights * each, axis=0)
            return jax.nn.logsumexp(jax.nn.log_softmax(each), axis=0, b=weights)

        return together


def _bytes(image: np.ndarray) -> np.ndarray:
    """Raw images as inputs of an int8 file."""
    return (np.rint(image).astype(np.uint8) ^ 0x80).view(np.int8)


def of_run(workdir: Workdir, seed: int | None, root: str) -> tuple[Source, list[Subject]]:
    """The student of a finished run, its teacher, and the students that the run is compared with.

    Args:
      workdir: of the run.
      seed: one of its seeds; None chooses as an export does.
      root: directory of the runs that `config.compare` names; those that are missing are left out.

    Raises:
      InputError: the run is not finished, was trained on eight bits, or a teacher's run is missing.
    """
    source = open_run(workdir, seed)
    if source.quantized:
        raise InputError(
            f"{workdir} was trained on eight bits, and its network rounds: kd verify bounds "
            "networks in floating point."
        )
    shape = tuple(source.result["shape"])
    pixels = source.dataset.train.image.dtype == np.uint8
    facts = {"shape": shape, "pixels": pixels, "classes": source.result["num_classes"]}
    member = lambda model, variables, result: Member(
        model, variables, mean=tuple(result["mean"]), std=tuple(result["std"]), **facts
    )
    single = lambda name, s: Subject(
        name, str(s.workdir), f"seed {s.seed}", [member(s.model, s.variables, s.result)]
    )
    subjects = [single("student", source)]
    for name, reference in (source.config.get("compare") or {}).items():
        other = Workdir(default_workdir(reference, root))
        if other.finished and other.path != workdir.path:
            subjects.append(single(name, open_run(other)))
    return source, subjects + _teachers(source, member)


def exported(source: Source, subject: Subject) -> Subject:
    """The student in the int8 file that was exported of this run.

    Raises:
      InputError: there is none, it is of another network, or its input is no pixels.
    """
    directory = Path(str(source.workdir)) / "export"
    known = [directory / name for name in ("c", "litert-int8") if (directory / name).is_dir()]
    if not known:
        raise InputError(
            f"--int8: {directory} has no int8 export. Make it by `kd export {source.workdir} "
            "--format litert --int8`."
        )
    requirements.require("tflite", "--int8")
    report = reading.read(known[0], ["model.tflite"])
    if report["result"] != provenance.identity(source.workdir) or report["seed"] != source.seed:
        raise InputError(
            f"--int8: {known[0]} is of another result or seed ({report['seed']}) than seed "
            f"{source.seed} of {source.workdir}. Export it again, or give --seed."
        )
    if not subject.members[0].pixels:
        raise InputError(
            "--int8: the file takes no pixels, and how it rounds floats is not bounded."
        )
    content = (known[0] / "model.tflite").read_bytes()
    fields = {f.name: getattr(subject.members[0], f.name) for f in dataclasses.fields(Member)}
    members: list[Member] = [File(**fields, content=content)]
    return Subject(certificates.INT8, str(known[0]), subject.which, members)


def _teachers(source: Source, member: Callable[..., Member]) -> list[Subject]:
    """The first member of the teacher, and all of them together where there are several."""
    groups = recorded(source.result["teacher"])
    if any(group.input for group in groups):  # a ball of the student's images is none of theirs
        return []
    members, names = [], []
    for group in groups:
        chosen = ALL._replace(members=",".join(map(str, group.members)))
        trained = load_networks(Workdir(group.run), group=chosen)
        for i, index in enumerate(group.members):
            variables = tree_index(trained.variables, i)
            members.append(member(trained.model, variables, trained.result))
            names.append((group.run, index))
    if not members:
        return []
    run, index = names[0]
    subjects = [Subject("teacher", run, f"member {index}", members[:1])]
    section = source.config["teacher"]
    if len(members) > 1 and section.get("members") != "paired":
        runs = ", ".join(dict.fromkeys(group.run for group in groups))
        which = f"members {', '.join(str(index) for _, index in names)}"
        with trust.stored(source.workdir):
            reduce = find(section["reduce"])
        kind = "logits" if section["reduce"] == "logits" else reduce
        weights = recorded_weights(source.result["teacher"])
        name = f"ensemble of {len(members)}"
        subjects.append(Subject(name, runs, which, members, weights, kind))
    return subjects
