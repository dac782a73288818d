"""Similarity of representations: linear centred kernel alignment (CKA)."""

import numpy as np
from jaxtyping import Float

CHUNK = 4096
"""Features multiplied at a time, so that a large map is not copied to float64 at once."""


def centred_gram(features: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n n"]:
    """Gram matrix of a stage's flattened features, U-centred, of unit norm: the input of `cka`.

    The inner product of two such matrices is HSIC(k, l) / sqrt(HSIC(k, k) HSIC(l, l)), with the
    unbiased HSIC of Song et al. (JMLR 13, 2012, Eq. 5) in the form of Szekely and Rizzo (Annals of
    Statistics 42, 2014, Eq. 3.1). NaN where all examples have equal features.

    Args:
      features: of n >= 4 examples.
    """
    n = len(features)
    flat = features.reshape(n, -1)
    parts = (flat[:, i : i + CHUNK] for i in range(0, flat.shape[1], CHUNK))
    k = np.zeros((n, n))
    for part in parts:
        # Subtracting the mean does not change CKA, and keeps large numbers from cancelling.
        centred = part.astype(np.float64)
        centred = centred - centred.mean(axis=0)
        k += centred @ centred.T
    np.fill_diagonal(k, 0)
    rows = k.sum(axis=0) / (n - 2)
    k = k - rows[:, None] - rows[None, :] + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(k, 0)
    norm = np.linalg.norm(k)
    return k / norm if norm > 0 else np.full((n, n), np.nan)


def cka(k: Float[np.ndarray, "n n"], l: Float[np.ndarray, "n n"]) -> float:  # noqa: E741
    """Linear CKA of two stages from their `centred_gram` on the same examples: 1 if they are equal
    up to rotation and scale.

    Kornblith, Norouzi, Lee, Hinton. Similarity of Neural Network Representations Revisited. ICML
    2019. https://arxiv.org/abs/1905.00414, section 3 and Table 1, but with the unbiased HSIC: with
    more features than examples, as in convolutional stages, the biased one is near 1 for any two
    networks. Unrelated stages give 0 on average, and so sometimes less. Given means of matrices
    over networks, it is the mean over all pairs of networks.
    """
    return float(np.sum(k * l))
