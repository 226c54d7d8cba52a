"""Downloads from a server that misbehaves: the right bytes in the end, or one clear line and no file of that name."""

import errno
import hashlib
import os
import socket

import numpy as np
import pytest
from misbehaving_server import IMPATIENT, SHORT, always, everything, misbehaving_server, properly, status, trickle

from datamodules.fetching import download as download_module
from datamodules.fetching.download import DownloadError, Expectation, download, probe_size
from overtone.errors import OvertoneError

BODY = np.random.default_rng(0).bytes(200_000)
OTHER = np.random.default_rng(1).bytes(200_000)
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
KNOWN = Expectation(len(BODY), SHA256)
UNKNOWN = Expectation()


@pytest.fixture
def site():
    with misbehaving_server() as running:
        running.files["file.zip"] = running.files["moved"] = BODY
        yield running


@pytest.fixture
def mirror():
    with misbehaving_server() as running:
        running.files["file.zip"] = BODY
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "archives" / "file.zip"


def fetch(site, target, expected=KNOWN, patience=IMPATIENT, **options):
    download([site.url("file.zip")], target, expected, patience=patience, **options)


def refused(site, target, expected=KNOWN, patience=IMPATIENT):
    """Download what must fail: one line, and nothing but the unfinished part stays."""
    with pytest.raises(DownloadError) as caught:
        fetch(site, target, expected, patience)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600, message
    assert message.startswith("file.zip: not downloaded: 127.0.0.1:")
    assert not target.exists()
    left = everything(target.parent.parent)
    assert set(left) <= {"archives/file.zip.part", "archives/file.zip.part.validator"}
    return message


@pytest.mark.parametrize("expected", [KNOWN, UNKNOWN], ids=["checksum known", "nothing known"])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param([], id="a server that behaves"),
        pytest.param([properly(upto=70_000)], id="the connection is cut once"),
        pytest.param([properly(upto=n) for n in (50_000, 1, 60_000, 33_333)], id="the connection is cut at random"),
        pytest.param([properly(upto=0)], id="the connection is cut before the first byte"),
        pytest.param([always(properly(upto=40_000))], id="each connection is cut, and each brings something"),
        pytest.param([properly(upto=70_000, ranges=False), always(properly(ranges=False))], id="no range support"),
        pytest.param(
            [properly(upto=70_000, validators=False), properly(validators=False)], id="nothing to tell versions apart"
        ),
        pytest.param([status(500), status(503)], id="500, then 503, then the file"),
        pytest.param([status(429, {"Retry-After": "3"})], id="429 with a time to wait"),
        pytest.param([status(503, {"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"})], id="503 with a date to wait for"),
        pytest.param([status(302, {"Location": "../moved"})], id="a redirect"),
        pytest.param([status(301, {"Location": "/a"}), status(308, {"Location": "moved"})], id="two redirects"),
        pytest.param([properly(declare=False)], id="no length is announced"),
        pytest.param([properly(upto=9, headers={"Content-Type": "application/zip"})], id="a cut after nine bytes"),
    ],
)
def test_the_file_arrives_although(site, target, script, expected):
    site.script = script
    fetch(site, target, expected)
    assert everything(target.parent.parent) == {"archives/file.zip": BODY}


@pytest.mark.parametrize("expected", [KNOWN, UNKNOWN], ids=["checksum known", "nothing known"])
def test_the_file_arrives_although_the_server_goes_silent_once(site, target, expected):
    site.script = [trickle(1, 1.0)]
    fetch(site, target, expected, SHORT)
    assert everything(target.parent.parent) == {"archives/file.zip": BODY}


def test_a_cut_download_asks_only_for_the_rest(site, target):
    site.script = [properly(upto=70_000)]
    fetch(site, target)
    assert site.ranges() == [None, "bytes=70000-"]
    assert site.gets()[1][1]["If-Range"] == site.etag


def test_a_stopped_download_continues_in_the_next_program(site, target):
    def stop(what, done, total):
        if done > 100_000:
            raise KeyboardInterrupt

    site.script = [properly(upto=120_000)]
    with pytest.raises(KeyboardInterrupt):
        fetch(site, target, UNKNOWN, report=stop)
    part = target.with_name("file.zip.part")
    arrived = part.stat().st_size
    assert 0 < arrived < len(BODY)
    assert not target.exists()
    fetch(site, target, UNKNOWN)
    assert target.read_bytes() == BODY
    assert site.ranges()[-1] == f"bytes={arrived}-"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("expected", [KNOWN, UNKNOWN], ids=["checksum known", "nothing known"])
def test_a_file_that_changed_between_two_parts_is_downloaded_anew(site, target, expected):
    site.files["file.zip"] = OTHER
    site.script = [always(properly(upto=70_000, ranges=False))]
    refused(site, target, UNKNOWN)
    assert target.with_name("file.zip.part").read_bytes() == OTHER[:70_000]
    site.files["file.zip"], site.etag, site.modified = BODY, '"two"', "Tue, 02 Jan 2024 00:00:00 GMT"
    site.script = []
    fetch(site, target, expected)
    assert target.read_bytes() == BODY


def test_a_beginning_without_its_origin_is_not_trusted(site, target):
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(OTHER[:70_000])
    fetch(site, target, UNKNOWN)
    assert target.read_bytes() == BODY
    assert site.ranges() == [None]


def test_a_wrong_beginning_is_found_by_the_checksum_and_replaced(site, target):
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(OTHER[:70_000])
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.ranges() == ["bytes=70000-", None]


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[1]", b'{"url": 3}', b"\xff"])
def test_a_broken_note_of_the_origin_does_no_harm(site, target, rubbish):
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(BODY[:70_000])
    target.with_name("file.zip.part.validator").write_bytes(rubbish)
    fetch(site, target, UNKNOWN)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("extra", [b"", b"too much"], ids=["all of it", "more than all of it"])
def test_a_part_that_is_all_there_is_verified_not_downloaded(site, target, extra):
    target.parent.mkdir()
    target.with_name("file.zip.part").write_bytes(BODY + extra)
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert len(site.requests) == (1 if extra else 0)


@pytest.mark.parametrize(
    "wrong",
    [
        properly(headers={"Content-Range": "bytes 0-199999/200000"}),
        lambda handler, body: status(206, text=body[5:])(handler, body),
        lambda handler, body: status(206, {"Content-Range": "lines 1-2/3"}, body[5:])(handler, body),
        status(416),
    ],
    ids=["from its first byte", "without a name", "in lines", "none at all"],
)
def test_a_wrong_range_makes_the_download_start_again(site, target, wrong):
    site.script = [properly(upto=70_000), wrong]
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert site.ranges()[0] is None


@pytest.mark.parametrize(
    ("script", "expected", "words"),
    [
        pytest.param([always(properly(upto=0))], KNOWN, "broke off 4 times", id="every connection cut"),
        pytest.param(
            [always(properly(upto=70_000, ranges=False))],
            KNOWN,
            "broke off 4 times",
            id="every connection cut, no ranges",
        ),
        pytest.param([properly(content=OTHER)], KNOWN, "sha256", id="wrong checksum"),
        pytest.param([properly(content=BODY[:-1])], KNOWN, "offers 199999 bytes; expected 200000", id="too short"),
        pytest.param([properly(content=BODY + b"x")], KNOWN, "offers 200001 bytes", id="too long"),
        pytest.param(
            [always(properly(content=BODY[:-9], declare=False))], KNOWN, "broke off 4 times", id="short, no length"
        ),
        pytest.param(
            [always(properly(content=BODY + b"x", declare=False))], KNOWN, "gave 200001 bytes", id="too long, no length"
        ),
        pytest.param([always(properly(total=300_000))], UNKNOWN, "broke off 4 times", id="less than announced"),
        pytest.param([status(404)], KNOWN, "answered 404 Not Found", id="404"),
        pytest.param([status(403)], KNOWN, "answered 403 Forbidden", id="403"),
        pytest.param([status(410)], KNOWN, "answered 410 Gone", id="410"),
        pytest.param([status(204)], KNOWN, "answered 204", id="204"),
        pytest.param([always(status(500))], KNOWN, "answered 500", id="always 500"),
        pytest.param(
            [status(302, {"Location": "file:///etc/passwd"})], KNOWN, "cannot be reached", id="to a local file"
        ),
        pytest.param([status(302, {"Location": "ftp://127.0.0.1/x"})], KNOWN, "cannot be reached", id="to ftp"),
        pytest.param([status(302, {"Location": "http://[x"})], KNOWN, "cannot be reached", id="a redirect to nowhere"),
        pytest.param([status(302)], KNOWN, "answered 302", id="a redirect without an address"),
        pytest.param(
            [status(302, {"Location": f"/{n}"}) for n in range(20)], KNOWN, "too many redirects", id="endless redirects"
        ),
        pytest.param(
            [properly(content=b"<html>sorry", headers={"Content-Type": "text/html; charset=utf-8"})],
            UNKNOWN,
            "a web page",
            id="a web page instead of the file",
        ),
    ],
)
def test_no_file_but_one_line_after(site, target, script, expected, words):
    site.script = script
    assert words in refused(site, target, expected)


def test_a_server_that_stalls_again_and_again_is_given_up(site, target):
    site.script = [always(trickle(2, 1.0))]
    assert "broke off 4 times" in refused(site, target, KNOWN, SHORT)


def test_a_tar_gz_labelled_as_packed_is_taken_as_it_is(site, tmp_path):
    site.files["file.tar.gz"] = BODY
    site.script = [properly(headers={"Content-Encoding": "x-gzip"})]
    download([site.url("file.tar.gz")], tmp_path / "file.tar.gz", KNOWN, patience=IMPATIENT)
    assert (tmp_path / "file.tar.gz").read_bytes() == BODY


def test_https_is_never_left_for_http(monkeypatch, target):
    class Answer:
        status, headers = 200, {}

        def close(self):
            pass

        def geturl(self):
            return "http://127.0.0.1/file.zip"

    class Pool:
        def request(self, *arguments, **options):
            return Answer()

    monkeypatch.setattr(download_module, "_pool_for", lambda url: Pool())
    with pytest.raises(DownloadError, match="from https to http"):
        download(["https://127.0.0.1/file.zip"], target, KNOWN, patience=IMPATIENT)


def test_a_redirect_to_another_host_is_followed(site, mirror, target):
    site.script = [status(302, {"Location": mirror.url("file.zip")})]
    fetch(site, target)
    assert target.read_bytes() == BODY
    assert len(mirror.gets()) == 1


def test_mirrors_are_asked_in_order_and_go_on_where_the_first_one_stopped(site, mirror, target):
    site.script = [properly(upto=70_000), always(status(404))]
    mirror.etag = '"of the mirror"'
    download([site.url("file.zip"), mirror.url("file.zip")], target, KNOWN, patience=IMPATIENT)
    assert target.read_bytes() == BODY
    assert mirror.ranges() == ["bytes=70000-"]


def test_a_mirror_with_an_older_file_starts_it_again_where_no_checksum_is_known(site, mirror, target):
    site.script = [properly(upto=70_000), always(status(404))]
    mirror.files["file.zip"], mirror.modified = OTHER, "Sun, 31 Dec 2023 00:00:00 GMT"
    download([site.url("file.zip"), mirror.url("file.zip")], target, UNKNOWN, patience=IMPATIENT)
    assert target.read_bytes() == OTHER


def test_every_mirror_says_why_it_failed(site, mirror, target):
    site.script, mirror.script = [status(404)], [properly(content=OTHER)]
    gone = "http://127.0.0.1:9/file.zip"
    with pytest.raises(DownloadError) as caught:
        download([site.url("file.zip"), mirror.url("file.zip"), gone], target, KNOWN, patience=IMPATIENT)
    message = str(caught.value)
    assert "answered 404" in message and "sha256" in message and "127.0.0.1:9 cannot be reached" in message
    assert "object at" not in message and "\n" not in message
    assert not target.exists()


def test_a_name_that_nobody_knows_is_one_line(target, monkeypatch):
    def unknown(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    urls = ["https://nowhere.invalid/file.zip", "https://elsewhere.invalid/file.zip"]
    with pytest.raises(DownloadError, match=r": nowhere\.invalid cannot be reached"):
        download(urls, target, KNOWN, patience=IMPATIENT)


def test_an_intact_file_is_not_downloaded_again(site, target):
    fetch(site, target)
    fetch(site, target)
    assert len(site.requests) == 1


def test_a_damaged_file_is_downloaded_again(site, target):
    target.parent.mkdir()
    target.write_bytes(OTHER)
    fetch(site, target)
    assert target.read_bytes() == BODY


def test_progress_is_reported_to_the_last_byte(site, target):
    seen = []
    fetch(site, target, report=lambda what, done, total: seen.append((what, done, total)))
    assert seen[-1] == ("verify", len(BODY), len(BODY))
    downloads = [done for what, done, total in seen if what == "download"]
    assert downloads == sorted(downloads)
    assert downloads[-1] == len(BODY)


def test_a_full_disk_is_one_line_and_keeps_what_arrived(site, target, monkeypatch):
    def full(self, response):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._part))

    monkeypatch.setattr(download_module._Transfer, "_append", full)
    with pytest.raises(OvertoneError, match="No space left on device") as caught:
        fetch(site, target)
    assert "\n" not in str(caught.value)
    assert not target.exists()


def test_a_folder_that_is_a_file_is_one_line(site, target):
    target.parent.write_text("a file")
    with pytest.raises(OvertoneError, match="archives"):
        fetch(site, target)
    assert target.parent.read_text() == "a file"


def test_sizes_are_asked_for(site, mirror):
    assert probe_size([site.url("file.zip")], IMPATIENT) == len(BODY)
    assert probe_size([site.url("nothing"), mirror.url("file.zip")], IMPATIENT) == len(BODY)
    assert probe_size([site.url("nothing"), "http://127.0.0.1:9/"], IMPATIENT) is None
    assert site.gets() == []


def test_the_proxy_of_the_environment_is_used(site, target, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", site.address)
    site.files["/corpora.invalid/file.zip"] = BODY
    site.script = [properly(content=BODY)]
    download(["http://corpora.invalid/file.zip"], target, KNOWN, patience=IMPATIENT)
    assert target.read_bytes() == BODY
    assert site.gets()[0][0] == "http://corpora.invalid/file.zip"
