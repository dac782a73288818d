"""`kd verify`: what it writes, what it refuses, and certificates of other weights."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from kd.cli.main import main
from kd.files.parsers import parse_npz
from kd.runs import certificates
from kd.runs.workdir import Workdir
from kd.verify import networks
from kd.verify.agreement import agreements
from kd.verify.certificates import Question, certify
from kd.verify.difference import differences


def read(directory: str = "runs/small") -> dict:
    return json.loads((Path(directory) / "verify.json").read_text())


@pytest.mark.parametrize("only", ["student", pytest.param("teacher", marks=pytest.mark.slow)])
def test_a_run_is_verified_and_checked(only, finished, capsys, unoptimized):
    """Every witness is in its ball and gets another class; flipped weights are refused."""
    command = ["verify", "runs/small", "--radius", "3,30", "--images", "20", "--only", only]
    assert main([*command, "--exact", "20"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("20 images at 2 radii.")
    assert ("No teacher" if only == "student" else "easier to validate") in printed
    content = read()
    assert [n["name"] for n in content["networks"]] == list(dict.fromkeys(["student", only]))
    with Path("runs/small/verify.npz").open("rb") as file:
        arrays = parse_npz(file)
    dataset = networks.of_run(Workdir("runs/small"), content["seed"], "runs")[0].dataset
    image = dataset.test.image[content["index"]].astype(float)
    for k, network in enumerate(content["networks"]):
        small, large = network["radii"]
        assert small["proved"] > large["proved"] and small["open"] == large["open"] == 0
        for i, r in enumerate(network["radii"]):
            refuted = [j for j, status in enumerate(r["statuses"]) if status == "refuted"]
            assert sorted(arrays[f"{k}_{i}_index"]) == refuted and r["refuted"] == len(refuted)
            away = abs(arrays[f"{k}_{i}_image"] - image[arrays[f"{k}_{i}_index"]])
            assert away.max() <= r["radius"] + 1e-4
    assert main([*command[:2], "--check"]) == 0
    assert "refute" in capsys.readouterr().out
    stored = Path("runs/small/verify.json").read_text()
    sha = content["networks"][0]["sha256"][0]
    Path("runs/small/verify.json").write_text(stored.replace(sha, sha[::-1]))
    assert main([*command[:2], "--check"]) == 2
    assert "damaged" in capsys.readouterr().err
    Path("runs/small/verify.json").write_text(stored)


def test_certificates_of_other_weights_are_refused(finished, capsys, monkeypatch):
    content = {"seed": 0, "index": [0], "networks": [], "conclusion": "", "witnesses": ""}
    directory = Workdir("runs/small")
    source, (student, *_) = networks.of_run(directory, 0, "runs")
    member = student.members[0]
    flip = lambda x: x.at[(0,) * x.ndim].add(2.0**-20)
    other = jax.tree.map(flip, member.variables)
    assert certificates.sha256(other) != member.sha256
    entry = {"name": "student", "sha256": [certificates.sha256(other)], "radii": []}
    directory.write("verify.npz", {"none": np.zeros(1)})
    content |= {"networks": [entry], "evaluated": directory.read("result.json")["evaluated"]}
    from kd.verify import records

    monkeypatch.setattr(certificates, "table", lambda content: [["a"], ["b"]])
    monkeypatch.setattr(certificates, "note", lambda content: "")
    arrays = {"none": np.zeros(1)}
    records.write(directory, {**content, "run": ""}, arrays)
    assert main(["verify", "runs/small", "--check"]) == 2
    assert "other weights of the student" in capsys.readouterr().err
    assert certificates.of_network(directory, member.variables) is None
    del source


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--radius", "0"], "from above 0 to 255"),
        (["--radius", "1,256"], "from above 0 to 255"),
        (["--radius", "one"], "such as 1,2,4,8"),
        (["--images", "0"], "expected 1 or more"),
        (["--seed", "7"], "has the seeds 0, 1"),
        (["--exact", "-1"], "0 or more"),
        (["--exact", "1", "--norm", "l2"], "L-infinity"),
        (["--only", "nobody"], "has student, teacher, ensemble of 2"),
        (["--check"], "run `kd verify` first"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message, finished, capsys):
    assert main(["verify", "runs/small", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("runs/small/verify.json").exists()


@pytest.mark.parametrize(
    ("student", "ensemble", "words"),
    [
        ((10, 0, 1.0), (8, 2, 150.0), "easier to validate than the ensemble of 5: 100.0 % are "
         "decided instead of 80.0 %, in 150 times less processor time."),
        ((9, 1, 1.0), (9, 1, 2.5), "easier to validate than the ensemble of 5: as many are "
         "decided, in 2.5 times less processor time."),
        ((9, 1, 3.0), (8, 2, 2.0), "known about the student (90.0 % are decided instead of 80.0 %"),
        ((7, 3, 1.0), (8, 2, 9.0), "not easier to validate than the ensemble of 5: 70.0 % are "),
        ((9, 1, 3.0), (9, 1, 2.0), "not easier to validate than the ensemble of 5: as many are"),
    ],
)  # fmt: skip
def test_the_conclusion_says_how_much_easier_it_is(student, ensemble, words):
    """Of (decided, open, seconds) of ten questions."""
    network = lambda name, decided, rest, seconds: {
        "name": name,
        "radii": [
            {"proved": decided - 2, "refuted": 2, "open": rest, "seconds": seconds - 0.5}
            | {"attack_seconds": 0.5}
        ],
    }
    networks = [network("student", *student), network("ensemble of 5", *ensemble)]
    assert words in certificates.conclusion({"networks": networks})


def test_runs_that_are_not_finished_are_refused(small_config, by_hand, capsys):
    assert main(["verify", "nowhere"]) == 2
    (by_hand("half", ["1"]).path / "result.json").unlink()
    assert main(["verify", "half"]) == 2
    assert "is not finished" in capsys.readouterr().err


@pytest.mark.slow
def test_an_ensemble_report_and_card(finished, capsys):
    """In both norms; an ensemble is proved where every member is, whatever they predict together;
    the report has the curve.
    """
    assert main(["verify", "runs/small", "--norm", "l2", "--radius", "20", "--images", "12"]) == 0
    assert read()["networks"][2]["name"] == "ensemble of 2"
    source, subjects = networks.of_run(Workdir("runs/small"), None, "runs")
    ensemble = subjects[2]
    image = source.dataset.train.image
    first, second = (member.logits(image).argmax(-1) for member in ensemble.members)
    (alike,) = np.nonzero(first == second)  # no other image can be proved at any radius
    question = Question(image[alike], first[alike], "l2", np.ones(1))
    radii = [0.01, 0.1, 1.0, 10.0, 40.0]
    together = certify(ensemble, question, radii)
    each = [certify(networks.Subject("", "", "", [m]), question, radii) for m in ensemble.members]
    shares = []
    for whole, *parts in zip(together, *each, strict=True):
        proved = np.all([part.status == "proved" for part in parts], axis=0)
        np.testing.assert_array_equal(whole.status == "proved", proved)
        shares.append(proved.mean())
    assert max(shares) > min(shares)
    assert main(["report", "runs/small", "--stored"]) == 0
    page = Path("runs/small/report/report.md").read_text()
    assert "certified %" in page and "questions are decided" in page


@pytest.mark.slow
@pytest.mark.parametrize("net", ["MLP", "CNN"])
def test_the_integers_of_an_export_lie_within_their_bounds(net, small_config, capsys):
    """Of a dense network and of one of convolutions: for random images of bytes, the file's logits
    are within the bounds; a file of another seed, or changed, is refused.
    """
    from kd.export.graph import ends as exported_ends
    from kd.verify import integers
    from kd.verify.bounds import intervals
    from kd.verify.crown import Crown

    if net == "CNN":
        text = small_config.read_text().replace("mlp.MLP", "cnn.CNN").replace("(8,)", "(4, 6)")
        small_config.write_text(text)
    assert main(["run", "--config", "small.py:teacher", "--workdir", "runs/small"]) == 0
    command = ["verify", "runs/small", "--int8", "--radius", "2", "--images", "8"]
    assert main(command) == 2
    assert "kd export" in capsys.readouterr().err
    export = ["export", "runs/small", "--format", "litert", "--int8", "--images", "8"]
    assert main([*export, "--waive", "agreement"]) == 0  # of a network that is hardly trained
    source, subjects = networks.of_run(Workdir("runs/small"), None, "runs")
    student = networks.exported(source, subjects[0])
    file = student.members[0]
    graph, reach = integers.read(file.content)
    image = source.dataset.test.image[:8]
    logits = file.logits(image)
    raw = np.concatenate([image.reshape(8, -1), np.zeros((8, len(reach) - 64))], axis=1)
    middle = graph.logits(raw)
    question = Question(image, source.dataset.test.label[:8], "linf", np.ones(1))
    exactly = file.balls(question.balls(0.0))
    limits = Crown(graph).bounds(exactly)
    assert (limits.low[-1] <= logits).all() and (logits <= limits.high[-1]).all()
    assert abs(middle - logits).max() <= 4 and (limits.high[-1] - limits.low[-1]).max() < 40
    balls = question.balls(4.0)
    limits = Crown(graph).bounds(file.balls(balls))
    plain = intervals(graph, file.balls(balls))
    rng = np.random.default_rng(0)
    (gap,) = differences(subjects[0], student, question, [4.0])
    ends = exported_ends(file.content)[1]
    assert 0 < gap["mean"] <= gap["bound"] == max(gap["bounds"]) >= gap["at_image"] > 0
    for _ in range(10):
        drawn = rng.integers(balls.low, balls.high + 1).reshape(image.shape).astype(np.uint8)
        z = file.logits(drawn)
        off = abs(subjects[0].logits(drawn) - ends.scale * (z - ends.zero)).max(axis=1)
        assert (off <= gap["bounds"]).all()
        assert (limits.low[-1] <= z).all() and (z <= limits.high[-1]).all()
        assert (plain.low[-1] <= z).all() and (z <= plain.high[-1]).all()
    # TFLM rounds otherwise than the reference kernels, by one unit, and lies in the bounds, too.
    drawn = rng.integers(0, 256, (1000, *image.shape[1:])).astype(np.uint8)
    drawn[::2] = np.where(drawn[::2] < 128, 0, 255)
    whole = Question(drawn, np.zeros(1000, int), "linf", np.ones(1))
    limits = intervals(graph, file.balls(whole.balls(0.0)))
    outputs = np.stack([file.on_device(drawn), file.logits(drawn)])
    assert (limits.low[-1] <= outputs).all() and (outputs <= limits.high[-1]).all()
    assert abs(outputs[0] - outputs[1]).max() <= 1
    assert main(command) == 0
    content = read()
    assert [n["name"] for n in content["networks"]] == ["student", "int8 file"]
    assert len(content["networks"][1]["radii"][0]["statuses"]) == 8
    (row,) = content["difference"]["radii"]
    assert 0 < row["at_image"] < row["bound"] < gap["bound"]  # of a radius of 2
    assert "at most in any ball" in Path("runs/small/verify.md").read_text()
    assert main([*command[:3], "--check"]) == 0
    # The card has the difference where it is of the file's own bytes.
    path = Path("runs/small/export/litert-int8/model.tflite")
    proofs = lambda files: certificates.of_network(
        Workdir("runs/small"), subjects[0].members[0].variables, files
    )
    (sha,) = content["networks"][1]["sha256"]
    assert not proofs(["another"])["difference"] and len(proofs(["another"])["table"]) == 2
    assert proofs([sha])["difference"][1][1] == "2" and len(proofs([sha])["table"]) == 3
    assert main([*export, "--waive", "agreement"]) == 0  # again, with the certificates
    card = path.with_name("model_card.md").read_text()
    assert "| int8 file | 2 |" in card and "at most in any ball" in card
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert main([*command[:3], "--check"]) == 2


@pytest.mark.slow
def test_student_and_teacher_against_each_other(finished):
    """No sample of a ball that is proved has two classes, or logits farther apart than bounded."""
    command = ["verify", "runs/small", "--only", "student", "--radius", "1", "--images", "40"]
    assert main([*command, "--against", "teacher"]) == 0
    content = read()
    (row,) = content["agreement"]["radii"]
    assert content["agreement"]["teacher"] == "ensemble of 2"
    assert 0 < row["gap_at_image"] < row["gap"]
    source, subjects = networks.of_run(Workdir("runs/small"), content["seed"], "runs")
    student, ensemble = subjects[0], subjects[-1]
    # In tiny balls, what is proved are the images where all networks name one class.
    test = source.dataset.test
    question = Question(test.image, test.label, "linf", np.ones(1))
    pair = networks.Subject("", "", "", ensemble.members[:1])
    (tiny,) = agreements(student, pair, question, [1e-3])
    one = student.logits(test.image).argmax(-1) == pair.logits(test.image).argmax(-1)
    assert 0 < tiny["same"] == one.sum() and tiny["differ"] == (~one).sum()
    assert tiny["gap"] == pytest.approx(tiny["gap_at_image"], abs=0.01)
    image = source.dataset.test.image[content["index"]].astype(float)
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = np.clip(image + rng.choice([-1.0, 1.0], image.shape), 0, 255)
        ours = student.logits(drawn)
        theirs = np.mean([m.logits(drawn) for m in ensemble.members], axis=0)
        agree = ours.argmax(-1) == ensemble.logits(drawn).argmax(-1)
        assert agree[np.array(row["proved"])].all()
        away = (ours - ours.mean(-1, keepdims=True)) - (theirs - theirs.mean(-1, keepdims=True))
        assert (abs(away).max(-1) <= np.array(row["gaps"])).all()
