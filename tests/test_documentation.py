"""The documentation site: it builds without a warning, leads to every page, and asks no other host for anything."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from project import PROJECT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr.strip()
    return folder


def test_every_page_is_in_the_navigation():
    configuration = yaml.safe_load((PROJECT / "mkdocs.yml").read_text())
    listed = set(re.findall(r"[\w/-]+\.md", str(configuration["nav"])))
    assert listed == {str(page.relative_to(PROJECT / "docs")) for page in (PROJECT / "docs").rglob("*.md")}


def test_pages_load_nothing_from_another_host(site):
    loaded = (
        r"<(?:script|img|iframe)[^>]+src=\"https?://|<link[^>]+rel=\"(?:stylesheet|preconnect)\"[^>]+href=\"https?://"
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    assert [page.name for page in pages if re.search(loaded, page.read_text())] == []


def test_the_interface_is_described_from_its_docstrings(site):
    page = (site / "api" / "runtime" / "index.html").read_text()
    assert 'id="overtone.enhancer.Enhancer.enhance"' in page
    assert "Enhance a whole recording." in page
