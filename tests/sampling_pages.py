"""The sampling explorer's page in a browser, for tests: what is set in it, and what it says."""

import pytest

from helpers.views.pictures import percent
from helpers.views.sampling_explorer import explore_sampling

PROMPT = "Once upon a time, there was a little girl. There was a"


@pytest.fixture(scope="session")
def sampling_html(demo_pair) -> str:
    return explore_sampling(*demo_pair, PROMPT).to_html()


@pytest.fixture
def open_sampling(offline_page, sampling_html):
    """A function that opens an explorer's page (of PROMPT unless told) and waits until it is there."""

    def start(text: str = sampling_html, **options):
        page = offline_page(text, **options)
        page.wait_for_selector(".explorer .sampling")
        return page

    return start


def type_setting(page, name: str, text: str) -> None:
    field = page.get_by_label(name, exact=True)
    field.fill(text)
    field.press("Enter")


def set_all(page, asked: dict[str, str]) -> None:
    page.get_by_role("button", name="Defaults").click()
    page.get_by_label("do_sample").set_checked(asked["do_sample"] == "True")
    for name, text in asked.items():
        if name != "do_sample":
            type_setting(page, name, text)


def chain(page, place: int = 0) -> list[list[str]]:
    """The rows of a chain table: kept, entropy, p(top), top token."""
    return page.locator("table.chain").nth(place).locator("tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.innerText))"
    )  # fmt: skip


def chain_in_python(distribution) -> list[list[str]]:
    return [
        [f"{row.kept:,}", f"{row.entropy_bits:.2f}", percent(row.p_top), row.top_token]
        for row in distribution.chain_table().itertuples()
    ]


def disagreements(shown: list[list[str]], distribution) -> list[str]:
    """Where a chain table of the page does not say what Python says.

    Counts and tokens are equal. A number is the exact one as rounded for display; where that lies on the edge between
    two roundings, float32 and float64 may fall on either side of it (1e-5).
    """
    rows = list(distribution.chain_table().itertuples())
    found = [] if len(shown) == len(rows) else [f"{len(shown)} rows, not {len(rows)}"]
    for (kept_text, bits, share, token), row in zip(shown, rows, strict=False):
        same = (kept_text, token) == (f"{row.kept:,}", row.top_token)
        if not (same and abs(float(bits) - row.entropy_bits) <= 0.005 + 1e-4 and is_percent(share, row.p_top)):
            found.append(f"{[kept_text, bits, share, token]}, not {row}")
    return found


def is_percent(text: str, probability: float) -> bool:
    """Whether the text is this probability as rounded for display, to 1e-5 at the edge of a rounding."""
    if text == percent(probability):
        return True
    digits = text.removesuffix("%").partition(".")[2]
    return (
        text[:1].isdigit()
        and abs(float(text.removesuffix("%")) / 100 - probability) <= 0.005 / 10 ** len(digits) + 1e-5
    )


def tokens(page) -> dict[str, str]:
    """What the first rows say: the token's text, and its probability or what removed it."""
    rows = page.locator("button.token-row").evaluate_all(
        "rows => rows.map((row) => [row.querySelector('.token').innerText, "
        "row.querySelector('.token-values').innerText])"
    )
    return dict(rows)


def kept(page) -> str:
    return chain(page)[-1][0]
