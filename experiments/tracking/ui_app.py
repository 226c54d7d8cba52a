"""MLflow's server as `overtone ui` starts it: an app in the sense of MLflow's plugins, with a first page of our own.

It is MLflow's page but for one script. That leads the bare address to the newest experiment, leaves MLflow's Assistant
closed, which otherwise covers a third of the table at a first visit, and opens runs in their form for training: that
for GenAI would surround them with judges and prompts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

APP_NAME = "overtone"
FRAGMENT_VARIABLE = "OVERTONE_UI_FRAGMENT"  # what follows the server's address to open the newest experiment
# In the browser's storage, each as MLflow's page writes it: the Assistant has been seen; which form pages have.
STORED = {
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.workflowType_v1": '"machine_learning"',
}


def create_app() -> FastAPI:
    """Return the server, made by uvicorn in each of its workers."""
    import mlflow.server
    from mlflow.server.fastapi_app import app
    from starlette.requests import Request
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    own = Path(mlflow.server.__file__).parent / mlflow.server.REL_STATIC_DIR / "index.html"
    page = first_page(own.read_text(encoding="utf-8"), os.environ.get(FRAGMENT_VARIABLE, ""))

    async def show(_: Request) -> HTMLResponse:
        return HTMLResponse(page, headers={"Cache-Control": "no-cache"})

    app.router.routes.insert(0, Route("/", show))
    return app


def first_page(html: str, fragment: str) -> str:
    """Return MLflow's page with the script in front of its own.

    Args:
        html: MLflow's.
        fragment: from ``#`` on; empty for MLflow's own first page.
    """
    stored = json.dumps(list(STORED.items()))
    script = (
        f"<script>if (!location.hash) location.hash = {json.dumps(fragment)};"
        f" try {{ for (const [key, value] of {stored}) localStorage[key] ??= value; }} catch {{ }}</script>"
    )
    return html.replace("<script", f"{script}<script", 1)
