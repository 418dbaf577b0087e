"""Speak to the executor inside a machine as whoever runs this: `executor_program.py SOCKET FRAMES.json`.

Each frame is sent on a connection of its own; the answers are printed as a JSON list. A socket that may not be opened,
or closes without an answer, answers with the error's name.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any


def ask(path: str, frame: dict[str, Any]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        try:
            connection.connect(path)
            connection.sendall(json.dumps(frame).encode() + b"\n")
            return dict(json.loads(connection.makefile("rb").readline() or b'{"error": "closed"}'))
        except OSError as error:
            return {"error": type(error).__name__}


def main(path: str, frames: str) -> None:
    sys.stdout.write(json.dumps([ask(path, frame) for frame in json.loads(Path(frames).read_text())]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
