"""The page of `overtone serve` in headless Chromium, whose microphone is a WAV file."""

import base64
from pathlib import Path
from urllib.parse import urlsplit

from listening_browser import Browser

NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"


class WebBrowser(Browser):
    """Notes every request and every complaint of the console; downloads go to a folder."""

    def __init__(self, microphone, downloads, **size):
        self.hosts = set()
        self.complaints = []
        self.permission = microphone is not None
        options = [NOWHERE, "--use-fake-device-for-media-stream"]
        if microphone is not None:
            options += ["--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}"]
        super().__init__(options=options, **size)
        self._call("Network.enable")
        self._call("Log.enable")
        self._call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def visit(self, address):
        """Load the page and wait until its script runs."""
        self._call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && !!document.querySelector('#record')")
        self.run("new Promise((done) => setTimeout(done, 50))")

    def click(self, selector):
        """Click in the middle of an element, as a hand would."""
        x, y = self.run(
            f"(() => {{ const one = document.querySelector({selector!r}); one.scrollIntoView({{block: 'center'}});"
            "const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drop(self, path, selector="#drop"):
        """Drop a file onto an element."""
        x, y = self.run(
            f"(() => {{ const box = document.querySelector({selector!r}).getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self._call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def choose(self, path):
        """Give a file to the file field."""
        document = self._call("DOM.getDocument")["root"]["nodeId"]
        field = self._call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=field, files=[str(path)])

    def text(self, selector):
        """What an element says, without what is hidden."""
        return self.run(f"document.querySelector({selector!r}).innerText")

    def screenshot(self, path):
        """Save the whole page as PNG."""
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def _event(self, method, parameters):
        super()._event(method, parameters)
        if method == "Network.requestWillBeSent":
            self.hosts.add(urlsplit(parameters["request"]["url"]).netloc)
        elif method == "Network.webSocketCreated":
            self.hosts.add(urlsplit(parameters["url"]).netloc)
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("warning", "error"):
            self.complaints.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("warning", "error"):
            self.complaints.append(str(parameters["args"]))
