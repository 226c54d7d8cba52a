"""A reviewer in front of MLflow's pages: headless Chromium, whose clicks are counted."""

import json

from listening_browser import Browser

FOUND = """(() => {
  const found = [...document.querySelectorAll(%s)]
    .find(one => one.checkVisibility() && (%s === null || one.innerText.trim() === %s));
  if (!found) return null;
  %s
  const box = found.getBoundingClientRect(), x = box.x + Math.min(box.width, 40) / 2, y = box.y + box.height / 2;
  const top = document.elementFromPoint(x, y);
  return { x, y, seen: !!top && (found.contains(top) || top.contains(found)), right: box.right };
})()"""


class Reviewer(Browser):
    """Presses what is to be seen, as a hand would.

    Attributes:
        clicks: since the address was visited last.
    """

    def visit(self, address, awaited):
        """Open an address and wait for an element, named as in `place`."""
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=address)
        self.wait_for(*awaited)
        self.clicks = 0

    def place(self, selector, text=None, *, scroll=False):
        """Where an element with this whole text is, and whether nothing hides it; None where there is none."""
        moved = "found.scrollIntoView({ block: 'center' });" if scroll else ""
        words = json.dumps(text)
        return self.run(FOUND % (json.dumps(selector), words, words, moved))

    def wait_for(self, selector, text=None):
        words = json.dumps(text)
        self.wait(f"!!{FOUND % (json.dumps(selector), words, words, '')}")

    def is_in_sight(self, selector, text=None):
        """Whether an element can be read without scrolling or unfolding anything."""
        found = self.place(selector, text)
        return bool(found and found["seen"] and found["right"] <= self.run("innerWidth"))

    def press(self, selector, text=None):
        """Click on an element."""
        self.wait_for(selector, text)
        at = self.place(selector, text, scroll=True)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=at["x"], y=at["y"], button="left", clickCount=1)
        self.clicks += 1

    def text(self):
        return self.run("document.body.innerText")

    def follow(self, selector, text):
        """Click on a link that opens a page of its own, and go on there."""
        before = self._pages()
        self.press(selector, text)
        new = set()
        while not new:
            new = self._pages() - before
        (target,) = new
        for old in before:
            self._call("Target.closeTarget", targetId=old)
        self._session = None
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")
        self._call("Runtime.enable")

    def wait_in_frame(self, condition):
        """Wait until a script is true in the page that MLflow shows in its sandboxed frame."""
        self.wait("!!document.querySelector('iframe[sandbox]')")
        self.wait("new Promise(done => setTimeout(() => done(true), 500))")
        self.wait(f"location.protocol === 'blob:' && document.readyState === 'complete' && ({condition})", inside=True)

    def _pages(self):
        targets = self._call("Target.getTargets")["targetInfos"]
        return {one["targetId"] for one in targets if one["type"] == "page"}
