"""Networks around an image: bounds in JAX with a gradient, attacks, and corruptions."""
