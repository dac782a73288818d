"""What the columns of a report mean, for a reader who has never seen one."""

from collections.abc import Container

from kd.report.blocks import Grid

P_VALUE = (
    "how likely so large a difference of two single networks is if both are right equally often "
    "(McNemar's test); the interval decides whether the difference of all seeds is significant"
)

MEANINGS = {
    "accuracy %": "share of the images whose class is predicted right",
    "student %": "accuracy of the student",
    "teacher %": "accuracy of the teacher",
    "95 % interval": (
        "range of values that fit what was measured on these images and seeds; one such interval "
        "in twenty misses the true value"
    ),
    "networks": "how many networks predict together",
    "parameters": "numbers that were learned",
    "bytes": "size of the weights as float32",
    "MACs": (
        "multiply-accumulate operations (one multiplication and one addition each) for one image"
    ),
    "best for its size": "no other network here is as accurate in fewer bytes",
    "points": "difference of two accuracies in per cent",
    "difference": "which accuracy minus which",
    "gain": "accuracy minus that of the first run, in points",
    "p-value against the teacher": P_VALUE,
    "median p-value": f"{P_VALUE}; the median over pairs of seeds",
    "latency, ms": "milliseconds for one image on this machine",
    "images": "how many test images are of the class",
    "loss": "accuracy of the teacher minus that of the student, in points",
    "recall %": "share of the class's images that are predicted as the class",
    "precision %": "share of the predictions of the class that are right",
    "F1 %": "harmonic mean of recall and precision",
    "teacher: recall %": "the same of the teacher",
    "teacher: precision %": "the same of the teacher",
    "teacher: F1 %": "the same of the teacher",
    "student: share %": "share of the first class's images that get the second class as the answer",
    "teacher: share %": "the same of the teacher",
    "agreement %": "share of the images on which student and teacher predict the same class",
    "KL, nats": (
        "Kullback-Leibler divergence of the student's probabilities from the teacher's: 0 is equal"
    ),
    "against the teacher": (
        "significantly worse where the interval of the loss lies above zero, worse where only the "
        "loss does"
    ),
    "ECE %": (
        "expected calibration error: the mean distance between confidence (the largest "
        "probability) and accuracy; 0 is best"
    ),
    "NLL, nats": "negative log-likelihood of the right class; 0 is best",
    "Brier": "squared distance of the probabilities from the right answer, 0 (best) to 2",
    "confidence minus accuracy": "in points; above zero the network is too sure of itself",
    "clean": "accuracy on the images as they are",
    "mean": "mean over the five severities",
    "units": "channels of a map, or neurons of a layer",
    "dead": "units that have the same value for every image",
    "effective rank": "number of equally strong directions with as much spread",
    "rank, % of units": "a low number means that the stage could be narrower",
}
"""Meaning of each heading of a column."""


def meanings(grid: Grid, known: Container[str]) -> list[tuple[str, str]]:
    """Headings of a table with their meanings, without those that are `known` already."""
    heads = [head for head in dict.fromkeys(grid[0]) if head in MEANINGS and head not in known]
    return [(head, MEANINGS[head]) for head in heads]
