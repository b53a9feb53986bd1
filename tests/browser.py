"""Pages in a real browser: Debian's Chromium, driven by Playwright from PyPI, looked over by axe-core.

All three are optional (the extra "browser", and `apt install chromium`); without one of them a test that needs it
skips and says which. Playwright's own download of a browser is not used. axe-core comes with axe-playwright-python:
the only package on PyPI that bundles a current one, so that no second package registry is needed.
"""

import contextlib
import importlib.util
import os
import shutil
from importlib import resources
from pathlib import Path

import pytest

# Without a sandbox, because tests run as root in containers; without anything that would look for a network.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}


@contextlib.contextmanager
def running_browser():
    """Starts Chromium; skips the test where it or Playwright is absent."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e .[browser]")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs Chromium (Debian: apt install chromium), or its path in the environment variable CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Messages(list):
    """What a page has complained about: errors and warnings of the console, exceptions, requests to anywhere."""


@contextlib.contextmanager
def open_page(browser, path: Path, *, width: int, height: int, dark: bool = False, scripting: bool = True, at=""):
    """Opens a file of the disk; yields (page, messages), the latter filled while the page lives.

    Args:
      browser: of :func:`running_browser`.
      path: of the page.
      width, height: of the window.
      dark: whether its user prefers dark colors.
      scripting: whether it runs scripts.
      at: what follows "#" in the address.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripting,
        reduced_motion="reduce",
    )
    page = context.new_page()
    messages = Messages()
    page.on("console", lambda message: messages.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    address = path.resolve().as_uri()
    page.on("request", lambda request: messages.append(request.url) if not is_inside(request.url, address) else None)
    try:
        page.goto(f"{address}#{at}" if at else address)
        yield page, messages
    finally:
        context.close()


def is_inside(url: str, address: str) -> bool:
    """Whether a request asks for the page itself or for what it holds."""
    return url.split("#")[0] == address or url.startswith("data:")


def axe_violations(page, *, impacts=("serious", "critical")) -> list[str]:
    """Returns what axe-core finds wrong with an open page, one line each; skips the test where it is absent."""
    if importlib.util.find_spec("axe_playwright_python") is None:
        pytest.skip("needs axe-core: pip install -e .[browser]")
    source = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    # Run by the debugger, which the page's Content-Security-Policy does not concern.
    page.evaluate(source)
    found = page.evaluate("tags => axe.run(document, {runOnly: tags}).then(found => found.violations)", list(WCAG))
    return [
        f"{violation['impact']}: {violation['id']}: {node['target']}: {node['failureSummary']}"
        for violation in found
        if violation["impact"] in impacts
        for node in violation["nodes"]
    ]


def scrolls_sideways(page) -> bool:
    """Whether the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
