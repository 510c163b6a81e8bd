"""The server: routes, limits, and an end without loose ends.

Every answer is JSON, errors too: ``{"error": {"type": ..., "message": ...}}``.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import hmac
import ipaddress
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

import opkit
from opkit.base.visible import one_line
from opkit.errors import MissingExtraError, OpkitError, OpkitInputError
from opkit.serve import plain, umbridge
from opkit.serve.asked import Asked
from opkit.serve.asked import Worker as Which
from opkit.serve.page import Choose, Chosen, Page
from opkit.serve.schema import schema
from opkit.serve.settings import read
from opkit.serve.worker import Full, Worker
from opkit.surrogate import Surrogate, load

LOOPBACK = "127.0.0.1"
PORT = 4242
"""What UM-Bridge's own servers use."""
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'"
)
"""What the page may load: its script, and answers of this server."""
GRACE = 5.0
"""Seconds that requests which run are given to end."""

M = TypeVar("M", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Args:
        megabytes: of its body.
        seconds: until it is answered; what computes then goes on, unheard.
    """

    megabytes: float = 32.0
    seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < 1e9:
                raise OpkitInputError(f"{name} is {value}: give a number above 0")

    @property
    def bytes(self) -> int:
        """Of a body."""
        return max(1, int(self.megabytes * 1e6))


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        kind: of the error.
        message: one line.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


class Server:
    """Answers requests for one surrogate.

    Predictions have a thread of their own; what may need the solver has another, so
    that a solve does not keep predictions waiting.

    Args:
        surrogate: who answers.
        limits: of each request.
        token: that clients have to send; none where empty.
        host: that the server is bound to.
        page: whether ``/`` is a page to look at.

    Raises:
        OpkitInputError: a surrogate whose variables have no lengths of their own.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        limits: Limits | None = None,
        token: str = "",
        host: str = LOOPBACK,
        page: bool = False,
    ) -> None:
        self.asked = Asked(surrogate)
        self.limits = limits or Limits()
        self.token, self.host = token, host
        self.workers: dict[Which, Worker] = {
            "quick": Worker("opkit-predict"),
            "solver": Worker("opkit-solve"),
        }
        self.app = web.Application(
            middlewares=[self._guarded], client_max_size=self.limits.bytes
        )
        if page:
            self._add_page(Page(self.asked))
        else:
            self.app.router.add_get("/", self._index)
        self.app.router.add_get("/Info", self._info)
        self.app.router.add_get("/schema", self._schema)
        self.app.router.add_post("/predict", self._predict)
        for kind in umbridge.MESSAGES:
            self.app.router.add_post(f"/{kind}", partial(self._umbridge, kind))

    async def _index(self, _: web.Request) -> web.Response:
        config = self.asked.surrogate.config
        return _reply(
            {
                "opkit": opkit.__version__,
                "operator": config.operator,
                "case": config.case.get("name", "imported data"),
                "inputs": {p.name: p.size for p in self.asked.inputs},
                "umbridge": {"model": umbridge.MODEL, "messages": [*umbridge.MESSAGES]},
                "plain": {"ask": "/predict", "schema": "/schema"},
            }
        )

    def _add_page(self, page: Page) -> None:
        html, script = page.html(), page.script()
        messages: dict[str, tuple[type[BaseModel], Callable[[Any], Any]]] = {
            "inputs": (Choose, page.choose),
            "predict": (Chosen, page.predict),
            "solve": (Chosen, page.solve),
        }

        async def shown(_: web.Request) -> web.Response:
            headers = {"Content-Security-Policy": POLICY}
            return web.Response(text=html, content_type="text/html", headers=headers)

        async def run(_: web.Request) -> web.Response:
            return web.Response(text=script, content_type="text/javascript")

        async def setup(_: web.Request) -> web.Response:
            return await self.compute("solver", page.setup)

        async def asked(kind: str, request: web.Request) -> web.Response:
            model, answer = messages[kind]
            message = await self.read(request, model)
            return await self.compute("solver", partial(answer, message))

        self.app.router.add_get("/", shown)
        self.app.router.add_get("/page.js", run)
        self.app.router.add_get("/page/setup", setup)
        for kind in messages:
            self.app.router.add_post(f"/page/{kind}", partial(asked, kind))

    async def _info(self, _: web.Request) -> web.Response:
        return _reply(umbridge.info())

    async def _schema(self, _: web.Request) -> web.Response:
        return _reply(schema(self.asked))

    async def _predict(self, request: web.Request) -> web.Response:
        question = await self.read(request, plain.Question)
        run = partial(plain.answer, self.asked, question)
        return await self.compute(plain.worker(question), run)

    async def _umbridge(self, kind: str, request: web.Request) -> web.Response:
        message = await self.read(request, umbridge.MESSAGES[kind][0])
        run = partial(umbridge.answer, self.asked, kind, message)
        return await self.compute(umbridge.worker(self.asked, message), run)

    async def read(self, request: web.Request, model: type[M]) -> M:
        """Read a message of at most so many bytes; parsed off the loop."""
        length = request.content_length
        if length is not None and length > self.limits.bytes:
            raise self._too_large()
        body = await request.read()
        if len(body) < 10_000:
            return read(model, body)
        return await asyncio.to_thread(read, model, body)

    async def compute(self, which: Which, run: Callable[[], Any]) -> web.Response:
        """Compute in the thread of such jobs, and answer."""
        body = await self.workers[which].run(lambda: _json(run()))
        return web.Response(body=body, content_type="application/json")

    def _too_large(self) -> Refused:
        most = f"{self.limits.megabytes:g} MB"
        return Refused(
            413, "TooLarge", f"a request of more than {most}: ask for fewer samples"
        )

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Answer errors in one line of JSON, and go on."""
        try:
            self._admit(request)
            async with asyncio.timeout(self.limits.seconds):
                return await handler(request)
        except Refused as error:
            return _error(error.status, error.kind, error.message)
        except TimeoutError:
            late = f"no answer within {self.limits.seconds:g} s"
            return _error(504, "Timeout", late)
        except Full:
            return _error(503, "Busy", "too many requests wait: ask again later")
        except web.HTTPRequestEntityTooLarge:
            too_large = self._too_large()
            return _error(too_large.status, too_large.kind, too_large.message)
        except web.HTTPException as error:
            names = {404: "NotFound", 405: "MethodNotAllowed"}
            kind = names.get(error.status, "HTTPError")
            return _error(error.status, kind, f"{request.path}: {error.reason}")
        except MissingExtraError as error:
            return _error(501, type(error).__name__, str(error))
        except OpkitInputError as error:
            return _error(400, "InvalidInput", str(error))
        except OpkitError as error:
            return _error(500, type(error).__name__, str(error))
        except (MemoryError, RecursionError) as error:
            return _error(
                500, type(error).__name__, "the request needs too much memory"
            )
        except Exception as error:
            say(f"Error: {request.path}: {type(error).__name__}: {error}")
            message = f"{type(error).__name__}: the server's log says more"
            return _error(500, "InternalError", message)

    def _admit(self, request: web.Request) -> None:
        """Refuse who has no token, and pages of other sites in a browser."""
        if is_loopback(self.host) and not is_loopback(_name(request.host)):
            raise Refused(403, "Forbidden", "ask this server by its loopback address")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise Refused(403, "Forbidden", "a page of another origin asks")
        if self.token and not hmac.compare_digest(
            _token(request).encode(), self.token.encode()
        ):
            raise Refused(
                401, "Unauthorised", "send the header Authorization: Bearer TOKEN"
            )


def _token(request: web.Request) -> str:
    """Return the token of a request: Bearer, or the password of Basic."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return value if kind.lower() == "bearer" else ""


def _name(host: str) -> str:
    """Return the name in ``name:port``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _json(data: Any) -> bytes:
    """Write JSON, thirty times faster than `json` where there are many numbers."""
    return to_json(data, inf_nan_mode="null")


def _reply(data: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=_json(data), status=status, content_type="application/json"
    )


def _error(status: int, kind: str, message: str) -> web.Response:
    line = one_line(message)
    reply = _reply({"error": {"type": kind, "message": line}}, status)
    if status == 401:
        reply.headers["WWW-Authenticate"] = 'Basic realm="opkit", charset="UTF-8"'
    return reply


def say(line: str) -> None:
    """Write a line to stderr; who does not read it does not end the server."""
    with suppress(OSError, ValueError):
        print(one_line(line), file=sys.stderr, flush=True)


def serve(
    run: str | Path,
    host: str = LOOPBACK,
    port: int = PORT,
    token: str = "",
    limits: Limits | None = None,
    page: bool = False,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a surrogate until SIGINT or SIGTERM.

    Args:
        run: run directory or bundle.
        host: to be bound to; others than loopback need a token.
        port: 0 for any that is free.
        token: that clients have to send as ``Authorization: Bearer TOKEN``.
        limits: of each request.
        page: whether ``/`` is a page to look at.
        ready: called with the address once requests are answered.

    Raises:
        BundleError: no such surrogate.
        OpkitInputError: a port in use, a host that is not there or is open without a
            token, or a surrogate that cannot be served.
    """
    if not is_loopback(host) and not token:
        raise OpkitInputError(
            f"{host} can be reached from other machines: give a token as well"
        )
    server = Server(load(run), limits, token, host, page)
    asyncio.run(_until_stopped(server, host, port, ready))


async def _until_stopped(
    server: Server, host: str, port: int, ready: Callable[[str], None] | None
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    again = False

    def stop() -> None:
        nonlocal again
        if again:
            os._exit(130)
        again = True
        stopped.set()

    for kind in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(kind, stop)
    runner = web.AppRunner(
        server.app, access_log=None, handler_cancellation=True, shutdown_timeout=GRACE
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except (OSError, OverflowError) as error:
            raise OpkitInputError(_no_port(host, port, error)) from None
        if ready is not None:
            ready(_address(runner))
        await stopped.wait()
    finally:
        await runner.cleanup()


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _no_port(host: str, port: int, error: Exception) -> str:
    where = f"{host}, port {port}"
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"{where}: is in use: give another port, or 0 for any that is free"
    if code in (errno.EACCES, errno.EPERM):
        return f"{where}: is not allowed: give a port above 1023"
    return f"{where}: this machine has no such address: give another host or port"
