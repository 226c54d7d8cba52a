"""The page and the HTTP interface, as a Flask application."""

import io
from http import HTTPStatus
from importlib.metadata import version
from typing import IO, cast
from urllib.parse import quote

from flask import Flask, Request, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from overtone.enhancer import HIGHEST_RATE, LOWEST_RATE
from overtone.serve.enhancement import Decoded, Enhancement
from overtone.serve.gate import TAKE
from overtone.serve.memory import Take
from overtone.serve.refusals import Refused, whole_number
from overtone.serve.uploads import download_name

MEBIBYTE = 1024 * 1024
FORM_FIELD = "file"
INTERFACE = {
    "POST /api/enhance": {
        "does": "enhances a whole file",
        "body": f"any audio that libsndfile reads, as the body or as the multipart field '{FORM_FIELD}'",
        "query": {
            "denoise": "1: the whole band comes from the model; 0: what the input already holds is kept (0)",
            "rate": "sample rate of the answer in Hz (the model's)",
            "name": "name of the file, for the answer's",
        },
        "answer": "WAV, 24 bits, as many channels as came in",
        "headers": {
            "X-Overtone-Audio-Seconds": "how long the audio is",
            "X-Overtone-Processing-Seconds": "how long enhancing took",
            "X-Overtone-Gain-dB": "constant gain that kept the peak below full scale, mostly 0.00",
            "X-Overtone-Latency-Samples": "the model's latency in streams, at its rate; files are not delayed",
            "X-Overtone-Model": "the model's name",
            "X-Overtone-Loss": "where the file was damaged or cut off: what is missing in it, and so in the answer",
        },
    },
    "POST /api/decode": {
        "does": "returns an upload as it is heard, as WAV at its own rate",
        "body": "as for /api/enhance",
    },
    "WS /api/stream": {
        "does": "enhances while one speaks",
        "query": {
            "rate": "sample rate of what comes in Hz (the model's)",
            "output_rate": "sample rate of what goes back in Hz (that of what comes)",
            "channels": "interleaved channels (1)",
            "format": "float32, int16, s24, s32, or telephony's mulaw, alaw and u8, which are answered by int16; "
            "little-endian (float32)",
            "denoise": "as for /api/enhance (0)",
        },
        "messages": "first the server sends JSON with latency_samples; then each binary message of samples is answered "
        "by one of as many samples, or as much sound at another output_rate, that many samples later. NaN and the "
        "like are taken for silence, after JSON with a warning. The text 'end' is answered by the rest, then closed",
    },
    "GET /api/model": {"does": "describes the model"},
    "GET /api/health": {"does": "says that the server is up"},
    "GET /api": {"does": "this description"},
}


class MemoryRequest(Request):
    """A request whose uploads stay in memory, so that no file can be left behind; their size is limited before."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()


def create_app(enhancement: Enhancement) -> Flask:
    """Return the application that enhances with one model, within that one's limits."""
    app = Flask(__name__)
    app.request_class = MemoryRequest
    app.config["MAX_CONTENT_LENGTH"] = enhancement.limits.upload_bytes + MEBIBYTE  # a form is larger than its file
    app.json.sort_keys = False  # type: ignore[attr-defined]
    _add_interface(app, enhancement)
    _add_errors(app)
    return app


def _add_interface(app: Flask, enhancement: Enhancement) -> None:
    @app.get("/")
    def page() -> str:
        return render_template(
            "index.html", facts=enhancement.facts(), limits=enhancement.limits, version=version("overtone")
        )

    @app.post("/api/enhance")
    def enhance() -> Response:
        query = request.args
        denoise = bool(whole_number("denoise", query.get("denoise", "0"), 0, 1))
        rate = whole_number("rate", query["rate"], LOWEST_RATE, HIGHEST_RATE) if "rate" in query else None
        data, name = _upload()
        done = enhancement.enhance(data, _take(), denoise=denoise, rate=rate)
        answer = _wav(done, download_name(name, "-enhanced.wav"))
        answer.headers["X-Overtone-Audio-Seconds"] = f"{done.audio_seconds:.6f}"
        answer.headers["X-Overtone-Processing-Seconds"] = f"{done.processing_seconds:.6f}"
        answer.headers["X-Overtone-Gain-dB"] = f"{done.gain_db:.2f}"
        answer.headers["X-Overtone-Latency-Samples"] = str(enhancement.latency_samples)
        answer.headers["X-Overtone-Model"] = enhancement.name
        return answer

    @app.post("/api/decode")
    def decoded() -> Response:
        data, name = _upload()
        return _wav(enhancement.decode(data, _take()), download_name(name, ".wav"))

    @app.get("/api/model")
    def model() -> Response:
        return jsonify(enhancement.facts())

    @app.get("/api/health")
    def health() -> Response:
        return jsonify({"status": "ok", "version": version("overtone")})

    @app.get("/api")
    def interface() -> Response:
        return jsonify(INTERFACE)


def _add_errors(app: Flask) -> None:
    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        return Response(error.body(), error.status, error.headers())

    @app.errorhandler(HTTPException)  # an unexpected exception comes as InternalServerError, after Flask logged it
    def http_error(error: HTTPException) -> Response:
        code = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        return refused(Refused(HTTPStatus(code), f"{error.name}: {request.method} {request.path}. See /api."))


def _upload() -> tuple[bytes, str | None]:
    """The uploaded bytes and their file name, from which only the answer's is made."""
    if request.mimetype != "multipart/form-data":
        return request.get_data(cache=False), request.args.get("name")
    file = request.files.get(FORM_FIELD)
    if file is None:
        raise Refused(HTTPStatus.BAD_REQUEST, f"The form has no file named '{FORM_FIELD}'. Send the audio under that.")
    return file.read(), request.args.get("name") or file.filename


def _take() -> Take:
    """Return what counts this request's bytes, which the gate has put there; under another server none are."""
    scope = request.environ.get("asgi.scope", {})
    return cast(Take, scope.get(TAKE, lambda count: None))


def _wav(done: Decoded, name: str) -> Response:
    answer = Response(cast(bytes, done.wav), mimetype="audio/wav")  # as bytes it would be in memory twice
    if done.loss:
        answer.headers["X-Overtone-Loss"] = done.loss
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    answer.headers["Content-Disposition"] = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"
    answer.headers["Cache-Control"] = "no-store"
    return answer
