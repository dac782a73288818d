"""Networks around an image: bounds in JAX that can be differentiated, and attacks."""
