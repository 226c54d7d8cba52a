"""What users send by mistake and others on purpose: the table of docs/serving.md, row by row."""

import io
import struct
from dataclasses import dataclass, field

import numpy as np
from project import PROJECT
from web_server import clip, encoded

DOCUMENT = PROJECT / "docs" / "serving.md"
LIMITS = {"upload_bytes": 1 << 20, "upload_seconds": 10.0}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
ENDLESS = {"Content-Length": "9" * 19}
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


@dataclass(frozen=True)
class Case:
    """A request, and how the server is to answer it; ``message`` is part of the sentence, empty for an answer."""

    name: str
    status: int
    message: str = ""
    body: object = b""
    path: str = "/api/enhance"
    method: str = "POST"
    headers: dict = field(default_factory=dict)


def form(data, name="a.wav", field_name="file"):
    head = f'--x\r\nContent-Disposition: form-data; name="{field_name}"; filename="{name}"\r\n\r\n'.encode()
    return head + data + b"\r\n--x--\r\n"


def silent_flac(seconds, *, says=None):
    """Silence as FLAC, a few kilobytes an hour; its header says how many samples it holds, or another number."""
    data = bytearray(encoded(np.zeros((seconds * 8000, 1), np.float32), 8000, "FLAC"))
    if says is not None:
        (packed,) = struct.unpack(">Q", data[18:26])
        data[18:26] = struct.pack(">Q", (packed & ~((1 << 36) - 1)) | says)
    return bytes(data)


def claiming_wav(data_bytes):
    """A short WAV whose header claims to hold so many bytes."""
    data = bytearray(encoded(clip(0.1), subtype="PCM_16"))
    data[40:44] = struct.pack("<I", data_bytes)
    return bytes(data)


def with_value(value):
    samples = clip(0.1)
    samples[700] = value
    return encoded(samples, subtype="FLOAT")


def cases():
    """All cases."""
    wav = encoded(clip(0.1))
    text = b"Dear server, this is no sound.\n" * 40
    return [
        Case("WAV", 200, body=wav),
        Case("one sample", 200, body=encoded(clip(0.1)[:1])),
        Case("stereo FLAC at 44.1 kHz", 200, body=encoded(clip(0.1, 44100, channels=2), 44100, "FLAC")),
        Case("MP3", 200, body=encoded(clip(0.5), kind="MP3")),
        Case("Ogg Vorbis", 200, body=encoded(clip(0.5), kind="OGG")),
        Case("WAV as the field `file` of a form", 200, body=form(wav), headers=FORM),
        Case("WAV whose header claims an hour: what is there", 200, body=claiming_wav(3600 * 32000)),
        Case("FLAC cut short: what is there", 200, body=encoded(clip(3.0), kind="FLAC")[:30000]),
        Case("WAV cut short: what is there", 200, body=encoded(clip(3.0), subtype="PCM_16")[:48044]),
        Case("nothing", 400, "The upload is empty", b""),
        Case("WAV without samples", 422, "holds no samples", encoded(np.zeros((0, 1)))),
        Case("form without the field", 400, "no file named 'file'", form(wav, field_name="x"), headers=FORM),
        Case("text named .wav", 415, "not readable as audio", form(text), headers=FORM),
        Case("PNG", 415, "not readable as audio", b"\x89PNG\r\n\x1a\n" + bytes(500)),
        Case("WebM (the page sends it as WAV)", 415, "not readable as audio", b"\x1a\x45\xdf\xa3" + bytes(500)),
        Case("WAV header cut short", 415, "not readable as audio", wav[:20]),
        Case("NaN", 422, "Sample 700 is NaN", with_value(np.nan)),
        Case("infinity", 422, "Sample 700 is NaN or infinite", with_value(np.inf)),
        Case("1e20", 422, "Sample 700 is 1e+20", with_value(1e20)),
        Case("three channels", 422, "3 channels", encoded(clip(0.1, channels=3))),
        Case("1 kHz", 422, "sample rate is 1000", encoded(clip(0.1), 1000)),
        Case("eleven seconds, where ten are served", 413, "longer than 10 seconds", encoded(clip(11.0, 8000), 8000)),
        Case("an hour of silence in a small FLAC", 413, "longer than 10 seconds", silent_flac(3600)),
        Case("the same, length unknown", 413, "longer than 10 seconds", silent_flac(3600, says=0)),
        Case("more bytes than served, announced", 413, "larger than 1 MiB", bytes((1 << 20) + (1 << 17))),
        Case("more bytes than served, in chunks", 413, "larger than 1 MiB", Chunks((1 << 20) + (1 << 17))),
        Case("`denoise=maybe`", 400, "denoise is 1 or 0", wav, "/api/enhance?denoise=maybe"),
        Case("`rate=fast`", 400, "rate is a whole number from 4000", wav, "/api/enhance?rate=fast"),
        Case("`rate=1000`", 400, "rate is a whole number from 4000", wav, "/api/enhance?rate=1000"),
        Case("`rate=` of five thousand digits", 400, "rate is a whole", wav, f"/api/enhance?rate={'9' * 5000}"),
        Case("a length of nineteen nines", 400, "Content-Length is a whole", wav, headers=ENDLESS),
        Case("GET of an address for POST", 405, "Method Not Allowed", None, method="GET"),
        Case("unknown address", 404, "Not Found", None, "/../../etc/passwd", "GET"),
        Case("from another site's page", 403, "another site's page", wav, headers={"Origin": "http://evil.example"}),
        Case("from an origin that is no address", 403, "another site's page", wav, headers={"Origin": "http://["}),
        Case("from a sandboxed frame", 403, "another site's page", wav, headers={"Origin": "null"}),
        Case("cross-site, as the browser says", 403, "another site's page", wav, headers=CROSS_SITE),
        Case("under a name that is none", 403, "as ''", None, "/", "GET", {"Host": "["}),
        Case("under a name made to point here", 403, "as 127.0.0.1", None, "/", "GET", {"Host": "evil.example"}),
    ]  # fmt: skip


class Chunks:
    """A body of unannounced length."""

    def __init__(self, size):
        self._file = io.BytesIO(bytes(size))

    def __iter__(self):
        return iter(lambda: self._file.read(1 << 16), b"")
