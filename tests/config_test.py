"""Configs: defaults, arguments, overrides, identity, and errors that teach."""

import os
import re

import pytest

from configs.common import parse_arg
from kd import build
from kd import config as configs
from kd.build import spell_out
from kd.config import identity, override
from kd.errors import InputError


def written(tmp_path, body, name="mine.py"):
    text = "from ml_collections import ConfigDict\ndef get_config(arg=None):\n"
    lines = ["c = ConfigDict()", "c.data = dict(name='digits')"]
    lines += ["c.student = dict(name='mlp.MLP')"]
    lines += ["c.objective = dict(ce=dict(name='ce.CE'))"]
    lines += ["c.optimizer = dict(name='sgd', learning_rate=0.1)"]
    lines += [*body.splitlines(), "return c"]
    path = tmp_path / name
    path.write_text(text + "".join(f"    {line}\n" for line in lines))
    return str(path)


def test_every_default_is_spelled_out(tmp_path):
    config = spell_out(configs.load(written(tmp_path, "")))
    assert config.student.widths == (256, 256) and config.student.dropout == 0.0
    assert config.optimizer.momentum == 0.9 and config.schedule.name == "constant"
    assert config.objective.ce.weight == 1.0 and config.seeds == 1
    assert "num_classes" not in config.student  # the data decide it


def test_overrides_reach_every_key_and_keep_its_type(tmp_path):
    config = spell_out(configs.load(written(tmp_path, "")))
    arguments = [
        "--config.seeds=3",
        "--config.student.widths=(8, 4)",
        "--config.optimizer.learning_rate=1",
        "--config.objective.ce.smoothing",
        "0.1",
        "--config.augment=crop(1)",
        "--config.drop_last",
    ]
    changed = override.override(config, arguments)
    assert changed.seeds == 3 and changed.student.widths == (8, 4)
    assert changed.optimizer.learning_rate == 1.0 and changed.drop_last
    assert changed.objective.ce.smoothing == 0.1 and changed.augment == "crop(1)"
    assert config.seeds == 1


def test_keys_that_a_file_leaves_out_can_be_set(tmp_path):
    """What a section owns beside its maker's settings, and what is None until someone gives it."""
    body = "c.data = dict(name='arrays', path='x.npz')\n"
    body += "c.objective.ce.weight = dict(name='linear')"
    config = spell_out(configs.load(written(tmp_path, body)))
    arguments = ["--config.optimizer.clip_norm=1", "--config.schedule.value=0.5"]
    arguments += ["--config.data.num_classes=12", "--config.data.mean=(0.5,)"]
    arguments += ["--config.objective.ce.weight.over=3", "--config.data.kind=image"]
    changed = spell_out(override.override(config, arguments))
    assert changed.optimizer.clip_norm == 1.0 and changed.schedule.value == 0.5
    assert changed.data.num_classes == 12 and changed.data.mean == (0.5,)
    assert changed.data.kind == "image" and changed.objective.ce.weight.over == 3.0


@pytest.mark.parametrize(
    ("arguments", "section", "key", "value"),
    [
        (["data.name=arrays", "data.path=x.npz"], "data", "path", "x.npz"),
        (["data.path=x.npz", "data.name=arrays"], "data", "path", "x.npz"),
        (["data.name=folder", "data.path=here", "data.size=(8,8)"], "data", "size", (8, 8)),
        (["data.name=tfds", "data.dataset=kmnist"], "data", "dataset", "kmnist"),
    ],
)
def test_what_another_thing_requires_can_be_set_with_its_name(
    tmp_path, arguments, section, key, value
):
    config = configs.load(written(tmp_path, ""))
    changed = build.overridden(config, [f"--config.{argument}" for argument in arguments])
    assert changed[section][key] == value


def test_what_no_thing_requires_is_refused_with_what_it_takes(tmp_path):
    config = configs.load(written(tmp_path, ""))
    arguments = ["--config.data.name=arrays", "--config.data.paths=x.npz"]
    with pytest.raises(InputError, match=r"unknown key of config\.data 'paths'"):
        build.overridden(config, arguments)


def test_a_teacher_can_be_named_on_the_command_line(tmp_path):
    config = spell_out(configs.load(written(tmp_path, "")))
    assert config.teacher.name == "none"
    for key, value in (("run", "x"), ("config", "x.py"), ("groups", "({'run': 'x'},)")):
        argument = f"--config.teacher.{key}={value}"
        assert override.override(config, [argument]).teacher.name == "frozen"
    off = ["--config.teacher.run=x", "--config.teacher.name=none"]
    assert override.override(config, off).teacher.name == "none"
    emptied = override.override(config, ["--config.teacher.run="])
    assert emptied.teacher.name == "none"
    off = ["--config.teacher.run=x", "--config.teacher.reduce=each", off[1]]
    assert override.override(config, off).teacher.name == "none"


def test_sections_that_are_empty_by_default_can_be_filled(tmp_path):
    config = spell_out(configs.load(written(tmp_path, "")))
    assert not config.acceptance and not config.compare
    arguments = ["--config.acceptance.max_drop=0.02"]
    arguments += ["--config.compare.labels=configs/digits.py:role=labels"]
    changed = override.override(config, arguments)
    assert changed.acceptance.to_dict() == dict(max_drop=0.02, min_agreement=0.0)
    assert changed.compare.to_dict() == dict(labels="configs/digits.py:role=labels")
    assert identity.config_hash(changed.to_dict()) == identity.config_hash(config.to_dict())


def test_another_network_is_trained_on_eight_bits_too(tmp_path):
    """The settings of the network that was named before go with it; how it is trained stays."""
    body = "c.student = dict(name='mlp.MLP', widths=(8,), quantize='int8')"
    config = configs.load(written(tmp_path, body))
    renamed, rest = override.rename(config, ["--config.student.name=cnn.CNN"])
    assert renamed.student.to_dict() == dict(name="cnn.CNN", quantize="int8")
    assert rest == []


def test_a_module_that_cannot_be_imported_is_told_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_nets.py").write_text("x = \n")
    with pytest.raises(InputError, match=r"broken_nets fails: SyntaxError.*line 1"):
        spell_out(configs.load(written(tmp_path, "c.student.name = 'broken_nets.Net'")))


def test_a_teacher_is_a_run_or_the_config_that_makes_it(tmp_path):
    body = "c.teacher = dict(config='configs/digits.py:role=teacher', members=(0, 2))"
    teacher = configs.load(written(tmp_path, body)).teacher
    assert teacher.name == "frozen" and teacher.members == "0,2"
    assert teacher.reduce == "probs" and teacher.run == ""


@pytest.mark.parametrize(
    ("argument", "members"), [("(0, 2)", "0,2"), ("1", "1"), ("paired", "paired"), ("0,1", "0,1")]
)
def test_members_are_chosen_on_the_command_line(tmp_path, argument, members):
    config = configs.load(written(tmp_path, "c.teacher = dict(run='x', members=0)"))
    assert config.teacher.members == "0"
    changed = override.override(config, [f"--config.teacher.members={argument}"])
    assert changed.teacher.members == members


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("c.sede = 1", "unknown config key 'sede'. Did you mean 'seed'?"),
        ("c.epochs = 'ten'", "config.epochs: expected int, got 'ten' (str)"),
        ("c.epochs = 0", "config.epochs: expected 1 or more, got 0"),
        ("c.batch_size = True", "config.batch_size: expected int, got True (bool)"),
        ("c.holdout = 1.5", "config.holdout"),
        ("c.compare = 'x'", "config.compare: expected a dict"),
        ("c.devices = dict(dta=2)", "'dta'. Did you mean 'data'?"),
        ("c.devices = dict(transform='jitt')", "'jitt'. Did you mean 'jit'?"),
        ("c.teacher = dict(rum='x', run='y')", "'rum'. Did you mean 'run'?"),
        ("c.teacher = dict(run='x', members='some')", "config.teacher.members"),
        ("c.teacher = dict(members='0')", "config.teacher.members = '0' is about"),
        ("c.teacher = dict(weights=(1.0, 2.0))", "config.teacher names none"),
        ("c.teacher = dict(reduce='each')", "config.teacher names none"),
        ("c.teacher = dict(cache=True)", "config.teacher.cache = True is about"),
        ("c.teacher = dict(run='x', cache_dir='y')", "teacher.cache = False writes none"),
        ("c.acceptance = dict(max_dorp=1.0)", "Did you mean 'max_drop'?"),
        ("c.acceptance = dict(max_drop='x')", "acceptance.max_drop: expected float"),
        ("c.epochs = None", "config.epochs: expected int, got None"),
        ("c.seed = 2**32", "config.seed: expected 0 to 2147483647"),
        ("c.seed = -1", "config.seed: expected 0"),
        ("c.checkpoint = dict(keep=0)", "config.checkpoint.keep: expected 1"),
        ("c.augment = None", "config.augment: expected str, got None"),
        ("c.compare = {'x': 3}", "config.compare['x']: expected a config"),
        ("c.data.mean = {1.0}", "config.data.mean: expected plain data"),
        ("c.teacher = dict(run='x', members=(1, 1))", "names a member twice"),
        ("c.teacher = dict(run='x', members=[])", "expected 'all', 'paired'"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("1 +", "SyntaxError"),
    ],
)
def test_wrong_configs_teach(tmp_path, body, words):
    with pytest.raises(InputError) as error:
        configs.load(written(tmp_path, body))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("c.student = dict(name='mlp.MPL')", "model 'mlp.MPL'. Did you mean"),
        ("c.teacher = dict(run='x', reduce='mean')", "config.teacher.reduce 'mean'"),
        ("c.teacher = dict(run='x', reduce='prob')", "Did you mean 'probs'?"),
        ("c.teacher = dict(run='x', decay=0.9)", "config.teacher.decay = 0.9 is"),
        ("c.teacher = dict(name='frozen')", "config.teacher: give run"),
        ("c.teacher = dict(name='fozen', run='x')", "Did you mean 'frozen'?"),
        (
            "c.teacher = dict(name='ema', dcay=0.9)",
            "'dcay'. Did you mean 'decay'",
        ),
        (
            "c.teacher = dict(name='ema', run='x')",
            "teacher.run = 'x' is about networks",
        ),
        ("c.teacher = dict(name='ema', cache=True)", "teacher.cache = True is about networks"),
        ("c.teacher = dict(name='nowhere.kind')", "no module 'nowhere'"),
        ("c.student = dict(name='mlp.MLP', width=3)", "Did you mean 'widths'?"),
        ("c.student = dict(name='mlp.MLP', dropout='a')", "student.dropout: expected"),
        ("c.objective = dict(kd=dict(name='kd.KDD'))", "Did you mean 'kd.KD'?"),
        ("c.objective = dict(kd=3.0)", "config.objective.kd: expected a dict"),
        ("c.objective = dict()", "nothing to learn"),
        ("c.objective = dict(loss=dict(name='ce.CE'))", "taken by a metric"),
        ("c.data = dict(name='digit')", "data set 'digit'. Did you mean 'digits'?"),
        ("c.optimizer = dict(name='sdg')", "optimizer 'sdg'. Did you mean 'sgd'?"),
        ("c.schedule = dict(name='cosin')", "schedule 'cosin'. Did you mean 'cosine'?"),
        ("c.student = dict(name='nowhere.Net')", "no module 'nowhere'"),
        ("c.student.num_classes = 3", "config.student.num_classes: the data decide"),
        ("c.optimizer.clip_norm = 'x'", "optimizer.clip_norm: expected float"),
        ("c.schedule = dict(name='')", "the schedule needs a name, not ''"),
        ("c.schedule = dict(name='constant', value='x')", "schedule.value: expected float"),
        ("c.objective.ce.weight = None", "objective.ce.weight: expected float"),
        ("c.objective.ce.weight = 'x'", "objective.ce.weight: expected float"),
        ("c.objective.ce.weight = dict(name='liner')", "Did you mean 'linear'?"),
        ("c.objective.ce.weight = dict(name='linear', ovr=1)", "mean 'over'?"),
    ],
)
def test_wrong_names_teach(tmp_path, body, words):
    with pytest.raises(InputError) as error:
        spell_out(configs.load(written(tmp_path, body)))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--config.epoch=3", "unknown config key 'epoch'. Did you mean 'epochs'?"),
        ("--config.student.width=3", "key of config.student 'width'"),
        ("--config.seeds.x=3", "config.seeds is a value"),
        ("--config.acceptance.max_dorp=1", "Did you mean 'max_drop'?"),
        ("--config.compare=3", "config.compare: expected a section, as a dict or key by key, got"),
        ("--config.student=x", "config.student: expected a section, as a dict or key by key, got"),
        ("--config.seeds=many", "config.seeds: expected an integer, got 'many'."),
        ("--config.epochs=0.5", "config.epochs: expected an integer, got '0.5'."),
        ("--config.holdout=x", "config.holdout: expected a number, got 'x'."),
        ("--config.tensorboard=maybe", "tensorboard: expected True or False, got 'maybe'."),
        ("--config.train_classes=[1,2", "expected a tuple such as (16, 32), got '[1,2'."),
        ("--confg.seeds=3", "confg"),
        ("stray", "unexpected argument 'stray'"),
    ],
)
def test_wrong_overrides_teach(tmp_path, argument, words):
    config = spell_out(configs.load(written(tmp_path, "")))
    with pytest.raises(InputError) as error:
        override.override(config, [argument])
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_file_written_twice_in_a_second_is_read_anew(tmp_path):
    """Python's cache of bytecode would not see it: the size and the second are the same."""
    file = tmp_path / "config.py"
    for word in ("one", "two"):
        file.write_text(f"def get_config(arg=None):\n    raise ValueError({word!r})\n")
        os.utime(file, (10**9, 10**9))
        with pytest.raises(InputError, match=f"line 2: ValueError: {word}"):
            configs.load(str(file))


def test_a_missing_file_lists_the_configs_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "this.py").touch()
    with pytest.raises(InputError, match=re.escape("configs/this.py")):
        configs.load("configs/that.py")


def test_identity_leaves_out_what_changes_no_weight(tmp_path):
    config = spell_out(configs.load(written(tmp_path, "")))
    same = override.override(config, ["--config.checkpoint.seconds=1", "--config.devices.data=8"])
    other = override.override(config, ["--config.student.widths=(3,)"])
    print_of = lambda c: identity.config_hash(c.to_dict())
    assert print_of(config) == print_of(same) != print_of(other)
    assert identity.differences(config.to_dict(), other.to_dict()) == [
        "student.widths: [256, 256] here, [3] there"
    ]


def test_default_workdirs_are_plain_names():
    assert str(configs.default_workdir("configs/digits.py")) == "runs/digits"
    found = configs.default_workdir("configs/digits.py:role=teacher,x=a/b", "out")
    assert str(found) == "out/digits-role=teacher,x=a_b"


def test_arguments_have_the_type_of_their_default():
    options = parse_arg("student=a,seeds=3,fast", student="b", seeds=1, fast=False)
    assert options == {"student": "a", "seeds": 3, "fast": True}
    for wrong, words in (
        ("sedes=3", "Did you mean 'seeds'"),
        ("seeds=x", "expected seeds=int"),
        ("seeds", "needs a value|expected seeds=int"),
    ):
        with pytest.raises(ValueError, match=words):
            parse_arg(wrong, seeds=1)


@pytest.mark.parametrize("file", ["digits", "fashion_mnist"])
def test_the_shipped_configs_are_whole(file):
    """Each role resolves, and what a config refers to exists."""
    for role in ("student", "teacher", "labels"):
        config = spell_out(configs.load(f"configs/{file}.py:role={role}"))
        assert config.seeds == 5
        references = [config.teacher.get("config"), *config.compare.values()]
        for reference in filter(None, references):
            assert spell_out(configs.load(reference)).seeds == 5


@pytest.mark.parametrize("key", ["members='0,1'", "weights=(1.0, 2.0)", "reduce='each'"])
def test_a_mean_teacher_is_no_ensemble(tmp_path, key):
    path = written(tmp_path, f"c.teacher = dict(name='ema', {key})")
    with pytest.raises(InputError, match=f"config.teacher.{key.partition('=')[0]} "):
        spell_out(configs.load(path))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("a = {}; a['a'] = a; return ConfigDict({'data': a})", r"config\.data\.a contains itself"),
        ("c = ConfigDict(); c.student = c; return c", r"config\.student contains itself"),
        ("a = []; a.append(a); return ConfigDict({'compare': {'x': a}})", r"x\.0 contains itself"),
        (
            "a = 1\n    for _ in range(99): a = [a]\n    return ConfigDict({'data': {'x': a}})",
            "deep",
        ),
        ("return ConfigDict({'student': {1: 2}})", r"config\.student: a section's keys must be"),
        ("raise ValueError('x' * 10**6)", r"ValueError: x{500} \.\.\.$"),
    ],
)
def test_a_config_is_finite(tmp_path, body, words):
    file = tmp_path / "mine.py"
    file.write_text(f"from ml_collections import ConfigDict\ndef get_config():\n    {body}\n")
    with pytest.raises(InputError, match=words):
        configs.load(str(file))


def overridden(tmp_path, *arguments, body=""):
    from kd.build import overridden

    return overridden(configs.load(written(tmp_path, body)), [f"--config.{a}" for a in arguments])


def test_a_number_becomes_a_schedule_and_back(tmp_path):
    linear = dict(name="linear", value=1.0, start=0.0, end=0.5, over=1.0)
    config = overridden(tmp_path, "objective.ce.weight={'name': 'linear', 'end': 0.5}")
    assert config.objective.ce.weight.to_dict() == linear
    config = overridden(tmp_path, "objective.ce.weight.name=linear", "objective.ce.weight.end=0.5")
    assert config.objective.ce.weight.to_dict() == linear
    body = "c.objective.ce.weight = dict(name='linear', end=0.5)"
    config = overridden(tmp_path, "objective.ce.weight=0.25", body=body)
    assert config.objective.ce.weight == 0.25
    config = overridden(tmp_path, "schedule={'name': 'cosine', 'warmup': 0.5}", "schedule.end=0.1")
    assert config.schedule.to_dict() == dict(name="cosine", value=1.0, warmup=0.5, end=0.1)


def test_a_term_is_added_on_the_command_line(tmp_path):
    arguments = ["objective.kd.name=kd.KD", "objective.kd.temperature=2", "objective.kd.weight=3"]
    added = overridden(tmp_path, *arguments)
    assert added.objective.kd.to_dict() == dict(
        name="kd.KD", weight=3.0, temperature=2.0, standardize=False
    )
    written_out = "objective.kd={'name': 'kd.KD', 'weight': 3, 'temperature': 2}"
    assert overridden(tmp_path, written_out) == added
    assert list(added.objective) == ["ce", "kd"]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("objective.ce.weight={'name': 'lnear'}", "Did you mean 'linear'"),
        ("objective.ce.weight={'name': ", "expected a dict such as"),
        ("objective.ce.weight=many", "weight"),
        ("objective.new={'weight': 1.0}", "objective needs a name"),
        ("objective.new.weight=1", "'new'"),
        ("objective.new.name=ce.CEE", "Did you mean 'ce.CE'"),
        ("objective.ce.weight={'name': 'linear', 'end': -1.0}", "weight.end: expected 0 or more"),
        ("epochs={'name': 'x'}", "epochs"),
        ("schedule={'name': 'cosine', 'wramup': 1.0}", "Did you mean 'warmup'"),
    ],
)
def test_what_cannot_be_placed_is_refused(tmp_path, argument, words):
    with pytest.raises(InputError, match=words):
        overridden(tmp_path, argument)


def test_workdirs_of_different_overrides_differ():
    base = configs.default_workdir("configs/digits.py")
    name = lambda **overrides: str(configs.named_after(base, overrides))
    assert name(seeds=2) == "runs/digits--seeds=2"
    assert name(**{"optimizer.learning_rate": 0.01}) != name(**{"optimizer.learning_rate": 0.02})
    long = [name(text="x" * 300 + end) for end in "ab"]
    assert long[0] != long[1] and max(map(len, long)) < 200
