// What stands around the sampling explorer's pictures: header, settings, another prompt, buttons, the list's head. Each
// takes the SamplingView, keeps what changes in its `parts`, and calls it when the reader does something.

const SETTINGS_OPEN_WIDTH = 700;
const ROWS_SHOWN = [12, 40, 200];
const GO_ON_TOKENS = 8;

function explorerHeader(view) {
  const source = view.kernel
    ? `numbers from transformers ${view.installed.version}, in the kernel`
    : `computed by this page, held to transformers ${view.installed.version} by tests`;
  return h("div", { class: "explorer-toolbar" },
    h("h2", {}, "Choosing the next token"), h("span", { class: "muted" }, source),
    (view.parts.time = h("span", { class: "muted time" })));
}

function settingsPanel(view) {
  view.parts.compare = h("button", {
    "aria-pressed": "false",
    title: "Two settings side by side, over the same logits",
    onclick: () => view.toggleCompare(),
  }, "Compare A | B");
  view.parts.tabs = h("span", { class: "tabs", role: "group", "aria-label": "Settings to change" },
    ["a", "b"].map((which) => h("button", {
      class: which, dataset: { which }, onclick: () => view.edit(which),
    }, which.toUpperCase())));
  view.parts.python = h("code", { class: "python" });
  const details = h("details", { class: "settings-details", open: true },
    h("summary", {}, "Settings"),
    h("div", { class: "settings-head" }, view.parts.tabs, view.parts.compare, h("button", {
      title: "Leave every parameter to the library, do_sample on",
      onclick: () => view.set({ do_sample: "True" }),
    }, "Defaults")),
    view.controls.element,
    h("div", { class: "python-line" }, view.parts.python, view.parts.copy = h("button", {
      class: "quiet", title: "Copy this call",
      onclick: async () => {
        const copied = await copyText(asPython(view.wanted[view.editing]));
        announce(view.root, copied ? "Copied" : "The browser did not copy");
      },
    }, "Copy")),
  );
  closeWhereNarrow(view, details);
  return details;
}

/** Once, when there is a width: a host may attach what has been built only later. */
function closeWhereNarrow(view, details) {
  const measured = new ResizeObserver(([{ contentRect }]) => {
    if (!contentRect.width) return;
    details.open = contentRect.width >= SETTINGS_OPEN_WIDTH;
    measured.disconnect();
  });
  measured.observe(view.root);
  view.onDispose(() => measured.disconnect());
}

function promptForm(view) {
  if (!view.kernel) return null;
  const field = h("textarea", { rows: 2, "aria-label": "A new prompt", placeholder: "Another prompt …" });
  const run = () => view.ask({ kind: "prompt", text: field.value });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  });
  return h("details", { class: "prompt-form" }, h("summary", {}, "Another prompt"),
    h("div", { class: "prompt-line" }, field, h("button", { onclick: run }, "Run the model")));
}

/** The buttons that append, draw and go on. */
function fillActions(view) {
  const { parts } = view;
  parts.seed = h("input", { type: "number", min: 0, step: 1, value: 0, "aria-label": "seed" });
  const random = view.kernel ? "" : " (the browser's random numbers)";
  const button = (name, title, onclick) => (parts[name] = h("button", { title, onclick }, ""));
  const seed = () => Math.max(0, Math.trunc(Number(parts.seed.value)) || 0);
  const draw = (count) => view.ask({ kind: "draw", which: view.editing, seed: seed(), count });
  const goOn = (greedy) =>
    view.ask({ kind: "continue", which: view.editing, greedy, seed: seed(), count: GO_ON_TOKENS });
  replaceChildren(parts.actions,
    h("div", { class: "action-group" },
      button("greedy", "Append the token with the highest score", () => view.append({
        id: view.answer().greedy_id, text: view.answer().greedy_text }, "greedy")),
      h("button", { onclick: () => goOn(true), title: "As generate() with do_sample=False goes on" },
        `Go on, ${GO_ON_TOKENS} greedy`)),
    h("div", { class: "action-group" },
      h("label", {}, "seed ", parts.seed),
      h("button", { class: "primary", onclick: () => (draw(1), (parts.seed.value = seed() + 1)),
        title: "Draw one token with this seed; then the seed goes up by one" }, `Draw one${random}`),
      button("drawn", "Append the drawn token", () => view.append({
        id: view.currentDraw().last_id, text: view.currentDraw().last_text }, "drawn")),
      h("button", { onclick: () => draw(1000) }, "Draw 1,000"),
      h("button", { onclick: () => goOn(false), title: view.kernel ? "As generate() goes on after torch.manual_seed(seed)" :
        "Drawn with this page's own random numbers, not torch's: generate() may draw other tokens" },
        `Go on, ${GO_ON_TOKENS} drawn${random}`)));
}

/** The head of the list of tokens, and the place of the list. */
function fillTokens(view) {
  const { parts } = view;
  const listMore = () => view.list({ count: Number(parts.count.value) });
  parts.count = h("select", { "aria-label": "Tokens shown", onchange: listMore },
    ROWS_SHOWN.map((count) => h("option", { value: count }, `${count} tokens`)));
  parts.logarithmic = h("button", {
    "aria-pressed": "false", title: "Bars on a logarithmic axis, from 0.0001% on",
    onclick: () => {
      view.list({ logarithmic: !view.shown.logarithmic });
      parts.logarithmic.setAttribute("aria-pressed", String(view.shown.logarithmic));
    },
  }, "log");
  parts.find = h("input", {
    type: "search", placeholder: "find a token", "aria-label": "Find a token among those that travelled exactly",
    oninput: () => view.list({ find: parts.find.value }),
  });
  parts.list = h("div", { class: "token-list", tabindex: -1 });
  parts.legend = h("div", {});
  replaceChildren(parts.tokens,
    h("div", { class: "tokens-head" }, h("h3", {}, "The next token"), parts.logarithmic, parts.count, parts.find),
    parts.legend, parts.list);
}
