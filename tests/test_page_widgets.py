"""What of a page is operated: the one script it needs, and what is written for it."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
from test_page import Reader, evaluation

from ssd_jax import page
from ssd_jax.page import Column, Thumb


def test_a_script_stands_in_pages_that_need_it_and_no_other_may_run():
    text = evaluation()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    (policy,) = [a["content"] for _, a in Reader(text).tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    # Nor does it make code of text, or ask for anything.
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "Function(",
        "fetch(",
        "http",
        "import(",
    ):
        assert forbidden not in script, forbidden
    assert not [name for _, attributes in Reader(text).tags for name in attributes if name.startswith("on")]
    # Text that looks like what needs a script does not bring it.
    assert "<script" not in page.page("t", [page.section("s", page.text('data-widget="table"'))])


def test_what_a_script_has_to_operate_is_hidden_before_it_runs():
    found = Reader(evaluation())
    tools = [attributes for _, attributes in found.tags if attributes.get("class") == "tools"]
    assert len(tools) == 3 and all("hidden" in attributes for attributes in tools)
    panels = [attributes for tag, attributes in found.tags if tag == "details"]
    assert [attributes["data-name"] for attributes in panels] == ["text", "other"]
    assert not any("hidden" in attributes for attributes in panels)


def test_cells_say_what_they_are_sorted_by():
    columns = [Column("a"), Column("b", number=True), Column("c", bar=True)]
    values = (0.123456789, np.nan, None, np.inf, "word", np.float32(0.5))
    rows = [["x", page.cell("shown", value), page.bar(2.5, 4, "2.5")] for value in values]
    found = Reader(page.table(columns, rows, caption="c", sortable=True))
    assert [a["data-sort"] for _, a in found.tags if "data-sort" in a] == ["text", "number", "number"]
    assert [a["data-value"] for tag, a in found.tags if tag == "td" and "data-value" in a] == [
        *("0.123456789", "", "", "", "word", "0.5")
    ]
    assert [a["data-value"] for tag, a in found.tags if tag == "span" and "data-value" in a] == ["2.5"] * 6
    assert "input" not in dict(found.tags)  # not searchable
    plain = page.table(columns, [["x", "1", "2"]], caption="c")
    assert "data-" not in plain


def test_a_choice_needs_distinct_options():
    for options in ([], [("a", "1"), ("a", "2")]):
        with pytest.raises(ValueError, match="options: expected at least one, with distinct names"):
            page.choice("t", options, label="l")


def test_a_gallery_offers_the_tags_of_its_pictures():
    thumbs = [Thumb(b"jpeg", (3, 4), "alt", "c", frozenset(tags)) for tags in (["dog"], ["cat", "dog"], [])]
    found = Reader(page.gallery(thumbs, caption="c", group="class", everything="all classes"))
    assert [a["value"] for tag, a in found.tags if tag == "option"] == ["all classes", "cat", "dog"]
    assert [json.loads(a["data-tags"]) for tag, a in found.tags if tag == "li"] == [["dog"], ["cat", "dog"], []]
    image = dict(found.tags)["img"]
    assert image["src"] == "data:image/jpeg;base64,anBlZw==" and (image["height"], image["width"]) == ("3", "4")
    assert "select" not in dict(Reader(page.gallery(thumbs, caption="c")).tags)
    assert "There is none." in page.gallery([], caption="c", group="class")
