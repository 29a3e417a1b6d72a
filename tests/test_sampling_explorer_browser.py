"""The sampling explorer's page opened from disk, offline, in a real browser: its numbers are Python's, and every
control works by mouse and by keyboard.
"""

import copy

import numpy as np
import pytest
import torch

from helpers import sampling
from helpers.sampling_answers.result import settings_from_text
from helpers.views.pictures import percent
from helpers.views.sampling_explorer import explore_sampling
from tests.sampling_pages import PROMPT, chain, disagreements, is_percent, kept, set_all, tokens, type_setting
from tests.test_sampling_chain import random_settings

pytestmark = pytest.mark.browser

# numbers -------------------------------------------------------------------------------------------------------------


def test_for_twenty_settings_the_page_says_what_python_says(open_sampling, demo_pair):
    page = open_sampling()
    logits = sampling.next_token_logits(*demo_pair, PROMPT)
    some = random_settings(60, sampling.parameter_names(), seed=7)
    shallow = [asked for asked in some if asked.get("top_k", "50") != "0"][:20]  # no cutoff deep in the tail
    assert len(shallow) == 20
    for asked in shallow:
        set_all(page, asked)
        distribution = sampling.distribution(logits, settings_from_text(asked), demo_pair[0])
        assert disagreements(chain(page), distribution) == [], asked
        for text, value in tokens(page).items():
            token_id = next(i for i in distribution.ranked(40) if logits.token(i) == text)
            removed = distribution.removed_by_name(token_id).replace("LogitsWarper", "").replace("LogitsProcessor", "")
            said = value.replace("removed by", "").strip()
            assert said == removed or is_percent(said, float(distribution.final.probabilities[token_id])), asked


def test_the_row_of_all_others_says_what_is_left(open_sampling, demo_pair):
    page = open_sampling()
    type_setting(page, "top_k", "5")
    assert page.inner_text(".token-row.rest .token-values") == "0%, 0 kept"
    type_setting(page, "top_k", "0")
    logits = sampling.next_token_logits(*demo_pair, PROMPT)
    raw = sampling.distribution(logits, settings_from_text({}), demo_pair[0]).start.probabilities
    others = percent(float(1 - np.sort(raw)[::-1][:12].sum()))
    assert page.inner_text(".token-row.rest .token-values") == f"{others}, 49,140 kept"


def test_draws_follow_the_probabilities_and_are_the_same_for_a_seed(open_sampling):
    page = open_sampling()
    draws = []
    for seed in ("5", "5", "6"):
        page.get_by_label("seed").fill(seed)
        page.get_by_role("button", name="Draw 1,000").click()
        draws.append(page.locator(".draw-row .token-values").all_inner_texts())
        assert "not torch's" in page.inner_text(".part-draws")
    assert draws[0] == draws[1] != draws[2]
    for text in draws[0]:
        count, expected = text.replace(" expected)", "").split(" (")
        count, expected = float(count.replace(",", "")), float(expected.replace(",", ""))
        assert abs(count - expected) <= 5 * max(1.0, expected * (1 - expected / 1000)) ** 0.5 + 0.5


# controls ------------------------------------------------------------------------------------------------------------

CHANGES = {  # a value that changes the kept tokens or the highest probability
    "temperature": "0.3",
    "top_k": "7",
    "top_p": "0.3",
    "min_p": "0.2",
    "typical_p": "0.3",
    "epsilon_cutoff": "0.05",
    "eta_cutoff": "0.2",
    "top_h": "0.3",
    "repetition_penalty": "1.8",
    "no_repeat_ngram_size": "1",
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_by_mouse_and_by_keyboard(open_sampling, demo_pair, name):
    if name not in sampling.parameter_names():
        pytest.skip(f"the installed transformers has no {name}")
    page = open_sampling()
    before = chain(page)
    type_setting(page, name, CHANGES[name])
    typed = chain(page)
    assert typed != before
    assert f"{name}={CHANGES[name]}" in page.inner_text(".python")
    slider = page.get_by_label(f"{name}, slider")
    slider.focus()
    value = page.get_by_label(name, exact=True).input_value()
    for key in ("ArrowRight", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.get_by_label(name, exact=True).input_value() != value
    assert slider.get_attribute("aria-valuetext") == page.get_by_label(name, exact=True).input_value()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == f"{name}, slider"
    page.get_by_role("button", name=f"{name}: back to the default").click()
    assert chain(page) == before
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2)
    assert f"{name}=" in page.inner_text(".python")


def test_do_sample_off_takes_the_warpers_out_of_the_chain(open_sampling):
    page = open_sampling()
    page.get_by_label("do_sample").focus()
    page.keyboard.press("Space")
    assert len(chain(page)) == 1
    assert "do_sample=False: nothing from temperature on is built" in page.inner_text(".part-chain")


def test_a_refusal_is_told_at_its_setting_too_with_the_remedy(open_sampling):
    page = open_sampling(width=390)
    page.locator(".settings-details > summary").click()
    type_setting(page, "temperature", "2")
    told = page.locator(".setting-refusal:visible")
    told.wait_for()
    assert "(=2) has to be a strictly positive float" in told.inner_text()
    assert told.inner_text().endswith("Write 2.0.")
    field = page.get_by_label("temperature", exact=True)
    assert field.get_attribute("aria-invalid") == "true"
    described = field.evaluate("one => document.getElementById(one.getAttribute('aria-describedby')).innerText")
    assert described == told.inner_text(), "a screen reader says why, at the field"
    assert told.bounding_box()["y"] - field.bounding_box()["y"] < 100
    type_setting(page, "temperature", "2.0")
    told.wait_for(state="hidden")
    assert field.get_attribute("aria-invalid") == "false"
    assert field.get_attribute("aria-describedby") is None


def test_a_call_that_is_refused_is_not_offered_and_a_comma_has_its_remedy(open_sampling):
    page = open_sampling()
    button, call = page.get_by_role("button", name="Copy"), page.locator(".python")
    type_setting(page, "temperature", "0,7")
    assert page.locator(".setting-refusal:visible").inner_text().endswith("Write 0.7, with a point.")
    assert button.is_disabled()
    assert "refused" in call.get_attribute("class")
    type_setting(page, "temperature", "0.7")
    assert button.is_enabled()
    assert "refused" not in call.get_attribute("class")


def test_equal_scores_that_top_k_keeps_are_told(open_sampling, tiny_pair):
    model, tokenizer = copy.deepcopy(tiny_pair[0]).to(torch.bfloat16), tiny_pair[1]
    logits = sampling.next_token_logits(model, tokenizer, "a b c a")
    ranked = np.sort(logits.logits)[::-1]
    k = next(k for k in range(2, 200) if ranked[k - 1] == ranked[k])
    kept_tokens = int((ranked >= ranked[k - 1]).sum())
    page = open_sampling(explore_sampling(model, tokenizer, "a b c a").to_html())
    type_setting(page, "top_k", str(k))
    assert page.inner_text(".ties") == (
        f"top_k={k} keeps {kept_tokens} tokens: all with a score as high as number {k}'s stay."
    )
    type_setting(page, "top_k", "1")
    assert page.locator(".ties").count() == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.0", "set `do_sample=False`"),
        ("2", "`temperature` (=2) has to be a strictly positive float"),
        ("hot", "temperature: hot is not a number"),
    ],
)
def test_a_refusal_stands_where_the_numbers_were_and_goes_away(open_sampling, text, words):
    page = open_sampling()
    type_setting(page, "temperature", text)
    assert words in page.get_by_role("alert").inner_text()
    assert not page.locator("table.chain").is_visible()
    assert not page.get_by_role("button", name="Draw one").is_visible()
    type_setting(page, "temperature", "0.5")
    assert page.get_by_role("alert").count() == 0
    assert page.locator("table.chain").is_visible()


def test_a_fork_by_click_and_by_key_the_tree_and_the_way_back(open_sampling):
    page = open_sampling()
    start = page.locator(".text-tokens .chip").count()
    carried = page.locator("button.token-row", has_text="▸")
    assert carried.count() >= 4
    carried.nth(1).click()
    assert page.locator(".text-tokens .appended").count() == 1
    assert page.locator(".text-tokens .chip").count() == start + 1
    assert page.locator(".tree [aria-current=true]").count() == 1
    back = page.locator(".tree-node", has_text="prompt")
    back.focus()
    page.keyboard.press("Enter")
    assert page.locator(".text-tokens .appended").count() == 0
    assert page.evaluate("document.activeElement.innerText") == "prompt"
    carried.nth(0).focus()
    page.keyboard.press("Enter")
    assert page.locator(".text-tokens .appended").count() == 1


def test_going_on_reaches_the_end_of_what_travels_and_says_so(open_sampling):
    page = open_sampling()
    page.get_by_role("button", name="Go on, 8 greedy").click()
    assert page.locator(".text-tokens .appended").count() == 4
    assert "takes a forward pass of the model, and this page has none" in page.inner_text(".part-message")
    page.locator("button.token-row", has_not_text="▸").first.click()
    assert "With a kernel, any token can be appended" in page.inner_text(".part-message")


def test_draw_one_append_it_and_the_next_seed(open_sampling):
    page = open_sampling()
    page.get_by_label("do_sample").uncheck()
    for name in ("Draw one", "Append drawn", "Go on, 8 drawn"):
        words = page.get_by_role("button", name=name)
        assert "(the browser's random numbers)" in words.inner_text()
        assert "manual_seed" not in (words.get_attribute("title") or "")
    page.get_by_role("button", name="Draw one").click()
    assert page.get_by_label("seed").input_value() == "1"
    page.get_by_role("button", name="Append drawn").click()
    assert page.locator(".text-tokens .appended").count() == 1
    assert page.get_by_role("button", name="Append drawn").is_disabled()


def test_two_settings_side_by_side(open_sampling):
    page = open_sampling()
    page.get_by_role("button", name="Compare A | B").click()
    assert chain(page, 0) == chain(page, 1)
    type_setting(page, "top_k", "5")
    assert (chain(page, 0)[-1][0], chain(page, 1)[-1][0]) == ("50", "5")
    assert "A keeps 50 tokens, B 5 tokens" in page.inner_text(".part-chain")
    assert page.locator(".bars.two").count() > 10
    page.get_by_role("button", name="A", exact=True).click()
    type_setting(page, "top_k", "9")
    assert (chain(page, 0)[-1][0], chain(page, 1)[-1][0]) == ("9", "5")
    page.get_by_role("button", name="Compare A | B").click()
    assert page.locator("table.chain").count() == 1
    assert kept(page) == "9"


def test_the_penalty_on_the_prompts_own_tokens_is_shown(open_sampling, demo_pair):
    page = open_sampling()
    assert page.inner_text(".part-penalty") == ""
    type_setting(page, "repetition_penalty", "1.5")
    logits = sampling.next_token_logits(*demo_pair, PROMPT)
    settings = settings_from_text({"do_sample": "True", "repetition_penalty": "1.5"})
    after = sampling.distribution(logits, settings, demo_pair[0]).stages[0].scores
    rows = page.locator(".part-penalty tbody tr").all_inner_texts()
    first = max(set(logits.input_ids), key=lambda i: logits.logits[i])
    assert len(rows) == len(set(logits.input_ids))
    assert rows[0].split("\t")[0] == logits.token(first)
    assert rows[0].split("\t")[1] == f"{logits.logits[first]:.2f} → {after[first]:.2f}"
    assert page.locator(".text-tokens .penalised").count() == len(logits.input_ids)


def test_find_more_tokens_and_a_logarithmic_axis(open_sampling):
    page = open_sampling()
    page.get_by_label("Find a token").fill("woman")
    assert set(tokens(page)) >= {"␣woman"}
    assert all("woman" in text.lower() for text in tokens(page))
    page.get_by_label("Find a token").fill("no such token")
    assert "None of the" in page.inner_text(".token-list")
    page.get_by_label("Find a token").fill("")
    page.get_by_label("Tokens shown").select_option("200")
    assert page.locator("button.token-row").count() == 200
    width = page.locator(".token-row .outline").nth(60).bounding_box()["width"]
    page.get_by_role("button", name="log").click()
    assert page.locator(".token-row .outline").nth(60).bounding_box()["width"] > width + 20


def test_every_control_is_reached_with_tab(open_sampling):
    page = open_sampling()
    total = page.evaluate(
        "[...document.querySelectorAll('.explorer button:not(:disabled), .explorer input, .explorer select')]"
        ".filter((one) => one.checkVisibility()).length"
    )
    page.locator(".explorer").focus()
    reached = set()
    for _ in range(total + 20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    controls = page.evaluate(
        "[...document.querySelectorAll('.explorer button:not(:disabled), .explorer input, .explorer select')]"
        ".filter((one) => one.checkVisibility()).map((one) => [...document.querySelectorAll('*')].indexOf(one))"
    )
    assert set(controls) <= reached
