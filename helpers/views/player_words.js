// What the player says: where the walk is, why it went no further, what filters and search leave. Pure: no DOM.

const LONGEST_TOLD = 60; // characters of an argument that stands beside a name
const TAIL = 24; // characters of a name that are kept whole
const FEW_CALLS = 4; // calls of a function that are counted beside its name

/** Events are numbered from 0, as in the tables and in #step=; which one of how many is counted from 1. */
function positionText({ run, position }) {
  const line = position.line >= 0 ? ` · line ${run.lines[position.line].line}` : "";
  const step = stepText(run, position.event);
  return visible(`event ${formatNumber(position.event)} (${formatNumber(position.event + 1)} of ${formatNumber(run.count)})${line}${step ? ` · ${step}` : ""} · ${eventName(run, position.event)}${run.events.status[position.event] === ENDED_RAISED ? " · raised an error" : ""}`);
}

/** Why a move led nowhere; `included`: what the filters leave, or null. */
function noMoveText(name, { run, position }, included) {
  if (name === "nextStep" && run.steps.some((row) => !row.kept)) return "No further step was kept in full; the later ones are summary rows: record(steps=None) keeps all.";
  if (name === "into") return nothingWithinText(run, position, included);
  if (name === "out") return "Nothing around this call was recorded: it is the outermost of its thread.";
  const where = included ? " that passes the filters" : "";
  return { forward: `This is the last step${where}.`, back: `This is the first step${where}.`, over: `Nothing follows in this thread${where}.`, nextLandmark: `No further landmark${where}.`,
    previousLandmark: `No landmark before this${where}.`, nextStep: `No further generation step${where}.` }[name] ?? "";
}

function nothingWithinText(run, position, included) {
  if (position.line >= 0) return `Nothing follows within this call${included ? " that passes the filters" : ""}.`;
  if (run.callees.has(position.event) || run.linesOf.has(position.event)) return "The filters leave nothing within this call.";
  return 'Nothing was recorded within this call. A closer zoom may: record("calls", "functions", "modules").';
}

/** The filters that are set, by the names that the lists offer. */
function filtersText(run, guide, { stage, step, thread }) {
  const [generation, number] = step.split(".").map(Number);
  return [
    stage === "" ? "" : `stage ${stage} ${guide.stages.find((row) => row.stage === Number(stage))?.name ?? ""}`.trim(),
    step === "" ? "" : step === "none" ? "outside generation" : stepName(run, generation, number),
    thread === "" ? "" : `thread ${run.threads[Number(thread)]}`,
  ].filter(Boolean).join(" · ");
}

function leftText(names, included) {
  const left = included.reduce((sum, one) => sum + one, 0);
  const all = `${formatNumber(left)} of ${formatNumber(included.length)} events pass`;
  return left ? `Filtered: ${names}. ${all}; steps stay within them.` : `Filtered: ${names}. No event passes: steps lead nowhere.`;
}

/** A name in two parts, of which the second is what follows its last point or slash, or its last characters. */
function nameParts(name, most = TAIL) {
  if (name.length <= most) return [name, ""];
  const ends = [...name.matchAll(/[./](?=[^./\s]+(?:\.\w{1,12})?$)/g)].map((one) => one.index);
  const cut = ends.find((index) => name.length - index <= most) ?? name.length - most / 2;
  return [name.slice(0, cut), name.slice(cut)];
}

/**
 * What tells a call from others of its function: a tensor of the checkpoint that it was given, else its first argument
 * that is a text; and which of its few calls it is, outside of generation, where the step tells that; "": nothing to tell.
 */
function tellingOf(run, event) {
  const values = run.valueLists[run.events.arguments[event]].map(([, value]) => value).filter((value) => typeof value === "string" && value !== "");
  const tensor = values.find((value) => run.loadedNames.has(value));
  if (tensor) return tensor;
  const calls = run.occurrences.get(occurrenceKey(run, event));
  const named = values.find((value) => value.length <= LONGEST_TOLD && !value.startsWith("<"));
  if (calls > 1 && calls <= FEW_CALLS && run.events.step[event] < 0) return [`call ${run.occurrence[event]} of ${calls}`, named].filter(Boolean).join(", ");
  return named ?? "";
}

function foundText({ rows, events, tensors, lines }, query) {
  const asked = `“${visible(query.trim())}”`;
  if (!rows.length) return `Nothing has all of ${asked}. Words are looked for in names, files, landmarks, shapes, dtypes and devices.`;
  const counted = (count, what) => `${formatNumber(count)} ${what}${count === 1 ? "" : "s"}`;
  return `${asked}: ${counted(events, "event")}, ${counted(tensors, "tensor")}, ${counted(lines, "source line")}`;
}
