"""Images as a grid of square patches, and the table of their positions, also of another grid."""

import math
import warnings

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.ranges import Side

type Grid = tuple[int, int]
"""Rows and columns of patches."""


def grid_of(network: str, image: tuple[int, ...], patch: Side) -> Grid:
    """The grid that images [..., h, w, c] are cut into.

    Args:
      network: its name, in messages.
      image: the images' shape.
      patch: side of a patch, in pixels.

    Raises:
      InputError: the patch does not divide height and width.
    """
    height, width = image[-3:-1]
    if height % patch == 0 and width % patch == 0:
        return height // patch, width // patch
    sides = math.gcd(height, width)
    fitting = [str(n) for n in range(1, sides + 1) if sides % n == 0]
    nearest = [max(patch * round(side / patch), patch) for side in (height, width)]
    raise InputError(
        f"{network} cuts images into patches of {patch} x {patch}, which do not divide these of "
        f"{height} x {width}. Set patch to a size that divides them ({', '.join(fitting)}), or "
        f"give images of {nearest[0]} x {nearest[1]}."
    )


def resized(
    table: Float[Array, "1 n d"], prefix: int, grid: Grid, network: str
) -> Float[Array, "1 n2 d"]:
    """A table of positions for `grid`: unchanged if it is of as many patches, else interpolated
    with a warning.

    The rows of patches are interpolated as an image, bicubic with antialiasing, as timm does it;
    the first `prefix` rows, those of other tokens, are kept. The old grid is the one of the new
    grid's proportions, else a square.

    Args:
      table: [1, prefix + patches, d].
      prefix: number of tokens before the patches.
      grid: that of the images.
      network: its name, in messages.

    Raises:
      InputError: the table's patches are neither a grid of these proportions nor a square.
    """
    patches = table.shape[1] - prefix
    if patches == math.prod(grid):
        return table
    old = _proportional(patches, grid) or _proportional(patches, (1, 1))
    if old is None:
        raise InputError(
            f"the positions of this {network} are of {patches} patches, which are no grid like "
            f"that of these images, {grid[0]} x {grid[1]}, and no square. Give images of the size "
            "it was trained on."
        )
    warnings.warn(
        f"the positions of this {network} are of {old[0]} x {old[1]} patches, and its images have "
        f"{grid[0]} x {grid[1]}: they are interpolated.",
        stacklevel=2,
    )
    depth = table.shape[-1]
    image = jnp.asarray(table[0, prefix:], jnp.float32).reshape(*old, depth)
    image = jax.image.resize(image, (*grid, depth), "cubic", antialias=True)
    return jnp.concatenate([table[:, :prefix], image.reshape(1, -1, depth)], axis=1)


def _proportional(patches: int, grid: Grid) -> Grid | None:
    """The grid of so many patches with the proportions of another; None if there is none."""
    rows, columns = (side // math.gcd(*grid) for side in grid)
    times = math.isqrt(max(patches, 0) // (rows * columns))
    if times and times**2 * rows * columns == patches:
        return times * rows, times * columns
    return None
