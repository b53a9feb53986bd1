"""One of several panels at a time, such as the charts of one class."""

from collections.abc import Sequence

from ssd_jax.page.markup import Content, Markup, element


def choice(title: str, options: Sequence[tuple[str, Content]], *, label: str, group: str | None = None) -> Markup:
    """Returns a heading, a menu, and below it what belongs to the chosen option.

    Without scripting every option unfolds by itself, one below the other.

    Args:
      title: heading of the whole.
      options: (name, content); the first is shown until another is chosen.
      label: of the menu, such as "Class".
      group: choices and galleries of the same group are switched together, as far as they have an option of that
        name; the choice is kept in the address of the page, behind "#".

    Raises:
      ValueError: there is no option, or two have the same name.
    """
    names = [name for name, _ in options]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"options: expected at least one, with distinct names, got {names}")
    menu = element("select", [element("option", name, value=name) for name in names], data_group=group)
    tools = element(
        "div",
        element("label", element("span", label), menu),
        [_step_button(*button) for button in (("Previous", "\u2190", -1), ("Next", "\u2192", 1))],
        class_="tools",
        hidden=True,  # until the script, without which they do nothing, shows them
    )
    panels = [
        element("details", element("summary", name), element("div", content, class_="panel"), data_name=name)
        for name, content in options
    ]
    return element("section", element("h3", title), tools, panels, class_="choice", data_widget="choice")


def _step_button(words: str, arrow: str, step: int) -> Markup:
    return element("button", arrow, type="button", data_step=step, aria_label=words, title=words)
