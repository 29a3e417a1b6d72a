"""Every page of the site in every width and both themes, opened from disk with the network off, its explorers mounted:
it asks for nothing, says no error, fits, and axe finds nothing.

Each page is opened twice, and the window then changes: light, narrow and widened; dark, wide and narrowed. All rules of
axe run once for each page; in the other layouts those that depend on layout and colours.
"""

import pytest

from helpers import notebooks
from tests.site_tools import OF_LAYOUT, layout_problems, mount_explorers, settle

pytestmark = [pytest.mark.slow, pytest.mark.browser]

WIDTHS = (360, 768, 1440)


def test_every_page_is_whole_and_accessible_in_every_width_and_theme(built_site, open_offline, axe):
    files = sorted(built_site.rglob("*.html"))
    assert len(files) >= len(notebooks.paths()) + 8
    found = []
    for file in files:
        light = open_offline(file, built_site, WIDTHS[0], dark=False)
        dark = open_offline(file, built_site, WIDTHS[-1], dark=True)
        wide = light.evaluate("document.documentElement.scrollWidth")  # with the tables in place of the explorers
        if wide > WIDTHS[0]:
            found.append(
                f"{file.relative_to(built_site).as_posix()}, {wide} pixels wide before its explorers are there"
            )
        for page in (light, dark):
            mount_explorers(page)
        for widths in zip(WIDTHS, reversed(WIDTHS), strict=True):
            problems = looked_at((light, dark), widths, axe, every_rule=widths[0] == WIDTHS[-1])
            found += [f"{file.relative_to(built_site).as_posix()}, {problem}" for problem in problems]
        light.context.close()
        dark.context.close()
    assert found == []


def looked_at(pages, widths, axe, every_rule: bool) -> list[str]:
    """What is wrong with the pages in these widths; with `every_rule` all rules of axe run on the first."""
    found = []
    for page, width in zip(pages, widths, strict=True):
        page.set_viewport_size({"width": width, "height": 900})
        settle(page)
        found += [f"{width} pixels: {problem}" for problem in layout_problems(page, width)]
        found += [f"asked for {address}" for address in page.requests] + page.problems
    for page in pages:
        axe.begin(page, rules=() if every_rule and page is pages[0] else OF_LAYOUT)
    themes = [page.evaluate("document.documentElement.dataset.theme") for page in pages]
    assert themes == ["light", "dark"]
    for page, width, theme in zip(pages, widths, themes, strict=True):
        found += [f"{width} pixels, {theme}: {problem}" for problem in axe.found(page)]
    return found
