"""One file per method: pure functions of arrays on top, the Flax module that feeds them below."""
