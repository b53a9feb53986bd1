"""The script of pages with tables to sort, panels to choose and pictures to enlarge; other pages have none.

It makes a page handier and nothing more: all that it shows is in the document before it runs. The page allows
this script alone, by its hash, and nothing is fetched.
"""

import base64
import hashlib

from ssd_jax.page.markup import Markup, element
from ssd_jax.page.script_text import SCRIPT

_WIDGET = 'data-widget="'  # text cannot hold it: there the quotation mark is escaped


def needs_script(body: str) -> bool:
    """Whether a part of the page does more with a script."""
    return _WIDGET in body


def script() -> Markup:
    """Returns the element to stand at the end of the page's body."""
    return element("script", Markup(SCRIPT))


def policy(scripted: bool) -> str:
    """Returns the Content-Security-Policy of a page: nothing is fetched, and at most this very script runs."""
    rules = ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    if scripted:
        digest = base64.b64encode(hashlib.sha256(SCRIPT.encode("utf-8")).digest()).decode("ascii")
        rules.append(f"script-src 'sha256-{digest}'")
    return "; ".join(rules)
