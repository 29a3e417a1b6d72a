// Search and filters over a recording. Pure: no DOM.
//
// A search is words; an event is found when it has all of them, each in its names (function, file, module, landmark) or
// in one of its tensors (a size, a whole shape, a dtype, a device). As Recording.find, with one box for all of it.

const WHOLE_SHAPE = /^[([]\s*(\d+(\s*,\s*\d+)*\s*,?)?\s*[)\]]$/;
const FIRST_FEW = 6;

/** The words of a query; a shape in brackets is one word, blanks in it or not. */
function searchWords(query) {
  return (query.match(/[([][\d\s,]*[)\]]|\S+/g) ?? []).map((word) => word.toLowerCase());
}

/** For one word: does a tensor description have it? */
function tensorTest(word) {
  if (WHOLE_SHAPE.test(word)) {
    const sizes = (word.match(/\d+/g) ?? []).join(",");
    return (spec) => spec.shape.join(",") === sizes;
  }
  if (/^\d+$/.test(word)) {
    const size = Number(word);
    return (spec) => spec.shape.includes(size);
  }
  const name = word.replace(/^torch\./, "");
  return (spec) => spec.dtype === name || spec.device === name || spec.device.split(":")[0] === name;
}

/** 1 for each event that has every word; null for no word. */
function matchEvents(run, words) {
  if (!words.length) return null;
  const found = new Uint8Array(run.count).fill(1);
  for (const word of words) keepMatching(run, word, found);
  return found;
}

function keepMatching(run, word, found) {
  const inFunction = run.functions.map((one, index) => searchedText(run, one, index).includes(word));
  const inPath = run.paths.map((path) => path.toLowerCase().includes(word));
  const fits = tensorTest(word);
  const inSpec = run.specs.map(fits);
  const inTensors = run.tensorLists.map((list) => list.some((index) => inSpec[index]));
  const { function: functions, path, inputs, outputs } = run.events;
  for (let event = 0; event < run.count; event++) {
    if (!found[event]) continue;
    const named = inFunction[functions[event]] || (path[event] >= 0 && inPath[path[event]]);
    found[event] = named || inTensors[inputs[event]] || inTensors[outputs[event]] ? 1 : 0;
  }
}

function searchedText(run, { module, qualname, file }, index) {
  const landmarks = run.landmarksOf.get(index) ?? [];
  const told = landmarks.map(({ id, role, article_name }) => `${id}\n${role}\n${article_name}`);
  return [`${module}:${qualname}`, `${module}.${qualname}`, file, ...told].join("\n").toLowerCase();
}

/** Rows of the loading ledger that have every word: in the tensor's names, file, dtypes, device, thread or shape. */
function matchLedger(run, words) {
  if (!words.length) return [];
  return run.loads.filter((row) => words.every((word) => {
    const names = [row.key, row.parameter, row.file, row.disk_dtype, row.dtype, row.device, row.thread, row.status];
    if (names.some((name) => name !== null && String(name).toLowerCase().includes(word))) return true;
    return row.disk_shape !== null && tensorTest(word)({ shape: row.disk_shape, dtype: "", device: "" });
  }));
}

/** Lines of the recorded sources that have the whole query: {function, line, text, events, ran}. */
function matchSources(run, query, included = null) {
  const wanted = query.trim().toLowerCase();
  if (wanted.length < 3) return [];
  const found = [];
  const ran = linesThatRan(run, included);
  const firstEvent = new Map();
  run.events.function.forEach((index, event) => {
    if (!firstEvent.has(index) && (!included || included[event])) firstEvent.set(index, event);
  });
  for (const [index, event] of firstEvent) {
    const of = run.functions[index];
    const text = run.sources[`${of.module}:${of.qualname}`];
    if (!text || !text.toLowerCase().includes(wanted)) continue;
    text.split("\n").forEach((line, place) => {
      if (!line.toLowerCase().includes(wanted)) return;
      const row = ran.get(`${index} ${of.line + place}`) ?? -1;
      found.push({ function: index, line: of.line + place, text: line.trim(), event: row < 0 ? event : run.lines[row].event, row });
    });
  }
  // Lines that ran come first: they are what this run did.
  return found.sort((one, other) => Number(other.row >= 0) - Number(one.row >= 0));
}

/** Of each recorded line, as "function line", the row of the first time that it ran. */
function linesThatRan(run, included) {
  const found = new Map();
  run.lines.forEach(({ event, line }, row) => {
    const key = `${run.events.function[event]} ${line}`;
    if (!found.has(key) && (!included || included[event])) found.set(key, row);
  });
  return found;
}

/** 1 for each event that the filters leave; null when nothing is filtered. */
function filterEvents(run, { stage = "", thread = "", step = "" }) {
  if (stage === "" && thread === "" && step === "") return null;
  const [generation, number] = step === "" || step === "none" ? [] : step.split(".").map(Number);
  const found = new Uint8Array(run.count);
  for (let event = 0; event < run.count; event++) {
    const inStep = step === "" || (step === "none" ? run.events.step[event] < 0 :
      run.events.step[event] === number && run.events.generation[event] === generation);
    const inStage = stage === "" || run.home[event] === Number(stage) || run.stage[event] === Number(stage);
    found[event] = inStep && inStage && (thread === "" || run.events.thread[event] === Number(thread)) ? 1 : 0;
  }
  return found;
}

/** Everything that a query finds, as rows for the list: tensors of the ledger, source lines, events; the first few of
 * those two until their title is in `unfolded`. */
function searchAll(run, query, included, unfolded = new Set()) {
  const words = searchWords(query);
  const matching = matchEvents(run, words);
  const events = [];
  if (matching) for (let event = 0; event < run.count; event++) if (matching[event] && (!included || included[event])) events.push(event);
  const ledger = matchLedger(run, words);
  const sources = matchSources(run, query, included);
  const rows = [];
  const add = (title, list, make) => {
    if (!list.length) return;
    rows.push({ kind: "heading", title, count: list.length });
    const most = title === "events" || unfolded.has(title) ? list.length : FIRST_FEW;
    list.slice(0, most).forEach((one) => rows.push(make(one)));
    if (list.length > most) rows.push({ kind: "more", title, count: list.length - most });
  };
  add("tensors of the checkpoint", ledger, (row) => ({ kind: "tensor", row }));
  add("source lines", sources, (found) => ({ kind: "line", found }));
  add("events", events, (event) => ({ kind: "event", event }));
  return { rows, events: events.length, tensors: ledger.length, lines: sources.length };
}
