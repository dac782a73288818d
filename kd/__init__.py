"""Knowledge distillation in JAX: ensembles of teachers inside one compiled step, students for
embedded systems.
"""

__version__ = "0.1.0"
