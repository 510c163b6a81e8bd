"""What a question costs over HTTP: in Python, and of one and four clients.

    python -m benchmarks.serve RUN [calls]

Prints milliseconds of a question for all values and for twelve of the first output, and
the server's memory before and after.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import opkit

MAIN = "from opkit.cli import main; main()"


def timed(calls: int, ask: Any) -> list[float]:
    """Seconds of each call, after five that are not counted."""
    for _ in range(5):
        ask()
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begun)
    return seconds


def said(name: str, seconds: list[float]) -> None:
    ms = 1e3 * np.array(seconds)
    ends = f"least {ms.min():.2f}, 99 % below {np.quantile(ms, 0.99):.1f}"
    print(f"{name:>32}: median {np.median(ms):.2f} ms, {ends}")


def asker(port: int, message: Any) -> Any:
    client, body = http.client.HTTPConnection("127.0.0.1", port), json.dumps(message)

    def ask() -> Any:
        client.request("POST", "/Evaluate", body)
        reply = client.getresponse()
        answer = json.loads(reply.read())
        assert reply.status == 200, answer
        return answer["output"]

    return ask


def memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if "VmRSS" in line).split()[1]) / 1024


def main(run: str, calls: int = 300) -> None:
    words = [sys.executable, "-c", MAIN, "serve", run, "--port", "0", "--json"]
    server = subprocess.Popen([*words, "--page"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(json.loads(server.stdout.readline())["url"].rpartition(":")[2])
        client = http.client.HTTPConnection("127.0.0.1", port)
        client.request("GET", "/page/setup")
        inputs = json.loads(client.getresponse().read())["inputs"]
        arrays = {name: np.asarray(values, float) for name, values in inputs.items()}
        surrogate = opkit.load(run)
        said("in Python", timed(calls, lambda: surrogate(arrays)))
        vectors = [np.ravel(v).tolist() for v in arrays.values()]
        said("HTTP, all values", timed(calls, asker(port, {"input": vectors})))
        first = surrogate.config.outputs[0].name
        few = {"input": vectors, "config": {"outputs": [first], "nodes": [*range(12)]}}
        before = memory(server.pid)
        said("HTTP, 12 values", timed(calls, asker(port, few)))
        rows: list[float] = []
        begun = time.perf_counter()
        clients = [
            threading.Thread(target=lambda: rows.extend(timed(calls, asker(port, few))))
            for _ in range(4)
        ]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        said("four clients, 12 values", rows)
        rate = len(rows) / (time.perf_counter() - begun)
        print(f"{rate:.0f} a second; {before:.0f} -> {memory(server.pid):.0f} MB")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
