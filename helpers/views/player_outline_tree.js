// The outline as a tree: stages, then calls as they nest; equal neighbours fold into one node with a count. Pure.
//
// Every event has one place: below its stage's heading, within the call that made it. Where a call belongs to a later
// stage, its caller has a link to it instead; where it belongs to an earlier one, that one's heading has the link.

const LEAST_FOLD = 4; // equal neighbours
const LONGEST_BLOCK = 8; // events that repeat together: get_slice, rename, place, get_slice, rename, place, …

/** `path` with * for each part that is a number. */
const pathPattern = (path) => path.replace(/(?<![^.])\d+(?![^.])/g, "*");

function makeOutline(run, guide, included = null) {
  const isIn = (event) => !included || included[event] === 1;
  const shapes = tensorSignatures(run);
  const patterns = run.paths.map(pathPattern);
  const keys = new Map();
  const keyOf = (text) => {
    if (!keys.has(text)) keys.set(text, keys.size);
    return keys.get(text);
  };
  // Modules fold only where their tensors are equal too; other calls where the function is.
  const eventKey = (event) => {
    const { function: functions, path, inputs, outputs, step } = run.events;
    const later = Math.min(step[event], 1);
    if (path[event] < 0) return keyOf(`${functions[event]} ${later}`);
    const tensors = later > 0 ? "" : `${shapes[inputs[event]]} ${shapes[outputs[event]]}`;
    return keyOf(`${functions[event]} ${patterns[path[event]]} ${later} ${tensors}`);
  };

  const nodes = new Map(); // by id, so that what a reader opened stays open when the outline is made again

  function node(id, kind, fields) {
    const made = { id, kind, children: null, place: null, ...fields };
    nodes.set(id, made);
    return made;
  }

  /** Nodes of events that were made one after the other, with headings for steps and folds for equal neighbours. */
  function arrange(events, inStep, owner) {
    const parts = inStep ? events.map((event) => [event]) : byStep(run, events);
    const made = parts.map((part) =>
      part.length === 1 ? eventNode(part[0], owner) : stepNode(part, owner));
    return fold(made);
  }

  function eventNode(event, owner) {
    const isPortal = owner !== null && run.home[event] !== run.home[owner];
    return node(`${isPortal ? "to" : ""}${event}`, isPortal ? "portal" : "event", { event, key: eventKey(event) });
  }

  function stepNode(events, owner) {
    const { step, generation } = run.events;
    const first = events[0];
    return node(`step${first}`, "step", {
      event: first,
      events,
      owner,
      label: stepName(run, generation[first], step[first]),
      key: keyOf(`step ${Math.min(step[first], 1)} ${events.map(eventKey).join(" ")}`),
    });
  }

  function fold(list) {
    const folded = [];
    for (let at = 0; at < list.length; ) {
      const { block, times } = repetition(list, at);
      if (times < LEAST_FOLD) {
        folded.push(list[at++]);
        continue;
      }
      const members = list.slice(at, at + block * times);
      folded.push(node(`fold${members[0].id}`, "fold", { event: members[0].event, members, block, times }));
      at += members.length;
    }
    return folded;
  }

  function childrenOf(parent) {
    if (parent.children) return parent.children;
    if (parent.kind === "fold") parent.children = parent.members;
    else if (parent.kind === "step") {
      parent.children = fold(parent.events.map((event) => eventNode(event, parent.owner)));
    }
    else if (parent.kind === "event") {
      const callees = (run.callees.get(parent.event) ?? []).filter(isIn);
      parent.children = arrange(callees, run.events.step[parent.event] >= 0, parent.event);
    } else if (parent.kind === "stage") parent.children = stageChildren(parent);
    else if (["absent", "summaries", "elsewhere"].includes(parent.kind)) parent.children = parent.rows;
    else parent.children = [];
    parent.place = new Map();
    for (const child of parent.children) {
      for (const event of eventsWithin(child)) if (!parent.place.has(event)) parent.place.set(event, child);
    }
    return parent.children;
  }

  /** The events that a node stands for at its own level; a link stands for none. */
  function eventsWithin(child) {
    if (child.kind === "fold") return child.members.flatMap(eventsWithin);
    if (child.kind === "step") {
      return child.events.filter((event) => child.owner === null || run.home[event] === run.home[child.owner]);
    }
    return child.kind === "event" ? [child.event] : [];
  }

  function stageChildren(parent) {
    const list = arrange(parent.segments, false, null);
    if (parent.elsewhere.length) {
      const links = parent.elsewhere.map((event) => node(`to${event}`, "portal", { event, key: eventKey(event) }));
      list.push(node(`elsewhere${parent.stage}`, "elsewhere", { events: parent.elsewhere, rows: fold(links) }));
    }
    if (parent.summaries.length) {
      const rows = parent.summaries.map((row) =>
        node(`summary${row.generation}.${row.step}`, "summary", { row, children: [] }));
      list.push(node(`summaries${parent.stage}`, "summaries", { rows }));
    }
    if (parent.absent.length) {
      const rows = parent.absent.map((status) =>
        node(`absent ${status.id}`, "unobserved", { status, children: [] }));
      list.push(node(`absent${parent.stage}`, "absent", { rows }));
    }
    return list;
  }

  function stageNodes() {
    const segments = new Map();
    const counts = new Map();
    for (let event = 0; event < run.count; event++) {
      if (!isIn(event)) continue;
      const home = run.home[event];
      counts.set(home, (counts.get(home) ?? 0) + 1);
      const around = run.events.parent[event];
      if (around >= 0 && run.home[around] === home && isIn(around)) continue;
      if (!segments.has(home)) segments.set(home, []);
      segments.get(home).push(event);
    }
    const elsewhere = included ? new Map() : callsElsewhere(run);
    const absent = unobservedLandmarks(run, guide);
    const stages = guide.stages.filter((row) => row.stage !== null);
    if (segments.has(0)) stages.unshift({ stage: 0, name: "outside the call path" });
    return stages
      .filter((row) => !included || segments.has(row.stage))
      .map((row) =>
        node(`stage${row.stage}`, "stage", {
          ...row,
          event: segments.get(row.stage)?.[0] ?? -1,
          count: counts.get(row.stage) ?? 0,
          segments: segments.get(row.stage) ?? [],
          elsewhere: elsewhere.get(row.stage) ?? [],
          absent: included ? [] : (absent.get(row.stage) ?? []),
          summaries: included || row.stage !== 7 ? [] : run.steps.filter((step) => !step.kept),
        }));
  }

  const stages = stageNodes();

  /** The nodes from the stage down to an event. Empty for an event that is not in this outline. */
  function pathTo(event) {
    if (event < 0 || !isIn(event)) return [];
    const stage = stages.find((one) => one.stage === run.home[event]);
    const chain = [];
    for (let at = event; at >= 0; at = run.events.parent[at]) {
      chain.push(at);
      const around = run.events.parent[at];
      if (around < 0 || run.home[around] !== run.home[event] || !isIn(around)) break;
    }
    const found = [stage];
    for (const wanted of chain.reverse()) {
      for (;;) {
        const at = found.at(-1);
        childrenOf(at);
        const next = at.place.get(wanted);
        if (!next) return found;
        found.push(next);
        if (next.kind === "event") break;
      }
    }
    return found;
  }

  /** The rows to show: every node whose parents are open. `isOpen(node)` says which are. */
  function rows(isOpen) {
    const shown = [];
    const add = (list, depth) => {
      list.forEach((child, index) => {
        const open = isOpen(child);
        shown.push({ node: child, depth, open, place: index + 1, of: list.length });
        if (open) add(childrenOf(child), depth + 1);
      });
    };
    add(stages, 0);
    return shown;
  }

  return { stages, rows, pathTo, childrenOf, hasChildren: (one) => hasChildren(run, one, isIn) };
}

function hasChildren(run, node, isIn) {
  if (node.kind === "event") return (run.callees.get(node.event) ?? []).some(isIn);
  if (node.kind === "stage") return node.segments.length + node.elsewhere.length + node.absent.length + node.summaries.length > 0;
  return ["fold", "step", "absent", "summaries", "elsewhere"].includes(node.kind);
}

/** Events in runs of the same generation step; a call outside of generation stands alone. */
function byStep(run, events) {
  const { step, generation } = run.events;
  const distinct = new Set(events.map((event) => `${generation[event]} ${step[event]}`));
  if (distinct.size < 2) return events.map((event) => [event]);
  const parts = [];
  for (const event of events) {
    const before = parts.at(-1)?.[0];
    const same = before !== undefined && step[event] >= 0 && step[before] === step[event] &&
      generation[before] === generation[event];
    if (same) parts.at(-1).push(event);
    else parts.push([event]);
  }
  return parts;
}

/** The block of equal keys that repeats most from `at` on: how long it is and how often it comes. */
function repetition(list, at) {
  let best = { block: 1, times: 1 };
  for (let block = 1; block <= LONGEST_BLOCK && at + 2 * block <= list.length; block++) {
    let matching = 0;
    while (at + block + matching < list.length && list[at + matching].key === list[at + block + matching].key) matching++;
    const times = 1 + Math.floor(matching / block);
    if (times >= LEAST_FOLD && block * times > best.block * best.times) best = { block, times };
  }
  return best;
}

/** One text per list of tensors, equal where shapes, dtypes and devices are. */
function tensorSignatures(run) {
  return run.tensorLists.map((list) =>
    list.map((index) => {
      const { name, shape, dtype, device } = run.specs[index];
      return `${name}${shape}${dtype}${device}`;
    }).join(";"));
}

/** By stage: its calls that the outline shows within a later stage, as those of a load within pipeline(); outermost. */
function callsElsewhere(run) {
  const found = new Map();
  for (let event = 0; event < run.count; event++) {
    const around = run.events.parent[event];
    const stage = run.stage[event];
    if (stage === run.home[event] || (around >= 0 && run.stage[around] === stage)) continue;
    if (!found.has(stage)) found.set(stage, []);
    found.get(stage).push(event);
  }
  return found;
}

/** The landmarks that did not run, with the reason, by stage. */
function unobservedLandmarks(run, guide) {
  const byId = new Map(guide.landmarks.map((landmark) => [landmark.id, landmark]));
  const ran = new Set(run.events.function);
  const found = new Map();
  for (const status of run.statuses) {
    const landmark = byId.get(status.id);
    if (!landmark || ran.has(status.function)) continue;
    if (status.function >= 0 && run.functions[status.function].qualname === EVERY_MODULE_CALL) continue;
    if (!found.has(landmark.stage)) found.set(landmark.stage, []);
    found.get(landmark.stage).push({ ...status, landmark, reason: status.reason || "it did not run" });
  }
  return found;
}

/** What a fold is called: the pattern of its modules with how many, or the calls that repeat. */
function foldLabel(run, node) {
  const first = node.members.slice(0, node.block);
  const names = [...new Set(first.map((member) => foldedName(run, member)))];
  if (node.block === 1 && first[0].kind === "step") {
    const [from, to] = [node.members[0].label, node.members.at(-1).label.match(/\d+/)?.[0]];
    return `${from} to ${to}`;
  }
  return names.slice(0, 3).join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
}

function foldedName(run, member) {
  if (member.kind === "step") return "step";
  const path = pathOf(run, member.event);
  return path ? pathPattern(path) : functionOf(run, member.event).qualname;
}
