"""The sampling explorer with a kernel that is slow, in a real browser: what the reader asks meanwhile is done, once,
and where it was asked.
"""

import pytest

from helpers.views import explorers
from helpers.views.sampling_explorer import explore_sampling

pytestmark = pytest.mark.browser

ANSWERED = ("tree", "distribution", "result")
MOUNT = """
async ([script, state, width]) => {
  const { default: explorer } = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  const [values, listeners] = [{ ...state }, {}];
  globalThis.requests = [];
  const connect = (told) => (globalThis.kernelStatus = told);
  const model = {
    get: (name) => values[name],
    set: (name, value) => {
      values[name] = value;
      if (name === "request") globalThis.requests.push(value);
      (listeners[`change:${name}`] ?? []).forEach((listener) => listener());
    },
    on: (event, listener) => (listeners[event] ??= []).push(listener),
    off: () => {},
    save_changes: () => {},
    widget_manager: { kernel: { statusChanged: { connect, disconnect() {} } } },
  };
  const place = Object.assign(document.createElement("div"), { id: "mounted" });
  place.style.width = width;
  explorer.render({ model, el: place });
  document.body.append(place); // as JupyterLab may do it: after render
  globalThis.receive = (answered) => Object.entries(answered).forEach(([name, value]) => model.set(name, value));
}
"""
PALE = "one => Number(getComputedStyle(one).opacity) < 0.5"


@pytest.fixture
def mount(open_sampling, tiny_pair):
    """A function that builds an explorer as a host does that attaches it later, and returns the page and its place.

    Given the widget of a kernel, the explorer has that kernel's state, and waits for its answers.
    """

    def start(width: str, kernel=None):
        page = open_sampling()
        state = explore_sampling(*tiny_pair, "a b c a").twin_data()
        if kernel is not None:
            state = {name: getattr(kernel, name) for name in ("kernel", "installed", "request", *ANSWERED)}
        page.evaluate(MOUNT, [explorers.explorer_script("sampling_explorer"), state, width])
        return page, page.locator("#mounted")

    return start


def test_enter_asks_once(mount):
    page, place = mount("1000px")
    field = place.get_by_label("top_k", exact=True)
    field.fill("7")
    field.press("Enter")
    field.press("Tab")
    assert [asked["a"].get("top_k") for asked in page.evaluate("requests")] == ["7"]


@pytest.fixture
def slow(mount, tiny_pair):
    """An explorer whose kernel answers when the test says so: the page's place, its requests, and `answer`."""
    kernel = explore_sampling(*tiny_pair, "a b c a")
    page, place = mount("1000px", kernel)

    def answer():
        kernel.request = page.evaluate("requests.at(-1)")
        page.evaluate("receive", {name: getattr(kernel, name) for name in ANSWERED})

    return (
        place,
        lambda: [(asked["node"], asked["do"] and asked["do"]["kind"]) for asked in page.evaluate("requests")],
        answer,
    )


def appended(place) -> int:
    return place.locator(".text-tokens .appended").count()


def test_a_node_clicked_while_the_kernel_is_at_work_is_gone_to(slow):
    place, requests, answer = slow
    place.get_by_role("button", name="Append greedy").click()
    assert place.locator(".sampling[aria-busy=true]").count() == 1
    place.get_by_text("Waiting for the kernel").wait_for()
    place.locator(".tree-node", has_text="prompt").click()
    assert requests() == [(0, "append")]
    answer()
    assert requests() == [(0, "append"), (0, None)]
    answer()
    assert appended(place) == 0
    assert place.locator(".tree-node").count() == 2
    assert place.locator("[aria-busy=true]").count() == 0


def test_what_is_done_behind_a_clicked_node_is_done_there(slow):
    place, requests, answer = slow
    place.get_by_role("button", name="Append greedy").click()
    place.get_by_text("Waiting for the kernel").wait_for()  # what it moves has moved
    place.locator(".tree-node", has_text="prompt").click()
    answer()  # of the first; the node is asked for
    place.get_by_label("top_k", exact=True).fill("7")
    place.get_by_label("top_k", exact=True).press("Enter")
    place.get_by_text("Waiting for the kernel").wait_for()
    place.locator("button.token-row").nth(3).click()
    for _ in range(3):
        answer()
    assert requests() == [(0, "append"), (0, None), (0, None), (0, "append")]
    assert appended(place) == 1
    assert place.locator(".tree-node").count() == 3


def test_what_waits_long_is_told_what_may_be_and_old_numbers_are_pale(slow):
    """A kernel that was restarted answers as little as a busy one."""
    place, _, answer = slow
    numbers, clock = place.locator(".part-tokens"), place.page.clock
    clock.install()
    place.get_by_role("button", name="Append greedy").click()
    clock.run_for(1_000)
    assert "Waiting for the kernel … The numbers are those of the last answer." in place.inner_text()
    clock.run_for(10_000)
    assert "If the kernel was restarted or shut down, run this cell again." in place.inner_text()
    assert numbers.evaluate(PALE)
    answer()  # it was busy after all
    assert "No answer yet" not in place.inner_text()
    assert not numbers.evaluate(PALE)


@pytest.mark.parametrize("status", ["restarting", "autorestarting", "terminating", "dead"])
def test_that_the_kernel_is_gone_is_told_at_once(slow, status):
    place, requests, _ = slow
    place.page.evaluate("globalThis.kernelStatus(null, 'busy')")
    assert "run this cell again" not in place.inner_text()
    place.page.evaluate(f"globalThis.kernelStatus(null, '{status}')")
    assert "The kernel that answered was restarted or shut down: run this cell again." in place.inner_text()
    place.get_by_role("button", name="Append greedy").click()
    assert "run this cell again" in place.inner_text()
    assert place.locator(".part-tokens").evaluate(PALE)
    assert requests() == []


def test_a_setting_changed_meanwhile_is_of_where_the_answer_leads(slow):
    place, requests, answer = slow
    place.get_by_role("button", name="Append greedy").click()
    for value in ("7", "8"):
        place.get_by_label("top_k", exact=True).fill(value)
        place.get_by_label("top_k", exact=True).press("Enter")
    answer()
    answer()
    assert requests() == [(0, "append"), (1, None)]
    assert appended(place) == 1
    assert "top_k=8" in place.locator(".python").inner_text()


@pytest.mark.parametrize(("width", "opened"), [("1000px", True), ("400px", False)])
def test_the_settings_are_open_where_there_is_room_for_them(mount, width, opened):
    page, place = mount(width)
    page.evaluate("new Promise((after) => requestAnimationFrame(() => requestAnimationFrame(after)))")
    assert place.get_by_label("top_k", exact=True).is_visible() == opened
    place.locator(".settings-details > summary").click()  # and from then on they are as the reader left them
    place.evaluate("(place) => (place.style.width = '900px')")
    page.evaluate("new Promise((after) => requestAnimationFrame(() => requestAnimationFrame(after)))")
    assert place.get_by_label("top_k", exact=True).is_visible() != opened
