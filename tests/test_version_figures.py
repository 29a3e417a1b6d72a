"""The figures across versions: every landmark and version is drawn, and the words say the same."""

from itertools import pairwise

import pytest
from matplotlib.colors import to_hex

from helpers import across_versions
from helpers.across_versions import FATES, NONE
from helpers.views import version_figures as figures
from helpers.views.pictures import png


@pytest.fixture(scope="module")
def fates():
    return across_versions.fates(across_versions.recordings())


def test_there_is_a_cell_for_each_landmark_in_each_version_in_the_look_of_its_fate(fates):
    axes = figures.fate_figure(fates).axes[0]
    versions = list(across_versions.recordings())
    assert len(axes.patches) == len(fates) * len(versions)
    drawn = [(to_hex(patch.get_facecolor()), patch.get_hatch()) for patch in axes.patches]
    looks = {fate: (look["facecolor"].lower(), look.get("hatch")) for fate, look in figures.FATE_LOOKS.items()}
    lost = (figures.LOST["facecolor"].lower(), figures.LOST["hatch"])
    pairs = [pair for version in versions for pair in zip(fates[version], fates[versions[0]], strict=True)]
    assert drawn == [lost if fate == NONE != first else looks[fate] for fate, first in pairs]
    assert len({*looks.values(), lost}) == len(FATES) + 1
    assert lost in drawn
    assert looks[NONE] in drawn
    assert [text.get_text() for text in axes.get_yticklabels()] == versions
    assert [int(text.get_text()) for text in axes.get_xticklabels()] == sorted(set(fates["stage"]))


def test_the_cells_do_not_lie_upon_each_other(fates):
    axes = figures.fate_figure(fates).axes[0]
    first_row = sorted(patch.get_x() for patch in axes.patches[: len(fates)])
    width = axes.patches[0].get_width()
    assert all(right - left >= width for left, right in pairwise(first_row))


def test_the_words_count_each_fate(fates):
    told = figures.fate_description(fates)
    newest = fates.columns[-1]
    for fate in FATES:
        assert f"{(fates[newest] == fate).sum()} {fate}" in told.partition(f"{newest}: ")[2]
    assert "Most changes are in stage 4, weight loading." in told


PROBABILITIES = {"4.47.1": [0.5, 0.25], "5.23.0": [0.5, 0.25]}


def test_each_token_has_a_marker_of_each_version():
    axes = figures.token_figure(PROBABILITIES, [" a", "$b"]).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == list(PROBABILITIES.values())
    assert [text.get_text() for text in axes.get_xticklabels()] == [" a", r"\$b"]
    assert len({line.get_marker() for line in axes.lines}) == 2


def test_the_words_say_how_far_apart_the_versions_are():
    told = figures.token_description(PROBABILITIES, ["a", "b"])
    assert told.endswith(
        "2 drawn tokens in 2 versions of transformers (4.47.1, 5.23.0): equal to three digits in all of them."
    )
    apart = figures.token_description({**PROBABILITIES, "5.0.0": [0.5, 0.125]}, ["a", "b"])
    assert "up to 0.125 apart" in apart


def test_more_versions_than_markers_are_refused():
    with pytest.raises(ValueError, match="5 versions: this figure can tell 4 apart"):
        figures.token_figure({str(number): [0.5] for number in range(5)}, ["a"])


def test_the_same_data_give_the_same_picture(fates):
    assert png(figures.fate_figure(fates)) == png(figures.fate_figure(fates))
