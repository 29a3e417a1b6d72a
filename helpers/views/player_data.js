// The recording as the player reads it: the document of helpers/recording/file.py, unpacked into typed columns, with
// what every view asks of an event (its stage, its callees, its occurrence before). Pure: no DOM.

const EVENT_KINDS = ["call", "module", "builtin"];
const EVENT_ENDINGS = ["returned", "raised", "yielded", "open"];
const MODULE_KIND = 1;
const ENDED_RAISED = 1;
const ENDED_OPEN = 3;
const NOT_OBSERVED = -1;
const EVERY_MODULE_CALL = "Module._wrapped_call_impl"; // recorded under the forward that it calls
const NANOSECONDS = 1e6; // in a millisecond
const EVENT_NAMES = [
  "kind", "function", "path", "thread", "parent", "generation", "step", "start", "end", "inputs", "arguments",
  "outputs", "result", "memory_before", "memory_after", "status",
];

function cumulated(differences) {
  const values = new Float64Array(differences.length);
  let sum = 0;
  for (let place = 0; place < differences.length; place++) values[place] = sum += differences[place];
  return values;
}

/** The event columns, with times in milliseconds since the recording began and parents as indexes. */
function unpackEvents(packed) {
  const columns = {};
  for (const name of EVENT_NAMES) {
    if (!Array.isArray(packed?.[name])) throw new Error(`the event column ${name} is missing`);
    if (packed[name].length !== packed.kind.length) throw new Error("event columns of different lengths");
    columns[name] = Int32Array.from(packed[name]);
  }
  const start = cumulated(packed.start);
  columns.start = start.map((value) => value / NANOSECONDS);
  columns.end = start.map((value, event) => (value + packed.end[event]) / NANOSECONDS);
  columns.parent = columns.parent.map((distance, event) => event - distance);
  if (columns.parent.some((parent, event) => parent >= event || parent < -1)) {
    throw new Error("an event comes before the event around it");
  }
  return columns;
}

function rowsOf(columns) {
  const names = Object.keys(columns ?? {});
  if (!names.length) return [];
  return columns[names[0]].map((_, row) => Object.fromEntries(names.map((name) => [name, columns[name][row]])));
}

/**
 * Open a recording's document. `guide` has the landmark table: {landmarks: [{id, stage, …}], stages: [{stage, name}]}.
 * Throws an Error that says what is wrong with a document that is damaged.
 */
function openRecording(content, guide) {
  if (content?.format !== "transformers call path recording") throw new Error("this is no recording of the call path");
  const run = {
    environment: content.environment ?? {},
    functions: content.functions.map(([module, qualname, file, line]) => ({ module, qualname, file, line })),
    paths: content.paths,
    threads: content.threads,
    specs: content.specs.map(([name, shape, dtype, device, nbytes]) => ({ name, shape, dtype, device, nbytes })),
    tensorLists: content.tensor_lists,
    valueLists: content.value_lists,
    statuses: content.landmark_statuses.map(([id, of, reason]) => ({ id, function: of, reason })),
    sources: { ...guide?.sources, ...content.sources }, // of the installed release, and those that travelled
    warnings: content.warnings ?? [],
    loads: rowsOf(content.loads),
    samples: rowsOf(content.samples),
    events: unpackEvents(content.events),
  };
  run.loadCount = new Set(run.loads.map((row) => row.load)).size;
  run.loadedNames = new Set(run.loads.flatMap((row) => [row.parameter, row.key]).filter(Boolean));
  run.count = run.events.kind.length;
  run.zoom = run.environment.zoom ?? [];
  checkIndexes(run);
  run.memory = openMemory(content.memory_series);
  run.rankOfThread = content.ranks?.threads ?? null; // of a recording of several ranks
  run.memories = memoriesByRank(run.memory, content.ranks?.memory_series);
  run.ownRises = ownRises(run);
  run.steps = openSteps(content.step_rows);
  run.values = openValues(content.value_rows);
  addStages(run, guide);
  addTree(run);
  addOccurrences(run);
  addLines(run, content.line_rows);
  const { start, end } = run.events;
  run.begins = run.count ? start[0] : 0;
  run.ends = end.reduce((latest, time) => Math.max(latest, time), run.begins + 1e-3);
  run.ends = run.memory.time.reduce((latest, time) => Math.max(latest, time), run.ends);
  return run;
}

function checkIndexes(run) {
  const limits = {
    function: run.functions.length, path: run.paths.length, thread: run.threads.length,
    inputs: run.tensorLists.length, outputs: run.tensorLists.length, arguments: run.valueLists.length,
    result: run.valueLists.length,
  };
  for (const [name, limit] of Object.entries(limits)) {
    if (run.events[name].some((value) => value >= limit || value < -1)) {
      throw new Error(`the event column ${name} points outside its table`);
    }
  }
}

function openMemory(series) {
  const names = Object.keys(series ?? {}).filter((name) => name !== "time");
  const memory = { time: cumulated(series?.time ?? []).map((value) => value / NANOSECONDS), series: {} };
  for (const name of names) {
    if (series[name].some((value) => value >= 0)) memory.series[name] = Float64Array.from(series[name]);
  }
  return memory;
}

/** The samples of each rank by themselves, which begin anew: of one process, all of them. */
function memoriesByRank(memory, ranks) {
  if (!ranks?.length) return [memory];
  return Array.from({ length: Math.max(...ranks) + 1 }, (_, rank) => {
    const own = (values) => values.filter((_, sample) => ranks[sample] === rank);
    return { time: own(memory.time), series: Object.fromEntries(Object.entries(memory.series).map(([name, values]) => [name, own(values)])) };
  });
}

function openSteps(columns) {
  const rows = rowsOf(columns);
  let start = 0;
  for (const row of rows) {
    row.start = (start += row.start) / NANOSECONDS;
    row.end = row.start + row.end / NANOSECONDS;
  }
  return rows;
}

/** What the zoom "values" read, by event: rows of {output, status, min, max, mean, nan, inf}. */
function openValues(columns) {
  const byEvent = new Map();
  let event = 0;
  for (const row of rowsOf(columns)) {
    event += row.event;
    if (!byEvent.has(event)) byEvent.set(event, []);
    byEvent.get(event).push(row);
  }
  return byEvent;
}

/**
 * stage: the event's own landmark's, else that of the event around it (0: none). home: where the outline shows it:
 * calls of an earlier stage, as that of cached_file from within a later one, stay where they are made.
 */
function addStages(run, guide) {
  const byId = new Map(guide.landmarks.map((landmark) => [landmark.id, landmark]));
  run.landmarksOf = new Map(); // function index to landmarks, in the order of the table
  for (const status of run.statuses) {
    const landmark = byId.get(status.id);
    if (!landmark || status.function < 0 || run.functions[status.function].qualname === EVERY_MODULE_CALL) continue;
    if (!run.landmarksOf.has(status.function)) run.landmarksOf.set(status.function, []);
    run.landmarksOf.get(status.function).push(landmark);
  }
  const { function: functions, parent } = run.events;
  run.stage = new Uint8Array(run.count);
  run.home = new Uint8Array(run.count);
  for (let event = 0; event < run.count; event++) {
    const own = run.landmarksOf.get(functions[event])?.[0].stage ?? 0;
    const around = parent[event];
    run.stage[event] = own || (around >= 0 ? run.stage[around] : 0);
    run.home[event] = around >= 0 ? Math.max(own, run.home[around]) : own;
  }
}

/** depth, after (the next event of the thread behind the whole call, or -1), callees (as lists). */
function addTree(run) {
  const { parent, thread } = run.events;
  run.depth = new Uint16Array(run.count);
  run.after = new Int32Array(run.count).fill(-1);
  run.callees = new Map();
  run.tops = [];
  const open = run.threads.map(() => []);
  for (let event = 0; event < run.count; event++) {
    const around = parent[event];
    run.depth[event] = around >= 0 ? run.depth[around] + 1 : 0;
    if (around < 0) run.tops.push(event);
    else if (run.callees.has(around)) run.callees.get(around).push(event);
    else run.callees.set(around, [event]);
    const stack = open[thread[event]];
    while (stack.length && stack.at(-1) !== around) run.after[stack.pop()] = event;
    stack.push(event);
  }
}

/** moduleAround (path index); previous, next, occurrence: of calls of the same function in the same module (else -1). */
function addOccurrences(run) {
  const { function: functions, path, parent } = run.events;
  run.moduleAround = new Int32Array(run.count);
  run.previous = new Int32Array(run.count).fill(-1);
  run.next = new Int32Array(run.count).fill(-1);
  run.occurrence = new Int32Array(run.count);
  run.occurrences = new Map();
  const last = new Map();
  for (let event = 0; event < run.count; event++) {
    const around = parent[event];
    run.moduleAround[event] = path[event] >= 0 ? path[event] : around >= 0 ? run.moduleAround[around] : -1;
    const key = occurrenceKey(run, event);
    run.previous[event] = last.get(key) ?? -1;
    if (run.previous[event] >= 0) run.next[run.previous[event]] = event;
    last.set(key, event);
    const times = (run.occurrences.get(key) ?? 0) + 1;
    run.occurrences.set(key, times);
    run.occurrence[event] = times;
  }
}

function occurrenceKey(run, event) {
  return run.events.function[event] * (run.paths.length + 1) + run.moduleAround[event] + 1;
}

/** lines: rows of {event, line, start, tensors, values} by time; places: events and lines in the order of time. */
function addLines(run, columns) {
  let start = 0;
  run.lines = rowsOf(columns).map((row) => ({ ...row, start: (start += row.start) / NANOSECONDS }));
  if (run.lines.some((row) => row.event < 0 || row.event >= run.count)) throw new Error("a line is of no event");
  run.lines.sort((one, other) => one.start - other.start);
  run.linesOf = new Map();
  run.lines.forEach((row, index) => {
    if (!run.linesOf.has(row.event)) run.linesOf.set(row.event, []);
    run.linesOf.get(row.event).push(index);
  });
  run.places = new Int32Array(run.count + run.lines.length); // an event, or -1 - a line
  run.placeOf = new Int32Array(run.count);
  run.placeOfLine = new Int32Array(run.lines.length);
  let place = 0;
  let line = 0;
  for (let event = 0; event < run.count; event++) {
    while (line < run.lines.length && run.lines[line].event < event && run.lines[line].start <= run.events.start[event]) {
      run.placeOfLine[line] = place;
      run.places[place++] = -1 - line++;
    }
    run.placeOf[event] = place;
    run.places[place++] = event;
  }
  while (line < run.lines.length) {
    run.placeOfLine[line] = place;
    run.places[place++] = -1 - line++;
  }
}

// What is asked of one event -----------------------------------------------------------------------------------------

const functionOf = (run, event) => run.functions[run.events.function[event]];
const landmarksOfEvent = (run, event) => run.landmarksOf.get(run.events.function[event]) ?? [];
const isLandmark = (run, event) => run.landmarksOf.has(run.events.function[event]);
const pathOf = (run, event) => (run.events.path[event] >= 0 ? run.paths[run.events.path[event]] : "");
const inputsOf = (run, event) => run.tensorLists[run.events.inputs[event]].map((spec) => run.specs[spec]);
const outputsOf = (run, event) => run.tensorLists[run.events.outputs[event]].map((spec) => run.specs[spec]);
const shapeText = (shape) => `(${shape.join(", ")})`;
const durationOf = (run, event) => run.events.end[event] - run.events.start[event];
const locationOf = ({ file, line }) => (line ? `${file}:${line}` : "builtin");
const isModuleCall = (run, event) => run.events.kind[event] === MODULE_KIND;

/** The events around an event, outermost first, itself last. */
function stackOf(run, event) {
  const stack = [];
  for (let at = event; at >= 0; at = run.events.parent[at]) stack.push(at);
  return stack.reverse();
}

/** "prefill", "decode step 3", or "" outside generation; with the generation where there are several. */
function stepText(run, event) {
  const { step, generation } = run.events;
  if (event < 0 || step[event] < 0) return "";
  return stepName(run, generation[event], step[event]);
}

function stepName(run, generation, step) {
  const several = run.steps.some((row) => row.generation > 0);
  const name = step === 0 ? "prefill" : `decode step ${step}`;
  return several ? `${name} of generation ${generation}` : name;
}

/** The short name of an event: a module's place in its model, else the function without its module. */
function eventName(run, event) {
  const path = run.events.path[event];
  if (path < 0) return functionOf(run, event).qualname;
  return run.paths[path] || functionOf(run, event).qualname.replace(/\.forward$/, "");
}

/** The resident memory that an event gained, in bytes; null where it was not sampled. */
function memoryGained(run, event) {
  const before = run.events.memory_before[event];
  const after = run.events.memory_after[event];
  const resident = run.memory.series.resident;
  return before < 0 || after < 0 || !resident ? null : resident[after] - resident[before];
}

/** Own rise of resident memory per event: what it gained without the calls within it that were measured too. */
function ownRises(run) {
  const own = new Float64Array(run.count);
  for (let event = 0; event < run.count; event++) {
    const gained = memoryGained(run, event);
    if (gained === null) continue;
    own[event] += gained;
    let around = run.events.parent[event];
    while (around >= 0 && memoryGained(run, around) === null) around = run.events.parent[around];
    if (around >= 0) own[around] -= gained;
  }
  return own;
}

/** The value as text, as Python writes it. */
function pythonText(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  return value === "" ? "''" : String(value);
}
