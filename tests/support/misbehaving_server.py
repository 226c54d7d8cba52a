"""A server on this machine that misbehaves as told, and what must hold after each misbehaviour."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from processes import PATIENCE

from datamodules.fetching.download import Patience

# Tried again at once, but a busy machine may take its time to answer; SHORT is for servers that are silent on purpose.
IMPATIENT = Patience(tries=4, first_wait=0.0, longest_wait=5.0, stall_seconds=PATIENCE)
SHORT = Patience(tries=4, first_wait=0.0, longest_wait=5.0, stall_seconds=0.4)


class Site:
    """What the server holds and does.

    Each request for a file takes the next behaviour from `script`; when it is empty, the file is served properly.
    """

    def __init__(self):
        self.files, self.script, self.requests = {}, [], []
        self.etag = '"one"'
        self.modified = "Mon, 01 Jan 2024 00:00:00 GMT"
        self.address = ""

    def gets(self):
        return [(path, headers) for method, path, headers in self.requests if method == "GET"]

    def ranges(self):
        return [headers.get("Range") for _, headers in self.gets()]

    def url(self, path):
        return f"{self.address}/{path}"


@contextmanager
def misbehaving_server():
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, site))
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site, *arguments):
        self.site = site
        super().__init__(*arguments)

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        self.site.requests.append((self.command, self.path, dict(self.headers)))
        body = self.site.files.get(self.path.lstrip("/"))
        script = self.site.script
        if self.command == "GET" and script:
            behaviour = script[0] if getattr(script[0], "always", False) else script.pop(0)
            behaviour(self, body)
        elif body is None:
            status(404)(self, body)
        else:
            properly()(self, body)
        self.close_connection = True


def always(behaviour):
    """Keep doing it."""

    def act(handler, body):
        behaviour(handler, body)

    act.always = True
    return act


def properly(*, ranges=True, upto=None, headers=None, total=None, validators=True, declare=True, content=None):
    """Serve the file, or its rest; ``upto``: close the connection after so many bytes of the body."""

    def act(handler, body):
        body = body if content is None else content
        site = handler.site
        asked = handler.headers.get("Range") if ranges else None
        if_range = handler.headers.get("If-Range")
        if if_range is not None and if_range not in {site.etag, site.modified}:
            asked = None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(body) > 0:
            status(416, {"Content-Range": f"bytes */{len(body)}"})(handler, body)
            return
        rest = body[start:]
        handler.send_response(206 if asked else 200)
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{total or len(body)}")
        if declare:
            handler.send_header("Content-Length", str(total or len(rest)))
        if validators:
            handler.send_header("ETag", site.etag)
            handler.send_header("Last-Modified", site.modified)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(rest if upto is None else rest[:upto])

    return act


def status(code, headers=None, text=b"no"):
    def act(handler, body):
        handler.send_response(code)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(text)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(text)

    return act


def trickle(pieces, pause):
    """Send the file in tiny pieces with a pause after each."""

    def act(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        stopped = threading.Event()
        try:
            for index in range(pieces):
                handler.wfile.write(body[10 * index : 10 * index + 10])
                handler.wfile.flush()
                stopped.wait(pause)
        except OSError:
            pass  # the client has had enough

    return act


def everything(root):
    """All files and links below a folder but locks, with their bytes."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else b"link"
        for path in root.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and path.suffix != ".lock"
    }


def nothing_final_or_outside(root, allowed):
    """Below ``root`` lies nothing but what begins with one of ``allowed``, and nothing unfinished has a final name."""
    found = everything(root)
    assert [name for name in found if not name.startswith(tuple(allowed))] == []
    assert [path for path in root.rglob("*") if path.name.endswith(".unpacking")] == []
    return found
