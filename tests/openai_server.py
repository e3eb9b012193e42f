"""A proxy on the loopback, before the real server of tools/teacher_server.py, that can do what networks do."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Proxy:
    """Passes requests on, keeps their bodies, and spoils the answers that `trouble` picks.

    Args:
        address: Where to pass on to; "" where every answer is made here.
        trouble: From the number of the request (0 for the first) and its body to what happens: "pass"; "cut" in the
            middle of the answer; "drop" before it; "web page" for 200 and HTML; "half" for 200 and half a JSON; a
            number for that HTTP status; a dictionary for its text to be put in the place of the model's.
    """

    def __init__(self, address: str, trouble: Callable[[int, dict[str, Any]], Any] | None = None) -> None:
        self.address, self.trouble = address, trouble or (lambda number, body: "pass")
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self.under_way = self.most_under_way = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                proxy._answer(self, b"", "pass")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with proxy._lock:
                    number = len(proxy.raw)
                    proxy.raw.append(body)
                    proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
                    proxy.under_way += 1
                    proxy.most_under_way = max(proxy.most_under_way, proxy.under_way)
                try:
                    proxy._answer(self, body, proxy.trouble(number, json.loads(body)))
                finally:
                    with proxy._lock:
                        proxy.under_way -= 1

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.raw]

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes, what: Any) -> None:
        kind, length = "application/json", None
        if isinstance(what, int):
            status, content = (
                what,
                json.dumps({"error": {"message": "as the test wants", "type": "x"}}).encode(),
            )
        elif what == "drop":
            self._hang_up(handler)
            return
        elif what == "web page":
            status, content, kind = (
                200,
                b"<html><body>Welcome to the hotel's network</body></html>",
                "text/html",
            )
        else:
            status, content = self._upstream(handler, body)
            if isinstance(what, dict) and status == 200:
                answer = json.loads(content)
                answer["choices"][0]["message"]["content"] = what["text"]
                answer["choices"][0]["finish_reason"] = what.get("finish", "stop")
                content = json.dumps(answer).encode()
            if what in ("cut", "half"):
                length = len(content) if what == "cut" else None
                content = content[: len(content) // 2]
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.send_header("Retry-After-Ms", "20")  # or the client's own pauses would make the tests long
        handler.end_headers()
        handler.wfile.write(content)
        if what == "cut":
            handler.wfile.flush()
            self._hang_up(handler)

    def _upstream(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(self.address)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=600)
        try:
            passed = {
                name: handler.headers[name]
                for name in ("Authorization", "Content-Type")
                if name in handler.headers
            }
            connection.request(handler.command, handler.path, body or None, passed)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @staticmethod
    def _hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
