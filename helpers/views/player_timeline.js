// The timeline: a lane for each thread, the generation steps, and the curves of memory. One canvas; the cursor and the
// span of the current event lie above it, so that a step draws nothing again.

const LEVELS = 14; // of nested calls that the first thread's lane shows
const LEVEL_HEIGHT = 4;
const LANE_HEIGHT = 12; // of the other threads
const LANE_TAIL = 10; // characters of a thread's name: ThreadPoolExecutor-0_1 is told by its end
const MOST_LANES = 6; // where there are more threads, the last lane is of all that are left
const STEPS_HEIGHT = 14;
const MEMORY_HEIGHT = 64;
const MEMORY_CURVE_HEIGHT = MEMORY_HEIGHT - 8;
const SMALL_SHARE = 0.04; // a curve that stays below this share of the largest has a scale of its own
const MEMORY_CURVES = [
  ["resident", "resident", 8, []],
  ["anonymous", "anonymous", 2, [2, 2]],
  ["file_mapped", "file-mapped", 1, [6, 3]],
  ["parameters", "parameters", 3, []],
  ["kv_cache", "KV cache", 4, []],
  ["cuda_allocated", "CUDA allocated", 5, []],
  ["cuda_reserved", "CUDA reserved", 7, [6, 3]],
];

/** The last index whose value is at most `wanted`, by bisection; -1 before the first. */
function lastAtMost(values, wanted) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The innermost event that some threads were in at a time (milliseconds), else their nearest one; -1 without any. */
function eventAtTime(run, threads, time) {
  const isIn = run.threads.map((_, thread) => threads.includes(thread));
  let best = -1;
  let nearestEvent = -1;
  for (let event = 0; event < run.count; event++) {
    if (!isIn[run.events.thread[event]]) continue;
    if (run.events.start[event] > time) {
      if (nearestEvent < 0) nearestEvent = event;
      break;
    }
    nearestEvent = event;
    if (run.events.end[event] >= time) best = event;
  }
  return best >= 0 ? best : nearestEvent;
}

/** `actions`: {go(event), step(direction)}. */
function timelinePanel(actions, label) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const span = h("div", { class: "time-span" });
  const cursor = h("div", { class: "time-cursor" });
  const track = h("div", {
    class: "track", tabindex: "0", role: "slider", "aria-label": `Timeline${label ? ` of ${label}` : ""}`, "aria-orientation": "horizontal",
    "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0,
  }, canvas, span, cursor);
  const names = h("div", { class: "lane-names", "aria-hidden": "true" });
  const memoryName = h("span", { class: "memory-name" }, "memory");
  const legend = h("ul", { class: "legend" });
  const range = h("span", { class: "muted range" });
  const zoomButton = (text, title, work) => h("button", { class: "quiet", title, "aria-label": title, onclick: work }, text);
  const head = h("div", { class: "timeline-head" }, h("h3", {}, label ? `Timeline, ${label}` : "Timeline"), legend, range,
    h("span", { class: "zooms" },
      zoomButton("−", "Zoom out", () => zoom(2)), zoomButton("+", "Zoom in", () => zoom(0.5)),
      zoomButton("step", "Zoom to the current step", () => zoomTo()), zoomButton("whole run", "Show the whole run", () => look(run.begins, run.ends))));
  const element = h("section", { class: "timeline", "aria-label": `Timeline${label ? `, ${label}` : ""}` }, head, h("div", { class: "timeline-body" }, names, track));

  let run = null;
  let view = [0, 1];
  let current = -1;
  let time = 0;
  let width = 0; // of the track, as it was drawn
  let lanes = [];
  let curves = [];
  let rank = 0; // of which the memory is shown: that of the current event

  const memory = () => run.memories[rank] ?? run.memory;

  function open(opened) {
    run = opened;
    view = [run.begins, run.ends];
    lanes = lanesOf(run);
    curves = curvesOf(run);
    track.style.height = `${heightOf(lanes, curves)}px`;
    track.setAttribute("aria-valuemin", Math.round(run.begins));
    track.setAttribute("aria-valuemax", Math.round(run.ends));
    replaceChildren(names, lanes.map((lane) => h("div", { style: `top:${lane.top}px;height:${lane.height}px`, title: visible(lane.title) }, nameText(lane.name, lane.title, "", LANE_TAIL))),
      h("div", { style: `top:${heightOf(lanes, curves) - MEMORY_HEIGHT}px;height:${MEMORY_HEIGHT}px` }, memoryName, scaleOf(curves)));
    replaceChildren(legend, curves.length ? curves.map((curve) => {
      curve.value = h("span", { class: "value" });
      return h("li", { style: { "--series": `var(--series-${curve.colour})` }, title: curve.ownScale ? `${curve.label}: drawn on a scale of its own, up to ${formatBytes(curve.top)}` : curve.label },
        h("span", { class: `swatch ${curve.dash.length ? "dashed" : ""}` }), curve.label, " ", curve.value, curve.ownScale ? h("span", { class: "muted" }, `(own scale, to ${formatBytes(curve.top)})`) : "");
    }) : h("li", { class: "muted" }, 'memory was not recorded: record("memory") or plain record()'));
    draw();
  }

  const paint = debounceFrame(draw);

  function draw() {
    width = track.clientWidth;
    if (!run || !width) return;
    const height = heightOf(lanes, curves);
    const scale = globalThis.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(track);
    const at = (moment) => ((moment - view[0]) / (view[1] - view[0])) * width;
    drawSteps(context, run, at, width, style);
    for (const lane of lanes) drawLane(context, run, lane, at, width, style);
    if (curves.length) drawScale(context, width, height, style);
    for (const curve of curves) drawCurve(context, memory(), curve, at, height, style);
    range.textContent = `${formatMilliseconds(view[1] - view[0])} in view`;
    place();
  }

  function place() {
    if (!run || current < 0 || !width) return;
    const at = (moment) => ((moment - view[0]) / (view[1] - view[0])) * width;
    const [from, to] = [clamp(at(run.events.start[current]), 0, width), clamp(at(run.events.end[current]), 0, width)];
    span.style.transform = `translateX(${from}px)`;
    span.style.width = `${Math.max(1, to - from)}px`;
    cursor.style.transform = `translateX(${clamp(at(time), 0, width)}px)`;
  }

  function show(position) {
    if (!canvas.style.height) paint(); // it was hidden when it was opened
    current = position.event;
    if (run.rankOfThread) showRank(run.rankOfThread[run.events.thread[current]]);
    time = position.line >= 0 ? run.lines[position.line].start : run.events.start[current];
    if (time < view[0] || time > view[1]) {
      const half = (view[1] - view[0]) / 2;
      look(time - half, time + half);
    } else place();
    track.setAttribute("aria-valuenow", Math.round(time));
    track.setAttribute("aria-valuetext", visible(`${formatMilliseconds(time)}: ${eventName(run, current)}`));
    valuesAt(memory(), curves, time).forEach((value, index) => (curves[index].value.textContent = formatBytes(value)));
  }

  function showRank(wanted) {
    memoryName.textContent = `rank ${wanted}: memory`;
    if (wanted === rank) return;
    rank = wanted;
    paint();
  }

  function look(from, to) {
    const whole = run.ends - run.begins;
    const length = clamp(to - from, whole * 1e-7, whole);
    const start = clamp(from, run.begins, run.ends - length);
    view = [start, start + length];
    paint();
  }

  function zoom(factor, around = clamp(time, view[0], view[1])) {
    look(around - (around - view[0]) * factor, around + (view[1] - around) * factor);
  }

  function zoomTo() {
    if (current < 0) return;
    const margin = Math.max(durationOf(run, current) * 0.1, 1e-3);
    look(run.events.start[current] - margin, run.events.end[current] + margin);
  }

  const travel = debounceFrame((x, y) => {
    const box = track.getBoundingClientRect();
    const moment = view[0] + clamp((x - box.left) / box.width, 0, 1) * (view[1] - view[0]);
    const lane = lanes.find((one) => y - box.top >= one.top && y - box.top < one.top + one.height);
    const event = eventAtTime(run, lane ? lane.threads : [0], moment);
    if (event >= 0) actions.go(event);
  });

  track.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    track.setPointerCapture(event.pointerId);
    track.focus({ preventScroll: true });
    event.preventDefault();
    if (!event.shiftKey) travel(event.clientX, event.clientY);
  });
  track.addEventListener("pointermove", (event) => {
    if (!track.hasPointerCapture(event.pointerId)) return;
    if (!event.shiftKey) return travel(event.clientX, event.clientY);
    const moved = (event.movementX / track.clientWidth) * (view[1] - view[0]);
    look(view[0] - moved, view[1] - moved);
  });
  track.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = track.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, view[0] + ((event.clientX - box.left) / box.width) * (view[1] - view[0]));
  }, { passive: false });
  track.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const work = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => look(run.begins, run.ends), z: () => zoomTo() }[event.key];
    if (!work) return;
    event.preventDefault();
    event.stopPropagation();
    work();
  });

  return { element, open, show, draw: paint };
}

/** A lane for each thread with events: {name, title, threads, top, levels, height}. */
function lanesOf(run) {
  const busy = run.threads.flatMap((_, thread) => (run.events.thread.includes(thread) ? [[thread]] : []));
  if (busy.length > MOST_LANES) busy.push(busy.splice(MOST_LANES - 1).flat());
  let top = STEPS_HEIGHT;
  return busy.map((threads) => {
    const names = threads.map((thread) => run.threads[thread]);
    const levels = threads[0] === 0 ? LEVELS : 1;
    const height = threads[0] === 0 ? LEVELS * LEVEL_HEIGHT + 2 : LANE_HEIGHT;
    const name = names.length > 1 ? `${names.length} other threads` : names[0];
    const lane = { name, title: names.join(", "), threads, top, levels, height };
    top += height + 2;
    return lane;
  });
}

const heightOf = (lanes) => (lanes.length ? lanes.at(-1).top + lanes.at(-1).height + 4 : STEPS_HEIGHT) + MEMORY_HEIGHT;

function curvesOf(run) {
  const present = MEMORY_CURVES.filter(([name]) => run.memory.series[name]);
  const tops = present.map(([name]) => run.memory.series[name].reduce((top, value) => Math.max(top, value), 0));
  const largest = Math.max(1, ...tops);
  return present.map(([name, label, colour, dash], index) => {
    const ownScale = tops[index] > 0 && tops[index] < largest * SMALL_SHARE;
    return { name, label, colour, dash, ownScale, top: ownScale ? tops[index] : largest };
  }).filter((curve, index) => tops[index] > 0);
}

/** The value of each curve at a time, in bytes: the latest sample's; null before the first and where there was none. */
function valuesAt(memory, curves, time) {
  const sample = lastAtMost(memory.time, time);
  return curves.map(({ name }) => {
    const value = sample >= 0 ? memory.series[name][sample] : -1;
    return value >= 0 ? value : null;
  });
}

/** What the height of the memory lane stands for; curves on a scale of their own say so in the legend. */
function scaleOf(curves) {
  const shared = curves.find((curve) => !curve.ownScale);
  if (!shared) return null;
  return [h("span", { class: "scale top" }, formatBytes(shared.top)), h("span", { class: "scale bottom" }, "0")];
}

function drawSteps(context, run, at, width, style) {
  context.font = `10px ${style.getPropertyValue("--sans")}`;
  context.textBaseline = "middle";
  for (const row of run.steps) {
    const [from, to] = [at(row.start), at(row.end)];
    if (to < 0 || from > width) continue;
    context.fillStyle = style.getPropertyValue(row.kept ? "--accent-soft" : "--panel");
    context.fillRect(from, 1, Math.max(1, to - from - 1), STEPS_HEIGHT - 3);
    const label = row.step === 0 ? "prefill" : String(row.step);
    if (to - from > label.length * 6 + 6) {
      context.fillStyle = style.getPropertyValue(row.kept ? "--ink" : "--muted");
      context.fillText(label, Math.max(from, 0) + 3, STEPS_HEIGHT / 2);
    }
  }
}

/** Calls as bars, by stage; those that would fall on the pixel drawn last are left out. */
function drawLane(context, run, lane, at, width, style) {
  const colours = Array.from({ length: 11 }, (_, stage) => style.getPropertyValue(`--stage-${stage}`));
  const drawnTo = new Float64Array(lane.levels).fill(-1);
  const { thread, start, end } = run.events;
  const height = lane.levels === 1 ? lane.height - 2 : LEVEL_HEIGHT;
  for (let event = 0; event < run.count; event++) {
    if (!lane.threads.includes(thread[event])) continue;
    const level = lane.levels === 1 ? 0 : run.depth[event];
    if (level >= lane.levels) continue;
    const to = at(end[event]);
    if (to < 0 || to <= drawnTo[level]) continue;
    const from = Math.max(at(start[event]), drawnTo[level], 0);
    if (from > width) continue;
    const until = Math.min(width, Math.max(to, from + 0.7));
    context.fillStyle = colours[run.stage[event]];
    context.fillRect(from, lane.top + level * LEVEL_HEIGHT, Math.max(0.7, until - from - (until - from > 4 ? 0.8 : 0)), height - 0.6);
    drawnTo[level] = until;
  }
}

/** Thin lines at the two ends of the scale that the lane's name gives. */
function drawScale(context, width, height, style) {
  context.fillStyle = style.getPropertyValue("--line");
  for (const y of [height - 3 - MEMORY_CURVE_HEIGHT, height - 3]) context.fillRect(0, Math.round(y), width, 1);
}

function drawCurve(context, memory, curve, at, height, style) {
  const values = memory.series[curve.name];
  const low = height - 3;
  const tall = MEMORY_CURVE_HEIGHT;
  context.beginPath();
  context.setLineDash(curve.dash);
  context.lineWidth = curve.name === "resident" ? 1 : 1.6;
  context.strokeStyle = style.getPropertyValue(`--series-${curve.colour}`);
  let begun = false;
  values.forEach((value, index) => {
    if (value < 0) return void (begun = false);
    const [x, y] = [at(memory.time[index]), low - (value / curve.top) * tall];
    if (begun) context.lineTo(x, y);
    else context.moveTo(x, y);
    begun = true;
  });
  context.stroke();
  context.setLineDash([]);
}
