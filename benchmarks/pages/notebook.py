"""`python -m benchmarks.pages.notebook`: docs/notebook.ipynb from docs/notebook.md, a cell for each piece.

The page is the source; a test runs it and compares the notebook.
"""

import json
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "notebook.md"
CODE = re.compile(r"^```python\n(.*?)\n```\n", re.DOTALL | re.MULTILINE)


def code_cells(page: str) -> list[str]:
    """Return the code blocks of a page in Markdown."""
    return CODE.findall(page)


def notebook(page: str) -> str:
    """Return a page in Markdown as a notebook in Jupyter's format 4."""
    cells = []
    # Splitting by the pattern gives prose and code in turn.
    for number, text in enumerate(CODE.split(page)):
        code = number % 2 == 1
        if text.strip():
            own: dict[str, object] = {"execution_count": None, "outputs": []} if code else {}
            kind: dict[str, object] = {
                "cell_type": "code" if code else "markdown",
                "id": f"cell-{number}",
                "metadata": {},
            }
            cells.append({**kind, "source": text.strip(), **own})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.with_suffix(".ipynb").write_text(notebook(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
