"""Whose code a name in a config may bring in: nothing of a stranger's run directory is executed."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import kd
from kd import build, registry
from kd.cli.main import main
from kd.config import ConfigDict, complete, leaves
from kd.errors import InputError
from kd.files.parsers import DIGESTS
from kd.names import kinds, trust
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir

EVIL = """
from pathlib import Path
Path({marker!r}).touch()
from kd.models.mlp import MLP as Net
from kd.objectives.ce import CE as Loss
from kd.data.arrays import load
def touch(*args, **kwargs):
    Path({marker!r}).touch()
"""


@pytest.fixture
def evil(finished, tmp_path, monkeypatch) -> Path:
    """A finished run `runs/small` with its teacher, a module `evil` in it, in its parent and in the
    working directory, and the file that exists once any of them was executed.
    """
    marker = tmp_path / "executed"
    text = EVIL.format(marker=str(marker))
    for place in (Path(), Path("runs"), Path("runs/small")):
        (place / "evil.py").write_text(text)
    for run in ("runs/small", "runs/small-teacher"):  # a stranger leaves the digests out
        path = Path(run, "result.json")
        result = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in result.items() if k != DIGESTS}))
    before = set(sys.modules)
    yield marker
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("evil", "runs", "linked", "project"):
            del sys.modules[name]
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])


def rewrite(run: str, **sections) -> dict:
    """The config that is stored in a run, after changes."""
    path = Path(run) / "config.json"
    content = json.loads(path.read_text())
    for section, value in sections.items():
        content[section] = {**content[section], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))
    return content


def everything(run: str, *names: str) -> list[str]:
    """The messages of all that reads a stored run, or of these readers, one after the other."""
    from kd.export.command import Options, export
    from kd.report.uncertainty import measure
    from kd.report.write import write
    from kd.runs.pack import pack

    own = ConfigDict(json.loads(Path("runs/small-teacher/config.json").read_text()))
    own.teacher = dict(run=run)
    own.objective.kd = dict(name="kd.KD")
    readers = {
        "report": lambda: write([run], "out", images=4),
        "stored report": lambda: write([run], "out", networks=False),
        "uncertainty": lambda: measure(run, {"name": "digits"}),
        "pack": lambda: pack(run, "out.safetensors"),
        "export": lambda: export(Options(run, "stablehlo", out="archive")),
        "load": lambda: kd.load(run).networks,
        "table": lambda: kd.load(run).table(),
        "teacher": lambda: kd.run(own, "mine", epochs=1),
        "owner": lambda: Workdir(run).check_owner(own.to_dict(), build.as_today),
    }
    messages = []
    for name in names or readers:
        try:
            readers[name]()
            messages.append(f"{name}: read")
        except (InputError, kd.RunError) as error:
            messages.append(f"{name}: {error}")
    return messages


NAMES = (
    {"student": {"name": "evil.Net"}},
    {"student": {"name": "runs.evil.Net"}},
    {"student": {"name": "runs.small.evil.Net"}},
    {"student": {"name": "evil.touch"}},
    {"student": {"name": "os.system"}},
    {"data": {"name": "evil.load"}},
    {"data": {"name": "subprocess.getoutput", "path": "touch executed"}},
    {"objective": {"kd": {"name": "evil.Loss", "weight": 1.0}}},
    {"teacher": {"name": "evil.touch"}},
    {"teacher": {"reduce": "evil.touch"}},
    {"augment": "crop(1)|evil.touch(1)"},
    {"second_view": "evil.touch"},
    {"mix": "mixup(0.2) or evil.touch(1)"},
    {"optimizer": {"name": "evil.touch"}},
    {"schedule": {"name": "evil.touch"}},
    {"teacher": {"config": "evil.py:x", "run": ""}},
    {"init": {"config": "evil.py", "run": ""}},
    {"compare": {"x": "evil.py"}},
)


@pytest.mark.campaign
@pytest.mark.usefixtures("unoptimized")
def test_every_reader_takes_the_package_that_is_trusted(evil):
    Path("project").mkdir()
    Path("project/nets.py").write_text("from kd.models.mlp import MLP as Net\n")
    for run in ("runs/small", "runs/small-teacher"):
        rewrite(run, student={"name": "project.nets.Net"})
    assert main(["report", "runs/small", "--images=4"]) == 2
    with trust.allow("project"):
        messages = everything("runs/small")
    assert [m for m in messages if not m.endswith(": read")] == [
        m for m in messages if "TORCH_NAMES" in m or "belongs to another config" in m
    ], messages
    assert main(["report", "runs/small", "--trust", "project", "--images=4"]) == 0


def config_of(student: str, **sections) -> ConfigDict:
    return complete(
        ConfigDict(
            dict(
                data=dict(name="digits"),
                student=dict(name=student),
                objective=dict(ce=dict(name="ce.CE")),
                optimizer=dict(name="sgd", learning_rate=0.1),
            )
            | sections
        )
    )


@pytest.mark.slow
def test_no_network_of_a_stored_config_brings_in_code(evil):
    for name in ("evil.Net", "runs.small.evil.Net"):
        rewrite("runs/small", student={"name": name})
        messages = everything("runs/small", "pack", "export", "load", "uncertainty", "report")
        assert not evil.exists(), name
        assert all("stored in" in m or "Expected" in m for m in messages), messages


def texts() -> list[str]:
    """Keys of a config whose values are texts."""
    config = config_of("mlp.MLP", compare={"x": "y.py"}).to_dict()
    return sorted(key for key, value in leaves(config) if isinstance(value, str))


@pytest.mark.campaign
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize("key", texts())
def test_no_text_of_a_stored_config_brings_in_code(evil, key):
    """Each text of a config in turn, whatever its key, is a name of code."""
    name = {"student.name": "evil.Net", "data.name": "evil.load"}.get(key, "evil.touch")
    name = "evil.py:x" if key.endswith(("config", "compare.x")) else name
    path = Path("runs/small/config.json")
    content = json.loads(path.read_text())
    *sections, last = key.split(".")
    section = content
    for part in sections:
        section = section[part]
    section[last] = name
    path.write_text(json.dumps(content))
    everything("runs/small")
    assert not evil.exists()


@pytest.mark.campaign
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize("change", NAMES, ids=str)
def test_no_name_of_a_stored_config_brings_in_code(evil, change):
    rewrite("runs/small", **change)
    everything("runs/small")
    assert not evil.exists()


@pytest.mark.slow
def test_a_stored_network_of_ones_own_is_refused_until_its_package_is_trusted(evil, capsys):
    Path("project").mkdir()
    Path("project/nets.py").write_text("from kd.models.mlp import MLP as Net\n")
    rewrite("runs/small-teacher", student={"name": "project.nets.Net"})
    assert main(["report", "runs/small-teacher"]) == 2
    error = capsys.readouterr().err
    assert "add --trust project" in error and "runs/small-teacher" in error
    assert main(["report", "runs/small-teacher", "--stored"]) == 0
    with pytest.raises(InputError, match="trust='project'"):
        kd.load("runs/small-teacher").networks  # noqa: B018
    assert len(kd.load("runs/small-teacher", trust="project").networks) == 2


def test_a_package_that_ones_own_config_names_is_trusted_for_this_run(evil, capsys):
    Path("project").mkdir()
    nets = "from kd.models.mlp import MLP\nclass Big(MLP): pass\nclass Small(MLP): pass\n"
    Path("project/nets.py").write_text(nets)
    rewrite("runs/small-teacher", student={"name": "project.nets.Big"})
    with trust.allow():
        with pytest.raises(InputError, match="--trust project"):
            load_networks(Workdir("runs/small-teacher"))
        build.spell_out(config_of("project.nets.Small"))
        assert len(load_networks(Workdir("runs/small-teacher")).members) == 2
    with pytest.raises(InputError, match="--trust project"):
        load_networks(Workdir("runs/small-teacher"))


@pytest.mark.parametrize("way", ["runs.evil", "runs.small.evil", "linked", "project.linked"])
def test_nothing_in_a_run_directory_is_imported_whoever_names_it(evil, tmp_path, way):
    """Not through a namespace package, nor through a link to a file or a directory."""
    Path("linked.py").symlink_to("runs/small/evil.py")
    Path("project").mkdir()
    Path("project/linked").symlink_to(tmp_path / "runs/small", target_is_directory=True)
    name = f"{way}.evil.Net" if way == "project.linked" else f"{way}.Net"
    refused = pytest.raises(InputError, match="nothing in a run directory is imported")
    with trust.allow([way.partition(".")[0]]), refused:
        build.spell_out(config_of(name))
    assert not evil.exists()


def test_a_run_elsewhere_is_recognised_by_its_files(evil):
    shutil.copytree("runs/small", "strangers/run")
    with pytest.raises(InputError, match="nothing in a run directory is imported"):
        registry.find("kd.models", "strangers.run.evil.Net")
    assert not evil.exists()
    Path("strangers/evil.py").write_text("from kd.models.mlp import MLP as Net\n")
    registry.find("kd.models", "strangers.evil.Net")


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("kd.data", "os.system"),
        ("kd.data", "subprocess.run"),
        ("kd.data", "subprocess.Popen"),
        ("kd.data", "builtins.eval"),
        ("kd.data", "shutil.rmtree"),
        ("kd.data", "numpy.load"),
        ("kd.data", "optax.sgd"),
        ("kd.data", "prepare.run"),
        ("kd.data", "arrays.Path"),
        ("kd.models", "os.system"),
        ("kd.models", "subprocess.Popen"),
        ("kd.models", "numpy.zeros"),
        ("kd.models", "optax.sgd"),
        ("kd.models", "functools.partial"),
        ("kd.objectives", "os.remove"),
        ("kd.objectives", "builtins.dict"),
        ("kd.objectives", "jax.numpy.sum"),
        ("kd.tables.metrics", "os.system"),
        ("kd.tables.metrics", "numpy.save"),
    ],
)
def test_a_name_must_be_of_the_kind_that_its_key_wants(package, name):
    with pytest.raises(InputError, match="Expected"):
        registry.find(package, name, "load" if package == "kd.data" else None)


@pytest.mark.parametrize("section", ["augment", "second_view", "optimizer", "schedule", "teacher"])
@pytest.mark.parametrize("name", ["os.system", "subprocess.getoutput", "builtins.exec"])
def test_other_keys_want_a_kind_too(section, name):
    value = name if section in ("augment", "second_view") else dict(name=name)
    with pytest.raises(InputError, match="Expected"):
        config = config_of("mlp.MLP", **{section: value})
        build.spell_out(config)
        from kd.data.augment import parse

        parse(config[section])


def test_every_kind_of_name_is_checked():
    """All places that resolve a name give a kind that `kd.names.kinds` knows."""
    found = set()
    for file in Path(kd.__file__).parent.rglob("*.py"):
        text = file.read_text()
        for kind in kinds.SORTS:
            if f'"{kind}"' in text and file.name != "kinds.py":
                found.add(kind)
    packages = {"model": "kd.models", "objective": "kd.objectives", "data set": "kd.data"}
    packages["metric"] = "kd.tables.metrics"
    assert found | packages.keys() == kinds.SORTS.keys()
    for package in packages.values():
        with pytest.raises(InputError, match="Expected"):
            registry.find(package, "os.system")


@pytest.mark.parametrize("name", ["a..b", ".a.b", "a.b.", "a-b.c", "..", "a.b/c.d", "a.import.b"])
def test_what_is_no_name_is_refused_in_a_line(name):
    with pytest.raises(InputError, match="expected a name such as"):
        registry.find("kd.models", name)


@pytest.mark.parametrize("package", ["a.b", "os", "", "a b", "subprocess"])
def test_trust_wants_a_package(package, capsys):
    assert main(["pack", "run", "--out=x.safetensors", f"--trust={package}"]) == 2
    assert "--trust" in capsys.readouterr().err


def test_every_verb_that_reads_runs_takes_trust(capsys):
    from kd.cli.main import find_verbs

    for verb in find_verbs():
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        takes = "--trust PACKAGE" in capsys.readouterr().out
        assert takes == (
            verb not in ("prepare", "init", "configs", "experiments", "status", "data")
        )
