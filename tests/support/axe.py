"""What axe, a checker of accessibility, finds on a page; it comes with a package, so that nothing is fetched."""

from importlib.util import find_spec
from pathlib import Path

import pytest

SCHEMES = ("light", "dark")


def in_scheme(browser, scheme):
    """Let pages see the reader's preference for light or dark."""
    browser._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def violations(browser, *schemes):
    """What axe finds on the page that is open, a line each, in the colours of each scheme: light and dark."""
    if find_spec("axe_core_python") is None:
        pytest.skip("axe-core-python is not installed")
    axe = Path(find_spec("axe_core_python").origin).with_name("axe.min.js").read_text(encoding="utf-8")
    found = []
    browser.run(f"{axe}; true")
    for scheme in schemes or SCHEMES:
        in_scheme(browser, scheme)
        broken = browser.run(
            "axe.run({ resultTypes: ['violations'] }).then(({ violations }) => violations.flatMap(one =>"
            " one.nodes.map(node => `${one.id}: ${node.html.slice(0, 200)} ${node.failureSummary}`)))"
        )
        found += [f"{scheme}: {one}" for one in broken]
    return found
