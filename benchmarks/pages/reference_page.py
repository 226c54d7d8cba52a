"""Lists every public module on the pages of the API reference as the site is built: a hook of MkDocs (`mkdocs.yml`)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MARK = re.compile(r"<!-- modules of (\S+)(?: without (.+?))? -->")
ROOT = Path(__file__).parents[2]
SOURCES = {"overtone": ROOT / "runtime"}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put in place of each mark the directives that describe a package's modules.

    Args:
        markdown: of any page; a mark names a package and, if need be, folders of it that are left out.
    """

    def described(mark: re.Match[str]) -> str:
        package, left_out = mark[1], (mark[2] or "").split(", ")
        return "\n".join(f"::: {module}" for module in public_modules(package, left_out))

    return MARK.sub(described, markdown)


def public_modules(package: str, left_out: list[str]) -> Iterator[str]:
    """Yield the dotted names of the modules that define a public class or function.

    Args:
        package: its name.
        left_out: folders of it that are passed over.
    """
    root = SOURCES.get(package, ROOT)
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if len(parts) > 2 and parts[1] in left_out:
            continue
        defined = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(node, "name")]
        if any(not node.name.startswith("_") for node in defined):
            yield ".".join(parts).removesuffix(".__init__")
