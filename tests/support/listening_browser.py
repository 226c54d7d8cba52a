"""Headless Chromium, driven through its debugging pipe: no package, no port, no network."""

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from processes import PATIENCE, wait_for

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
]


CHECK = "document.querySelector('h2').textContent === 'Volume and headphones'"


def answer_headphone_check(browser, place=0, inside=False):
    """Go through the check before the exercise of a listening test with one answer to every round."""
    browser.wait(CHECK, inside)
    while browser.run("document.querySelector('.next').disabled", inside):
        browser.run("document.querySelector('.tones').click()", inside)
        browser.run(f"document.querySelectorAll('.answer')[{place}].click()", inside)
    browser.run("document.querySelector('.next').click()", inside)
    browser.wait("document.querySelector('h2').textContent === 'Exercise'", inside)


def _pipe():
    """A pipe whose ends are neither 3 nor 4, which the browser gets as its own."""
    ends = os.pipe()
    higher = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return higher


class Browser:
    """One page; used as a context manager."""

    def __init__(self, width=1280, height=900, options=()):
        self._numbers = itertools.count(1)
        self._profile = tempfile.mkdtemp()
        to_read, self._to = _pipe()
        self._from, from_write = _pipe()
        command = [EXECUTABLE, *OPTIONS, *options, f"--user-data-dir={self._profile}", "about:blank"]
        shell = f'exec "$@" 3<&{to_read} 4>&{from_write} {to_read}<&- {from_write}>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "browser", *command],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        self._buffer = b""
        self._session = None
        self._scripts = set()
        self._frames = {}
        self.errors = []
        wait_for(lambda: self._targets("page"))
        attached = self._call("Target.attachToTarget", targetId=self._targets("page")[0], flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Runtime.enable")
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, address, before=""):
        """Load a page; the script runs before its own, now and whenever a page is opened later."""
        if before and before not in self._scripts:
            self._call("Page.addScriptToEvaluateOnNewDocument", source=before)
            self._scripts.add(before)
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && !!document.querySelector('h2')")

    def run(self, script, inside=False):
        """Evaluate a script, or a promise, and return its value: inside the page's sandboxed frame, or in the page."""
        page = self._session
        self._session = self._frame() if inside else page
        try:
            answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        finally:
            self._session = page
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"].get("exception", {}).get("description", answer))
        return answer["result"].get("value")

    def _frame(self):
        """The session of the sandboxed frame, which the browser gives a process of its own."""
        targets = self._targets("iframe")
        assert len(targets) == 1, targets
        (found,) = targets
        if found not in self._frames:
            self._frames[found] = self._call("Target.attachToTarget", targetId=found, flatten=True)["sessionId"]
        return self._frames[found]

    def _targets(self, kind):
        return [one["targetId"] for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == kind]

    def wait(self, condition, inside=False):
        """Wait until a script is true; inside the frame, until there is one too."""
        end = time.monotonic() + PATIENCE
        while (inside and not self._targets("iframe")) or not self.run(condition, inside):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.02)

    def key(self, key):
        """Press a key."""
        codes = {" ": ("Space", 32), "ArrowRight": ("ArrowRight", 39), "Enter": ("Enter", 13), "Tab": ("Tab", 9)}
        code, number = codes.get(key, (f"Key{key.upper()}", ord(key.upper()[0])))
        text = key if len(key) == 1 else "\r" if key == "Enter" else ""
        for kind in ("keyDown", "keyUp"):
            event = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            self._call("Input.dispatchKeyEvent", type=kind, **event, **({"text": text} if kind == "keyDown" else {}))

    def _event(self, method, parameters):
        if method == "Runtime.exceptionThrown":
            self.errors.append(parameters["exceptionDetails"])

    def _call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:  # one that is longer than a pipe holds may be written in parts
            data = data[os.write(self._to, data) :]
        while True:
            while b"\0" in self._buffer:
                one, self._buffer = self._buffer.split(b"\0", 1)
                answer = json.loads(one)
                if "method" in answer:
                    self._event(answer["method"], answer["params"])
                if answer.get("id") == number:
                    assert "error" not in answer, answer
                    return answer["result"]
            ready, _, _ = select.select([self._from], [], [], PATIENCE)
            data = os.read(self._from, 1 << 20) if ready else b""
            assert data, "the browser does not answer"
            self._buffer += data
