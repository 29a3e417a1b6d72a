"""How a reader finds the way through the site: sidebar, previous and next, search, theme, the menu of a phone, and the
table of steps with its places in the players.
"""

import re

import pytest

from helpers import landmarks, notebooks
from helpers.site.inspection import read

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SEARCHED = "set_module_tensor_to_device"
WALK = """async (events) => {
  const shown = [];
  for (const event of events) {
    const changed = new Promise((done) => addEventListener("hashchange", () => setTimeout(done), { once: true }));
    if (location.hash !== `#step=${event}`) {
      location.hash = `#step=${event}`;
      await changed;
    }
    const names = [...document.querySelectorAll(".player code")].map((code) => code.textContent);
    shown.push([document.querySelector(".counter").textContent, names]);
  }
  return shown;
}"""


def names_of_the_course() -> list[str]:
    return [path.stem for path in notebooks.paths()]


def test_every_page_has_the_eleven_notebooks_in_its_sidebar(built_site, open_offline):
    course = names_of_the_course()
    assert len(course) == 11
    for folder in (".", "notebooks", "player", "docs"):
        for file in sorted((built_site / folder).glob("*.html")):
            page = open_offline(file, built_site)
            links = page.locator("#pst-primary-sidebar a").evaluate_all(
                "links => links.filter((link) => link.checkVisibility()).map((link) => link.href.split('#')[0])"
            )
            expected = [(built_site / "notebooks" / f"{name}.html").as_uri() for name in course]
            own = page.url.split("#")[0]
            found = [link for link in links if "/notebooks/" in link]
            assert found == expected or (own in expected and len(found) == 11), f"{file.name}: {found}"
            page.context.close()


def test_previous_and_next_go_through_the_course_in_its_order(built_site):
    course = names_of_the_course()
    for before, name, after in zip([None, *course], course, [*course[1:], None], strict=False):
        text = (built_site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        ways = dict(re.findall(r'<a class="(left|right)-(?:prev|next)"\s+href="([^"]+)"', text))
        assert ways["left"] == (f"{before}.html" if before else "../index.html")
        if after:
            assert ways["right"] == f"{after}.html"


def test_the_theme_is_switched_and_stays_on_the_next_page(built_site, open_offline):
    page = open_offline(built_site / "index.html", built_site)
    for mode, theme in (("dark", "dark"), ("light", "light"), ("auto", "light"), ("dark", "dark")):
        page.get_by_role("button", name="Color mode").click()
        page.locator(f".dropdown-menu button[data-mode={mode}]").locator("visible=true").click()
        assert page.evaluate("document.documentElement.dataset.theme") == theme
    page.goto((built_site / "status.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.problems == page.requests == []


def test_on_a_phone_the_menu_opens_and_leads_to_a_notebook(built_site, open_offline):
    page = open_offline(built_site / "index.html", built_site, width=360)
    link = page.locator("nav a", has_text="04 loading weights").locator("visible=true")
    in_view = "links => links.some((link) => { const { right, left } = link.getBoundingClientRect();"
    in_view += " return link.checkVisibility() && left >= 0 && right > 0; })"
    assert not page.locator("nav a", has_text="04 loading weights").evaluate_all(in_view), "the menu is closed"
    page.locator(".primary-toggle").locator("visible=true").first.click()
    link.first.wait_for()
    link.first.click()
    page.wait_for_url("**/notebooks/04_loading_weights.html")
    assert page.problems == page.requests == []


def test_the_search_box_works_from_disk(built_site, open_offline):
    page = open_offline(built_site / "notebooks" / "01_config_and_class.html", built_site)
    page.locator(".search-button-field, .search-button__button").locator("visible=true").first.click()
    page.locator("input[type=search]").locator("visible=true").first.fill(SEARCHED)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    page.wait_for_function("document.querySelector('#search-results p.search-summary')?.innerText.includes('found')")
    addresses = page.locator("#search-results li a").evaluate_all("links => links.map((link) => link.href)")
    found = {re.split("[?#]", address.split("/site/")[1])[0] for address in addresses}
    assert {"notebooks/04_loading_weights.html", "landmarks.html"} <= found
    assert page.problems == page.requests == []


def test_every_row_of_the_table_leads_to_its_notebook(built_site):
    text = (built_site / "landmarks.html").read_text(encoding="utf-8")
    rows = dict(re.findall(r'<tr id="([^"]+)">(.*?)</tr>', text, re.DOTALL))
    for landmark in landmarks.table():
        assert f"notebooks/{landmark.notebook}.html" in read(rows[landmark.id]).links, landmark.id
        assert (built_site / "notebooks" / f"{landmark.notebook}.html").is_file()


@pytest.mark.parametrize("version", landmarks.tested_versions())
def test_every_link_to_a_player_leads_to_the_step_that_is_the_landmark(built_site, open_offline, version):
    text = (built_site / "landmarks.html").read_text(encoding="utf-8")
    name = f"player/whole_call_{version}.html"
    links = {}
    for landmark, row in re.findall(r'<tr id="([^"]+)">(.*?)</tr>', text, re.DOTALL):
        for link in read(row).links:
            if link.startswith(name):
                links[landmark] = int(link.partition("#step=")[2])
    assert len(links) > 60
    page = open_offline(built_site / name, built_site)
    page.locator(".explorer .counter").wait_for()
    shown = page.evaluate(WALK, list(links.values()))
    found = []
    for (landmark, event), (counter, codes) in zip(links.items(), shown, strict=True):
        # The call of any module has no step of its own: its first is that of the outermost module.
        wanted = "fwd.causal_lm" if landmark == "fwd.module_call" else landmark
        if wanted not in codes or re.search(r"[\d,]+", counter)[0] != f"{event:,}":
            found.append(f"{landmark}: step {event} shows {counter}")
    assert found == []
    assert page.problems == page.requests == []


def test_an_explorer_below_the_fold_is_there_when_it_is_scrolled_to(built_site, open_offline):
    page = open_offline(built_site / "notebooks" / "08_sampling.html", built_site)
    last = page.locator(".explorer-twin").last
    assert last.locator("section.explorer").count() == 0
    last.scroll_into_view_if_needed()
    last.locator("section.explorer").wait_for()
    assert page.problems == page.requests == []
