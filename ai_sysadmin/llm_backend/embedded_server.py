"""Serve a model file where there is no llama-server: llama.cpp's own HTTP server, out of the `xllamacpp` extra.

    python -m ai_sysadmin.llm_backend.embedded_server -m FILE --port 8081 -c 8192 -np 2

Speaks those of llama-server's flags that this suite uses. Prints ``listening on http://…`` once it answers;
``--port 0`` picks a free port. Ends on SIGTERM or SIGINT.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read by libgomp as the import below loads it
    try:
        import xllamacpp
    except ImportError as error:
        sys.stderr.write(
            f"the embedded model server is not installed ({error}): install ai-sysadmin[models], "
            "or put llama.cpp's llama-server on PATH\n"
        )
        return 1
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, end)
    server = xllamacpp.Server(_parameters(xllamacpp.CommonParams(), arguments))
    _say(f"listening on {server.listening_address}")
    stop.wait()
    os._exit(0)  # its destructor hangs when the server is stopped within 0.1 s of becoming ready


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embedded_server", allow_abbrev=False, description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("-m", "--model", type=Path, required=True, help="the GGUF file")
    add("-a", "--alias", default="", help="the model's name in answers")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8080)
    add("-c", "--ctx-size", dest="n_ctx", type=int, default=8192, help="context of all slots together, in tokens")
    add("-np", "--parallel", dest="n_parallel", type=int, default=1, help="how many slots share the context")
    add("-b", "--batch-size", dest="n_batch", type=int, help="tokens of a prompt that are worked on at a time")
    add("-ub", "--ubatch-size", dest="n_ubatch", type=int, help="the same in hardware; an embedded text must fit one")
    add("-t", "--threads", type=int, help="threads that compute")
    add("-cram", "--cache-ram", dest="cache_ram_mib", type=int, default=256, help="prompt cache, in MiB")
    add("-n", "--n-predict", dest="n_predict", type=int, help="the longest answer where a request sets none")
    add("--api-key-file", type=Path, help="a file with the key that requests must carry")
    add("--sleep-idle-seconds", dest="sleep_idle_seconds", type=int, help="unload the model when idle for so long")
    add("--metrics", dest="endpoint_metrics", action="store_true", help="answer /metrics")
    add("--no-slots", dest="endpoint_slots", action="store_false", help="do not answer /slots")
    add("--embeddings", dest="embedding", action="store_true", help="answer /v1/embeddings only")
    for flag in ("--jinja", "--no-webui"):  # llama-server's own; here they are always on
        add(flag, action="store_true", help=argparse.SUPPRESS)
    return parser


_COPIED = (
    "port",
    "n_ctx",
    "n_parallel",
    "n_batch",
    "n_ubatch",
    "cache_ram_mib",
    "n_predict",
    "sleep_idle_seconds",
    "endpoint_metrics",
    "endpoint_slots",
    "embedding",
)


def _parameters(parameters: Any, arguments: argparse.Namespace) -> Any:
    """Fill the server's parameters in. Its own page is off, and no web page of another origin may use it."""
    parameters.model.path = str(arguments.model)
    parameters.hostnames = [arguments.host]
    parameters.ui = False
    parameters.cors_origins = "http://127.0.0.1"
    if arguments.alias:
        parameters.model_alias = {arguments.alias}
    if arguments.api_key_file:
        parameters.api_keys = [arguments.api_key_file.read_text().strip()]
    if arguments.threads:
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = arguments.threads
    for name in _COPIED:
        if getattr(arguments, name) is not None:
            setattr(parameters, name, getattr(arguments, name))
    return parameters


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
