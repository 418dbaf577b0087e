"""Runs inside a machine: one HTTP request, and what came of it as JSON.

Its argument is a JSON object: ``url``, ``key``, ``body``, and ``leave_at``, a text at whose sight it hangs up; then it
says how long ``until_gone`` (a command line) went on, and how long the scripted model at port 8082 was busy.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

MOST_SECONDS = 20.0


def is_running(command: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().replace(b"\0", b" ").decode().strip() == command:
                return True
        except OSError:
            continue
    return False


def busy() -> bool:
    with urllib.request.urlopen("http://127.0.0.1:8082/busy", timeout=5) as answer:
        return bool(json.load(answer)["busy"])


def seconds_until(ended) -> float:
    began = time.monotonic()
    while not ended() and time.monotonic() - began < MOST_SECONDS:
        time.sleep(0.05)
    return round(time.monotonic() - began, 2)


def main() -> None:
    asked = json.loads(sys.argv[1])
    headers = {"Content-Type": "application/json", **asked.get("headers", {})}
    if asked.get("key"):
        headers["Authorization"] = f"Bearer {asked['key']}"
    data = json.dumps(asked["body"]).encode() if "body" in asked else None
    request = urllib.request.Request(asked["url"], data=data, headers=headers)
    began = time.monotonic()
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        print(json.dumps({"status": error.code, "text": error.read().decode()}))
        return
    lines = []
    for line in answer:
        lines.append(line.decode())
        if asked.get("leave_at") and asked["leave_at"] in lines[-1]:
            break
    found = {"status": answer.status, "text": "".join(lines), "seconds": round(time.monotonic() - began, 2)}
    if command := asked.get("until_gone"):
        found["was_running"] = seconds_until(lambda: is_running(command)) < MOST_SECONDS
    was_busy = asked.get("leave_at") and busy()
    answer.close()
    if asked.get("leave_at"):
        found["was_busy"] = bool(was_busy)
        if command:
            found["gone_after"] = seconds_until(lambda: not is_running(command))
        found["free_after"] = seconds_until(lambda: not busy())
    print(json.dumps(found))


main()
