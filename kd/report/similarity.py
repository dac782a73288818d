"""How alike two networks represent the same images: linear centred kernel alignment (CKA)."""

import numpy as np
from jaxtyping import Float

CHUNK = 4096
"""Features that are multiplied at a time, so that a large map is not copied whole in float64."""


def centred_gram(features: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n n"]:
    """Products of all pairs of examples, each flattened, U-centred and of unit length: all that CKA
    needs of a stage.

    Two such matrices have the inner product HSIC(k, l) / sqrt(HSIC(k, k) HSIC(l, l)), where HSIC is
    the unbiased estimate of Song et al. (JMLR 13, 2012, Eq. 5) in the form of Szekely and Rizzo
    (Annals of Statistics 42, 2014, Eq. 3.1). nan where the stage does not vary.

    Args:
      features: of n >= 4 examples.
    """
    n = len(features)
    flat = features.reshape(n, -1)
    parts = (flat[:, i : i + CHUNK] for i in range(0, flat.shape[1], CHUNK))
    k = np.zeros((n, n))
    for part in parts:
        # Taking off the mean changes no CKA, and keeps large numbers from cancelling.
        own = part.astype(np.float64)
        own = own - own.mean(axis=0)
        k += own @ own.T
    np.fill_diagonal(k, 0)
    rows = k.sum(axis=0) / (n - 2)
    k = k - rows[:, None] - rows[None, :] + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(k, 0)
    length = np.linalg.norm(k)
    return k / length if length > 0 else np.full((n, n), np.nan)


def cka(k: Float[np.ndarray, "n n"], l: Float[np.ndarray, "n n"]) -> float:  # noqa: E741
    """Linear CKA of two stages, from their `centred_gram` on the same examples: 1 where one is the
    other turned and scaled.

    Kornblith, Norouzi, Lee, Hinton. Similarity of Neural Network Representations Revisited. ICML
    2019. https://arxiv.org/abs/1905.00414, section 3 and Table 1, but with the unbiased HSIC: where
    there are more features than examples, as in convolutional stages, the biased one is near 1 for
    any two networks. Unrelated stages give 0 on average, and so at times less. Between means of
    matrices over networks it is the mean over all pairs of networks.
    """
    return float(np.sum(k * l))
