"""The sampling explorer alive in JupyterLab: the numbers come from the kernel, and its keys stay its own."""

import json
import re

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import compat, lab, sampling
from helpers.sampling_answers.result import settings_from_text
from helpers.views.pictures import percent
from tests.notebook_files import code_cell, write
from tests.unusual_models import HOSTILE, save_hostile

pytestmark = [pytest.mark.browser, pytest.mark.slow]

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
PROMPT = "a b c a"
CELL = """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from helpers import compat, explore_sampling
folder = {folder!r}
model = AutoModelForCausalLM.from_pretrained(folder, **compat.dtype_argument(torch.float32))
explorer = explore_sampling(model, AutoTokenizer.from_pretrained(folder), {prompt!r})
explorer
"""
ANSWER_MILLISECONDS = 60_000  # a busy machine
# Asked in one go: an answer that arrives draws the list anew.
NINTH_BAR = "document.querySelectorAll('.token-row .outline')[8].getBoundingClientRect().width"


@pytest.fixture
def pair(tiny_checkpoint):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, **compat.dtype_argument(torch.float32))
    return model, AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture
def opened(serve, open_lab, tiny_checkpoint, tmp_path):
    """JupyterLab with the explorer in its first cell, run."""
    cell = code_cell(CELL.format(folder=str(tiny_checkpoint), prompt=PROMPT).strip())
    write(tmp_path / "course" / lab.FIRST_NOTEBOOK, cell, code_cell("explorer.result['serial']"), kernelspec=KERNEL)
    page = open_lab(serve(tmp_path / "course"))
    assert page.run_all_cells()[0]["errors"] == []
    page.page.wait_for_selector(".explorer table.chain", timeout=ANSWER_MILLISECONDS)
    return page


def chain(page) -> list[list[str]]:
    return page.locator("table.chain tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.innerText))"
    )


def chain_in_python(pair, asked) -> list[list[str]]:
    logits = sampling.next_token_logits(*pair, PROMPT)
    distribution = sampling.distribution(logits, settings_from_text(asked), pair[0])
    return [
        [f"{row.kept:,}", f"{row.entropy_bits:.2f}", percent(row.p_top), row.top_token]
        for row in distribution.chain_table().itertuples()
    ]


def until_python_says(page, words: str) -> None:
    """Wait until the call shown and the numbers are those of the last answer."""
    page.wait_for_function(
        "words => document.querySelector('.python').innerText.includes(words)", arg=words, timeout=ANSWER_MILLISECONDS
    )


def until_chain(page, wanted: list[list[str]]) -> None:
    page.wait_for_function(
        """wanted => JSON.stringify([...document.querySelectorAll('table.chain tbody tr')].map(
            (row) => [...row.querySelectorAll('td')].map((cell) => cell.innerText))) === wanted""",
        arg=json.dumps(wanted, ensure_ascii=False, separators=(",", ":")),
        timeout=ANSWER_MILLISECONDS,
    )


def active_cell(page) -> int:
    return page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")


def asked(page) -> dict[str, str]:
    """The settings that the call shown has."""
    return dict(re.findall(r"(\w+)=([^,)]+)", page.inner_text(".python")))


def until_chain_is_pythons(page, pair) -> None:
    """Wait until the page shows the numbers of the call that it shows."""
    for _ in range(ANSWER_MILLISECONDS // 200):
        settings, shown = asked(page), chain(page)
        wanted = chain_in_python(pair, settings)
        if shown == wanted and asked(page) == settings:
            return
        page.wait_for_timeout(200)
    raise AssertionError(f"{settings}: {shown} instead of {wanted}")


def every_setting_by_mouse_and_by_key(page, pair) -> None:
    """Each slider, moved by the mouse and by a key, changes the numbers to those that Python gives for the same."""
    box = page.get_by_label("do_sample")
    shown = "document.querySelectorAll('table.chain tbody tr').length"
    before = page.evaluate(shown)
    for way, wanted in ((box.click, "!=="), (lambda: (box.focus(), page.keyboard.press("Space")), "===")):
        way()
        page.wait_for_function(f"{shown} {wanted} {before}", timeout=ANSWER_MILLISECONDS)
    for name in (one for one in sampling.parameter_names() if one != "do_sample"):
        slider = page.get_by_label(f"{name}, slider")
        slider.scroll_into_view_if_needed()
        place = slider.bounding_box()
        slider.focus()
        for way in (
            lambda place=place: page.mouse.click(place["x"] + place["width"] * 0.6, place["y"] + place["height"] / 2),
            lambda: page.keyboard.press("ArrowLeft"),
        ):
            before = page.inner_text(".python")
            way()
            page.wait_for_function(
                "before => document.querySelector('.python').innerText !== before",
                arg=before,
                timeout=ANSWER_MILLISECONDS,
            )
            until_chain_is_pythons(page, pair)
        page.get_by_role("button", name=f"{name}: back to the default").click()
        page.wait_for_function(
            "name => !document.querySelector('.python').innerText.includes(name)",
            arg=f"{name}=",
            timeout=ANSWER_MILLISECONDS,
        )
        until_chain_is_pythons(page, pair)


def every_button_by_mouse_and_by_key(page) -> None:
    """Each button does something by a click, and by Enter where it has the focus."""

    def state() -> str:
        return page.inner_text(".sampling")

    def until_answered(before: str) -> None:
        page.wait_for_selector(".sampling:not([aria-busy])", timeout=ANSWER_MILLISECONDS)
        assert state() != before

    names = (
        "Draw one",
        "Append drawn",
        "Append greedy",
        "Go on, 8 greedy",
        "Go on, 8 drawn",
        "Draw 1,000",
        "Compare A | B",
    )
    for name in names:
        button = page.get_by_role("button", name=name)
        for way in ("mouse", "key"):
            if name == "Append drawn":
                page.get_by_role("button", name="Draw one").click()
                page.wait_for_selector(".sampling:not([aria-busy])", timeout=ANSWER_MILLISECONDS)
            if name == "Draw 1,000":
                page.get_by_label("seed").fill("1" if way == "mouse" else "2")
            before = state()
            if way == "mouse":
                button.click()
            else:
                button.focus()
                page.keyboard.press("Enter")
            until_answered(before)
            page.locator(".tree-node", has_text="prompt").click()
            page.wait_for_selector(".sampling:not([aria-busy])", timeout=ANSWER_MILLISECONDS)
            assert page.locator(".text-tokens .appended").count() == 0
    assert page.locator("table.chain").count() == 1
    width = page.evaluate(NINTH_BAR)
    log = page.get_by_role("button", name="log")
    log.click()
    assert page.evaluate(NINTH_BAR) != width
    log.focus()
    page.keyboard.press("Enter")
    assert page.evaluate(NINTH_BAR) == width
    page.get_by_label("Tokens shown").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("button.token-row").count() == 40


def test_the_explorer_is_alive_and_its_numbers_are_the_kernels(opened, pair):
    page = opened.page
    assert "in the kernel" in page.inner_text(".explorer-toolbar")
    until_chain(page, chain_in_python(pair, {"do_sample": "True"}))
    # A slider, by its keys: the numbers follow, and the cell is not left.
    slider = page.get_by_label("temperature, slider")
    slider.focus()
    where = active_cell(page)
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    value = page.get_by_label("temperature", exact=True).input_value()
    assert value == "1.35"
    until_python_says(page, f"temperature={value}")
    until_chain(page, chain_in_python(pair, {"do_sample": "True", "temperature": value}))
    assert active_cell(page) == where
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "temperature, slider"
    # A value as typed, and one that generate() refuses, in its words.
    field = page.get_by_label("top_k", exact=True)
    field.fill("7")
    field.press("Enter")
    until_chain(page, chain_in_python(pair, {"do_sample": "True", "temperature": value, "top_k": "7"}))
    field = page.get_by_label("temperature", exact=True)
    field.fill("2")
    field.press("Enter")
    page.get_by_role("alert").wait_for(timeout=ANSWER_MILLISECONDS)
    assert "`temperature` (=2) has to be a strictly positive float" in page.get_by_role("alert").inner_text()
    page.get_by_role("button", name="Defaults").click()
    until_chain(page, chain_in_python(pair, {"do_sample": "True"}))
    every_setting_by_mouse_and_by_key(page, pair)
    assert active_cell(page) == where
    every_button_by_mouse_and_by_key(page)
    assert active_cell(page) == where
    # Any token can be appended, drawn tokens come from torch, and another prompt runs the model.
    page.locator("button.token-row").nth(9).click()
    page.wait_for_selector(".text-tokens .appended", timeout=ANSWER_MILLISECONDS)
    page.get_by_role("button", name="Go on, 8 drawn").click()
    page.wait_for_function(
        "document.querySelectorAll('.text-tokens .appended').length >= 2", timeout=ANSWER_MILLISECONDS
    )
    page.get_by_role("button", name="Draw 1,000").click()
    page.get_by_text("Drawn with torch.multinomial").wait_for(timeout=ANSWER_MILLISECONDS)
    page.locator(".prompt-form summary").click()
    page.get_by_label("A new prompt").fill("")
    page.get_by_role("button", name="Run the model").click()
    page.get_by_text("the prompt is empty").wait_for(timeout=ANSWER_MILLISECONDS)
    page.get_by_label("A new prompt").fill("b c")
    page.get_by_role("button", name="Run the model").click()
    page.wait_for_function("document.querySelectorAll('.tree-node').length === 1", timeout=ANSWER_MILLISECONDS)
    assert active_cell(page) == where
    assert opened.errors == []
    assert opened.outside == []


def test_after_a_restart_of_the_kernel_it_says_what_to_do(opened):
    page = opened.page
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    page.get_by_text("The kernel that answered was restarted").wait_for(timeout=ANSWER_MILLISECONDS)
    opened.run_all_cells()
    page.wait_for_selector(".explorer table.chain", timeout=ANSWER_MILLISECONDS)
    field = page.get_by_label("top_k", exact=True)
    field.fill("7")
    field.press("Enter")
    until_python_says(page, "top_k=7")
    assert page.get_by_text("run this cell again").count() == 0


def test_the_tokens_of_a_hostile_tokenizer_are_text_in_the_live_explorer(serve, open_lab, tmp_path):
    folder = save_hostile(tmp_path / "hostile")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = list(range(len(tokenizer)))  # each of its tokens stands in the text, too
    cell = code_cell(CELL.format(folder=str(folder), prompt=ids).strip())
    write(tmp_path / "course" / lab.FIRST_NOTEBOOK, cell, kernelspec=KERNEL)
    opened = open_lab(serve(tmp_path / "course"))
    page = opened.page
    assert opened.run_all_cells()[0]["errors"] == []
    page.wait_for_selector(".explorer table.chain", timeout=ANSWER_MILLISECONDS)
    assert page.locator("button.token-row").count() == len(ids) == len(HOSTILE) + 1
    text = page.inner_text(".explorer")
    assert "</script><img/src=x/onerror=" in text
    assert "$x$" in text
    for hidden in ("\u202e", "\u2066", "\x00", "\x1b", "\x07"):
        assert hidden not in text
    assert page.title() != "broken"
    assert page.locator(".explorer img").count() == 0
    assert opened.errors == []
    assert opened.outside == []
