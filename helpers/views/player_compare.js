// Two recordings side by side: which event of one is which of the other, and where they differ. Pure: no DOM.

const ONLY_HERE = 1;
const OTHER_TENSORS = 2;
const OTHER_VALUES = 4;
const OTHER_SOURCE = 8;
const MOST_LINES = 1500; // of a function whose lines are compared

/**
 * Pair the events of two recordings: landmarks by their id, modules by their path, other functions by their name, each
 * within its module and generation step, in order. {other: [Int32Array, Int32Array], differs: [Uint8Array, Uint8Array],
 * below: [Int32Array, Int32Array]}: the counterpart (or -1), the flags above, and how many differ within each event.
 */
function matchRuns(one, another) {
  const runs = [one, another];
  const keys = runs.map(eventKeys);
  const places = keys.map((list) => new Map(list.map((key, event) => [key, event])));
  const other = keys.map((list, side) => Int32Array.from(list, (key) => places[1 - side].get(key) ?? -1));
  const known = new Map();
  const differs = runs.map((run, side) =>
    Uint8Array.from({ length: run.count }, (_, event) => flagsOf(run, event, runs[1 - side], other[side][event], known, side)));
  const below = runs.map((run, side) => differencesBelow(run, differs[side]));
  return { other, differs, below };
}

function eventKeys(run) {
  const seen = new Map();
  const names = run.functions.map((of, index) => run.landmarksOf.get(index)?.[0].id ?? of.qualname);
  return Array.from({ length: run.count }, (_, event) => {
    const { function: functions, path, step, generation } = run.events;
    const name = path[event] >= 0 ? "module" : names[functions[event]];
    const within = run.moduleAround[event] >= 0 ? run.paths[run.moduleAround[event]] : "";
    const key = `${name}|${within}|${generation[event]}|${step[event]}`;
    const times = (seen.get(key) ?? 0) + 1;
    seen.set(key, times);
    return `${key}|${times}`;
  });
}

function flagsOf(run, event, otherRun, other, known, side) {
  if (other < 0) return ONLY_HERE;
  const pair = (kind, now, was, compare) => {
    const key = side ? `${kind} ${was} ${now}` : `${kind} ${now} ${was}`;
    if (!known.has(key)) known.set(key, compare());
    return known.get(key);
  };
  let flags = 0;
  for (const name of ["inputs", "outputs"]) {
    const [now, was] = [run.events[name][event], otherRun.events[name][other]];
    if (pair("tensors", now, was, () => tensorsDiffer(run, now, otherRun, was))) flags |= OTHER_TENSORS;
  }
  for (const name of ["arguments", "result"]) {
    const [now, was] = [run.events[name][event], otherRun.events[name][other]];
    if (pair("values", now, was, () => JSON.stringify(run.valueLists[now]) !== JSON.stringify(otherRun.valueLists[was]))) flags |= OTHER_VALUES;
  }
  const [of, otherOf] = [run.events.function[event], otherRun.events.function[other]];
  if (pair("source", of, otherOf, () => sourcesDiffer(run.functions[of], run, otherRun.functions[otherOf], otherRun))) flags |= OTHER_SOURCE;
  return flags;
}

function tensorsDiffer(run, now, otherRun, was) {
  const told = (from, list) => from.tensorLists[list].map((index) => {
    const { shape, dtype, device } = from.specs[index];
    return `${shape} ${dtype} ${device}`;
  }).join(";");
  return told(run, now) !== told(otherRun, was);
}

function sourcesDiffer(of, run, otherOf, otherRun) {
  if (of.qualname !== otherOf.qualname) return true;
  const [text, otherText] = [run.sources[`${of.module}:${of.qualname}`], otherRun.sources[`${otherOf.module}:${otherOf.qualname}`]];
  return text !== undefined && otherText !== undefined && text !== otherText;
}

function differencesBelow(run, differs) {
  const below = new Int32Array(run.count);
  for (let event = run.count - 1; event >= 0; event--) {
    const around = run.events.parent[event];
    if (around >= 0) below[around] += below[event] + (differs[event] ? 1 : 0);
  }
  return below;
}

function differenceText(flags) {
  if (flags & ONLY_HERE) return "only in this recording";
  const told = [[OTHER_TENSORS, "tensors"], [OTHER_VALUES, "values"], [OTHER_SOURCE, "source"]];
  return `other ${told.filter(([flag]) => flags & flag).map(([, name]) => name).join(", ")}`;
}

/** For each line of `text`, whether `otherText` has it in the same order (by a longest common subsequence). */
function linesInCommon(text, otherText) {
  const [lines, others] = [text.split("\n"), otherText.split("\n")];
  if (lines.length > MOST_LINES || others.length > MOST_LINES) return null;
  const width = others.length + 1;
  const longest = new Uint16Array((lines.length + 1) * width);
  for (let row = lines.length - 1; row >= 0; row--) {
    for (let column = others.length - 1; column >= 0; column--) {
      longest[row * width + column] = lines[row] === others[column]
        ? longest[(row + 1) * width + column + 1] + 1
        : Math.max(longest[(row + 1) * width + column], longest[row * width + column + 1]);
    }
  }
  const common = lines.map(() => false);
  for (let row = 0, column = 0; row < lines.length && column < others.length; ) {
    if (lines[row] === others[column]) {
      common[row++] = true;
      column++;
    } else if (longest[(row + 1) * width + column] >= longest[row * width + column + 1]) row++;
    else column++;
  }
  return common;
}

/** The event that a row of Recording.diff is about, the first; -1 where it names none. `*` stands for any number. */
function eventOfDifference(run, { of, name, steps }) {
  const step = /^\d/.test(steps ?? "") ? Number(steps.match(/^\d+/)[0]) : null;
  const fits = (event) => step === null || run.events.step[event] === step;
  if (of === "landmark") {
    const indexes = new Set(run.statuses.filter((status) => status.id === name).map((status) => status.function));
    return run.events.function.findIndex((index) => indexes.has(index));
  }
  if (of === "function") return run.events.function.findIndex((index) => `${run.functions[index].module}:${run.functions[index].qualname}` === name);
  if (of !== "module") return -1;
  const wanted = name.replace(/ \(\d+ of \d+\)$/, "").replace(/\{(\d+)[^}]*\}/g, "$1").split("*").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("\\d+");
  const pattern = new RegExp(`^${wanted === "\\(the model\\)" ? "" : wanted}$`);
  const paths = new Set(run.paths.flatMap((path, index) => (pattern.test(path) ? [index] : [])));
  const first = run.events.path.findIndex((path, event) => paths.has(path) && fits(event));
  return first >= 0 ? first : run.events.path.findIndex((path) => paths.has(path));
}
