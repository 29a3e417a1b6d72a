"""The outline of the player's page: search, filters, folds; and the timeline."""

import re

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, pipeline

from helpers import record
from helpers.views import player
from tests.player_pages import counter, event_of, focus_walk
from tests.recorded_call import recorded_call

pytestmark = pytest.mark.browser

PARAMETER = "model.layers.1.self_attn.k_proj.weight"


def test_a_tensor_of_the_checkpoint_is_found_with_its_file_and_dtype(open_player, player_run):
    page = open_player()
    focus_walk(page)
    page.keyboard.press("/")
    page.keyboard.type(PARAMETER)
    page.get_by_role("treeitem").filter(has_text=PARAMETER).first.click()
    row = player_run.parameters().set_index("parameter").loc[PARAMETER]
    card = page.inner_text(".ledger")
    for text in (PARAMETER, row["file"], row["disk_dtype"], "dtype in the file"):
        assert text in card


def test_keys_work_at_once_in_a_document_of_its_own(open_player):
    page = open_player()
    begun = counter(page)
    page.keyboard.press("ArrowRight")
    assert counter(page) == begun + 1
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()


def test_the_shape_of_the_key_in_a_decode_step_is_found(open_player, player_run):
    page = open_player()
    page.get_by_label("Show one step only").select_option(label="decode step 1")
    page.get_by_label("Search the recording").fill("scaled_dot_product_attention")
    page.get_by_role("treeitem").filter(has_text="decode step 1").first.click()
    event = counter(page)
    key = next(spec for spec in player_run.tensors(event)[0] if spec.path == "key")
    cells = page.locator(".tensors tr").filter(has_text=re.compile("^key")).first.inner_text()
    assert key.shape_text in cells
    assert "was (" in cells
    assert "against prefill" in page.inner_text(".compared")


def test_the_line_that_chose_the_shards_is_found(open_player):
    page = open_player()
    page.get_by_label("Search the recording").fill("is_sharded = True")
    page.get_by_role("treeitem").filter(has_text="ran").first.click()
    assert "is_sharded = True" in page.locator(".line.current").inner_text()
    assert "is_sharded = True" in page.locator(".line.current .line-values").inner_text()


def test_the_greatest_memory_rise_is_offered(open_player):
    page = open_player()
    page.get_by_role("button", name=re.compile("Greatest memory rise")).click()
    assert "memory +" in page.inner_text(".facts").replace("\n", " ")


# outline, filters, timeline --------------------------------------------------------------------------------


def test_the_outline_works_by_keyboard_alone(open_player):
    page = open_player()
    focus_walk(page)
    page.keyboard.press("o")
    page.keyboard.press("End")
    page.keyboard.press("Home")

    def active() -> str:
        name = page.locator(".list").get_attribute("aria-activedescendant")
        return page.locator(f"#{name}").inner_text()

    assert active().startswith(("▾", "▸"))
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    rows = page.get_by_role("treeitem").count()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("treeitem").count() > rows
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("treeitem").count() == rows
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    before = counter(page)
    page.keyboard.press("Enter")
    assert counter(page) != before


def test_without_a_search_the_current_step_is_in_view_again(open_player, player_run):
    page = open_player()
    page.get_by_label("Search the recording").fill("model.layers.3.mlp.up_proj")
    page.get_by_role("treeitem").filter(has_text="decode step 1").first.click()
    page.get_by_label("Search the recording").fill("")
    row = page.locator(".row.selected:not(.found)")  # of the outline again: a frame later
    row.wait_for()
    assert "up_proj" in row.inner_text()
    outline, place = page.locator(".list").bounding_box(), row.bounding_box()
    assert outline["y"] <= place["y"] <= outline["y"] + outline["height"] - place["height"]


def test_equal_layers_are_one_row_with_a_count(open_player, player_run):
    page = open_player(fragment=f"#step={event_of(player_run, 'model.layers.3.mlp', 0)}")
    fold = page.get_by_role("treeitem").filter(has_text="model.layers.*").first
    assert "×6" in fold.inner_text()
    layers = page.locator(".row.node-event").filter(has_text=re.compile(r"layers\.\d+\s*LlamaDecoderLayer"))
    assert layers.count() == 6  # unfolded: the step is in one of them
    fold.locator(".twisty").click()
    assert layers.count() == 0
    fold.locator(".twisty").click()
    assert layers.count() == 6


@pytest.mark.slow
def test_fifty_thousand_events_are_walked_and_what_is_folded_is_said(open_player):
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=80, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=64, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model, ids = LlamaForCausalLM(config).eval(), torch.arange(8)[None] + 5
    with record(steps=None) as recording:
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=45, min_new_tokens=45)
    assert len(recording) >= 50_000
    step = 40
    inside = event_of(recording, "model.layers.1.mlp", step)
    page = open_player(player.step_through(recording).to_html(), fragment=f"#step={inside}")
    assert counter(page) == inside
    fold = page.get_by_role("treeitem").filter(has_text="model.layers.*").first
    assert "×80" in fold.inner_text()
    layers = recording.modules(step=step)["path"].str.fullmatch(r"model\.layers\.\d+").sum()
    assert layers == 80
    fold.locator(".twisty").click()
    assert page.get_by_role("treeitem").filter(has_text="model.layers.1").count() == 0
    assert page.locator(".row").count() < 200  # of 50,000: what is in view
    focus_walk(page)
    for key, moved in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        assert counter(page) == inside + moved


def test_filters_leave_what_passes(open_player, player_run):
    page = open_player()
    page.get_by_label("Show one stage only").select_option("9")
    page.get_by_role("button", name="Forward", exact=True).click()
    assert "9 sampling" in page.get_by_role("treeitem").first.inner_text()
    assert page.get_by_role("treeitem", level=1).count() == 1
    assert counter(page) in set(player_run.find(stage=9)["event"])


def events_under(recording, share: float, width: float) -> set[int]:
    """The innermost events of the main thread within a pixel of a place, `share` (0 to 1) of the timeline."""
    thread, start, end = (recording.events[name] for name in ("thread", "start", "end"))
    last = max(end.max(), recording.memory_series["time"].max())
    place, pixel = start[0] + share * (last - start[0]), (last - start[0]) / width
    edges = np.concatenate([start, end])
    under = set()
    for moment in [place, *edges[abs(edges - place) <= pixel]]:
        begun = np.flatnonzero((thread == 0) & (start <= moment))
        within = begun[end[begun] >= moment]
        under.add(int(within[-1] if len(within) else begun[-1]))
    return under


def until_one_of(page, events: set[int]) -> None:
    page.wait_for_function(
        "events => events.includes(Number(document.querySelector('.counter').dataset.event))", arg=sorted(events)
    )


def test_the_timeline_travels_and_zooms(open_player, player_run):
    page = open_player()
    track = page.get_by_role("slider", name="Timeline")
    box = track.bounding_box()
    early = events_under(player_run, 0.2, box["width"])
    late, then = next(
        (share, events)
        for share in np.arange(0.7, 0.98, 0.02)
        if not (events := events_under(player_run, share, box["width"])) & (early | {0})
    )
    page.mouse.click(box["x"] + box["width"] * late, box["y"] + 20)
    until_one_of(page, then)
    page.mouse.move(box["x"] + box["width"] * late, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 20, steps=4)
    page.mouse.up()
    until_one_of(page, early)
    whole = page.inner_text(".range")
    track.focus()
    page.keyboard.press("+")
    page.wait_for_function("whole => document.querySelector('.range').textContent !== whole", arg=whole)
    page.keyboard.press("0")
    page.wait_for_function("whole => document.querySelector('.range').textContent === whole", arg=whole)
    at = counter(page)
    page.keyboard.press("Shift+ArrowRight")  # from the timeline the walk goes on
    assert counter(page) > at


# every call ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def every_call(tiny_checkpoint):
    return recorded_call(tiny_checkpoint, "calls", "modules", steps=1)


def test_at_the_zoom_of_calls_the_outline_is_as_deep_as_the_calls(open_player, every_call):
    depth = np.zeros(len(every_call), dtype=int)
    for event, parent in enumerate(every_call.events["parent"]):
        depth[event] = depth[parent] + 1 if parent >= 0 else 0
    deepest = int(depth.argmax())
    assert depth[deepest] > 10
    page = open_player(player.step_through(every_call, event=deepest).to_html())
    row = page.locator(".row.selected")
    row.wait_for()
    assert every_call.functions[every_call.events["function"][deepest]].qualname.split(".")[-1] in row.inner_text()
    focus_walk(page)
    for _ in range(3):
        at = counter(page)
        page.keyboard.press("ArrowUp")
        assert counter(page) == every_call.events["parent"][at]
    page.keyboard.press("i")
    assert every_call.events["parent"][counter(page)] == every_call.events["parent"][at]
    inside = page.get_by_role("treeitem").count()
    page.keyboard.press("o")
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("treeitem").count() <= inside
    page.get_by_role("button", name="About").click()
    assert "Recorded: " in page.get_by_role("dialog", name="About this recording").inner_text()
    assert "calls" in page.get_by_role("dialog", name="About this recording").inner_text()


def test_a_load_within_pipeline_is_reached_from_the_heading_of_its_stage(open_player, tiny_checkpoint):
    with record() as recording:
        pipeline("text-generation", model=str(tiny_checkpoint), device="cpu")
    page = open_player(player.step_through(recording).to_html())
    heading = page.locator(".row.node-stage").first
    assert heading.inner_text().startswith("▸\n1 config resolution\n→ stage 5 · own ")
    page.get_by_role("tree", name="Outline of the run").focus()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert re.search(r"^▸\n\d+ calls from within stage 5$", page.locator(".row.active").inner_text())
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert counter(page) == int(recording.find(stage=1)["event"].iloc[0])
