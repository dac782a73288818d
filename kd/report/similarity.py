"""How alike two networks represent the same images: linear centred kernel alignment (CKA)."""

import numpy as np
from jaxtyping import Float


def gram(features: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n n"]:
    """Products of all pairs of examples, each flattened, in float64: all that linear CKA needs of a stage.

    The mean is taken off first. It changes no CKA, and keeps large numbers from cancelling.
    """
    flat = features.reshape(len(features), -1).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    return flat @ flat.T


def cka(k: Float[np.ndarray, "n n"], l: Float[np.ndarray, "n n"]) -> float:  # noqa: E741
    """Linear CKA of two stages from their Gram matrices, 1 for the same representation up to rotation and scale.

    Kornblith, Norouzi, Lee, Hinton. Similarity of Neural Network Representations Revisited. ICML 2019.
    https://arxiv.org/abs/1905.00414, section 3 and Table 1. HSIC is the unbiased estimate of Song et al. (JMLR 13, 2012, Eq. 5): with
    more features than examples, as convolutional stages have, the biased one is near 1 for any two networks. So unrelated
    stages give 0 on average, and may come out below it. nan where a stage does not vary.

    Args:
      k: of n >= 4 examples.
      l: of the same examples in the same order.
    """
    own = hsic(k, k) * hsic(l, l)
    return float(hsic(k, l) / np.sqrt(own)) if own > 0 else float("nan")


def hsic(k: Float[np.ndarray, "n n"], l: Float[np.ndarray, "n n"]) -> float:  # noqa: E741
    """Unbiased estimate of the Hilbert-Schmidt independence criterion; Song et al. 2012, Eq. 5."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    whole = k.sum() * l.sum() / ((n - 1) * (n - 2))
    crossed = 2 * k.sum(axis=0) @ l.sum(axis=0) / (n - 2)
    return float((np.sum(k * l) + whole - crossed) / (n * (n - 3)))
