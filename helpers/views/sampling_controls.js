// The controls of the sampling explorer: one row for each parameter of the installed chain. Values are texts in
// Python's spelling, so that 2 and 2.0 stay apart; a parameter at its default is left to the library.

const steps = (from, to, by, digits) => {
  const count = Math.round((to - from) / by);
  return Array.from({ length: count + 1 }, (_, n) => pythonFloat(Number((from + n * by).toFixed(digits))));
};
const LOGARITHMIC = ["1e-05", "2e-05", "5e-05", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01", "0.02",
  "0.05", "0.1"];

const PARAMETERS = {
  do_sample: { what: "On: one token is drawn. Off: the highest score wins, and nothing from temperature on is built." },
  temperature: {
    stops: () => steps(0.1, 3, 0.05, 2),
    what: "Divides the scores: below 1 sharpens, above 1 flattens. 1.0 builds no step; 0 is refused.",
  },
  top_k: {
    stops: (vocabulary) => [0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000,
      2000, 5000, 10000, 20000, 50000, 100000, 200000].filter((k) => k <= vocabulary).map(String),
    what: "Keeps the k tokens with the highest scores. 0 is off. The library's own default is 50.",
  },
  top_p: {
    stops: () => [...steps(0, 0.9, 0.02, 2), ...steps(0.91, 1, 0.01, 2)],
    what: "Keeps the smallest set of likely tokens that holds this share of the probability. 1.0 is off.",
  },
  min_p: {
    stops: () => ["None", ...LOGARITHMIC, ...steps(0.15, 1, 0.05, 2)],
    what: "Removes what is less likely than this share of the likeliest token. None is off.",
  },
  typical_p: {
    stops: () => steps(0.02, 1, 0.02, 2),
    what: "Keeps the tokens whose surprise is nearest to the entropy, until they hold this share. 1.0 is off.",
  },
  epsilon_cutoff: {
    stops: () => ["0.0", ...LOGARITHMIC, "0.2", "0.5"],
    what: "Removes tokens below this probability. 0.0 is off.",
  },
  eta_cutoff: {
    stops: () => ["0.0", ...LOGARITHMIC, "0.2", "0.5"],
    what: "Removes tokens below a probability that falls as the entropy rises. 0.0 is off.",
  },
  top_h: {
    stops: () => ["None", ...steps(0.05, 1, 0.05, 2)],
    what: "Keeps likely tokens while their entropy stays within this share of that of the best 100. None is off.",
  },
  repetition_penalty: {
    stops: () => steps(0.5, 2, 0.05, 2),
    what:
      "Above 1, makes tokens that are already in the text less likely: the prompt's too, in greedy mode too. 1.0 is off.",
  },
  no_repeat_ngram_size: {
    stops: () => ["0", "1", "2", "3", "4", "5", "6", "8", "10"],
    what: "Rules out tokens that would repeat a sequence of this many tokens. 0 is off.",
  },
};

/**
 * The rows of controls: {element, show(settings, refusal)}. `onChange(settings)` gets the settings asked for; `refusal`:
 * why they cannot be used, told at the parameter that it names, too.
 */
function settingControls(installed, vocabulary, onChange) {
  let settings = {};
  const change = (name, text) => {
    settings = { ...settings };
    if (text === "" || text === installed.defaults[name]) delete settings[name];
    else settings[name] = text;
    onChange(settings);
  };
  const known = Object.keys(PARAMETERS).filter((name) => installed.parameters.includes(name));
  const rows = known.map((name) =>
    name === "do_sample"
      ? switchRow(installed, name, change)
      : settingRow(installed, name, PARAMETERS[name].stops(vocabulary), change),
  );
  const element = h("div", { class: "settings" }, rows.map((row) => row.element));
  return {
    element,
    show(asked, refusal = "") {
      settings = asked;
      for (const row of rows) {
        const isNamed = row.name in asked && refusal.includes(row.name);
        row.show(asked[row.name] ?? installed.defaults[row.name], row.name in asked, isNamed ? refusal : "");
      }
    },
  };
}

function switchRow(installed, name, change) {
  const box = h("input", {
    type: "checkbox",
    "aria-label": name,
    onchange: () => change(name, box.checked ? "True" : "False"),
  });
  const element = h("div", { class: "setting", title: PARAMETERS[name].what },
    h("label", { class: "setting-switch" }, box, h("code", {}, name)),
    h("span", { class: "setting-default muted" }, `default ${installed.defaults[name]}`),
  );
  return {
    name,
    element,
    show(text, asked) {
      box.checked = text === "True";
      element.classList.toggle("asked", asked);
    },
  };
}

function settingRow(installed, name, stops, change) {
  const slider = h("input", {
    type: "range",
    min: 0,
    max: stops.length - 1,
    step: 1,
    "aria-label": `${name}, slider`,
    oninput: () => {
      field.value = stops[slider.value];
      slider.setAttribute("aria-valuetext", field.value);
      change(name, field.value);
    },
  });
  const field = h("input", {
    type: "text",
    inputmode: "decimal",
    spellcheck: "false",
    autocomplete: "off",
    "aria-label": name,
    onchange: () => change(name, field.value.trim()), // by Enter too
  });
  const reset = h("button", {
    class: "setting-default quiet",
    "aria-label": `${name}: back to the default, ${installed.defaults[name]}`,
    onclick: () => change(name, ""),
  }, `default ${installed.defaults[name]}`);
  const refused = h("p", { class: "setting-refusal", hidden: true, id: `refusal-${Math.random().toString(36).slice(2)}` });
  const element = h("div", { class: "setting", title: PARAMETERS[name].what },
    h("code", { class: "setting-name" }, name), field, slider, reset, refused);
  return {
    name,
    element,
    show(text, asked, refusal) {
      refused.hidden = !refusal;
      field.setAttribute("aria-invalid", String(Boolean(refusal)));
      if (refusal) field.setAttribute("aria-describedby", refused.id);
      else field.removeAttribute("aria-describedby");
      replaceChildren(refused, refusal ? [dataText(refusal), remedyFor(text, refusal)] : null);
      if (document.activeElement !== field || field.value.trim() === "") field.value = text;
      slider.value = nearestStop(stops, text);
      slider.setAttribute("aria-valuetext", text);
      element.classList.toggle("asked", asked);
    },
  };
}

/** A whole number is an int in Python, which some processors refuse; a comma is no point. */
function remedyFor(text, refusal) {
  if (/^[+-]?\d+,\d+$/.test(text)) return ` Write ${text.replace(",", ".")}, with a point.`;
  return /^[+-]?\d+$/.test(text) && /\bfloat\b/.test(refusal) ? ` Write ${text}.0.` : "";
}

function nearestStop(stops, text) {
  const exact = stops.indexOf(text);
  if (exact >= 0) return exact;
  const wanted = Number(text);
  if (Number.isNaN(wanted)) return 0;
  let best = stops.length - 1;
  stops.forEach((stop, place) => {
    if (Math.abs(Number(stop) - wanted) < Math.abs(Number(stops[best]) - wanted)) best = place;
  });
  return best;
}

/** The call that does what is set, as a reader would write it. */
function asPython(settings) {
  const given = Object.entries(settings).map(([name, text]) => `, ${name}=${text}`);
  return `model.generate(**inputs${given.join("")})`;
}
