// Walking through a recording, and what a step shows against the one before. Pure: no DOM.
//
// A position is an event, or a line within one: {event, line}, line an index into run.lines or -1.

const LOADING_STAGE = 4;
const atEvent = (event) => ({ event, line: -1 });
const atLine = (run, line) => ({ event: run.lines[line].event, line });
const samePosition = (one, other) => one.event === other.event && one.line === other.line;

function positionAt(run, place) {
  const value = run.places[place];
  return value >= 0 ? atEvent(value) : atLine(run, -1 - value);
}

const placeOfPosition = (run, { event, line }) => (line >= 0 ? run.placeOfLine[line] : run.placeOf[event]);

/** Each move gives the new position, or null where there is none. `isIn(event)`: what the filters leave. */
const MOVES = {
  forward: (run, at, isIn) => nearest(run, placeOfPosition(run, at), 1, isIn),
  back: (run, at, isIn) => nearest(run, placeOfPosition(run, at), -1, isIn),

  /** The first line or call within this call, behind where the walk is. */
  into(run, at, isIn) {
    const line = isIn(at.event) ? lineBehind(run, at) : null;
    return earliest(run, [line, firstWithin(run, at.event, placeOfPosition(run, at), isIn)]);
  },

  /** The next line of this call, else what comes when the whole call is over, in its thread: a line or a call. */
  over(run, at, isIn) {
    const line = at.line >= 0 && isIn(at.event) ? lineBehind(run, at) : null;
    if (line) return line;
    let after = run.after[at.event];
    while (after >= 0 && !isIn(after)) after = run.after[after];
    const around = stackOf(run, at.event).slice(0, -1).filter(isIn);
    return earliest(run, [after >= 0 ? atEvent(after) : null, ...around.map((caller) => lineSince(run, caller, run.events.end[at.event]))]);
  },

  /** The caller; at the line that made the call, where its lines were recorded. */
  out(run, at) {
    const caller = run.events.parent[at.event];
    if (caller < 0) return at.line >= 0 ? atEvent(at.event) : null;
    return lineOfCall(run, caller, at.event) ?? atEvent(caller);
  },

  nextLandmark: (run, at, isIn) => seekLandmark(run, at.event, 1, isIn),
  previousLandmark: (run, at, isIn) => seekLandmark(run, at.event, -1, isIn),

  /** The first event of the next generation step that was kept in full. */
  nextStep(run, at, isIn) {
    const { step, generation } = run.events;
    for (let event = at.event + 1; event < run.count; event++) {
      const fresh = step[event] >= 0 && (step[event] !== step[at.event] || generation[event] !== generation[at.event]);
      if (fresh && isIn(event)) return atEvent(event);
    }
    return null;
  },

  first: (run, at, isIn) => nearest(run, -1, 1, isIn),
  last: (run, at, isIn) => nearest(run, run.places.length, -1, isIn),
};

function nearest(run, place, direction, isIn) {
  for (let next = place + direction; next >= 0 && next < run.places.length; next += direction) {
    const position = positionAt(run, next);
    if (isIn(position.event)) return position;
  }
  return null;
}

/** Of several positions, some of them null, the one that comes first; null where there is none. */
function earliest(run, positions) {
  const place = (position) => placeOfPosition(run, position);
  return positions.filter(Boolean).reduce((best, one) => (best && place(best) <= place(one) ? best : one), null);
}

/** The next line of the call that the walk is in. */
function lineBehind(run, { event, line }) {
  const next = (run.linesOf.get(event) ?? []).find((one) => one > line);
  return next === undefined ? null : atLine(run, next);
}

/** The first line of a call that ran at `time` (milliseconds) or later. */
function lineSince(run, event, time) {
  const next = (run.linesOf.get(event) ?? []).find((line) => run.lines[line].start >= time);
  return next === undefined ? null : atLine(run, next);
}

/** The first event within a call, at any depth, that comes behind `place` and passes the filters. */
function firstWithin(run, outer, place, isIn) {
  for (const event of run.callees.get(outer) ?? []) {
    const found = isIn(event) && run.placeOf[event] > place ? atEvent(event) : firstWithin(run, event, place, isIn);
    if (found) return found;
  }
  return null;
}

function lineOfCall(run, caller, event) {
  const before = (run.linesOf.get(caller) ?? []).filter((line) => run.lines[line].start <= run.events.start[event]);
  return before.length ? atLine(run, before.at(-1)) : null;
}

/** The next event that is a landmark, and another one than this event is. */
function seekLandmark(run, from, direction, isIn) {
  const own = run.events.function[from];
  for (let event = from + direction; event >= 0 && event < run.count; event += direction) {
    if (isLandmark(run, event) && run.events.function[event] !== own && isIn(event)) return atEvent(event);
  }
  return null;
}

// Against the occurrence before -------------------------------------------------------------------------------------

/**
 * Rows for the tensors of two lists, by name: {name, now, was, changed: [shape, dtype, device, bytes]}.
 * `was` is undefined where there is no list to compare with, null where that had no such tensor.
 */
function compareTensors(now, was) {
  const before = new Map((was ?? []).map((spec) => [spec.name, spec]));
  const rows = now.map((spec) => {
    const old = was ? (before.get(spec.name) ?? null) : undefined;
    before.delete(spec.name);
    return { name: spec.name, now: spec, was: old, changed: old ? changedParts(spec, old) : [] };
  });
  for (const spec of before.values()) rows.push({ name: spec.name, now: null, was: spec, changed: [] });
  return rows;
}

function changedParts(now, was) {
  const parts = [];
  if (shapeText(now.shape) !== shapeText(was.shape)) parts.push("shape");
  if (now.dtype !== was.dtype) parts.push("dtype");
  if (now.device !== was.device) parts.push("device");
  if (now.nbytes !== was.nbytes) parts.push("nbytes");
  return parts;
}

/** The same for what is no tensor: [name, value] pairs. */
function compareValues(now, was) {
  const before = new Map(was ?? []);
  const rows = now.map(([name, value]) => {
    const known = was ? before.has(name) : false;
    const old = before.get(name);
    before.delete(name);
    return { name, now: pythonText(value), was: known ? pythonText(old) : was ? null : undefined };
  });
  for (const [name, value] of before) rows.push({ name, now: null, was: pythonText(value) });
  for (const row of rows) row.changed = row.was !== undefined && row.was !== row.now;
  return rows;
}

/** What flowed in an event, against the same function's occurrence before (in the same module), or in `other`. */
function flowOf(run, event, otherRun = run, other = run.previous[event]) {
  const has = other >= 0;
  return {
    other,
    inputs: compareTensors(inputsOf(run, event), has ? inputsOf(otherRun, other) : undefined),
    outputs: compareTensors(outputsOf(run, event), has ? outputsOf(otherRun, other) : undefined),
    arguments: compareValues(run.valueLists[run.events.arguments[event]], has ? otherRun.valueLists[otherRun.events.arguments[other]] : undefined),
    result: compareValues(run.valueLists[run.events.result[event]], has ? otherRun.valueLists[otherRun.events.result[other]] : undefined),
  };
}

// The loading ledger --------------------------------------------------------------------------------------------------

/** The rows of the ledger that belong to an event: the tensor that a call of the load is about, or a module's own. */
function ledgerOf(run, event) {
  const { events } = run;
  if (isModuleCall(run, event)) {
    const path = pathOf(run, event);
    const load = run.loads.reduce((latest, row) => Math.max(latest, row.load), -1);
    return run.loads.filter((row) => row.load === load && row.parameter !== null && moduleOfParameter(row.parameter) === path);
  }
  const texts = new Set(run.valueLists[events.arguments[event]].map(([, value]) => value).filter((value) => typeof value === "string"));
  const named = run.loads.filter((row) => texts.has(row.parameter) || texts.has(row.key));
  return named.length > 1 ? [ofTheSameLoad(run, event, named)] : named;
}

/** Of rows with one name, that of the event's own load. */
function ofTheSameLoad(run, event, rows) {
  return inTheSameCall(run, rows.map((row) => ({ one: row, moments: [run.events.start[event], momentOf(row)] })));
}

const momentOf = (row) => (row.placed ?? row.finished ?? 0) / NANOSECONDS;

/** Of {one, moments}, the `one` whose two moments lie in the shortest call around both: the same load's; else nearest. */
function inTheSameCall(run, candidates) {
  const { start, end } = run.events;
  const ranked = candidates.map(({ one, moments }) => {
    const [from, to] = [Math.min(...moments), Math.max(...moments)];
    let shortest = Infinity;
    for (let around = 0; around < run.count && start[around] <= from; around++) {
      if (end[around] >= to) shortest = Math.min(shortest, end[around] - start[around]);
    }
    return { one, shortest, distance: to - from };
  });
  const isNearer = (one, other) => (one.shortest === other.shortest ? one.distance < other.distance : one.shortest < other.shortest);
  return ranked.reduce((best, one) => (isNearer(one, best) ? one : best)).one;
}

const moduleOfParameter = (name) => name.slice(0, Math.max(0, name.lastIndexOf(".")));

/** Read in a worker thread: the row whose reading was running then; null where no row tells its times. */
function ledgerAtTime(run, event) {
  const thread = run.threads[run.events.thread[event]];
  const time = run.events.start[event] * NANOSECONDS;
  return run.loads.find((row) => row.thread === thread && row.started !== null && row.started <= time && time < row.finished) ?? null;
}

/**
 * The event in which a tensor of the ledger was placed: of the load's events that were given its name the nearest one,
 * else the one that its thread was in while reading it; -1: none.
 */
function eventOfLedger(run, row) {
  const { events } = run;
  const naming = new Set();
  run.valueLists.forEach((list, index) => {
    if (list.some(([, value]) => value !== null && (value === row.parameter || value === row.key))) naming.add(index);
  });
  const moment = momentOf(row);
  const named = [];
  for (let event = 0; event < run.count; event++) {
    if (run.stage[event] === LOADING_STAGE && naming.has(events.arguments[event])) named.push({ one: event, moments: [events.end[event], moment] });
  }
  if (named.length) return inTheSameCall(run, named);
  let best = -1;
  for (let event = 0; event < run.count; event++) {
    if (run.stage[event] === LOADING_STAGE && events.start[event] <= moment && moment <= events.end[event]) best = event;
  }
  return best;
}
