"""A proxy on the loopback in front of the real server of tools/teacher_server.py; it imitates faults of a network."""

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

WEB_PAGE = b"<html><body>Welcome to the hotel's network</body></html>"


class Proxy:
    """Passes requests on, records their bodies, and alters the answers as `fault` says.

    An answer that is altered starts from a real answer, which the server gives once for all tests of a process.

    Args:
        address: Address of the server; "" if `_upstream` is overridden.
        fault: From the number of the request (0 for the first) and its body to what happens: "pass"; "cut" in the
            middle of the answer; "drop" before it; "web page" for 200 and HTML; "half" for 200 and half a JSON; a
            number for that HTTP status; a dictionary whose text replaces the model's.
    """

    _real_answers: dict[tuple[str | None, ...], tuple[int, bytes]] = {}

    def __init__(self, address: str, fault: Callable[[int, dict[str, Any]], Any] | None = None) -> None:
        self.address, self.fault = address, fault or (lambda number, body: "pass")
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self.n_running = self.max_running = 0
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
                    proxy.n_running += 1
                    proxy.max_running = max(proxy.max_running, proxy.n_running)
                try:
                    proxy._answer(self, body, proxy.fault(number, json.loads(body)))
                finally:
                    with proxy._lock:
                        proxy.n_running -= 1

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

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes, fault: Any) -> None:
        kind, length = "application/json", None
        if isinstance(fault, int):
            status = fault
            content = json.dumps({"error": {"message": "as the test wants", "type": "x"}}).encode()
        elif fault == "drop":
            self._hang_up(handler)
            return
        elif fault == "web page":
            status, content, kind = 200, WEB_PAGE, "text/html"
        elif fault == "pass":
            status, content = self._upstream(handler, body)
        else:
            status, content = self._real_answer(handler, body)
            if isinstance(fault, dict):
                answer = json.loads(content)
                answer["choices"][0]["message"]["content"] = fault["text"]
                answer["choices"][0]["finish_reason"] = fault.get("finish", "stop")
                content = json.dumps(answer).encode()
            else:
                length = len(content) if fault == "cut" else None
                content = content[: len(content) // 2]
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.send_header("Retry-After-Ms", "20")  # or the client's own pauses would make the tests long
        handler.end_headers()
        handler.wfile.write(content)
        if fault == "cut":
            handler.wfile.flush()
            self._hang_up(handler)

    def _real_answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        """Return the server's first answer to a request with this address and key."""
        key = (self.address, handler.path, handler.headers.get("Authorization"))
        with self._lock:
            if key not in self._real_answers:
                self._real_answers[key] = self._upstream(handler, body)
        assert self._real_answers[key][0] == 200
        return self._real_answers[key]

    def _upstream(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(self.address)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=600)
        try:
            headers = {
                name: handler.headers[name]
                for name in ("Authorization", "Content-Type")
                if name in handler.headers
            }
            connection.request(handler.command, handler.path, body or None, headers)
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
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition did not hold within {seconds} s")
        time.sleep(0.02)
