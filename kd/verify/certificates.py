"""Certificates of a subject: each image and radius proved, refuted with a witness, or open."""

import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np

from kd import signals
from kd.verify import bounds, exact, slopes
from kd.verify.attack import Attack
from kd.verify.bounds import Balls, Bounds
from kd.verify.graph import Clip
from kd.verify.networks import File, Member, Subject

PROVED, REFUTED, OPEN = "proved", "refuted", "open"


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked about every image.

    Attributes:
      image: raw images [n, ...].
      label: int [n].
      norm: "linf" or "l2".
      unit: [channels], the radius 1 in the unit of stored images: 1 for levels of pixels, else the
        standard deviations of the data.
      exact: seconds an image for the exact bound; 0 leaves it out.
    """

    image: np.ndarray
    label: np.ndarray
    norm: str
    unit: np.ndarray
    exact: float = 0.0

    @property
    def pixels(self) -> bool:
        """Whether images are uint8."""
        return self.image.dtype == np.uint8

    def balls(self, radius: float) -> Balls:
        """The balls of a radius; of pixels only what lies within 0 to 255."""
        image = self.image.reshape(len(self.image), -1).astype(np.float64)
        reach = np.broadcast_to(radius * self.unit, self.image.shape[1:]).ravel()
        low, high = image - reach, image + reach
        if self.pixels:
            low, high = np.maximum(low, 0), np.minimum(high, 255)
        return Balls(image, low, high, reach if self.norm == "l2" else None)


@dataclasses.dataclass
class Result:
    """The certificates of one subject at one radius.

    Attributes:
      radius: in `Question.unit`.
      status: [n].
      method: [n], by what an image is proved or refuted; "" where it is open.
      margin: [n], the lower bound of the label's logit minus any other, of a proved ensemble the
        least of its members'; NaN where nothing was bounded.
      witness: by the index of a refuted image, a raw image of the ball that the subject gets wrong.
      unstable: mean number of units that are not linear over the ball, over the bounded images.
      units: number of all such units.
      seconds: of the processor, for proofs.
      attack_seconds: likewise, for attacks.
    """

    radius: float
    status: np.ndarray
    method: np.ndarray
    margin: np.ndarray
    witness: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)
    unstable: float = float("nan")
    units: int = 0
    seconds: float = 0.0
    attack_seconds: float = 0.0

    def count(self, status: str) -> int:
        """Number of images with this status."""
        return int((self.status == status).sum())


def certify(subject: Subject, question: Question, radii: Sequence[float]) -> Iterator[Result]:
    """Yields the certificates at each radius, from the smallest: a witness stays one."""
    shape = question.image.shape[1:]
    attack = Attack(subject.attacked(), shape)
    wrong = subject.misses(question.image, question.label)
    witness = {int(i): question.image[i] for i in np.flatnonzero(wrong)}
    method = {i: "the image itself" for i in witness}
    for radius in sorted(radii):
        result = _blank(radius, len(question.label))
        balls = question.balls(radius)
        for i in witness:
            result.status[i], result.method[i] = REFUTED, method[i]
        start = time.process_time()
        left = _prove(subject, question, balls, result)
        result.seconds = time.process_time() - start
        start = time.process_time()
        signals.poll()
        for i, image in _attacked(subject, attack, question, balls, result):
            witness[i], method[i] = image, "gradient descent"
            result.status[i], result.method[i] = REFUTED, method[i]
        result.attack_seconds = time.process_time() - start
        start = time.process_time()
        for i, image in _closely(subject, question, balls, result, left):
            witness[i], method[i] = image, "exact"
            result.status[i], result.method[i] = REFUTED, "exact"
        result.seconds += time.process_time() - start
        result.witness = dict(witness)
        yield result


def _blank(radius: float, n: int) -> Result:
    return Result(radius, np.full(n, OPEN, "U8"), np.full(n, "", "U20"), np.full(n, np.nan))


def _prove(
    subject: Subject, question: Question, balls: Balls, result: Result
) -> dict[int, list[np.ndarray]]:
    """Bounds all images that are not refuted, by every member.

    Returns:
      for images that stay open, the lower bounds of the margins by each member.
    """
    index = np.flatnonzero(result.status == OPEN)
    known: dict[int, list[np.ndarray]] = {int(i): [] for i in index}
    least = np.full(len(result.status), np.inf)
    proved = np.zeros(len(result.status), bool)
    proved[index] = True
    by_intervals = proved.copy()
    unstable, bounded = 0.0, 0
    for member in subject.members:
        size = member.crown.batch()
        for first in range(0, len(index), size):
            part = index[first : first + size]
            target = question.label[part].astype(int)
            plain, margin, slack, limits = prove(member, balls[part], target)
            proved[part] &= (margin > slack).all(axis=1)
            by_intervals[part] &= plain
            least[part] = np.minimum(least[part], margin.min(axis=1))
            for i, row in zip(part, margin, strict=True):
                known[int(i)].append(row)
            unstable += _unstable(member, limits)
            bounded += len(part)
            signals.poll()
    result.units = sum(node.size for m in subject.members for _, node in m.crown.graph.cut())
    if bounded:
        result.unstable = unstable / bounded * len(subject.members)
    result.margin[index] = least[index]
    result.status[proved] = PROVED
    result.method[proved] = np.where(by_intervals[proved], "intervals", "linear bounds")
    return {i: rows for i, rows in known.items() if not proved[i]}


def prove(
    member: Member, balls: Balls, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Bounds]:
    """Whether intervals prove each ball [b], the best margins [b, c], their slack, all bounds."""
    crown, balls = member.crown, member.balls(balls)
    plain = bounds.intervals(crown.graph, balls)
    margin, slack = bounds.margins(plain, target), bounds.slack(plain, target)
    enough = (margin > slack).all(axis=1)
    if enough.all():
        return enough, margin, slack, plain
    limits = crown.bounds(balls)
    linear = crown.margins(balls, limits, target)
    return enough, np.maximum(margin, linear), bounds.slack(limits, target), limits


def _unstable(member: Member, limits: Bounds) -> float:
    """Units that are not linear, summed over the images."""
    total = 0.0
    for _, node in member.crown.graph.cut():
        low, high = limits.low[node.inputs[0]], limits.high[node.inputs[0]]
        if isinstance(node, Clip):
            total += float(bounds.unstable(node, low, high).sum())
    return total


def _attacked(
    subject: Subject, attack: Attack, question: Question, balls: Balls, result: Result
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the index and a witness of each open image that the attack gets wrong."""
    index = np.flatnonzero(result.status == OPEN)
    if not len(index):
        return
    worst = attack(balls[index], question.label[index].astype(int))
    yield from _reproduced(subject, question, balls, index, worst)


def _reproduced(
    subject: Subject, question: Question, balls: Balls, index: np.ndarray, image: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields those images that the subject gets wrong; as bytes where these are wrong, too."""
    shape = question.image.shape[1:]
    candidates: list[np.ndarray] = [image.astype(np.float32)]
    if question.pixels:
        part = balls[index]
        rounded = np.clip(np.rint(image), np.ceil(part.low), np.floor(part.high))
        candidates.insert(0, rounded.astype(np.uint8))
    if isinstance(subject.members[0], File):
        del candidates[1:]
    left = np.arange(len(index))
    for candidate in candidates:
        if not len(left):
            return
        shaped = candidate[left].reshape(-1, *shape)
        inside = _inside(balls[index[left]], candidate[left].astype(np.float64))
        wrong = subject.misses(shaped, question.label[index[left]]) & inside
        yield from zip(index[left[wrong]].tolist(), shaped[wrong], strict=True)
        left = left[~wrong]


def _inside(balls: Balls, image: np.ndarray) -> np.ndarray:
    """Whether images lie in their balls, up to the rounding of float32."""
    spare = 1e-6 * (1 + abs(image))
    inside = ((image >= balls.low - spare) & (image <= balls.high + spare)).all(axis=1)
    if balls.radius is None:
        return inside
    length = np.sqrt((((image - balls.image) / balls.radius) ** 2).sum(axis=1))
    return inside & (length <= 1 + 1e-6)


def _closely(
    subject: Subject,
    question: Question,
    balls: Balls,
    result: Result,
    known: dict[int, list[np.ndarray]],
) -> Iterator[tuple[int, np.ndarray]]:
    """Decides open images by linear bounds whose slopes are chosen for each margin, and then by
    mixed-integer programs; yields those that are refuted.
    """
    index = np.flatnonzero(result.status == OPEN)
    size = min(member.crown.batch() for member in subject.members)
    for first in range(0, len(index), size):
        part = index[first : first + size]
        target = question.label[part].astype(int)
        least, above = np.full(len(part), np.inf), np.ones(len(part), bool)
        for k, member in enumerate(subject.members):
            ball = member.balls(balls[part])
            limits = member.crown.bounds(ball)
            slack = bounds.slack(limits, target)
            before = np.stack([known[int(i)][k] for i in part])
            margin = slopes.margins(member.crown, ball, limits, target, before, slack)
            above &= (margin > slack).all(axis=1)
            least = np.minimum(least, margin.min(axis=1))
            for i, row in zip(part, margin, strict=True):
                known[int(i)][k] = row
            signals.poll()
        result.margin[part] = least
        result.status[part[above]], result.method[part[above]] = PROVED, "optimised slopes"
        if question.exact and question.norm == "linf" and len(subject.members) == 1:
            for place in np.flatnonzero(~above):
                yield from _exactly(subject, question, balls, result, known, part[place])


def _exactly(
    subject: Subject,
    question: Question,
    balls: Balls,
    result: Result,
    known: dict[int, list[np.ndarray]],
    i: int,
) -> Iterator[tuple[int, np.ndarray]]:
    """Decides image i by mixed-integer programs; yields it with its witness where refuted."""
    (member,) = subject.members
    target = int(question.label[i])
    ball = member.balls(balls[i : i + 1])
    limits = member.crown.bounds(ball)
    slack = bounds.slack(limits, np.array([target]))[0]
    answer = exact.least_margins(
        member.crown.graph, ball, limits, target, known[int(i)][0], 2 * slack, question.exact
    )
    signals.poll()
    if answer.image is not None:
        image = answer.image[None, : balls.image.shape[1]]
        yield from _reproduced(subject, question, balls, np.array([i]), image)
    elif (answer.bound > slack).all():
        result.status[i], result.method[i] = PROVED, "exact"
        result.margin[i] = answer.bound.min()
