"""How figures look and how they are shown: one style, PNG inside an <img> with a text alternative, safe
labels.
"""

from __future__ import annotations

import base64
import html
import io
from functools import lru_cache

import matplotlib
import numpy as np
from matplotlib import font_manager, ft2font
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from helpers.token_text import escaped

INK, MUTED, IDLE, PAPER = "#1a1a1a", "#707070", "#cccccc", "#ffffff"
DOTS_PER_INCH = 144
FONTS = ("DejaVu Sans", "DejaVu Sans Mono")  # both come with matplotlib; the second is for tokens
STYLE = {
    "font.family": FONTS[0],
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "hatch.linewidth": 0.6,
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` inches in this project's resolution; draw in it within
    `STYLE`.
    """
    return Figure(figsize=(width, height), layout="constrained", dpi=DOTS_PER_INCH)


def show(figure: Figure, alt: str) -> None:
    """Display a figure as a picture with `alt` as its text alternative; `alt` is also the output's
    text/plain.

    Raises ValueError where `alt` is empty: a picture without words is nothing to a reader who cannot see it.
    """
    from IPython.display import display

    display({"text/html": image_tag(figure, alt), "text/plain": alt}, raw=True)


def image_tag(figure: Figure, alt: str) -> str:
    """The figure as an HTML <img> that carries its PNG inside. Raises ValueError where `alt` is empty."""
    if not alt.strip():
        raise ValueError("alt is empty: say in a sentence what the figure shows.")
    width = round(figure.get_figwidth() * 96)  # CSS pixels
    data = base64.b64encode(png(figure)).decode("ascii")
    style = f"width:{width}px;max-width:100%;height:auto;background:{PAPER}"
    return f'<img alt="{html.escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'


def png(figure: Figure) -> bytes:
    """The figure as a PNG file of 128 colours, the same bytes each time. It is flat colour: no eye sees the
    palette.
    """
    canvas = FigureCanvasAgg(figure)
    with matplotlib.rc_context(STYLE):
        canvas.draw()  # and not savefig, which draws twice
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    pixels.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(buffer, format="png")
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _drawable() -> frozenset[int]:
    """The characters that both fonts of the figures have; the monospaced one has fewer."""
    paths = (font_manager.findfont(name, fallback_to_default=False) for name in FONTS)
    return frozenset.intersection(*(frozenset(ft2font.FT2Font(path).get_charmap()) for path in paths))


def label(text: str) -> str:
    """`text` as matplotlib can draw it: no `$` read as mathematics, characters that the font lacks as
    escapes.
    """
    drawn = "".join(character if ord(character) in _drawable() else escaped(character) for character in text)
    return drawn.replace("$", r"\$")


def percent(probability: float) -> str:
    """A probability as text, to a tenth of a percent, below 0.1% to a thousandth: '77.3%', '0.052%', '<0.001%'."""
    if probability == 0:
        return "0%"
    decimals = 1 if probability >= 0.001 else 3
    return f"{probability:.{decimals}%}" if probability >= 0.00001 else "<0.001%"
