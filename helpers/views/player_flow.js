// What a step is for, the calls around it, and what flows through it.

// What the step is for -------------------------------------------------------------------------------------------------

const THE_ARTICLE = "The article “HuggingFace Transformers” (2024-12-20), on transformers 4.47.1, where this suite begins";

function purposeOf(run, event) {
  const landmarks = landmarksOfEvent(run, event);
  if (!landmarks.length) return null;
  return landmarks.map(({ id, role, article_name: article, in_article: inArticle, note }) =>
    h("div", { class: "purpose" },
      h("p", {}, h("span", { class: "landmark-mark", "aria-hidden": "true" }, "◆"), h("strong", {}, ` ${sentence(role)} `), h("code", { class: "muted" }, id), " "),
      inArticle && article ? h("p", { class: "muted" }, "· ", h("abbr", { title: THE_ARTICLE }, "The article"), " calls it ", h("code", {}, visible(article)), ". ") : null,
      note ? h("details", {}, h("summary", {}, "more"), h("p", { class: "muted" }, visible(note))) : null));
}

/** With a capital, but for names of files and functions. */
const sentence = (text) => visible(/^[a-z]+( |$)/.test(text) ? text[0].toUpperCase() + text.slice(1) : text);

/** The events around this one, as buttons; the middle of a long stack folds. */
function breadcrumbs(run, event, go) {
  const stack = stackOf(run, event);
  const shown = stack.length > 7 ? [...stack.slice(0, 2), null, ...stack.slice(-4)] : stack;
  return shown.map((one) => h("li", {}, one === null
    ? h("button", { class: "quiet", title: visible(stack.slice(2, -4).map((hidden) => eventName(run, hidden)).join(" › ")), onclick: () => go(stack.at(-5)) }, `… ${stack.length - 6} more`)
    : h("button", { class: "quiet", "aria-current": one === event ? "step" : null, onclick: () => go(one) }, dataText(shortName(run, one)))));
}

const TENSOR_TITLE = "Tensor of the checkpoint";
const MOST_CARDS = 8; // of a module's weights

// What flows -----------------------------------------------------------------------------------------------------------

/** The panel on the right: tensors and values of a step, changes marked. `against`: {run, event, label} or null. */
function drawFlow(run, guide, position, against, go) {
  const { event } = position;
  const previous = against ?? { run, event: run.previous[event], label: "" };
  const flow = flowOf(run, event, previous.run, previous.event);
  const label = against ? against.label : previousLabel(run, event);
  const word = against ? "there" : "was";
  return [
    factsOf(run, event, go),
    position.line >= 0 ? lineSection(run, position) : null,
    comparedWith(run, event, flow, label, against, go),
    tensorSection("Inputs", flow.inputs, word),
    valueSection("Arguments", flow.arguments, word),
    tensorSection("Outputs", flow.outputs, word, run.values.get(event)),
    valueSection("Result", flow.result, word),
    nothingFlowed(run, event, flow),
    ledgerSection(run, event),
    samplingSection(run, event),
  ];
}

function factsOf(run, event, go) {
  const gained = memoryGained(run, event);
  const { thread, status, kind } = run.events;
  const facts = [
    ["kind", EVENT_KINDS[kind[event]]],
    ["ended", status[event] === ENDED_OPEN ? "still running when the recording ended" : EVENT_ENDINGS[status[event]]],
    ["time", formatMilliseconds(durationOf(run, event))],
    ["thread", run.threads[thread[event]]],
    ["step", stepText(run, event)],
    ["memory", gained === null ? "" : memoryText(gained, run.ownRises[event])],
    ["occurrence", `${formatNumber(run.occurrence[event])} of ${formatNumber(run.occurrences.get(occurrenceKey(run, event)))}`],
  ];
  const then = { occurrence: run.next[event] < 0 ? null : nextOccurrence(run, run.next[event], go) };
  return h("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, dataText(value)), then[name] ? h("dd", {}, then[name]) : null)));
}

function nextOccurrence(run, event, go) {
  const where = stepText(run, event);
  return h("button", { class: "quiet", "aria-label": "Next occurrence", title: visible(`the next one: event ${formatNumber(event)}${where ? `, ${where}` : ""}`), onclick: () => go(event) }, "next");
}

/** What resident memory gained in a call, and how much of that without the calls within it, where that is another. */
function memoryText(gained, own) {
  const [whole, part] = [gained, own].map((bytes) => `${bytes >= 0 ? "+" : "−"}${formatBytes(Math.abs(bytes))}`);
  return whole === part ? whole : `${whole}, own ${part}`;
}

function previousLabel(run, event) {
  const before = run.previous[event];
  if (before < 0) return "";
  const step = stepText(run, before);
  return step && step !== stepText(run, event) ? step : `its call before (event ${before})`;
}

function comparedWith(run, event, flow, label, against, go) {
  if (flow.other < 0) return null;
  const rows = [...flow.inputs, ...flow.outputs];
  const changes = rows.filter((row) => row.changed.length || row.was === null || row.now === null).length +
    [...flow.arguments, ...flow.result].filter((row) => row.changed).length;
  const text = changes ? `${changes} ${changes === 1 ? "change" : "changes"} against ${label}` : `no input, argument or result changed against ${label}`;
  return h("p", { class: changes ? "compared some" : "compared" }, dataText(text), " ",
    against ? null : h("button", { class: "quiet", onclick: () => go(flow.other) }, "go there"));
}

function tensorSection(title, rows, word, values = []) {
  if (!rows.length) return null;
  const cell = (row, part, text) => {
    const changed = row.now && row.was && row.changed.includes(part);
    return h("td", { class: `${changed ? "changed" : ""} ${part === "nbytes" ? "number" : ""}` }, row.now ? visible(text(row.now)) : "",
      changed ? h("span", { class: "was" }, `${word} ${visible(text(row.was))}`) : null);
  };
  const bodies = rows.map((row, place) => {
    const kind = row.now === null ? "gone" : row.was === null ? "new" : "";
    const shown = row.now ?? row.was;
    const read = values.find((one) => one.output === place);
    return [
      h("tr", { class: kind }, h("td", {}, dataText(shown.name), kind ? h("span", { class: "was" }, kind === "gone" ? "only there" : "only here") : null),
        ...(row.now
          ? [cell(row, "shape", (one) => shapeText(one.shape)), cell(row, "dtype", (one) => one.dtype), cell(row, "device", (one) => one.device), cell(row, "nbytes", (one) => formatBytes(one.nbytes))]
          : [h("td", {}, shapeText(shown.shape)), h("td", {}, visible(shown.dtype)), h("td", {}, visible(shown.device)), h("td", { class: "number" }, formatBytes(shown.nbytes))])),
      read && read.nan >= 0 ? h("tr", {}, h("td", { colspan: 5, class: "muted" }, `${read.min === null ? "no finite value" : `min ${read.min} · max ${read.max} · mean ${read.mean}`} · ${read.nan} NaN · ${read.inf} infinite`)) : null,
    ];
  });
  return section(title, h("table", { class: "grid tensors" },
    h("thead", {}, h("tr", {}, ["name", "shape", "dtype", "device"].map((name) => h("th", { scope: "col" }, name)), h("th", { scope: "col", class: "number" }, "bytes"))),
    h("tbody", {}, bodies)));
}

function valueSection(title, rows, word) {
  if (!rows.length) return null;
  return section(title, h("table", { class: "grid values" }, h("tbody", {}, rows.map((row) =>
    h("tr", { class: row.now === null ? "gone" : "" }, h("th", { scope: "row" }, dataText(row.name)),
      h("td", { class: row.changed ? "changed" : "" }, row.now === null ? null : dataText(row.now),
        row.changed ? h("span", { class: "was" }, row.was === null ? "only here" : `${word} ${visible(row.was)}`) : null))))));
}

const section = (title, ...content) => h("section", { class: "flow-section", "aria-label": title }, h("h3", {}, title), content);

function lineSection(run, { line }) {
  const changed = changedAtLine(run, line);
  return section(`Line ${run.lines[line].line}`, h("p", { class: changed ? "line-changed" : "muted" }, changed ? dataText(changed) : "changed no variable"));
}

function nothingFlowed(run, event, flow) {
  if (flow.inputs.length + flow.outputs.length + flow.arguments.length + flow.result.length) return null;
  return h("p", { class: "muted note" }, "No tensor and no plain value went in or out.");
}

function ledgerSection(run, event) {
  const rows = ledgerShown(run, event);
  return rows.length ? section(isModuleCall(run, event) ? "Its weights, as loaded" : TENSOR_TITLE, rows.map((row) => ledgerCard(run, row))) : null;
}

function ledgerShown(run, event) {
  const loading = run.stage[event] === LOADING_STAGE;
  if (!run.loads.length || !(loading || isModuleCall(run, event))) return [];
  const rows = ledgerOf(run, event).slice(0, MOST_CARDS);
  return !rows.length && loading ? [ledgerAtTime(run, event)].filter(Boolean) : rows;
}

/** The card of a tensor that was searched for, above all else; it is moved there where the step shows it already. */
function tensorFirst(flow, run, event, row) {
  const rows = ledgerShown(run, event);
  const own = rows.length === 1 && rows[0] === row;
  flow.prepend(own ? flow.querySelector(".ledger").parentElement : section(TENSOR_TITLE, ledgerCard(run, row)));
}

/** One row of the loading ledger, all of it. */
function ledgerCard(run, row) {
  const milliseconds = row.started === null ? null : (row.finished - row.started) / NANOSECONDS;
  const facts = [
    ["tensor", row.parameter ?? row.key], ["key in the file", row.key !== row.parameter ? row.key : null], ["status", row.status],
    ["file", row.file], ["bytes in it", row.begin === null ? null : `${formatNumber(row.begin)} to ${formatNumber(row.end)}`],
    ["shape", row.disk_shape && shapeText(row.disk_shape)], ["dtype in the file", row.disk_dtype],
    ["dtype in memory", row.dtype], ["cast", row.disk_dtype && row.dtype ? (row.disk_dtype === row.dtype ? "no" : `${row.disk_dtype} → ${row.dtype}`) : null],
    ["device", row.device], ["in memory", formatBytes(row.nbytes)], ["thread", row.thread],
    ["read, cast, moved in", milliseconds === null ? null : formatMilliseconds(milliseconds)], ["tied to", row.tied_to], ["load", run.loadCount > 1 ? `${row.load}, of ${run.loadCount} counted from 0` : String(row.load)],
  ];
  return h("dl", { class: "ledger" }, facts.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, dataText(value)))));
}

/** The chain of logits processors in the step of an event of the stage sampling. */
function samplingSection(run, event) {
  if (run.stage[event] !== 9) return null;
  const { step, generation } = run.events;
  const rows = run.samples.filter((row) => row.step === step[event] && row.generation === generation[event]);
  if (!rows.length) return null;
  const body = rows.map((row) => h("tr", {}, h("td", {}, dataText(row.processor)), h("td", { class: "number" }, row.kept === null ? "" : formatNumber(row.kept)),
    h("td", { class: "number" }, row.entropy === null ? "" : row.entropy.toFixed(2)), h("td", { class: "number" }, row.p_top === null ? "" : `${(100 * row.p_top).toFixed(1)}%`)));
  const token = rows.at(-1).token;
  const ofHowMany = rows[0].sequences > 1 ? `, of the first of ${rows[0].sequences} sequences` : "";
  return section(`The chain of this step${ofHowMany}`, h("table", { class: "grid" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "stage"), ["kept", "bits", "p(top)"].map((name) => h("th", { scope: "col", class: "number" }, name)))), h("tbody", {}, body)),
    token === null ? null : h("p", { class: "muted" }, `token ${token}, by ${rows.at(-1).chosen_by}`));
}
