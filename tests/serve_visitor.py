"""A visitor of the local page: a real browser, and what one does with it again and again."""

import contextlib


@contextlib.contextmanager
def visit(browser, port, *, dark=False, **window):
    """Opens the page; yields it and what it has complained about. Any request elsewhere is a complaint."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport=window, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    messages = []
    page.on("console", lambda message: messages.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: messages.append(str(error)))
    inside = (f"http://127.0.0.1:{port}/", "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(inside) else messages.append(request.url))
    try:
        page.goto(f"http://127.0.0.1:{port}/")
        yield page, messages
    finally:
        context.close()


def send(page, *contents, names=None):
    """Chooses files and waits until all have been answered."""
    names = names or [f"{number}.png" for number in range(len(contents))]
    files = [
        {"name": name, "mimeType": "image/png", "buffer": content}
        for name, content in zip(names, contents, strict=True)
    ]
    page.set_input_files("#files", files)
    settled = page.locator(".timings:not([hidden]), .callout.bad")
    settled.nth(page.locator(".result").count() - 1).wait_for(state="attached")


def labels(page, place=0):
    """Of the boxes over a picture, the best first."""
    return page.locator(".view").nth(place).locator(".label:visible").all_inner_texts()[::-1]


def slide(page, value):
    page.locator("#threshold").fill(str(value))
    page.locator("#least", has_text=f"{value:.2f}").wait_for()  # drawn with the next frame
