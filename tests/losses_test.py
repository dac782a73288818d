"""`kd.losses` and `kd.objectives`: names that are imported at first use, and their examples."""

import collections
import doctest
import importlib
import inspect

import jax.numpy as jnp
import numpy as np
import pytest
from generated import stubs

from kd import losses, objectives
from kd.objectives import ce
from kd.objectives import kd as kd_file


def test_names_are_those_of_the_files():
    assert losses.distill_kl is kd_file.distill_kl and objectives.KD is kd_file.KD
    assert objectives.ce is ce and objectives.CE is ce.CE
    assert {"distill_kl", "cross_entropy", "decoupled_kl", "attention"} <= set(dir(losses))
    assert {"KD", "CE", "CRD", "Paraphraser"} <= set(dir(objectives))
    for name in dir(losses):
        assert inspect.isfunction(getattr(losses, name)), name
    for name in dir(objectives):
        assert inspect.isclass(getattr(objectives, name)), name


def test_unknown_names_teach():
    with pytest.raises(AttributeError, match=r"'distil_kl'\. Did you mean 'distill_kl'\?"):
        _ = losses.distil_kl
    with pytest.raises(ImportError):
        from kd.objectives import KDD  # noqa: F401
    with pytest.raises(AttributeError, match="Did you mean 'CRD'"):
        _ = objectives.CRT
    assert not hasattr(losses, "__wrapped__") and not hasattr(losses, "warmup")


def test_no_name_can_be_mistaken_for_another():
    """A name of two files would be that of the last; a class named as a file would be the file
    once the file is imported.
    """
    counts = collections.Counter(node.name for _, node in objectives._definitions())
    assert [name for name, count in counts.items() if count > 1] == []
    files = {file for file, _ in objectives._definitions()}
    assert len(files) > 30
    assert not files & (objectives.classes().keys() | objectives.functions().keys())
    assert not files & {n for n in vars(objectives) if not inspect.ismodule(vars(objectives)[n])}


@pytest.mark.parametrize("path", stubs(), ids=lambda path: path.name)
def test_stubs_are_up_to_date(path):
    assert path.read_text() == stubs()[path], "run `python tests/generated.py`"


EXAMPLES = [name for name in dir(losses) if ">>>" in (inspect.getdoc(getattr(losses, name)) or "")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings(name):
    names = {name: getattr(losses, name) for name in dir(losses)} | {"jnp": jnp}
    text = inspect.getdoc(getattr(losses, name))
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    report: list[str] = []
    with np.printoptions(precision=3, suppress=True):
        doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)


def test_the_losses_that_people_import_first_have_examples():
    first = {"cross_entropy", "distill_kl", "decoupled_kl", "attention_transfer", "logit_mse"}
    assert first <= set(EXAMPLES)


def test_every_file_starts_with_the_name_of_its_method():
    for file, _ in objectives._definitions():
        doc = importlib.import_module(f"kd.objectives.{file}").__doc__
        assert ": " in doc and "\n" not in doc, file
