"""The server of the page keeps answering, in a sentence, whatever is sent to it."""

import contextlib
import http.client
import os
import re
import select
import socket
import threading

import pytest
from processes import PATIENCE, wait_for
from web_cases import DOCUMENT, FORM, LIMITS, cases, form, silent_flac
from web_server import clip, encoded, running_server

from overtone.errors import OvertoneError
from overtone.serve.gate import origin_of, require_own_page
from overtone.serve.refusals import Refused

ROW = "| {name} | {status} | {said} |"
UPLOADS = 1000


@pytest.fixture(scope="module")
def server():
    with running_server(**LIMITS, workers=2) as running:
        yield running


def sent(server, case):
    headers = dict(case.headers)
    if case.path.startswith("/../"):
        headers["Host"] = f"127.0.0.1:{server.port}"
    return server.request(case.method, case.path, case.body, headers)


def row(case, headers, data):
    """A line of the table in the documentation."""
    if case.status == 200:
        loss = headers["X-Overtone-Loss"]
        return ROW.format(name=case.name, status=200, said=f"enhanced; X-Overtone-Loss: {loss}" if loss else "enhanced")
    said = re.fullmatch(r'\{"error": "(.*)"\}', data.decode())
    assert said, data[:200]
    return ROW.format(name=case.name, status=case.status, said=said[1])


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_each_case_is_answered_as_the_documentation_says(server, case):
    status, headers, data = sent(server, case)
    assert status == case.status, data[:300]
    if status == 200:
        assert headers["Content-Type"] == "audio/wav"
    else:
        assert headers["Content-Type"] == "application/json"
        assert case.message in data.decode()
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    assert row(case, headers, data) in DOCUMENT.read_text().splitlines()


def test_a_pages_own_requests_are_served(server):
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.enhance(encoded(clip(0.1)), headers=own)[0] == 200
    assert server.request("GET", "/", headers={"Host": f"localhost:{server.port}"})[0] == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("public_url", "loopback", "host", "origin", "served"),
    [
        ("https://speech.example", True, "127.0.0.1:8000", "https://speech.example", True),  # nginx's default
        ("https://Speech.example:443/", True, "speech.example", "https://speech.example", True),
        ("https://speech.example:8443", False, "speech.example", "https://speech.example:8443", True),
        ("https://speech.example", True, "127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("https://speech.example", True, "other.example", "https://speech.example", False),
        ("https://speech.example", True, "127.0.0.1:8000", "http://speech.example", False),
        ("https://speech.example", True, "127.0.0.1:8000", "https://speech.example:8443", False),
        ("https://speech.example", True, "speech.example", "https://other.example", False),
        ("", True, "127.0.0.1:8000", "https://speech.example", False),
        ("", True, "127.0.0.1:8000", "", False),
    ],
)
def test_a_proxys_page_is_the_servers_own(kind, public_url, loopback, host, origin, served):
    headers = {"Host": host, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "headers": raw} | ({"method": "POST"} if kind == "http" else {})
    with contextlib.nullcontext() if served else pytest.raises(Refused):
        require_own_page(scope, loopback=loopback, public_origin=origin_of(public_url) if public_url else "")


@pytest.mark.parametrize(
    "url", ["speech.example", "ftp://a", "https://", "https://a/page", "https://a:b", "https://[", " "]
)
def test_a_public_address_is_one_of_a_host_alone(url):
    with pytest.raises(OvertoneError, match="--public-url: expected https"):
        origin_of(url)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("../../etc/passwd", "passwd-enhanced.wav"),
        ("..\\..\\boot.ini", "boot-enhanced.wav"),
        ("....//x", "x-enhanced.wav"),
        ('a"; filename="b.exe', "a filenameb-enhanced.wav"),
        ("über alles.mp3", "_ber alles-enhanced.wav"),
        ("/", "audio-enhanced.wav"),
        (".wav", "wav-enhanced.wav"),
        ("n" * 500, "n" * 80 + "-enhanced.wav"),
    ],
)
def test_a_name_never_becomes_a_path_or_a_header(server, given, expected):
    body = form(encoded(clip(0.1)), name=given.replace('"', "%22"))
    escaped = "".join(f"%{byte:02x}" for byte in given.encode())
    answers = [server.enhance(encoded(clip(0.1)), f"?name={escaped}")]
    if given.isascii() and '"' not in given:
        answers.append(server.enhance(body, headers=FORM))
    for status, headers, _ in answers:
        assert status == 200
        assert headers["Content-Disposition"].startswith(f'attachment; filename="{expected}"; filename*=UTF-8')


def test_a_body_that_trickles_in_is_refused():
    with (
        running_server(body_seconds=1.0) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as slow,
    ):
        slow.sendall(b"POST /api/enhance HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nRIFF")
        answer = slow.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")


def test_slow_uploads_hold_no_worker():
    with running_server(body_seconds=120.0) as server, contextlib.ExitStack() as opened:
        slow = [
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            for _ in range(60)
        ]
        for one in slow:
            one.sendall(b"POST /api/enhance HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nRIFF")
        assert server.enhance(encoded(clip(0.1)))[0] == 200
        answered, _, _ = select.select(slow, [], [], 0)
        assert not answered, "it was answered while all of them still held what they hold"


def test_too_many_uploads_are_told_when_to_come_back():
    with running_server(workers=1, waiting=1) as server:
        long = encoded(clip(20.0), subtype="PCM_16")
        answers = []

        def upload():
            answers.append(server.enhance(long))

        users = []

        def one_is_refused():
            users.append(threading.Thread(target=upload))
            users[-1].start()
            return any(status == 503 for status, _, _ in answers)

        wait_for(one_is_refused)
        for user in users:
            user.join()
        statuses = [status for status, _, _ in answers]
        assert set(statuses) == {200, 503} and statuses.count(200) >= 2
        _, headers, data = next(answer for answer in answers if answer[0] == 503)
        assert int(headers["Retry-After"]) > 0
        assert b"busy" in data
        assert server.enhance(encoded(clip(0.1)))[0] == 200


def test_memory_held_by_uploads_is_bounded():
    """Of many large bodies that are still coming, some are refused, and room comes back when they are gone."""
    with running_server(upload_bytes=1 << 20, held_bytes=4 << 20, body_seconds=PATIENCE) as server:
        part = b"x" * (1 << 20)
        slow = []
        for _ in range(8):
            one = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
            head = b"POST /api/enhance HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % (len(part) + 1)
            one.sendall(head + part)
            slow.append(one)
        # Bodies that grow side by side can fill the memory before one of them is whole: then more are refused.
        answered, _, _ = select.select(slow, [], [], PATIENCE)
        assert {one.recv(12) for one in answered} == {b"HTTP/1.1 503"}
        for one in slow:
            one.close()
        wait_for(lambda: server.enhance(encoded(clip(0.1)))[0] == 200)


def _asking_for_a_long_answer(server):
    """A connection whose answer, 24 MB of silence, has begun to come and of which no more is read."""
    flac = silent_flac(1000)
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.settimeout(PATIENCE)
    one.connect(("127.0.0.1", server.port))
    one.sendall(f"POST /api/decode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(flac)}\r\n\r\n".encode() + flac)
    return one, one.recv(12)


def test_answers_that_are_not_read_are_counted():
    """Small files with long answers of which nothing is read: what does not fit is refused, and room comes back."""
    with running_server(upload_seconds=1000.0, held_bytes=60 << 20, body_seconds=1000.0) as server:
        before = _resident_bytes_at_rest(server)
        # One after the other: what is made side by side can fill the memory before one answer is whole.
        slow, answers = zip(*(_asking_for_a_long_answer(server) for _ in range(8)), strict=True)
        assert _resident_bytes(server.process.pid) - before < 110e6
        assert list(answers) == [b"HTTP/1.1 200"] * 2 + [b"HTTP/1.1 503"] * 6
        for one in slow:
            one.close()
        wait_for(lambda: server.request("POST", "/api/decode", silent_flac(1000))[0] == 200)


def test_an_answer_that_is_not_read_in_time_leaves_its_room():
    with running_server(upload_seconds=1000.0, held_bytes=40 << 20, body_seconds=5.0) as server:
        slow, _ = _asking_for_a_long_answer(server)
        wait_for(lambda: server.request("POST", "/api/decode", silent_flac(1000))[0] == 200)
        slow.close()


def test_an_answer_that_never_fits_is_told_so():
    with running_server(upload_seconds=1000.0, held_bytes=20 << 20) as server:
        status, _, data = server.request("POST", "/api/decode", silent_flac(1000))
        assert status == 413 and b"take more than 20 MiB" in data


HANDSHAKE = (
    "Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


def _shaking_hands(server, path="/api/stream", headers=""):
    """A WebSocket that has sent its handshake and reads no more than a few KB at once."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.settimeout(PATIENCE)
    one.connect(("127.0.0.1", server.port))
    one.sendall(f"GET {path} HTTP/1.1\r\n{HANDSHAKE}{headers}\r\n".encode())
    return one


def test_handshakes_that_are_none_shut_nobody_out():
    """A long line, many headers, a body: each is refused in a sentence, and its connection is free at once."""
    many = "".join(f"X-{number}: 1\r\n" for number in range(200))
    bad = [(f"/api/stream?a={'x' * 9000}", ""), ("/api/stream", many), ("/api/stream", "Content-Length: 5\r\n")]
    # Not because any of them took too long.
    with running_server(connections=9, idle_seconds=2 * PATIENCE, body_seconds=2 * PATIENCE) as server:
        waiting = [_shaking_hands(server, path, headers) for path, headers in 4 * bad]
        wait_for(lambda: server.request("GET", "/api/health")[0] == 200)
        for one in waiting:
            answer = b"".join(iter(lambda one=one: one.recv(4096), b""))
            assert answer.startswith(b"HTTP/1.1 400") and b"The handshake is none" in answer
            one.close()


def test_streams_that_only_ping_and_read_nothing_lose_their_places_and_hold_no_memory():
    pings = (b"\x89\xfd\0\0\0\0" + b"x" * 125) * 1000
    with running_server(streams=2, idle_seconds=2.0) as server:
        before, deaf = _resident_bytes_at_rest(server), [_shaking_hands(server) for _ in range(2)]
        for one in deaf:
            one.recv(12)
            one.settimeout(0.5)
            with contextlib.suppress(OSError):  # the server reads no further, or has gone
                for _ in range(300):
                    one.sendall(pings)
        assert _resident_bytes(server.process.pid) - before < 30e6

        def has_room():
            with _shaking_hands(server) as good:
                return good.recv(12) == b"HTTP/1.1 101"

        wait_for(has_room)
        for one in deaf:
            one.close()


def test_a_thousand_uploads_leave_nothing(server):
    """No file, no descriptor and no memory stays, whether an upload was good, bad, a form or too large."""
    good, bad = encoded(clip(0.02)), b"no sound" * 10
    large = form(encoded(clip(3.2, 44100), 44100, subtype="FLOAT"))  # libraries put forms of this size into files
    figures = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    for number in range(UPLOADS):
        body, headers, expected = good, {}, 200
        if number % 10 == 3:
            body, expected = bad, 415
        elif number % 10 == 6:
            body, headers = form(good, name="../../a.wav"), FORM
        elif number % 100 == 99:
            body, headers, expected = large, FORM, 200
        connection.request("POST", "/api/enhance", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == expected
        if number in (UPLOADS // 2, UPLOADS - 1):
            figures.append((_resident_bytes(server.process.pid), _descriptors(server.process.pid)))
    connection.close()
    (earlier_bytes, earlier_files), (later_bytes, later_files) = figures
    assert later_files <= earlier_files
    assert later_bytes - earlier_bytes < 16e6  # each of the large ones is 1 MB; allocators keep a few
    assert not list(server.temporary.iterdir())


def test_chunks_of_a_good_file_are_put_together(server):
    wav = encoded(clip(0.3))
    whole = server.enhance(wav)[2]
    status, _, data = server.request("POST", "/api/enhance", iter([wav[:100], wav[100:101], wav[101:]]))
    assert status == 200
    assert data == whole


def _resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _resident_bytes_at_rest(server):
    """What the server takes when all is loaded that any request needs."""
    assert server.request("GET", "/api/health")[0] == 200
    return _resident_bytes(server.process.pid)


def _descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
