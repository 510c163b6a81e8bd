"""A surrogate over HTTP says what it says in Python, and outlives bad requests."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("aiohttp")

from fixtures.http import ask, running

import opkit
from opkit.errors import OpkitInputError
from opkit.serve import derivatives, worker
from opkit.serve.server import Limits, Server

MAIN = "import sys; from opkit.cli import main; main()"


@pytest.fixture(scope="module")
def surrogate(darcy):
    return darcy.load()


@pytest.fixture(scope="module")
def url(surrogate) -> Iterator[str]:
    with running(Server(surrogate, Limits(megabytes=1))) as address:
        yield address


def message(field, **more):
    """A message of UM-Bridge about one field."""
    return {"name": "forward", "input": [np.ravel(field).tolist()], **more}


def error_of(reply):
    status, data = reply
    assert set(data) == {"error"} and set(data["error"]) == {"type", "message"}
    assert "\n" not in data["error"]["message"]
    return status, data["error"]["type"], data["error"]["message"]


def test_the_protocol_names_model_sizes_and_support(url: str) -> None:
    assert ask(f"{url}/Info") == (200, {"protocolVersion": 1.0, "models": ["forward"]})
    name = {"name": "forward"}
    support = ask(f"{url}/ModelInfo", name)[1]["support"]
    assert support == dict.fromkeys(
        ("Evaluate", "Gradient", "ApplyJacobian", "ApplyHessian"), True
    )
    assert ask(f"{url}/InputSizes", name) == (200, {"inputSizes": [289]})
    assert ask(f"{url}/OutputSizes", name) == (200, {"outputSizes": [289]})
    few = {**name, "config": {"nodes": [5, 7, 288], "bound": True}}
    assert ask(f"{url}/OutputSizes", few) == (200, {"outputSizes": [3, 1]})


def test_each_level_answers_as_in_python(url: str, surrogate, darcy) -> None:
    a = darcy.permeability[0].astype(np.float64)

    def over_http(**config):
        status, reply = ask(f"{url}/Evaluate", message(a, config=config))
        assert status == 200, reply
        return reply["output"]

    # JSON holds a double whole, so that numbers are the same
    (plain,) = over_http()
    np.testing.assert_array_equal(plain, surrogate(a).ravel())
    checked = surrogate(a, check=True)
    field, bound = over_http(bound=True, nodes=[20, 3])
    np.testing.assert_array_equal(field, surrogate(a).ravel()[[20, 3]])
    assert bound == checked.error_bound.tolist()
    (solved,) = over_http(level="solver")
    np.testing.assert_allclose(solved, darcy.pressure[0].ravel(), atol=1e-6)
    loose = float(1.01 * checked.error_bound[0])
    expected = surrogate.solve(a, loose)
    assert expected.action.tolist() == ["accepted"]
    np.testing.assert_array_equal(over_http(level="checked", tolerance=loose), [plain])
    tight = over_http(level="checked", tolerance=1e-3)
    true = darcy.pressure[0].ravel()
    assert np.linalg.norm(tight - true) < 1e-3 * np.linalg.norm(true)


def test_derivatives_agree_with_autograd_and_with_each_other(surrogate, darcy) -> None:
    import torch

    double = opkit.load(darcy.run)
    double.model.double()
    rng = np.random.default_rng(0)
    a = darcy.permeability[1].astype(np.float64)
    sens, vec = rng.standard_normal((2, 289))
    with running(Server(double)) as url:

        def over_http(kind, field=a, **more):
            wrt = {"outWrt": 0, "inWrt": 0, "inWrt1": 0, "inWrt2": 0}
            status, reply = ask(f"{url}/{kind}", message(field, **wrt, **more))
            assert status == 200, reply
            return np.array(reply["output"])

        gradient = over_http("Gradient", sens=sens.tolist())
        x = torch.from_numpy(a).requires_grad_()
        double(x).reshape(-1).backward(torch.from_numpy(sens))
        # the same program, in the same type
        np.testing.assert_allclose(gradient, x.grad.reshape(-1), rtol=1e-12)
        product = over_http("ApplyJacobian", vec=vec.tolist())
        # sensᵀ J vec, from both sides; sums of 289 terms in float64
        assert sens @ product == pytest.approx(gradient @ vec, rel=1e-10)
        few = {"nodes": [40, 200]}
        picked = over_http("ApplyJacobian", vec=vec.tolist(), config=few)
        np.testing.assert_allclose(picked, product[[40, 200]], rtol=1e-12)
        hessian = over_http("ApplyHessian", sens=sens.tolist(), vec=vec.tolist())
        step = 1e-4 * vec.reshape(a.shape)
        ends = [
            over_http("Gradient", a + k * step, sens=sens.tolist()) for k in (-1, 1)
        ]
        slope = (ends[1] - ends[0]) / 2e-4
        # central differences: their error is of order step², relative 1e-8
        assert np.linalg.norm(hessian - slope) < 1e-5 * np.linalg.norm(slope)


def test_derivatives_of_the_solver_are_differences(url: str, darcy) -> None:
    """The pressure is of degree -1 in the permeability: J a = -p, and J 0 = 0."""
    a = darcy.permeability[0].astype(np.float64)
    wrt = {"outWrt": 0, "inWrt": 0, "config": {"level": "solver"}}

    def slope(vec, **config):
        wrt["config"] = {"level": "solver", **config}
        asked = message(a, vec=np.ravel(vec).tolist(), **wrt)
        status, reply = ask(f"{url}/ApplyJacobian", asked)
        assert status == 200, reply
        return np.array(reply["output"])

    p = np.array(ask(f"{url}/Evaluate", message(a, **wrt))[1]["output"][0])
    # differences of 1 / (1 + h): h² = 1e-6 off; of h = 0.1 1e-2
    np.testing.assert_allclose(slope(a), -p, rtol=3e-6)
    np.testing.assert_allclose(slope(2 * a, step=0.1), -2 * p / 0.99, rtol=1e-6)
    np.testing.assert_array_equal(slope(0 * a), 0 * p)
    np.testing.assert_allclose(slope(a, nodes=[144]), -p[[144]], rtol=3e-6)
    for kind, more, words in [
        ("Gradient", {"sens": [1.0] * 289}, "578 solves: ask for ApplyJacobian"),
        ("ApplyHessian", {"sens": GOOD[0], "vec": GOOD[0]}, "no such derivatives"),
        ("ApplyJacobian", {"vec": [1.0]}, "vec has 1 values: give 289"),
    ]:
        places = {"outWrt": 0, "inWrt": 0, "inWrt1": 0, "inWrt2": 0}
        asked = message(a, config={"level": "solver"}, **places, **more)
        reply = error_of(ask(f"{url}/{kind}", asked))
        assert reply[:2] == (400, "InvalidInput") and words in reply[2], reply


def test_plain_json_follows_its_schema_and_has_the_verdict(
    url: str, surrogate, darcy
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    status, schema = ask(f"{url}/schema")
    assert status == 200
    jsonschema.Draft202012Validator.check_schema(schema)
    question = jsonschema.Draft202012Validator(schema)
    reply_of = jsonschema.Draft202012Validator(
        {**schema["$defs"]["reply"], "$schema": schema["$schema"]}
    )
    a = darcy.permeability[:3].astype(np.float64)

    def over_http(field, **more):
        asked = {"inputs": {"permeability": field.tolist()}, **more}
        question.validate(asked)
        status, reply = ask(f"{url}/predict", asked)
        assert status == 200, reply
        reply_of.validate(reply)
        return reply

    one = over_http(a[0])
    np.testing.assert_array_equal(one["outputs"]["pressure"], surrogate(a[0]))
    assert "verdict" not in one
    batch = over_http(a, check=True)
    checked = surrogate(a, check=True)
    np.testing.assert_array_equal(batch["outputs"]["pressure"], checked.prediction)
    assert batch["verdict"]["error_bound"] == checked.error_bound.tolist()
    usual = checked.resembles_training().tolist()
    assert batch["verdict"]["resembles_training"] == usual
    assert batch["verdict"]["readings"]["residual"] == checked.residual.tolist()
    solved = over_http(a[0], level="solver", nodes=[144])
    assert solved["action"] == "refined"
    middle = float(darcy.pressure[0, 8, 8])
    assert solved["outputs"]["pressure"] == [pytest.approx(middle, abs=1e-6)]
    wrong = {"inputs": {"permeability": a[0].tolist()}, "level": "best"}
    with pytest.raises(jsonschema.ValidationError):
        question.validate(wrong)


GOOD = [[1.0] * 289]
BAD = [
    (b"no json", "JSON"),
    (b"[" * 100_000, "JSON"),
    ({"input": [[1.0, 2.0]]}, "permeability has 2 values: give 289 (17 x 17)"),
    ({"input": []}, "0 input vectors: give 1, permeability (289)"),
    ({"input": [["1.0"] * 289]}, "input.0.0"),
    ({"input": [[None] * 289]}, "input.0.0"),
    (b'{"input": [[' + b"NaN," * 288 + b"1]]}", "finite"),
    (b'{"input": [[' + b"1e999," * 288 + b"1]]}", "finite"),
    ({"name": "backward", "input": GOOD}, "no model 'backward'"),
    ({"input": GOOD, "config": {"level": "best"}}, "config.level"),
    ({"input": GOOD, "config": {"levle": "solver"}}, "Did you mean 'level'"),
    ({"input": GOOD, "config": {"level": "checked"}}, "needs a tolerance"),
    ({"input": GOOD, "config": {"tolerance": 0.1}}, "belongs to level checked"),
    ({"input": GOOD, "config": {"nodes": [289]}}, "nodes has 289"),
    ({"input": GOOD, "config": {"outputs": ["presure"]}}, "Did you mean 'pressure'"),
    ({"input": GOOD, "config": {"steps": 3}}, "makes no steps"),
    ({"input": GOOD, "config": {"bound": True, "coverage": 0.999}}, "is infinite"),
    ({"input": GOOD, "config": {"quantities": ["drop"]}}, "no quantity 'drop'"),
    ({"input": GOOD, "config": {"step": 0.1}}, "step belongs to derivatives"),
    ({"input": [[-1.0] * 289], "config": {"level": "solver"}}, "permeability"),
]


@pytest.mark.parametrize(("body", "words"), BAD)
def test_bad_messages_are_one_line_of_json(url: str, body, words: str) -> None:
    status, kind, text = error_of(ask(f"{url}/Evaluate", body))
    assert (status, kind) == (400, "InvalidInput")
    assert words in text and len(text) < 300, text


def test_bad_questions_and_derivatives_are_refused(url: str) -> None:
    ones = np.ones((17, 17)).tolist()
    for inputs, words in [
        ({}, "at least 1 item"),
        ({"permeability": ones[:5]}, "has shape (5, 17): give (17, 17)"),
        ({"permeability": [*ones[:16], [1.0]]}, "is ragged"),
        ({"permeability": "all"}, "is no number"),
        ({"permeability": []}, "has shape (0)"),
        ({"permeability": ones, "forcing": 1}, "no input forcing"),
        ({"pressure": ones}, "no input pressure"),
    ]:
        reply = error_of(ask(f"{url}/predict", {"inputs": inputs}))
        assert reply[:2] == (400, "InvalidInput") and words in reply[2], reply
    wrt = {"outWrt": 0, "inWrt": 0}
    for more, words in [
        ({**wrt, "sens": [1.0]}, "sens has 1 values: give 289"),
        ({**wrt, "inWrt": 1, "sens": [1.0] * 289}, "inWrt is 1: give 0 to 0"),
        ({**wrt, "sens": [1.0] * 289, "config": {"level": "solver"}}, "ApplyJacobian"),
        ({**wrt, "sens": GOOD[0], "config": {"step": 0.1}}, "level solver"),
        ({"sens": [1.0] * 289}, "outWrt is missing"),
        ({**wrt, "sens": [1e39] * 289}, "or a value beyond float32"),
    ]:
        reply = error_of(ask(f"{url}/Gradient", {"input": GOOD, **more}))
        assert reply[:2] == (400, "InvalidInput") and words in reply[2], reply
    assert error_of(ask(f"{url}/nowhere"))[:2] == (404, "NotFound")
    assert error_of(ask(f"{url}/Evaluate"))[:2] == (405, "MethodNotAllowed")


def test_a_derivative_that_overflows_is_no_answer() -> None:
    assert derivatives._row(torch.ones(2)) == [1, 1]
    for wrong in (torch.inf, torch.nan):
        with pytest.raises(OpkitInputError, match="holds NaN or infinity, first at va"):
            derivatives._row(torch.tensor([1.0, wrong]))


def test_a_gigabyte_is_refused_before_it_is_read(url: str) -> None:
    port = int(url.rpartition(":")[2])
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        head = (
            "POST /Evaluate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n"
        )
        client.sendall(head.format(10**9).encode() + b'{"input": [[')
        reply = client.recv(10_000)
    assert time.monotonic() - begun < 5
    assert b" 413 " in reply.splitlines()[0] and b'"TooLarge"' in reply
    # and in pieces that say nothing of their sum
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        head = "POST /Evaluate HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(20):
            client.sendall(piece)
        assert b" 413 " in client.recv(10_000).splitlines()[0]
    assert ask(f"{url}/Info")[0] == 200


def test_killed_clients_and_half_requests_leave_the_server_alone(
    url: str, surrogate, darcy
) -> None:
    port = int(url.rpartition(":")[2])
    whole = json.dumps(message(darcy.permeability[0])).encode()
    head = f"POST /Evaluate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(whole)}"
    for sent in (whole, whole[:100]):
        for _ in range(10):
            client = socket.create_connection(("127.0.0.1", port), timeout=20)
            client.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" + bytes(4)
            )
            client.sendall(head.encode() + b"\r\n\r\n" + sent)
            client.close()  # with a reset, as of a process that was killed
    status, reply = ask(f"{url}/Evaluate", message(darcy.permeability[0]))
    assert status == 200
    np.testing.assert_array_equal(
        reply["output"][0], surrogate(darcy.permeability[0].astype(float)).ravel()
    )


def test_four_clients_at_once_get_their_own_answers(url: str, surrogate, darcy) -> None:
    """40 requests of each of four clients, of all levels in turn."""
    fields = darcy.permeability[:40].astype(np.float64)
    expected = np.stack([surrogate(a) for a in fields])
    exact = np.stack([surrogate.solve(a, exact=True).outputs for a in fields[:4]])

    def client(first: int) -> float:
        worst = 0.0
        for k in range(40):
            i = (first * 10 + k) % 40
            solve = i < 4 and k % 2
            config = {"level": "solver"} if solve else {"bound": bool(k % 3 == 0)}
            status, reply = ask(f"{url}/Evaluate", message(fields[i], config=config))
            assert status == 200, reply
            true = exact[i] if solve else expected[i]
            worst = max(worst, float(np.abs(reply["output"][0] - true.ravel()).max()))
        return worst

    with ThreadPoolExecutor(4) as clients:
        assert max(clients.map(client, range(4))) == 0


def test_time_and_queue_are_limited(
    surrogate, darcy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MOST_WAITING", 2)
    server = Server(surrogate, Limits(seconds=0.2))
    go_on = threading.Event()
    try:
        with running(server) as url:
            with ThreadPoolExecutor(4) as clients:
                monkeypatch.setattr(
                    server.asked, "evaluate", lambda *_: go_on.wait(20) and []
                )
                asks = [
                    clients.submit(ask, f"{url}/Evaluate", {"input": GOOD})
                    for _ in range(4)
                ]
                kinds = sorted(error_of(a.result())[:2] for a in asks)
            assert kinds == [(503, "Busy")] * 2 + [(504, "Timeout")] * 2
            # who waits for a solve does not keep predictions waiting
            monkeypatch.undo()
            other = {"inputs": {"permeability": np.ones((17, 17)).tolist()}}
            go_on.set()
            assert ask(f"{url}/predict", other)[0] == 200
    finally:
        go_on.set()


def test_a_token_and_pages_of_other_sites(surrogate) -> None:
    with running(Server(surrogate, token="sésame")) as url:
        assert error_of(ask(f"{url}/Info"))[:2] == (401, "Unauthorised")
        basic = base64.b64encode("me:sésame".encode()).decode()
        wrong = base64.b64encode(b"me:open").decode()
        assert ask(f"{url}/Info", Authorization=f"Basic {basic}")[0] == 200
        assert ask(f"{url}/Info", Authorization=f"Basic {wrong}")[0] == 401
        assert ask(f"{url}/Info", Authorization="Basic ?")[0] == 401
    with running(Server(surrogate, token="open")) as url:
        assert ask(f"{url}/Info", Authorization="Bearer open")[0] == 200
        assert ask(f"{url}/Info", Authorization="Bearer shut")[0] == 401
        mine = {"Authorization": "Bearer open"}
        host = {"Host": "evil.example"}
        assert error_of(ask(f"{url}/Info", **mine, **host))[:2] == (403, "Forbidden")
        origin = {"Origin": "http://evil.example"}
        assert error_of(ask(f"{url}/Info", **mine, **origin))[:2] == (403, "Forbidden")
        assert ask(f"{url}/Info", **mine, Origin=url)[0] == 200


def test_what_cannot_be_served_is_refused(darcy) -> None:
    with pytest.raises(OpkitInputError, match="give a token"):
        opkit.serve.serve(darcy.run, "0.0.0.0")
    with pytest.raises(OpkitInputError, match="megabytes is 0"):
        Limits(megabytes=0)


@pytest.mark.slow  # a rollout surrogate is trained for it
def test_a_rollout_by_steps(flow) -> None:
    surrogate, frames = flow.load(), flow.permeability[0].astype(np.float64)
    with running(Server(surrogate)) as url:
        sizes = ask(f"{url}/OutputSizes", {"config": {"steps": 3}})
        assert sizes == (200, {"outputSizes": [3 * 32 * 32]})
        status, reply = ask(f"{url}/Evaluate", message(frames, config={"steps": 3}))
        assert status == 200, reply
        np.testing.assert_array_equal(
            reply["output"][0], surrogate.rollout(frames, 3).ravel()
        )
        many = message(frames, config={"steps": 10**8})
        assert "go on from the last" in error_of(ask(f"{url}/Evaluate", many))[2]


def test_a_port_in_use_is_refused(darcy, url: str) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(OpkitInputError, match="is in use: give another port, or 0"):
        opkit.serve.serve(darcy.run, port=port)
    with pytest.raises(OpkitInputError, match="has no such address"):
        opkit.serve.serve(darcy.run, "203.0.113.1", 0, token="t")  # of no machine


def test_the_verb_says_where_and_ends_on_a_signal(darcy) -> None:
    words = [sys.executable, "-c", MAIN, "serve", str(darcy.run), "--port"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = subprocess.Popen([*words, "0", "--json"], env=environment, **pipes)
    try:
        url = json.loads(started.stdout.readline())["url"]
        started.stdout.close()  # nobody listens any more
        status, reply = ask(f"{url}/Evaluate", {"input": GOOD})
        assert status == 200 and len(reply["output"][0]) == 289
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 0
        assert started.stderr.read() == ""
    finally:
        started.kill()
        started.wait()
        started.stderr.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_is_flat_over_ten_thousand_calls(darcy) -> None:
    """A leak of one answer of 289 numbers per call would be 23 MB."""
    words = [sys.executable, "-c", MAIN, "serve", str(darcy.run), "--port", "0"]
    with subprocess.Popen([*words, "--json"], stdout=subprocess.PIPE) as started:
        try:
            port = int(json.loads(started.stdout.readline())["url"].rpartition(":")[2])
            client = http.client.HTTPConnection("127.0.0.1", port)
            body = json.dumps({"input": GOOD})

            def calls(count: int) -> int:
                for _ in range(count):
                    client.request("POST", "/Evaluate", body)
                    reply = client.getresponse()
                    reply.read()
                    assert reply.status == 200
                lines = Path(f"/proc/{started.pid}/status").read_text().splitlines()
                return int(next(k for k in lines if "VmRSS" in k).split()[1])

            before = calls(500)
            assert calls(10_000) - before < 5_000  # kB
        finally:
            started.terminate()
