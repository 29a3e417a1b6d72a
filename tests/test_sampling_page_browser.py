"""The sampling explorer's page in a real browser: it is accessible, and what it shows is harmless."""

import pytest
from transformers import LogitsProcessor

from helpers.views.sampling_explorer import explore_sampling
from tests.sampling_pages import type_setting

pytestmark = pytest.mark.browser

HOSTILE = (
    "</script><img src=x onerror=\"document.title='broken'\">",
    "$x$",
    "\u202eright to left שלום",
    "\u0301\u0301combining",
    "\x00\x07\x1b",
)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 400])
def test_axe_finds_nothing(open_sampling, axe, dark, width):
    page = open_sampling(dark=dark, width=width)
    assert axe(page) == []
    if width == 400:
        page.locator(".settings-details > summary").click()
    page.get_by_role("button", name="Compare A | B").click()
    for name, text in (("repetition_penalty", "1.4"), ("top_p", "0.9"), ("min_p", "0.05")):
        type_setting(page, name, text)
    page.get_by_role("button", name="Draw 1,000").click()
    page.get_by_role("button", name="Go on, 8 greedy").click()
    assert axe(page) == []
    type_setting(page, "temperature", "0")
    assert axe(page) == []


def test_nothing_is_wider_than_a_phone(open_sampling):
    page = open_sampling(width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_headings_keep_their_words_in_a_host_that_breaks_them(open_sampling):
    page = open_sampling()
    page.add_style_tag(content="body h3 { overflow-wrap: anywhere; }")
    for width in range(320, 1000, 20):
        page.set_viewport_size({"width": width, "height": 900})
        sizes = page.locator(".explorer h3:visible").evaluate_all(
            "(all) => all.map((one) => [one.innerText, one.offsetHeight / parseFloat(getComputedStyle(one).fontSize)])"
        )
        assert "The next token" in [text for text, _ in sizes]
        assert max(lines for _, lines in sizes) < 4, (width, sizes)


def test_hostile_tokens_are_shown_as_text(open_sampling, tiny_pair):
    explorer = explore_sampling(*tiny_pair, "a b c a")
    logits = explorer._answers.continuations.logits(0)
    texts = list(logits.token_texts)
    best = logits.logits.argsort()[::-1][: len(HOSTILE)].tolist()
    for token_id, text in zip([*best, *logits.input_ids], [*HOSTILE, *HOSTILE], strict=False):
        texts[token_id] = text
    object.__setattr__(logits, "token_texts", tuple(texts))
    explorer = type(explorer)(explorer._answers)
    page = open_sampling(explorer.to_html())
    page.get_by_role("button", name="Draw 1,000").click()
    type_setting(page, "repetition_penalty", "1.5")
    shown = page.inner_text(".explorer")
    assert "</script><img␣src=x" in shown
    assert "$x$" in shown
    assert "\u202e" not in page.inner_text("body")
    assert page.title() != "broken"
    assert page.locator("img").count() == 0
    assert page.evaluate("document.querySelectorAll('.explorer script').length") == 0


def test_an_unknown_processor_is_named_in_place(open_sampling, tiny_pair):
    class FavourEvenIds(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return scores

    page = open_sampling(explore_sampling(*tiny_pair, "a b c a", logits_processor=[FavourEvenIds()]).to_html())
    assert "This page cannot compute FavourEvenIds" in page.get_by_role("alert").inner_text()
    assert page.locator("table.chain").count() == 0
    assert page.locator(".tree-node").count() > 1


def test_without_scripts_the_static_table_is_there(browser, sampling_html, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(sampling_html, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    assert "TopKLogitsWarper(top_k=50)" in page.locator(".explorer-static").inner_text()
    assert page.locator(".explorer-static table").count() == 2
    context.close()
