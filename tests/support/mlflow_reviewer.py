"""A reviewer in front of MLflow's pages: headless Chromium, whose clicks are counted."""

import json
import time
from contextlib import suppress

from listening_browser import Browser
from processes import PATIENCE

FOUND = """(() => {
  const words = %s;
  const found = [...document.querySelectorAll(%s)]
    .find(one => one.checkVisibility() && (words === null || (one.innerText ?? '').trim() === words));
  if (!found) return null;
  %s
  const box = found.getBoundingClientRect(), x = box.x + Math.min(box.width, 40) / 2, y = box.y + box.height / 2;
  const top = document.elementFromPoint(x, y);
  return { x, y, seen: !!top && (found.contains(top) || top.contains(found)), right: box.right };
})()"""


def _script(selector, text, before=""):
    return FOUND % (json.dumps(text), json.dumps(selector), before)


class Reviewer(Browser):
    """Presses what is to be seen, as a hand would.

    Attributes:
        clicks: since the address was visited last.
    """

    def __init__(self, width=1024, height=768):
        self.clicks = 0
        super().__init__(width, height)
        self._size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}

    def visit(self, address, awaited):
        """Open an address and wait for an element, named as in `place`."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=address)
        self.wait_for(*awaited)
        self.clicks = 0

    def place(self, selector, text=None, before=""):
        """Where an element with this whole text is, and whether nothing hides it; None where there is none."""
        return self.run(_script(selector, text, before))

    def wait(self, condition, inside=False, told=None):
        """Wait until a script is true; a failure says what the page shows."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition, inside):
            if time.monotonic() > end:
                raise AssertionError(f"not in {PATIENCE:.0f} s: {told or condition}\n{self.text()[-2000:]}")
            time.sleep(0.05)

    def wait_for(self, selector, text=None):
        self.wait(f"!!{_script(selector, text)}", told=f"{selector} {text!r}")

    def is_in_sight(self, selector, text=None):
        """Whether an element can be read without scrolling or unfolding anything."""
        found = self.place(selector, text)
        return bool(found and found["seen"] and found["right"] <= self.run("innerWidth"))

    def press(self, selector, text=None):
        """Click on an element, when it has stopped moving while the page is built."""
        self.wait_for(selector, text)
        at, before = self._in_the_middle(selector, text), None
        while at != before:
            time.sleep(0.1)
            at, before = self._in_the_middle(selector, text), at
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=at["x"], y=at["y"], button="left", clickCount=1)
        self.clicks += 1

    def _in_the_middle(self, selector, text):
        return self.place(selector, text, "found.scrollIntoView({ block: 'center' });")

    def press_inside(self, selector):
        """Click on an element of the page in MLflow's frame."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()", inside=True)
        self.clicks += 1

    def text(self):
        return self.run("document.body.innerText")

    def follow(self, selector, text):
        """Click on a link that opens a page of its own, and go on there."""
        before = self._pages()
        self.press(selector, text)
        end = time.monotonic() + PATIENCE
        while not (new := self._pages() - before):
            assert time.monotonic() < end, f"{text!r} opens no page"
            time.sleep(0.05)
        (target,) = new
        for old in before:
            self._call("Target.closeTarget", targetId=old)
        self._session = None
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")
        self._call("Runtime.enable")
        self._call("Emulation.setDeviceMetricsOverride", **self._size)

    def wait_in_frame(self, condition):
        """Wait until a script is true in the page that MLflow shows in its sandboxed frame."""
        self.wait("!!document.querySelector('iframe[sandbox]')?.src.startsWith('blob:')")
        ready = f"location.protocol === 'blob:' && document.readyState === 'complete' && ({condition})"
        end, found = time.monotonic() + PATIENCE, False
        while not found:
            assert time.monotonic() < end, f"not in {PATIENCE:.0f} s in MLflow's frame: {condition}"
            time.sleep(0.05)
            with suppress(AssertionError):  # the frame of the page before is still ending, or this one is beginning
                found = self.run(ready, inside=True)

    def _pages(self):
        return set(self._targets("page"))
