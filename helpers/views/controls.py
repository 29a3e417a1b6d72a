"""ipywidgets controls over one next-token distribution: move a slider, see what the installed processors do.

The picture and the table are values of HTML widgets, replaced at each change, and not captured output: a
notebook that holds these controls can be compared cell by cell (`interactive_output` cannot).
"""

from __future__ import annotations

import html
from dataclasses import fields

import ipywidgets as widgets

from helpers import sampling
from helpers.distribution import Distribution, NextTokenLogits, SamplingError, SamplingSettings
from helpers.views import descriptions, figures

_WIDE = {"description_width": "130px"}
_WHAT_IT_DOES = {
    "do_sample": "On: draw from the probabilities. Off: take the highest score; nothing from temperature on.",
    "repetition_penalty": "Makes every token that is already in the prompt less likely (above 1). 1 is off.",
    "temperature": "Divides the logits: below 1 sharpens, above 1 flattens. 1 is off, 0 is refused.",
    "top_k": "Keeps the k most likely tokens. 0 is off; the library's own default is 50.",
    "top_p": "Keeps the smallest set of tokens that holds this share of the probability. 1 is off.",
    "min_p": "Removes tokens less likely than this share of the most likely token's probability. 0 is off.",
}
_RANGES = {
    "repetition_penalty": (0.0, 2.0, 0.05),
    "temperature": (0.0, 3.0, 0.05),
    "top_p": (0.0, 1.0, 0.01),
    "min_p": (0.0, 1.0, 0.01),
}


class SamplingControls(widgets.VBox):
    """Sliders for six sampling parameters over the picture and the chain of one distribution.

    `controls`: the input widgets by parameter name; `settings`: the SamplingSettings they ask for now;
    `distribution`: the Distribution shown, None while the library refuses the settings; `refusal`: its
    words, '' otherwise.
    """

    def __init__(self, logits: NextTokenLogits, model) -> None:
        self._logits, self._model = logits, model
        self._defaults = sampling.installed_defaults(model)
        self.distribution: Distribution | None = None
        self.refusal = ""
        self.controls = _controls(self._defaults, len(logits.logits))
        self._reset = widgets.Button(
            description="library's defaults",
            tooltip="Set every control to what generate() uses when nothing is set.",
        )
        self._picture, self._chain, self._message = (widgets.HTML() for _ in range(3))
        self._message.add_class("sampling-refusal")
        super().__init__([*self.controls.values(), self._reset, self._message, self._picture, self._chain])
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        self._reset.on_click(lambda _: self.set(SamplingSettings()))
        self._show()

    def __repr__(self) -> str:
        return "Sampling controls: sliders for " + ", ".join(self.controls)

    @property
    def settings(self) -> SamplingSettings:
        """What the controls ask for; a control at the installed default leaves its parameter to the
        library.
        """
        asked = {name: control.value for name, control in self.controls.items()}
        changed = {name: value for name, value in asked.items() if value != _shown_default(name, self._defaults)}
        return SamplingSettings(**changed)

    def set(self, settings: SamplingSettings) -> None:
        """Move the controls to `settings` in one step; None moves a control to the installed default.

        Raises SamplingError for a parameter that has no control here.
        """
        without = [name for name in settings.arguments() if name not in self.controls]
        if without:
            raise SamplingError(f"no control for {', '.join(without)}: these have one: {', '.join(self.controls)}.")
        with self.hold_sync():
            for name, control in self.controls.items():
                control.unobserve(self._changed, names="value")
                asked = getattr(settings, name)
                control.value = _shown_default(name, self._defaults) if asked is None else asked
                control.observe(self._changed, names="value")
        self._show()

    def _changed(self, _change) -> None:
        self._show()

    def _show(self) -> None:
        try:
            self.distribution = sampling.distribution(self._logits, self.settings, self._model)
        except SamplingError as refusal:
            self.distribution, self.refusal = None, str(refusal)
            self._message.value = _refusal_html(self.refusal)
            self._picture.value = self._chain.value = ""
            return
        self.refusal = ""
        self._message.value = _choice_html(self.distribution)
        figure = figures.distribution_figure(self.distribution, top=12)
        self._picture.value = figures.image_tag(figure, descriptions.of_distribution(self.distribution))
        self._chain.value = _chain_html(self.distribution)


def sampling_controls(logits: NextTokenLogits, model) -> SamplingControls:
    """Controls for do_sample, repetition_penalty, temperature, top_k, top_p and min_p, at the installed
    defaults.

    Values that `generate()` refuses are refused in place, in the library's words. Needs a running kernel:
    an exported page shows no controls, so put a figure beside them.
    """
    return SamplingControls(logits, model)


def _shown_default(name: str, defaults: SamplingSettings):
    """The installed default as a control shows it: an absent step (None) is the value that is off."""
    value = getattr(defaults, name)
    if value is not None:
        return value
    return {
        "do_sample": False,
        "repetition_penalty": 1.0,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
    }[name]


def _controls(defaults: SamplingSettings, vocabulary: int) -> dict[str, widgets.Widget]:
    controls = {}
    for name in (field.name for field in fields(SamplingSettings) if field.name in _WHAT_IT_DOES):
        common = {
            "value": _shown_default(name, defaults),
            "description": name,
            "tooltip": _WHAT_IT_DOES[name],
            "style": _WIDE,
        }
        if name == "do_sample":
            controls[name] = widgets.Checkbox(**common, indent=True)
        elif name == "top_k":
            most = max(min(200, vocabulary), common["value"])
            controls[name] = widgets.IntSlider(**common, min=0, max=most, continuous_update=False, layout=_layout())
        else:
            low, high, step = _RANGES[name]
            high = max(high, common["value"])
            controls[name] = widgets.FloatSlider(
                **common,
                min=low,
                max=high,
                step=step,
                readout_format=".2f",
                continuous_update=False,
                layout=_layout(),
            )
    return controls


def _layout() -> widgets.Layout:
    return widgets.Layout(width="520px")


def _refusal_html(words: str) -> str:
    return (
        '<p role="alert" style="border-left:4px solid #B3261E;background:#FDECEA;'
        'color:#1a1a1a;padding:6px 10px">'
        f"<b>The library refuses this:</b> {html.escape(words)}</p>"
    )


def _choice_html(distribution: Distribution) -> str:
    chosen = html.escape(distribution.logits.token(distribution.greedy_id))
    if distribution.do_sample:
        text = f"<code>do_sample=True</code>: one token is drawn from {distribution.final.kept:,} possible ones."
    else:
        text = f"<code>do_sample=False</code>: no draw; the highest score wins: <code>{chosen}</code>."
    return f'<p role="status" style="background:#EEF4FA;color:#1a1a1a;padding:6px 10px">{text}</p>'


def _chain_html(distribution: Distribution) -> str:
    rows = distribution.chain_table()
    body = "".join(
        f'<tr style="color:{"#1a1a1a" if row.changed else "#707070"}"><td style="text-align:left">'
        f"{html.escape(row.processor)}</td><td>{row.kept:,}</td><td>{row.entropy_bits:.2f}</td>"
        f"<td>{row.p_top:.2%}</td><td>{html.escape(row.top_token)}</td>"
        f"<td>{'' if row.changed else 'no change'}</td></tr>"
        for row in rows.itertuples()
    )
    head = "".join(f"<th>{name}</th>" for name in ("stage", "kept", "entropy (bits)", "p(top)", "top token", ""))
    return (
        '<table class="tex2jax_ignore" style="background:#ffffff;color:#1a1a1a;border-spacing:12px 2px">'
        f"<caption>The chain, in the order of the library</caption><tr>{head}</tr>{body}</table>"
    )
