"""Certificates in tables: the metrics `certified` and `attacked`, and the experiment about them."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import verified
from kd import build, config
from kd.cli.main import main
from kd.errors import InputError
from kd.files.parsers import with_digests
from kd.runs.workdir import Workdir
from kd.tables import certificates
from kd.tables.metric import StoredRun
from kd.tables.metric_call import parse

pytestmark = pytest.mark.usefixtures("unoptimized_module")


def stored(workdir: Workdir) -> StoredRun:
    return StoredRun(workdir, ConfigDict(), workdir.read("result.json"))


def certify(workdir: Workdir, seed: int, statuses: str, weights: str = "") -> None:
    """A `verify.json` of a seed by hand, at radius 4; each letter is an image's status."""
    names = {"p": "proved", "r": "refuted", "o": "open"}
    counts = {name: statuses.count(letter) for letter, name in names.items()}
    content = {
        "weights": weights or workdir.read("result.json").get("weights"),
        "radii": [4.0],
        "networks": [{"name": "student", "radii": [{"radius": 4.0, **counts}]}],
    }
    directory = workdir.path / "verified" / f"seed{seed}"
    directory.mkdir(parents=True)
    (directory / "verify.json").write_text(json.dumps(with_digests(content)))


def test_shares_of_each_seed_by_hand(by_hand, monkeypatch):
    """Proved images are certified; those that are not refuted stand under attack."""
    run = by_hand("run", ["11111", "11111"], weights="abc")
    certify(run, 0, "ppprr")
    certify(run, 1, "pprro")
    monkeypatch.setattr(certificates, "COMMAND", ("false",))  # nothing is made
    for name, expected in (("certified", [60, 40]), ("attacked", [60, 60])):
        call = parse(f"{name}(radius=4)")
        assert call.metric.compute(stored(run), radius=call.radius) == pytest.approx(expected)


def test_certificates_of_other_weights_do_not_count(by_hand, monkeypatch):
    run = by_hand("run", ["111"], weights="abc")
    certify(run, 0, "ppp", weights="another")
    monkeypatch.setattr(certificates, "COMMAND", ("sh", "-c", "echo no rule >&2; exit 2"))
    with pytest.raises(InputError, match="no certificates: no rule"):
        parse("certified(radius=4)").metric.compute(stored(run), radius=4.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("certified", "radius is missing, as in 'certified(radius=3)'"),
        ("certified(radius=-1)", "radius: expected 0 or more, got -1"),
        ("attacked(of=3)", "keyword of metric attacked"),
        ("errors(radius=3)", "keyword of metric errors"),
    ],
)
def test_wrong_keywords_teach(text, words):
    with pytest.raises(InputError) as error:
        parse(text)
    assert words in str(error.value)


@pytest.mark.slow
def test_a_table_makes_the_certificates_that_it_lacks(finished, capsys):
    """Of both seeds, once for all radii; the numbers are those of the files."""
    Path("some.py").write_text(
        "def get_experiment(arg=None):\n"
        "    cells = {f'at {r}': dict(metric=f'certified(radius={r})') for r in (4, 8)}\n"
        "    rows = {'student': dict(budget=1)}\n"
        "    return dict(title='', config='small.py', tables=[dict(columns=cells, rows=rows)])\n"
    )
    assert main(["table", "some.py"]) == 0
    assert "| student |" in capsys.readouterr().out
    run = Workdir("runs/small")
    contents = [
        json.loads((run.path / f"verified/seed{i}/verify.json").read_text()) for i in (0, 1)
    ]
    assert [content["seed"] for content in contents] == [0, 1]
    assert contents[0]["radii"] == list(certificates.LADDER)
    at_four = [content["networks"][0]["radii"][2] for content in contents]
    expected = [100 * r["proved"] / len(r["statuses"]) for r in at_four]
    np.testing.assert_allclose(certificates.shares(stored(run), 4.0, "refuted open"), expected)
    assert main(["verify", "runs/small", "--every_seed", "--seed", "0"]) == 2


@pytest.mark.parametrize("data", verified.DATA)
@pytest.mark.parametrize("name", verified.METHODS)
def test_every_method_is_spelled_out(name, data, monkeypatch):
    """And only where it trains; the radius ends its ramp in the middle."""
    monkeypatch.chdir(Path(__file__).parents[1])
    c = build.spell_out(config.load(f"configs/verified.py:method={name},data={data}"))
    terms = [term for term in c.objective.values() if "radius" in term]
    assert all(term.radius == verified.DATA[data][2] for term in terms)
    assert len(terms) == (name not in ("labels", "kd"))
    for term in terms:
        assert term.get("ramp", c.epochs / 2) == c.epochs / 2
    assert bool(c.teacher.config) == (name not in ("labels", "ibp"))
    smoke = config.load(f"configs/verified.py:method={name},data={data},smoke")
    assert smoke.epochs == 2
