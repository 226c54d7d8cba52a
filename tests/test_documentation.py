"""The documentation site: it builds without a warning, leads to every page, and asks no other host for anything."""

import ast
import html
import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from axe import SCHEMES, in_scheme, violations
from listening_browser import EXECUTABLE, Browser
from project import PROJECT

from benchmarks.pages.commands_page import parsers


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
    page = (site / "api" / "runtime.html").read_text()
    assert 'id="overtone.enhancer.Enhancer.enhance"' in page
    assert "Enhance a whole recording." in page


def test_the_reference_has_every_module_that_is_imported_by_others(site):
    pages = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    described = set(re.findall(r'id="([\w.]+)"', pages))
    folders = [PROJECT / "runtime", PROJECT, PROJECT, PROJECT]
    for folder, package in zip(folders, ("overtone", "models", "datamodules", "evaluation"), strict=True):
        for path in (folder / package).rglob("*.py"):
            module = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
            names = re.findall(r"^(?:def|class) ([a-zA-Z]\w*)", path.read_text(), re.MULTILINE)
            if not module.startswith(("overtone.cli.", "overtone.enhance.", "overtone.live.", "overtone.serve.")):
                assert not names or {module, f"{module}.{names[0]}"} <= described, module
    assert "&gt;&gt;&gt;" not in re.sub("<pre.*?</pre>", "", pages, flags=re.DOTALL)  # examples are set as code


def test_the_commands_are_described_by_their_parsers(site):
    page = html.unescape(re.sub("<[^>]+>", "", (site / "commands.html").read_text()))
    for name, parser in parsers():
        assert f"usage: {name} " in page
        assert not re.search(r"\(type: |default: null|default: None", parser.format_help()), name
    assert str(PROJECT) not in page


@pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")
def test_the_site_works_from_disk_with_its_search(site):
    with Browser() as browser:
        browser.open((site / "index.html").as_uri())
        results = browser.run("document.querySelector('.md-nav--primary a[href*=\"results/index\"]').href")
        browser.run("document.querySelector('[data-md-component=search-query]').focus()")
        browser.wait("document.querySelector('.md-search-result__meta').textContent.includes('search')")
        for letter in "mushra":
            browser.key(letter)
        address = json.dumps((site / "listening.html").as_uri())
        found = "[...document.querySelectorAll('.md-search-result__link')]"  # of the letters so far
        browser.wait(f"{found}.some(one => one.href.startsWith({address}))")
        browser.open(results)
        assert "Which architecture wins" in browser.run("document.body.innerText")
        assert browser.errors == []


@pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed")
def test_axe_finds_nothing_on_the_site(site):
    """A page of each kind: words and sounds, code, wide tables, an interface."""
    with Browser() as browser:
        for scheme in SCHEMES:
            in_scheme(browser, scheme)  # the theme chooses its colours when a page is opened
            for page in ("index", "concepts", "commands", "results/index", "api/runtime"):
                browser.open((site / f"{page}.html").as_uri())
                assert violations(browser, scheme) == [], f"{page} {scheme}"


# Folders whose public functions all describe their parameters; a folder is added when it is complete, none is removed.
DESCRIBED = [
    "datamodules",
    "evaluation",
    "experiments/cli",
    "experiments/comparison",
    "experiments/data",
    "experiments/export",
    "experiments/listening",
    "experiments/pages",
    "experiments/presets",
    "experiments/ranking",
    "experiments/report",
    "experiments/scoring",
    "experiments/sweep",
    "experiments/training",
    "models",
    "runtime/overtone",
]
# Described by the library that calls them, as are the hooks on_... of Lightning.
FROM_LIBRARIES = {"forward", "training_step", "validation_step", "configure_gradient_clipping", "seek"}


def classes_by_name(trees):
    nodes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    return {node.name: node for node in nodes}


def overrides(method, owner, classes):
    bases = [classes[base.id] for base in owner.bases if isinstance(base, ast.Name) and base.id in classes]
    return any(
        method in {node.name for node in base.body if isinstance(node, ast.FunctionDef)}
        or overrides(method, base, classes)
        for base in bases
    )


def public_functions(tree, classes):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                public = isinstance(method, kinds) and not method.name.startswith(
                    ("_", "on_")
                )  # on_: Lightning's hooks
                if public and method.name not in FROM_LIBRARIES and not overrides(method.name, node, classes):
                    yield method


def undescribed(function):
    """Return the parameters without a line under Args, and "Raises" where that section is missing."""
    text = ast.get_docstring(function) or ""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    names = [one.arg for one in every if one is not None and one.arg not in ("self", "cls")]
    missing = [name for name in names if not re.search(rf"^ +\**{name}(?: \(.*\))?:", text, re.MULTILINE)]
    raises = any(
        isinstance(statement, ast.Raise) and isinstance(statement.exc, ast.Call) and "Error" in ast.dump(statement.exc)
        for statement in own_statements(function)
    )
    return (missing if len(names) > 1 else []) + (["Raises"] if raises and "Raises:" not in text else [])


def own_statements(node):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield child
            yield from own_statements(child)


@pytest.mark.parametrize("folder", DESCRIBED)
def test_public_functions_describe_their_parameters_and_errors(folder):
    trees = {path: ast.parse(path.read_text()) for path in sorted((PROJECT / folder).rglob("*.py"))}
    classes = classes_by_name(trees.values())
    assert [
        f"{path.relative_to(PROJECT)}:{function.lineno} {function.name}: {', '.join(undescribed(function))}"
        for path, tree in trees.items()
        for function in public_functions(tree, classes)
        if undescribed(function)
    ] == []
