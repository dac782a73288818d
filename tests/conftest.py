"""Strict everywhere: eight simulated devices, no silent rank promotion, warnings are errors, shapes
checked as they run.
"""

import contextlib
import hashlib
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from beartype import BeartypeConf
from beartype.claw import beartype_packages
from filelock import FileLock
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]


def check_calls() -> None:
    """Checks arguments and results of the functions of kd as they run, by their annotations.

    By jaxtyping, shapes too, in the modules that name any; by beartype alone, which is many times
    faster, in the others, but for those whose names are there for type checkers only.
    """
    source = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for path in (ROOT / "kd").rglob("*.py")
    }
    shapes = {name for name, text in source.items() if "from jaxtyping import" in text}
    untyped = {name for name, text in source.items() if "if TYPE_CHECKING" in text}
    checker = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
    install_import_hook(sorted(shapes), checker)
    conf = BeartypeConf(is_pep484_tower=True, claw_is_pep526=False)
    beartype_packages(sorted(source.keys() - shapes - untyped), conf=conf)


check_calls()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs behind it
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup starts what it runs
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Many tests compile the same small programs. A session starts with none and leaves none, unless the
# variable names a directory; processes that tests start share it, and leave the user's alone.
KEPT = "JAX_COMPILATION_CACHE_DIR" in os.environ
TEMPORARY = "" if KEPT else tempfile.mkdtemp(prefix="kd-tests-")
PROGRAMS = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", TEMPORARY)
jax.config.update("jax_compilation_cache_dir", PROGRAMS)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("campaign", "the long tests marked campaign")
    group.addoption(
        "--campaign",
        type=float,
        default=1.0,
        metavar="PART",
        help="run this part of the campaign tests (default: 1, all of them)",
    )
    group.addoption(
        "--campaign-seed", default="0", metavar="TEXT", help="what draws them (default: 0)"
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    part, seed = config.getoption("--campaign"), config.getoption("--campaign-seed")
    return None if part == 1 else f"campaign: {part:g} of its tests, drawn by seed {seed}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the campaign tests that are not drawn, each by a hash of its name and the seed.
    One case of a slow test may be part of the campaign: `-m slow` leaves it out.
    """
    for item in items:
        if item.get_closest_marker("campaign"):
            item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "slow"]
    part, seed = config.getoption("--campaign"), config.getoption("--campaign-seed")

    def left_out(item: pytest.Item) -> bool:
        number = hashlib.sha256(f"{seed} {item.nodeid}".encode()).digest()
        drawn = int.from_bytes(number[:4]) < part * 2**32
        return item.get_closest_marker("campaign") is not None and not drawn

    if part < 1:
        config.hook.pytest_deselected(items=[item for item in items if left_out(item)])
        items[:] = [item for item in items if not left_out(item)]


def pytest_unconfigure(config: pytest.Config) -> None:
    if TEMPORARY:
        shutil.rmtree(TEMPORARY, ignore_errors=True)


@contextlib.contextmanager
def optimization(wanted: bool) -> Iterator[None]:
    """XLA as it is by default, or with few optimizations: half the time to compile."""
    before = jax.config.read("jax_disable_most_optimizations")

    def set_disabled(value: bool) -> None:
        jax.config.update("jax_disable_most_optimizations", value)
        if "kd.predict" in sys.modules:  # it keeps compiled programs for the next call
            sys.modules["kd.predict"]._evaluator.cache_clear()

    set_disabled(not wanted)
    yield
    set_disabled(before)


@pytest.fixture
def unoptimized() -> Iterator[None]:
    """Compiles quickly in a test that compares with tolerances.

    Not for tests of equal bits: how programs are optimized decides which bits agree.
    """
    with optimization(False):
        yield


@pytest.fixture(scope="module")
def unoptimized_module() -> Iterator[None]:
    """`unoptimized` for all tests of a module and its fixtures."""
    with optimization(False):
        yield
    jax.clear_caches()


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this session that is the same for all of its workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def small_data(shared: Path) -> Path:
    """A `.npz` of 100 + 40 real digits, 8 x 8."""
    from kd.data import digits

    path = shared / "small.npz"
    with FileLock(shared / "small.npz.lock"):
        if not path.exists():
            pixels, label = digits._source()
            image, label = (pixels * 15).astype(np.uint8), label.astype(np.int32)
            image = image.reshape(-1, 8, 8, 1)
            train, test = slice(100), slice(100, 140)
            arrays = {"x_train": image[train], "y_train": label[train]}
            np.savez(path, **arrays, x_test=image[test], y_test=label[test])
    return path


SMALL_CONFIG = '''
from ml_collections import ConfigDict

def get_config(arg=None):
    """A teacher (`teacher`), and a student of it."""
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.seeds = 2
    c.batch_size = 32
    c.epochs = 3
    c.steps_per_call = 2
    c.augment = "crop(1)"
    c.student = dict(name="mlp.MLP", widths=(8,))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.objective = dict(ce=dict(name="ce.CE"))
    c.checkpoint = dict(seconds=0.0)
    if arg != "teacher":
        c.teacher = dict(config="small.py:teacher")
        c.objective.kd = dict(name="kd.KD", temperature=2.0)
    return c
'''


@pytest.fixture(scope="session")
def small_run(shared: Path, small_data: Path) -> tuple[Path, str]:
    """A directory with `small.py`, a three-epoch run on `small_data`, finished with its teacher;
    and what the command printed. One worker trains it for all.

    Tests work on copies, see `finished`.
    """
    home = shared / "small"
    log = home / "printed.txt"
    with FileLock(shared / "small.lock"):
        if not log.exists():
            from kd.cli.main import main

            home.mkdir(exist_ok=True)
            (home / "small.py").write_text(SMALL_CONFIG.replace("{data}", str(small_data)))
            printed = io.StringIO()
            capture = contextlib.redirect_stdout(printed)
            with contextlib.chdir(home), capture, optimization(True):
                assert main(["run", "--config", "small.py"]) == 0
            log.write_text(printed.getvalue())
    return home, log.read_text()


@pytest.fixture
def small_config(tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`small.py` in a fresh working directory, with no run yet."""
    monkeypatch.chdir(tmp_path)
    path = Path("small.py")
    path.write_text(SMALL_CONFIG.replace("{data}", str(small_data)))
    return path


@pytest.fixture
def finished(small_run: tuple[Path, str], small_config: Path) -> str:
    """The working directory of `small_config` with its runs done; what the command printed."""
    shutil.copytree(small_run[0] / "runs", "runs")
    return small_run[1]


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A context in which a run in this process gets a signal once it has recorded a step."""
    from kd.runs.record import Record

    @contextlib.contextmanager
    def context(step: int, kind: str = "train", number: int = signal.SIGTERM) -> Iterator[None]:
        row = Record.row

        def row_and_signal(self, of: str, at: int, *rest: Any) -> None:
            row(self, of, at, *rest)
            if (of, at) == (kind, step):
                os.kill(os.getpid(), number)

        with monkeypatch.context() as patch:
            patch.setattr(Record, "row", row_and_signal)
            yield

    return context


@pytest.fixture
def by_hand(tmp_path: Path) -> Callable[..., Any]:
    """Writes a finished run of two classes, all images of class 0, of which each network gets those
    marked 1 in its row right.
    """
    from kd.runs.workdir import Workdir

    def write(
        name: str, right: Sequence[str] | np.ndarray, config: dict | None = None, **result: Any
    ) -> Workdir:
        logits = right
        if not isinstance(right, np.ndarray):
            wrong = [[mark == "0" for mark in row] for row in right]
            logits = np.eye(2)[np.array(wrong, int)]
        own = Workdir(tmp_path / name)
        own.path.mkdir()
        networks, n = logits.shape[:2]
        label = np.zeros(n, np.int32)
        own.write("predictions.npz", {"logits": logits.astype(np.float32), "label": label})
        own.write("config.json", {"data": {"name": "arrays"}, **(config or {})})
        costs = {"parameters": 10, "bytes": 40, "macs": 8}
        seeds = list(range(networks // len(result.get("peers", [1]))))
        known = {"split": "test", "examples": n, "seeds": seeds, "class_names": [], "teacher": None}
        own.write("result.json", known | costs | result)
        return own

    return write
