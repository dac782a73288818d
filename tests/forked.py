"""Starts commands of `kd` as forks of one process that has imported jax's modules, not started it.

It reads requests from its standard input, one line of JSON each, and answers with the process's
number when it has started and its exit status when it has ended.

    {"cwd": directory, "arguments": ["run", ...], "output": file, "moment": null | {...}}

A moment is when the process sends itself a signal, `{"signal": "SIGTERM", "when": name, "count": n,
"fired": file}`: before the n-th call of the function that `WHEN` names, at the n-th event of jax's
compiler, in the n-th collection of garbage, or after n thousandths of a second.
"""

import gc
import importlib
import json
import os
import signal
import sys
import threading
from typing import Any

WHEN = {
    "data": "kd.build:make_data",
    "setup": "kd.train.run:prepare",
    "claim": "kd.runs.workdir:Workdir.claim",
    "row": "kd.runs.record:Record.row",
    "flush": "kd.runs.record:Record.flush",
    "save": "kd.runs.checkpoint:Checkpoints.save",
    "wait": "kd.runs.checkpoint:Checkpoints.wait",
    "close": "kd.runs.checkpoint:Checkpoints.close",
    "describe": "kd.train.result:describe",
    "write": "kd.runs.workdir:Workdir.write",
    "rename": "etils.epath.backend:_OsPathBackend.replace",
    "page": "kd.report.write:as_html",
    "text": "kd.report.write:as_markdown",
    "content": "kd.report.write:make_content",
}


def arrange(moment: dict[str, Any]) -> None:
    """Makes this process send itself the signal at its moment."""
    left = moment["count"]

    def count(*_: Any, **__: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.close(os.open(moment["fired"], os.O_CREAT | os.O_WRONLY))
            os.kill(os.getpid(), getattr(signal, moment["signal"]))

    if moment["when"] == "time":
        left = 1
        timer = threading.Timer(moment["count"] / 1000, count)
        timer.daemon = True
        timer.start()
    elif moment["when"] == "garbage":
        gc.callbacks.append(count)
    elif moment["when"] == "compile":
        import jax

        jax.monitoring.register_event_duration_secs_listener(count)
    else:
        module, _, names = WHEN[moment["when"]].partition(":")
        *path, name = names.split(".")
        holder: Any = importlib.import_module(module)
        for part in path:
            holder = getattr(holder, part)
        function = getattr(holder, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            count()
            return function(*arguments, **options)

        setattr(holder, name, counted)


def start(request: dict[str, Any]) -> None:
    """The forked process: becomes the command, and never returns."""
    from kd.cli.main import main

    os.chdir(request["cwd"])
    output = os.open(request["output"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["kd", *request["arguments"]]
    if request["moment"]:
        arrange(request["moment"])
    sys.exit(main())


def serve() -> None:
    """Answers requests until standard input ends."""
    import jax
    import tensorstore  # noqa: F401

    import kd.api
    import kd.report.write  # noqa: F401

    assert not jax._src.xla_bridge.backends_are_initialized()
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            start(json.loads(line))
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
