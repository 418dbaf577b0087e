"""Ask an executor what only others may ask, as whoever runs this: `foreign_uid.py SOCKET ROUNDS FRAME…`.

Prints what came of it as JSON: how often which error was answered. Standard library only: it runs as a uid that may
not read this project.
"""

import json
import socket
import sys
from collections import Counter


def ask(path: str, frame: bytes) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        try:
            connection.connect(path)
            connection.sendall(frame + b"\n")
            return str(json.loads(connection.makefile("rb").readline())["error"]) or "done"
        except OSError as error:
            return type(error).__name__


def main(path: str, rounds: str, *frames: str) -> None:
    said = Counter(ask(path, frame.encode()) for _ in range(int(rounds)) for frame in frames)
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
