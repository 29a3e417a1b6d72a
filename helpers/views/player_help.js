// The dialogs of the player: its keys, and what the recording is.

const KEY_HELP = [
  [["→"], "step forward: the next line or call"],
  [["←"], "step back"],
  [["↓"], "over: the next step of the same call, or behind it"],
  [["i"], "into: the first step within this call"],
  [["↑"], "out: the caller, at the line that made the call where lines were recorded"],
  [["Shift", "→"], "next landmark"],
  [["Shift", "←"], "landmark before"],
  [["Shift", "↓"], "next generation step"],
  [["d"], "next difference (two recordings)"],
  [["p"], "play, pause"],
  [["Home"], "first step"],
  [["End"], "last step"],
  [["/"], "search; there Enter goes to what was found first, Escape empties it"],
  [["o"], "outline; there the arrows move, open and close, and Enter goes to a row"],
  [["t"], "timeline; there + and − zoom, z zooms to the step, 0 shows the whole run"],
  [["h"], "scroll the source to the left; in what flows, that"],
  [["l"], "scroll it to the right, where lines are longer than the panel"],
  [["k"], "scroll it up; Page Up and Page Down scroll a page"],
  [["j"], "scroll it down"],
  [["c"], "clear the filters"],
  [["m"], "copy the step as Markdown"],
  [["?"], "this help"],
];
const ZOOM_TELLS = {
  landmarks: "the steps of the call path", calls: "every Python call in the libraries", modules: "module calls",
  functions: "what computes outside modules (attention, RoPE, cache, processors)", lines: "lines of the functions in which a load decides, with what they changed",
  memory: "the memory curves", sampling: "the chain of logits processors, stage by stage", values: "minimum, maximum, mean and NaN of each module's outputs",
};

const ARROWS = { ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓" };
const HINTS = [["→", "forward"], ["←", "back"], ["↓", "over"], ["i", "into"], ["↑", "out"], ["Shift →", "landmark"], ["Shift ↓", "next token"], ["p", "play"], ["/", "search"], ["?", "all keys"]];

/** A key as its cap has it: Shift →. */
const keyText = (key) => key.split("+").map((one) => ARROWS[one] ?? one).join(" ");

/** The keys that a walk needs, in view; the dialog has all. */
function keyHints() {
  return h("p", { class: "key-hints", "aria-label": "Keys" }, HINTS.map(([key, text]) => h("span", {}, h("kbd", {}, key), ` ${text}`)));
}

function dialogOf(title, ...content) {
  const close = h("button", { onclick: () => dialog.close() }, "Close");
  const dialog = h("dialog", { class: "dialog", "aria-label": title }, h("div", { class: "dialog-head" }, h("h2", {}, title), close), content);
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape" || event.key === "?") {
      event.preventDefault();
      dialog.close();
    }
  });
  return dialog;
}

function helpDialog() {
  const rows = KEY_HELP.map(([keys, text]) => h("tr", {}, h("th", { scope: "row" }, keys.map((key) => h("kbd", {}, key)).flatMap((key, place) => (place ? [" + ", key] : [key]))), h("td", {}, text)));
  return dialogOf("Keys", h("p", { class: "muted" }, "They work while the focus is in this explorer. A press on a breadcrumb, a row or the timeline goes there; dragging on the timeline travels, with Shift it moves the view, Ctrl and the wheel zoom."),
    h("table", { class: "grid keys" }, h("tbody", {}, rows)));
}

/** How many rows of the loading ledger have each status, where there is more than one: " (544 loaded, 2 tied)". */
function statusesText(run) {
  const statuses = [...new Set(run.loads.map((row) => row.status))];
  if (statuses.length < 2) return "";
  return ` (${statuses.map((status) => `${formatNumber(run.loads.filter((row) => row.status === status).length)} ${status}`).join(", ")})`;
}

/** What was recorded where, what was not, and how to record it. */
function aboutDialog(sides) {
  return dialogOf("About this recording", sides.map(({ run, guide, label }) => {
    const facts = Object.entries(run.environment).filter(([name]) => name !== "zoom" && name !== "recorder_python_implementation");
    const missing = guide.zooms.filter((zoom) => !run.zoom.includes(zoom));
    return h("section", {}, sides.length > 1 ? h("h3", {}, visible(label)) : null,
      h("p", {}, `${formatNumber(run.count)} events, ${formatNumber(run.loads.length)} tensors in the loading ledger${statusesText(run)}, ${formatNumber(run.lines.length)} lines, ${run.steps.length} generation steps of which ${run.steps.filter((row) => row.kept).length} in full.`),
      h("p", { class: "muted" }, `${THE_ARTICLE}: what it calls a step stands with the step.`),
      run.warnings.map((warning) => h("p", { class: "warning" }, "Warning: ", dataText(warning))),
      h("table", { class: "grid" }, h("tbody", {}, facts.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, dataText(name)), h("td", {}, dataText(Array.isArray(value) ? value.join(", ") || "none" : pythonText(value))))))),
      h("p", {}, h("strong", {}, "Recorded: "), run.zoom.join(", ") || "landmarks"),
      missing.length ? h("div", {}, h("strong", {}, "Not in this recording"), h("ul", {}, missing.map((zoom) => h("li", {}, `${ZOOM_TELLS[zoom] ?? zoom}: `, h("code", {}, `record(${[...run.zoom, zoom].map((one) => `"${one}"`).join(", ")})`))))) : null);
  }));
}

/** Why there is nothing to walk through, and what to do; null where there is. */
function emptyText(run) {
  if (run.count) return null;
  const ended = run.environment.ended_by ? ` The run ended by ${run.environment.ended_by}.` : "";
  return `This recording holds no event: no function of the call path ran while it was on.${ended} Put what is to be recorded, from_pretrained() or generate(), inside the \`with record() as recording:\` block.${run.warnings.length ? ` Warnings: ${run.warnings.join("; ")}` : ""}`;
}

// Small pictures for buttons: paths on a ground of 16 by 16.
const ICONS = {
  back: "M10 3 5 8l5 5", forward: "M6 3l5 5-5 5", previousLandmark: "M12 3 7 8l5 5M4 3v10", nextLandmark: "M4 3l5 5-5 5M12 3v10",
  into: "M8 2v7M4.5 6 8 9.5 11.5 6M4 13.5h8", out: "M8 11V3M4.5 6 8 2.5 11.5 6M4 13.5h8", over: "M2.5 9C4 4 11 4 12.5 8.5M9.5 8l3.2 1L14 5.8M6 12.5h3",
  nextStep: "M2.5 3l4 5-4 5M7.5 3l4 5-4 5M14 3v10", play: "M5 3l8 5-8 5z", pause: "M5 3v10M11 3v10", difference: "M3 6h10M3 10h10M11 2 5 14",
};

function icon(name) {
  return svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", class: "icon" },
    svg("path", { d: ICONS[name], fill: name === "play" ? "currentColor" : "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linecap": "round", "stroke-linejoin": "round" }));
}
