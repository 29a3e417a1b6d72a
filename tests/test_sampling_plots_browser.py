"""The sampling explorer's pictures say what Python says: bars, colours, grey stages, the curve, greedy and sampled."""

import numpy as np
import pytest

from helpers import sampling
from helpers.sampling_answers.result import settings_from_text
from helpers.views.sampling_explorer import explore_sampling
from tests.sampling_pages import PROMPT, chain, chain_in_python, tokens, type_setting
from tests.unusual_models import HOSTILE, model_of, tokenizer_of

pytestmark = pytest.mark.browser

SHARES = """bars => bars.map((row) => {
    const whole = row.clientWidth;
    const share = (one) => one ? one.getBoundingClientRect().width / whole : null;
    return [share(row.querySelector('.bar')), share(row.querySelector('.outline')),
        row.querySelector('.bar').classList.contains('removed'),
        getComputedStyle(row.querySelector('.bar')).getPropertyValue('--colour')];
})"""
COLOUR = "one => getComputedStyle(one).getPropertyValue('--colour')"
CURVE = {"left": 40, "right": 12, "top": 10, "bottom": 34}  # the margins of the picture


@pytest.fixture(scope="module")
def logits(demo_pair):
    return sampling.next_token_logits(*demo_pair, PROMPT)


def distribution_of(logits, model, **asked):
    return sampling.distribution(logits, settings_from_text({"do_sample": "True", **asked}), model)


def bars(page) -> list:
    return page.locator(".token-row:not(.rest) .bars").evaluate_all(SHARES)


# pictures ------------------------------------------------------------------------------------------------------------


def test_bars_are_as_wide_as_the_probabilities(open_sampling, demo_pair, logits):
    page = open_sampling()
    asked = {"temperature": "0.8", "top_k": "6"}
    for name, text in asked.items():
        type_setting(page, name, text)
    distribution = distribution_of(logits, demo_pair[0], **asked)
    ids = distribution.ranked(12)
    raw, final = distribution.start.probabilities[ids], distribution.final.probabilities[ids]
    most = max(raw.max(), final.max(), 1 - raw.sum())
    shown = bars(page)
    assert len(shown) == 12
    for (bar, outline, removed, _), before, after in zip(shown, raw, final, strict=True):
        assert removed == (after == 0)
        assert outline == pytest.approx(before / most, abs=0.01)
        assert bar == pytest.approx((before if removed else after) / most, abs=0.01)


def test_what_removed_a_token_has_one_colour_in_every_picture(open_sampling, demo_pair, logits):
    page = open_sampling()
    asked = {"top_k": "9", "top_p": "0.5"}
    for name, text in asked.items():
        type_setting(page, name, text)
    distribution = distribution_of(logits, demo_pair[0], **asked)
    removers = [distribution.removed_by_name(i) for i in distribution.ranked(12)]
    assert set(removers) == {"", "TopKLogitsWarper", "TopPLogitsWarper"}
    colours = {}
    for remover, (_, _, removed, colour) in zip(removers, bars(page), strict=True):
        assert removed == bool(remover)
        if remover:
            colours.setdefault(remover, set()).add(colour)
    assert all(len(one) == 1 for one in colours.values())
    assert colours["TopKLogitsWarper"] != colours["TopPLogitsWarper"]
    for remover, own in colours.items():
        name = remover.removesuffix("LogitsWarper")
        for place in (
            page.locator(".legend li", has_text=f"removed by {name}"),
            page.locator("table.chain tr", has_text=f"{name} "),
        ):
            assert {place.locator(".swatch").first.evaluate(COLOUR)} == own


def test_stages_that_do_nothing_are_grey(open_sampling, demo_pair, logits):
    page = open_sampling()
    asked = {"top_k": "20", "top_p": "0.99999", "typical_p": "0.99999", "repetition_penalty": "1.2"}
    for name, text in asked.items():
        type_setting(page, name, text)
    changed = distribution_of(logits, demo_pair[0], **asked).chain_table()["changed"].tolist()
    assert {True, False} <= set(changed)
    rows = page.locator("table.chain tbody tr").evaluate_all(
        "rows => rows.map((row) => [row.className === 'idle', row.innerText.includes('changes nothing'),"
        " getComputedStyle(row.querySelector('td')).color])"
    )
    assert [not idle for idle, _, _ in rows] == [not said for _, said, _ in rows] == changed
    assert {colour for idle, _, colour in rows if idle}.isdisjoint({colour for idle, _, colour in rows if not idle})


def test_the_cumulative_curve_and_its_cut_are_pythons(open_sampling, demo_pair, logits):
    page = open_sampling()
    type_setting(page, "top_k", "40")
    type_setting(page, "top_p", "0.8")
    distribution = distribution_of(logits, demo_pair[0], top_k="40", top_p="0.8")
    picture = page.locator("svg.cumulative")
    width, height = (float(picture.get_attribute(name)) for name in ("width", "height"))
    vocabulary = len(logits.logits)

    def rank_and_share(x: float, y: float) -> tuple[float, float]:
        along = (x - CURVE["left"]) / (width - CURVE["left"] - CURVE["right"])
        return vocabulary**along, 1 - (y - CURVE["top"]) / (height - CURVE["top"] - CURVE["bottom"])

    stages = (distribution.start, *(stage for stage in distribution.stages if stage.changed))
    curves = picture.locator(".curve").evaluate_all("all => all.map((one) => one.getAttribute('points'))")
    assert len(curves) == len(stages) == 3
    for points, stage in zip(curves, stages, strict=True):
        together = np.cumsum(-np.sort(-stage.probabilities))
        for point in points.split():
            rank, share = rank_and_share(*map(float, point.split(",")))
            near = np.clip([round(rank * 0.99) - 1, round(rank * 1.01) - 1], 0, stage.kept - 1)
            assert together[near[0]] - 0.01 <= share <= together[near[1]] + 0.01
    ends = "all => all.map((one) => [one.x1, one.y2].map((at) => at.baseVal.value))"
    cuts = picture.locator(".cut").evaluate_all(ends)
    for (x, y), before, after in zip(cuts, stages, stages[1:], strict=False):
        rank, share = rank_and_share(x, y)
        assert rank == pytest.approx(after.kept, rel=0.01)
        assert share == pytest.approx(before.probabilities[np.isfinite(after.scores)].sum(), abs=0.01)


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_greedy_stands_beside_sampling_and_is_appended(open_sampling, demo_pair, logits, way):
    page = open_sampling()
    distribution = distribution_of(logits, demo_pair[0])
    text = logits.token(distribution.greedy_id)
    assert page.locator(".token-row", has_text="greedy").locator(".token").inner_text() == text

    def press(name: str) -> None:
        button = page.get_by_role("button", name=name)
        if way == "mouse":
            button.click()
        else:
            button.focus()
            page.keyboard.press("Enter")

    press("Draw one")
    assert page.locator(".token-tag.drawn").count() <= 1  # it may lie below the twelve that are shown
    press("Append greedy")
    assert page.locator(".text-tokens .appended").all_inner_texts() == [text]
    page.locator(".tree-node", has_text="prompt").click()
    page.get_by_label("seed").fill("3")
    press("Go on, 8 drawn")
    assert page.locator(".text-tokens .appended").count() >= 1
    kinds = page.locator(".grown-texts td:first-child").all_inner_texts()
    assert any("greedy" in one for one in kinds)
    assert any("drawn" in one for one in kinds)


def test_the_call_is_copied(open_sampling):
    page = open_sampling()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    type_setting(page, "top_k", "7")
    page.get_by_role("button", name="Copy").click()
    page.wait_for_function("async () => (await navigator.clipboard.readText()).includes('top_k=7')")
    assert page.evaluate("navigator.clipboard.readText()") == "model.generate(**inputs, do_sample=True, top_k=7)"


# unusual models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [2, 300_000])
def test_a_vocabulary_of_any_size(open_sampling, vocabulary):
    model, tokenizer = model_of(vocabulary), tokenizer_of("b")
    page = open_sampling(explore_sampling(model, tokenizer, "a b a").to_html())
    row = sampling.next_token_logits(model, tokenizer, "a b a")
    for asked in ({"top_k": "1"}, {"top_k": "0", "top_p": "0.7"}, {"top_k": "0", "min_p": "0.9"}):
        page.get_by_role("button", name="Defaults").click()
        for name, text in asked.items():
            type_setting(page, name, text)
        library = chain_in_python(distribution_of(row, model, **asked))
        page_rows = chain(page)
        assert [one[0] for one in page_rows[:1]] == [f"{vocabulary:,}"]
        assert len(page_rows) == len(library)
        for own, theirs in zip(page_rows, library, strict=True):
            assert own[3] == theirs[3]
            for place, most in ((1, 0.011), (2, 0.0011)):  # bits and percent, as rounded for display
                assert abs(float(own[place].strip("<%")) - float(theirs[place].strip("<%"))) <= most
            kept, right = (int(one[0].replace(",", "")) for one in (own, theirs))
            assert abs(kept - right) <= 0.001 * right  # in 300,000 flat ones top_p cuts where float32 sums have drifted
    assert page.locator(".token-row:not(.rest)").count() == min(12, vocabulary)
    assert page.locator(".token-row.rest").count() == (vocabulary > 12)
    page.get_by_role("button", name="Draw 1,000").click()
    assert 1 <= page.locator(".draw-row").count() <= min(10, vocabulary)


def test_tokens_of_a_hostile_tokenizer_are_shown_as_text(open_sampling):
    tokenizer = tokenizer_of(*HOSTILE)
    model = model_of(len(tokenizer))
    prompt = list(range(len(tokenizer)))  # each of its tokens stands in the text, too
    row = sampling.next_token_logits(model, tokenizer, prompt)
    assert set(HOSTILE) <= {text.removeprefix(" ") for text in row.token_texts}  # as the tokenizer decodes them
    page = open_sampling(explore_sampling(model, tokenizer, prompt).to_html())
    type_setting(page, "repetition_penalty", "1.5")
    page.get_by_role("button", name="Draw 1,000").click()
    shown = tokens(page)
    assert {row.token(i) for i in range(len(tokenizer))} == set(shown)
    text = page.inner_text("body")
    assert "</script><img/src=x/onerror=" in text
    for hidden in ("\u202e", "\u2066", "\x00", "\x1b", "\x07"):
        assert hidden not in text
    assert page.title() != "broken"
    assert page.locator("img").count() == 0
