// The player's reading of a recording, without a browser. document.json and guide.json are a recorded call of a tiny
// model; expected.json has what Python's Recording answers to the same questions.
import test from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import {
  MOVES, atEvent, compareTensors, curvesOf, docstringLines, emptyText, eventAtTime, eventName, lanesOf, valuesAt, eventOfDifference, eventOfLedger, filterEvents, flowOf, highlightsOf, ledgerOf, linesInCommon,
  makeOutline, markdownOf, matchEvents, matchRuns, openRecording, ownRises, permalinkOf, pythonLines, searchAll, searchWords, sourceOfEvent, stackOf, stepText,
} from "./explorer.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`./${name}.json`, import.meta.url)));
const [content, guide, expected] = ["document", "guide", "expected"].map(read);
const open = () => openRecording(structuredClone(content), guide);
const run = open();
const all = () => true;
const indexesOf = (flags) => [...flags.keys()].filter((index) => flags[index]);

test("columns are what Python reads from the same file", () => {
  assert.equal(run.count, expected.events);
  assert.deepEqual([...run.events.parent], expected.parent);
  assert.deepEqual([...run.stage], expected.stage);
  for (const [name, index] of [["start", 7], ["end", 7]]) assert.ok(Math.abs(run.events[name][index] - expected[name][index]) < 1e-9);
  assert.equal(run.lines.length, expected.lines);
  assert.deepEqual(run.steps.map((row) => [row.step, row.kept]), expected.steps);
});

test("damaged documents are refused with the reason", () => {
  const damaged = (change) => {
    const copy = structuredClone(content);
    change(copy);
    return () => openRecording(copy, guide);
  };
  assert.throws(damaged((copy) => (copy.format = "else")), /no recording/);
  assert.throws(damaged((copy) => copy.events.kind.pop()), /different lengths/);
  assert.throws(damaged((copy) => delete copy.events.thread), /thread is missing/);
  assert.throws(damaged((copy) => (copy.events.function[3] = 1e6)), /function points outside/);
  assert.throws(damaged((copy) => (copy.events.parent[3] = -5)), /before the event around it/);
});

test("every event has one place in the outline, and the path to it leads there", () => {
  const outline = makeOutline(run, guide);
  const seen = new Map();
  const walk = (nodes) => {
    for (const node of nodes) {
      if (node.kind === "event") seen.set(node.event, (seen.get(node.event) ?? 0) + 1);
      walk(outline.childrenOf(node));
    }
  };
  walk(outline.stages);
  assert.equal(seen.size, run.count);
  assert.ok([...seen.values()].every((times) => times === 1));
  for (let event = 0; event < run.count; event++) {
    const path = outline.pathTo(event);
    assert.equal(path[0].kind, "stage");
    assert.equal(path.at(-1).event, event);
    assert.equal(path.at(-1).kind, "event");
  }
});

test("equal layers fold into one node with a count, and unfold", () => {
  const outline = makeOutline(run, guide);
  const layer = [...run.events.path].findIndex((path) => run.paths[path] === "model.layers.1");
  const path = outline.pathTo(layer);
  const fold = path.at(-2);
  assert.equal(fold.kind, "fold");
  assert.equal(fold.times, expected.layers);
  assert.equal(outline.childrenOf(fold).length, expected.layers);
  const closed = outline.rows((node) => node !== fold && path.includes(node));
  const opened = outline.rows((node) => path.includes(node));
  assert.ok(!closed.some((row) => row.node.event === layer && row.node.kind === "event"));
  assert.ok(opened.some((row) => row.node.event === layer && row.node.kind === "event"));
});

test("unlike layers do not fold together", () => {
  const changed = structuredClone(content);
  const place = [...run.events.path].findIndex((path, event) => run.paths[path] === "model.layers.1" && run.events.step[event] === 0);
  const list = changed.tensor_lists[changed.events.outputs[place]];
  changed.specs.push([...changed.specs[list[0]].slice(0, 1), [1, 9, 9], ...changed.specs[list[0]].slice(2)]);
  changed.tensor_lists.push([changed.specs.length - 1]);
  changed.events.outputs[place] = changed.tensor_lists.length - 1;
  const outline = makeOutline(openRecording(changed, guide), guide);
  assert.notEqual(outline.pathTo(place).at(-2).kind, "fold");
});

test("stages that did not run, and landmarks that did not, say so", () => {
  const outline = makeOutline(run, guide);
  assert.deepEqual(outline.stages.map((node) => node.stage), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const absent = outline.stages.flatMap((stage) => outline.childrenOf(stage)).filter((node) => node.kind === "absent").flatMap((node) => outline.childrenOf(node));
  assert.deepEqual(absent.map((node) => node.status.id).sort(), expected.unobserved);
  assert.ok(absent.every((node) => node.status.reason));
});

test("forward visits every event and line once, in order; back undoes it", () => {
  const visited = [atEvent(0)];
  for (let at = visited[0]; (at = MOVES.forward(run, at, all)); ) visited.push(at);
  assert.equal(visited.length, run.count + run.lines.length);
  assert.deepEqual(visited.filter((at) => at.line < 0).map((at) => at.event), [...Array(run.count).keys()]);
  for (let place = visited.length - 1; place > 0; place--) assert.deepEqual(MOVES.back(run, visited[place], all), visited[place - 1]);
  assert.equal(MOVES.back(run, visited[0], all), null);
});

test("a call of a line comes after that line, and out leads back to it", () => {
  let checked = 0;
  for (let event = 0; event < run.count; event++) {
    const caller = run.events.parent[event];
    if (caller < 0 || !run.linesOf.has(caller)) continue;
    const before = MOVES.back(run, atEvent(event), all);
    const out = MOVES.out(run, atEvent(event), all);
    assert.equal(out.event, caller);
    assert.ok(out.line >= 0 && run.lines[out.line].start <= run.events.start[event]);
    assert.ok(before.event >= caller);
    checked++;
  }
  assert.equal(checked > 0, expected.lines > 0); // 4.47 has none of the functions whose lines are recorded by default
});

test("into goes within the call, over behind it, out to the caller", () => {
  for (let event = 0; event < run.count; event++) {
    const into = MOVES.into(run, atEvent(event), all);
    const [callee, line] = [run.callees.get(event)?.[0], run.linesOf.get(event)?.[0]];
    const lineFirst = line !== undefined && (callee === undefined || run.lines[line].start <= run.events.start[callee]);
    if (lineFirst) assert.deepEqual(into, { event, line });
    else assert.deepEqual(into, callee === undefined ? null : atEvent(callee));
    const over = MOVES.over(run, atEvent(event), all);
    if (over) {
      const start = over.line >= 0 ? run.lines[over.line].start : run.events.start[over.event];
      assert.ok(start >= run.events.end[event] - 1e-9);
      assert.equal(run.events.thread[over.event], run.events.thread[event]);
      if (over.line >= 0) assert.ok(stackOf(run, event).slice(0, -1).includes(over.event));
    } else {
      assert.ok(stackOf(run, event).slice(0, -1).every((caller) => !(run.linesOf.get(caller) ?? []).some((row) => run.lines[row].start >= run.events.end[event])));
      assert.equal(run.after[event], -1);
    }
    const out = MOVES.out(run, atEvent(event), all);
    if (out) assert.equal(out.event, run.events.parent[event]);
    else assert.equal(run.events.parent[event], -1);
  }
});

/** A run in the form that the moves read, from [thread, parent, start, end] of events and [event, start] of lines. */
function smallRun(events, lines = []) {
  const small = structuredClone(content);
  const column = (value) => events.map((_, event) => value(event));
  const last = (event) => (event ? events[event - 1][2] : 0);
  for (const name of Object.keys(small.events)) small.events[name] = column(() => (["memory_before", "memory_after", "step", "generation", "path"].includes(name) ? -1 : 0));
  small.threads = ["MainThread", ...Array.from({ length: 9 }, (_, thread) => `loader ${thread + 1}`)];
  small.events.thread = column((event) => events[event][0]);
  small.events.parent = column((event) => event - events[event][1]);
  small.events.start = column((event) => (events[event][2] - last(event)) * 1e6);
  small.events.end = column((event) => (events[event][3] - events[event][2]) * 1e6);
  let time = 0;
  small.line_rows = { event: [], line: [], start: [], tensors: [], values: [] };
  lines.forEach(([event, start], row) => {
    small.line_rows.event.push(event);
    small.line_rows.line.push(row + 1);
    small.line_rows.start.push((start - time) * 1e6);
    for (const name of ["tensors", "values"]) small.line_rows[name].push(0);
    time = start;
  });
  small.value_rows = {};
  return openRecording(small, guide);
}

test("into finds the calls within a call although another thread's come between", () => {
  const threads = smallRun([[0, -1, 0, 90], [1, -1, 1, 5], [0, 0, 10, 20], [1, -1, 11, 15], [0, 2, 12, 14]]);
  assert.deepEqual(MOVES.into(threads, atEvent(0), all), atEvent(2));
  assert.deepEqual(MOVES.into(threads, atEvent(2), all), atEvent(4));
  assert.deepEqual(MOVES.into(threads, atEvent(0), (event) => event !== 2), atEvent(4)); // the filter leaves out its caller
  assert.equal(MOVES.into(threads, atEvent(1), all), null);
});

test("over ends in the caller's remaining lines, behind its last call too, and in those of the call around it", () => {
  const lines = smallRun([[0, -1, 0, 90], [0, 0, 10, 50], [0, 1, 20, 30]], [[0, 5], [1, 15], [1, 35], [0, 60]]);
  const [outer, inner] = [{ event: 0, line: 3 }, { event: 1, line: 2 }];
  assert.deepEqual(MOVES.into(lines, atEvent(1), all), { event: 1, line: 1 });
  assert.deepEqual(MOVES.into(lines, { event: 1, line: 1 }, all), atEvent(2));
  assert.deepEqual(MOVES.over(lines, atEvent(2), all), inner);
  assert.deepEqual(MOVES.over(lines, inner, all), outer);
  assert.deepEqual(MOVES.over(lines, atEvent(1), all), outer);
  assert.deepEqual(MOVES.over(lines, atEvent(2), (event) => event !== 1), outer);
  assert.equal(MOVES.over(lines, outer, all), null);
});

test("landmarks and generation steps are found in both directions", () => {
  const first = MOVES.nextStep(run, atEvent(0), all);
  assert.equal(stepText(run, first.event), "prefill");
  const second = MOVES.nextStep(run, first, all);
  assert.equal(stepText(run, second.event), "decode step 1");
  const landmark = MOVES.nextLandmark(run, first, all);
  assert.ok(run.landmarksOf.has(run.events.function[landmark.event]));
  assert.notEqual(run.events.function[landmark.event], run.events.function[first.event]);
  assert.ok(MOVES.previousLandmark(run, landmark, all).event < landmark.event);
  let last = first;
  for (let at = first; at; at = MOVES.nextStep(run, at, all)) last = at;
  assert.equal(run.events.step[last.event], expected.steps.filter(([, kept]) => kept).length - 1);
});

test("steps stay within the filters", () => {
  const included = filterEvents(run, { stage: "8", step: "0.1", thread: "" });
  const isIn = (event) => included[event] === 1;
  assert.ok(indexesOf(included).length > 10);
  for (let at = MOVES.first(run, atEvent(0), isIn); at; at = MOVES.forward(run, at, isIn)) {
    assert.equal(run.events.step[at.event], 1);
    assert.equal(run.home[at.event], 8);
  }
  const outline = makeOutline(run, guide, included);
  assert.deepEqual(outline.stages.map((node) => node.stage), [8]);
  assert.equal(filterEvents(run, { stage: "", step: "", thread: "" }), null);
});

test("search finds what Recording.find finds", () => {
  for (const { word, events } of expected.found) assert.deepEqual(indexesOf(matchEvents(run, searchWords(word))), events, word);
  assert.deepEqual(searchWords("k_proj (1, 173, 576) FLOAT32"), ["k_proj", "(1, 173, 576)", "float32"]);
});

test("search finds tensors of the checkpoint and lines that ran", () => {
  const found = searchAll(run, expected.parameter, null);
  const row = found.rows.find((one) => one.kind === "tensor").row;
  assert.equal(row.file, expected.ledger.file);
  assert.equal(row.disk_dtype, expected.ledger.disk_dtype);
  const event = eventOfLedger(run, row);
  assert.equal(run.stage[event], 4);
  assert.deepEqual(ledgerOf(run, event).map((one) => one.parameter), [expected.parameter]);
  const lines = searchAll(run, "is_sharded = True", null).rows.filter((one) => one.kind === "line");
  assert.ok(lines.length > 0 && lines[0].found.row >= 0 === expected.sharded);
  assert.equal(searchAll(run, "nothing has this name", null).rows.length, 0);
});

test("a search for a common word tells all of its lines, those that ran first", () => {
  const functions = [...new Set(run.events.function)].map((index) => run.functions[index]);
  const sources = functions.map((of) => run.sources[`${of.module}:${of.qualname}`] ?? "");
  const everyLine = sources.flatMap((text) => text.split("\n")).filter((line) => line.toLowerCase().includes("self"));
  const { rows, lines } = searchAll(run, "self", null, new Set(["source lines"]));
  assert.ok(everyLine.length > 200);
  assert.equal(lines, everyLine.length);
  const found = rows.filter((one) => one.kind === "line").map((one) => one.found);
  assert.equal(found.length, everyLine.length);
  const ran = found.filter((one) => one.row >= 0);
  assert.deepEqual(found.slice(0, ran.length), ran);
  for (const { event, row } of ran) assert.equal(run.lines[row].event, event);
});

test("a decode step shows what changed against the step before", () => {
  const event = [...run.events.path].findIndex((path, at) => run.paths[path] === "model.layers.0" && run.events.step[at] === 1);
  const flow = flowOf(run, event);
  assert.equal(stepText(run, flow.other), "prefill");
  const row = flow.outputs[0];
  assert.deepEqual([row.was.shape, row.now.shape], expected.shapes);
  assert.deepEqual(row.changed, ["shape", "nbytes"]);
});

test("tensors that appear or go are told apart from changed ones", () => {
  const spec = (name, shape) => ({ name, shape, dtype: "float32", device: "cpu", nbytes: 4 });
  const rows = compareTensors([spec("a", [1]), spec("b", [2])], [spec("b", [3]), spec("c", [4])]);
  assert.deepEqual(rows.map(({ name, now, was, changed }) => [name, Boolean(now), was && true, changed]), [["a", true, null, []], ["b", true, true, ["shape"]], ["c", false, true, []]]);
  assert.equal(compareTensors([spec("a", [1])], undefined)[0].was, undefined);
});

test("a lane for each thread that did something; beyond six, the last is of all that are left", () => {
  const lanes = (count) => {
    const many = smallRun(Array.from({ length: count }, (_, thread) => [thread, -1, thread, thread + 10])); // of ten, the others idle
    return [many, lanesOf(many)];
  };
  assert.deepEqual(lanes(6)[1].map((lane) => lane.name), ["MainThread", "loader 1", "loader 2", "loader 3", "loader 4", "loader 5"]);
  const [many, shared] = lanes(9);
  assert.deepEqual(shared.map((lane) => lane.threads), [[0], [1], [2], [3], [4], [5, 6, 7, 8]]);
  assert.equal(shared[5].name, "4 other threads");
  assert.equal(shared[5].title, "loader 5, loader 6, loader 7, loader 8");
  for (let place = 1; place < 6; place++) assert.ok(shared[place].top >= shared[place - 1].top + shared[place - 1].height);
  assert.equal(eventAtTime(many, shared[5].threads, 8), 8); // each of them is reached by a click
  assert.equal(eventAtTime(many, shared[5].threads, 5.5), 5);
});

test("the event at a time is the innermost that ran then, else the nearest before, else the first", () => {
  const small = smallRun([[0, -1, 10, 90], [0, 0, 20, 40], [1, -1, 25, 30], [0, 0, 50, 60]]);
  const at = (time, threads = [0]) => eventAtTime(small, threads, time);
  assert.deepEqual([5, 15, 25, 45, 55, 95].map((time) => at(time)), [0, 0, 1, 0, 3, 3]);
  assert.deepEqual([5, 27, 35].map((time) => at(time, [1])), [2, 2, 2]);
  assert.equal(at(27, [7]), -1); // idle
});

test("memory curves with a GPU's: small ones on their own scale, values those of the latest sample", () => {
  const gpu = smallRun([[0, -1, 0, 100]]);
  const [mebi, column] = [2 ** 20, (...values) => Float64Array.from(values)];
  gpu.memory = { time: column(0, 10, 20), series: {
    resident: column(100, 200, 300).map((value) => value * mebi), cuda_reserved: column(0, 1000, 1000).map((value) => value * mebi),
    cuda_allocated: column(0, 900, -1 / mebi).map((value) => value * mebi), kv_cache: column(0, 0, 2).map((value) => value * mebi), parameters: column(0, 0, 0),
  } };
  const curves = curvesOf(gpu);
  assert.deepEqual(curves.map((curve) => [curve.name, curve.ownScale, curve.top / mebi]), [
    ["resident", false, 1000], ["kv_cache", true, 2], ["cuda_allocated", false, 1000], ["cuda_reserved", false, 1000],
  ]); // parameters, 0 throughout, have no curve
  assert.deepEqual(valuesAt(gpu.memory, curves, 19).map((value) => value / mebi), [200, 0, 900, 1000]);
  assert.deepEqual(valuesAt(gpu.memory, curves, 25), [300 * mebi, 2 * mebi, null, 1000 * mebi]);
  assert.deepEqual(valuesAt(gpu.memory, curves, -1), [null, null, null, null]);
  assert.deepEqual(curvesOf(run).map((curve) => curve.name), expected.curves);
});

test("of several ranks, each has its own memory, whose samples are in the order of time", () => {
  const copy = structuredClone(content);
  const samples = run.memory.time.length;
  const half = samples >> 1;
  copy.ranks = { threads: copy.threads.map((_, thread) => thread % 2), memory_series: Array.from({ length: samples }, (_, at) => (at < half ? 0 : 1)) };
  const merged = openRecording(copy, guide);
  assert.equal(run.memories.length, 1);
  assert.deepEqual(merged.memories.map((one) => one.time.length), [half, samples - half]);
  for (const [name, values] of Object.entries(run.memory.series)) {
    assert.deepEqual([...merged.memories[0].series[name], ...merged.memories[1].series[name]], [...values]);
  }
  assert.deepEqual(merged.rankOfThread, copy.ranks.threads);
});

test("own rises of memory add up to what the outermost calls gained", () => {
  const sum = ownRises(run).reduce((total, rise) => total + rise, 0);
  assert.ok(Math.abs(sum - expected.gained) < 1, `${sum} ${expected.gained}`);
  const highlights = highlightsOf(run, guide);
  assert.equal(highlights.find((one) => one.title === "Greatest memory rise").event, expected.greatest);
  const titles = highlights.map((one) => one.title);
  for (const title of ["Greatest memory rise", "Prefill", "First decode step"]) assert.ok(titles.includes(title), title);
  assert.equal(titles.includes("Line by line"), expected.lines > 0);
});

test("an error that left the recording is where to begin: the innermost call that it went through", () => {
  assert.ok(!highlightsOf(run, guide).some((one) => one.title === "Error"), "this run had none");
  const failed = open();
  const inner = failed.events.parent.findIndex((around) => around >= 0 && failed.events.parent[around] >= 0);
  for (let event = inner; event >= 0; event = failed.events.parent[event]) failed.events.status[event] = 1;
  assert.deepEqual(highlightsOf(failed, guide)[0], { title: "Error", text: `raised in ${eventName(failed, inner)}`, event: inner });
  const caught = open();
  caught.events.status[inner] = 1;
  assert.ok(!highlightsOf(caught, guide).some((one) => one.title === "Error"), "what was caught within is none");
});

test("source is coloured without changing it, and its docstring found", () => {
  let docstrings = 0;
  for (const text of Object.values(content.sources)) {
    const pieces = pythonLines(text);
    assert.equal(pieces.map((line) => line.map(([, piece]) => piece).join("")).join("\n"), text);
    const folded = docstringLines(pieces, 3);
    if (!folded) continue;
    docstrings++;
    assert.match(pieces[folded[0]].map(([, piece]) => piece).join(""), /^\s*[rR]?("""|''')/);
    assert.match(pieces[folded[1]].map(([, piece]) => piece).join(""), /("""|''')\s*(#.*)?$/);
  }
  assert.ok(docstrings > 10);
  const kinds = pythonLines('@torch.no_grad()\ndef f(x: int = 1):  # why\n    return f"{x}" + None')[1].map(([kind, text]) => `${kind}:${text}`);
  assert.ok(["keyword:def", "defined:f", "number:1", "comment:# why"].every((piece) => kinds.includes(piece)), kinds.join(" "));
});

test("what has no source says why, and links go to the release", () => {
  const builtin = run.functions.findIndex((of) => !of.line);
  const event = run.events.function.indexOf(builtin);
  assert.match(sourceOfEvent(run, event).missing, /is a builtin/);
  const bare = open();
  bare.sources = {};
  const landmark = [...bare.events.function].findIndex((index) => bare.landmarksOf.has(index) && bare.functions[index].line);
  assert.match(sourceOfEvent(bare, landmark).missing, /not in this recording/);
  const of = run.functions.find((one) => one.file.startsWith("transformers/"));
  assert.equal(permalinkOf(run, guide, of, of.line + 2).link, `${guide.permalinks.transformers.base}${of.file}#L${of.line}-L${of.line + 2}`);
  assert.match(permalinkOf(run, guide, { ...of, file: "mine/run.py" }, 3).reason, /not known/);
});

test("a step as Markdown has place, tensors and versions, and cannot break out of code", () => {
  const event = [...run.events.path].findIndex((path) => run.paths[path] === "model.layers.0.self_attn.q_proj");
  const text = markdownOf(run, atEvent(event));
  for (const part of ["model.layers.0.self_attn.q_proj", "| in | `", "float32", `transformers ${content.environment.transformers}`, "prefill"]) assert.ok(text.includes(part), part);
  const hostile = open();
  hostile.functions[hostile.events.function[event]].qualname = "x`<img>`\n# y";
  assert.ok(markdownOf(hostile, atEvent(event)).startsWith("### `torch"), markdownOf(hostile, atEvent(event)).slice(0, 80));
  assert.ok(!markdownOf(hostile, atEvent(event)).includes("\n# y"));
});

test("a recording compared with itself differs nowhere; with one changed shape, there", () => {
  const same = matchRuns(run, open());
  assert.ok(same.differs[0].every((flags) => flags === 0));
  assert.deepEqual([...same.other[0]], [...Array(run.count).keys()]);
  const changed = open();
  const event = [...run.events.path].findIndex((path) => run.paths[path] === "model.layers.2.mlp");
  changed.specs.push({ ...changed.specs[changed.tensorLists[changed.events.outputs[event]][0]], dtype: "bfloat16" });
  changed.tensorLists.push([changed.specs.length - 1]);
  changed.events.outputs[event] = changed.tensorLists.length - 1;
  const other = matchRuns(run, changed);
  assert.deepEqual(indexesOf(other.differs[0]), [event]);
  assert.equal(other.below[0][stackOf(run, event)[0]], 1);
});

test("rows of diff lead to an event", () => {
  const to = (of, name, steps = "") => eventOfDifference(run, { of, name, steps });
  assert.equal(eventName(run, to("module", "model.layers.*.mlp")), "model.layers.0.mlp");
  assert.equal(eventName(run, to("module", "model.layers.{2-3}.mlp")), "model.layers.2.mlp");
  assert.equal(run.events.step[to("module", "model.layers.1.mlp", "1-3")], 1);
  assert.ok(run.landmarksOf.get(run.events.function[to("landmark", "gen.sample")]).some((one) => one.id === "gen.sample"));
  assert.equal(to("package", "torch"), -1);
});

test("lines in common are those of a longest common subsequence", () => {
  assert.deepEqual(linesInCommon("a\nb\nc\nd", "a\nx\nc\nd"), [true, false, true, true]);
  assert.deepEqual(linesInCommon("a\nb", "c"), [false, false]);
});

test("an empty recording says what to do", () => {
  const empty = structuredClone(content);
  for (const name of Object.keys(empty.events)) empty.events[name] = [];
  for (const name of Object.keys(empty.line_rows)) empty.line_rows[name] = [];
  delete empty.value_rows;
  const opened = openRecording(empty, guide);
  assert.match(emptyText(opened), /holds no event.*with record/);
  assert.deepEqual(highlightsOf(opened, guide), []);
  assert.equal(emptyText(run), null);
});
