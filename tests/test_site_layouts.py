"""Every page of the site in every width and both themes, opened from disk with the network off, its explorers mounted:
it asks for nothing, says no error, fits, and axe finds nothing.

Each page is opened twice, and the window then changes: light, narrow and widened; dark, wide and narrowed. In the end
axe runs: all its rules on the light and wide one, on the dark and narrow one those that depend on layout and colours.
"""

import pytest

from helpers import notebooks
from tests.site_tools import OF_LAYOUT, layout_problems, mount_explorers, settle

pytestmark = [pytest.mark.slow, pytest.mark.browser]

WIDTHS = (360, 768, 1440)


def test_every_page_is_whole_and_accessible_in_every_width_and_theme(built_site, open_offline, axe):
    files = sorted(built_site.rglob("*.html"))
    assert len(files) >= len(notebooks.paths()) + 8
    assert [problem for file in files for problem in problems_of(file, built_site, open_offline, axe)] == []


def problems_of(file, site, open_offline, axe) -> list[str]:
    """What is wrong with this page of the site."""
    light = open_offline(file, site, WIDTHS[0], dark=False)
    dark = open_offline(file, site, WIDTHS[-1], dark=True)
    found = []
    wide = light.evaluate("document.documentElement.scrollWidth")  # with the tables in place of the explorers
    if wide > WIDTHS[0]:
        found.append(f"{wide} pixels wide before its explorers are there")
    for page in (light, dark):
        mount_explorers(page)
    for widths in zip(WIDTHS, reversed(WIDTHS), strict=True):
        for page, width in zip((light, dark), widths, strict=True):
            found += misfits(page, width)
    found += against_rules(light, dark, axe)
    light.context.close()
    dark.context.close()
    return [f"{file.relative_to(site).as_posix()}, {problem}" for problem in found]


def misfits(page, width: int) -> list[str]:
    """What is wrong with the layout of the page in this width, and what it has said or asked for."""
    page.set_viewport_size({"width": width, "height": 900})
    settle(page)
    found = [f"{width} pixels: {problem}" for problem in layout_problems(page, width)]
    return found + [f"asked for {address}" for address in page.requests] + page.problems


def against_rules(light, dark, axe) -> list[str]:
    """What axe finds on both, at once: it works in the pages."""
    themes = [page.evaluate("document.documentElement.dataset.theme") for page in (light, dark)]
    assert themes == ["light", "dark"]
    axe.begin(light)
    axe.begin(dark, rules=OF_LAYOUT)
    return [
        f"{theme}: {problem}" for page, theme in zip((light, dark), themes, strict=True) for problem in axe.found(page)
    ]
