// The outline: its search box and its filters, and what each kind of row shows.

/** The panel on the left. `actions`: {search, chooseFirst, choose, toggle, filter, leave}. */
function outlinePanel(actions) {
  const search = h("input", {
    type: "search", placeholder: "Search: name, file, 4096, (1,173,576), float32 …", "aria-label": "Search the recording", class: "wide",
    oninput: debounceFrame(() => actions.search(search.value)),
    onkeydown: (event) => {
      if (event.key === "Escape") {
        if (search.value) actions.search((search.value = ""));
        else actions.leave();
      } else if (event.key === "Enter" && search.value.trim()) {
        event.preventDefault();
        actions.chooseFirst(search.value);
      } else if (event.key === "ArrowDown") {
        event.preventDefault();
        actions.search(search.value); // the list may be a frame behind what was typed
        tree.element.focus();
      }
    },
  });
  const filters = {};
  const filterRow = h("div", { class: "filters" });
  for (const [name, label] of [["stage", "Stage"], ["step", "Step"], ["thread", "Thread"]]) {
    filters[name] = h("select", { "aria-label": `Show one ${name} only`, onchange: () => actions.filter(name, filters[name].value) });
    filterRow.append(h("label", {}, h("span", {}, label), filters[name]));
  }
  const status = h("div", { class: "outline-status muted", role: "status" });
  const tree = virtualList({
    label: "Outline of the run",
    draw: (row) => drawOutlineRow(row, actions),
    choose: (row) => actions.choose(row),
    toggle: (row, open) => actions.toggle(row, open),
    leave: () => actions.leave(),
  });
  const head = h("div", { class: "outline-head" }, search, filterRow, status);
  const element = h("nav", { class: "outline", "aria-label": "Outline" }, head, tree.element, keyHints());

  /** What the list is of, where it is not the outline; `leave` leads back to that. */
  function tell(text, leave = null) {
    replaceChildren(status, text, text && leave ? [" ", h("button", { class: "quiet to-outline", onclick: leave }, "Back to the outline")] : null);
  }

  /** Offer what this recording has. */
  function offer(run, guide, chosen) {
    const options = (entries, every) => [["", every], ...entries].map(([value, text]) => h("option", { value }, visible(text)));
    const stages = guide.stages.filter((row) => row.stage !== null && run.stage.includes(row.stage));
    replaceChildren(filters.stage, options(stages.map((row) => [row.stage, `${row.stage} ${row.name}`]), "all stages"));
    const kept = run.steps.filter((row) => row.kept).map((row) => [`${row.generation}.${row.step}`, stepName(run, row.generation, row.step)]);
    replaceChildren(filters.step, options(kept.length ? [["none", "outside generation"], ...kept] : [], "all steps"));
    replaceChildren(filters.thread, options(run.threads.map((name, index) => [index, name]), "all threads"));
    for (const name of Object.keys(filters)) filters[name].value = chosen[name];
  }

  return { element, search, filters, tree, offer, tell };
}

// Rows -----------------------------------------------------------------------------------------------------------------

/** A name that loses its middle where room is short: what comes last tells it from its neighbours. */
function nameText(name, title = name, kind = "", most = TAIL) {
  const [head, tail] = nameParts(visible(name), most);
  const attributes = { class: `name ${kind}${tail ? " parted" : ""}`, title: visible(title) };
  if (!tail) return dataText(name, attributes);
  return h("bdi", { ...attributes, class: `${attributes.class} data tex2jax_ignore mathjax_ignore` }, h("span", { class: "name-head" }, head), h("span", { class: "name-tail" }, tail));
}

/** What tells a call from others of its function: the tensor or the file that it is about, or which call it is. */
function tellingText(run, event) {
  const told = tellingOf(run, event);
  if (!told) return null;
  if (run.loadedNames.has(told)) return nameText(told.replace(/^model\./, ""), told, "muted telling");
  const [which, ofWhat] = told.match(/^(call \d+ of \d+)(?:, (.*))?$/s)?.slice(1) ?? ["", told];
  return [
    which ? h("span", { class: "which" }, which) : null, // whole: it alone tells the calls apart
    ofWhat ? dataText(ofWhat, { class: "name muted telling", title: visible(told) }) : null, // its beginning tells it apart
  ];
}

const indentOf = (depth) => `${4 + depth * 12}px`;

function drawOutlineRow(row, actions) {
  const draw = { tree: drawTreeRow, heading: drawHeading, more: drawMore, tensor: drawTensorRow, line: drawLineRow, event: drawFoundEvent, difference: drawDifference };
  return (draw[row.kind] ?? drawTreeRow)(row, actions);
}

function drawTreeRow({ node, depth, open, expandable, place, of, run, mark }) {
  const attributes = {
    "aria-level": depth + 1, "aria-posinset": place, "aria-setsize": of, "aria-expanded": expandable ? String(open) : null,
    class: `node-${node.kind}`,
  };
  const twisty = h("span", { class: "twisty", "aria-hidden": "true" }, expandable ? (open ? "▾" : "▸") : "");
  const children = [h("span", { class: "indent", style: `width:${indentOf(depth)}` }), twisty, ...nodeContent(run, node)];
  if (mark) children.push(h("span", { class: "differs", title: mark.title }, mark.text));
  return { attributes, children };
}

function nodeContent(run, node) {
  const draw = { stage: stageContent, step: stepContent, fold: foldContent, event: eventContent, portal: portalContent, elsewhere: elsewhereContent, absent: absentContent, unobserved: unobservedContent, summaries: summariesContent, summary: summaryContent };
  return draw[node.kind](run, node);
}

function stageContent(run, { stage, name, count, elsewhere, landmarks, milliseconds }) {
  const events = [formatNumber(count), h("span", { class: "unit" }, count === 1 ? " event" : " events")];
  const own = milliseconds === null || milliseconds === undefined ? "" : ` · own ${formatMilliseconds(milliseconds)}`;
  return [
    h("span", { class: "stage-colour", style: { "--stage": `var(--stage-${stage})` } }),
    h("strong", { class: "name", title: name }, stage ? `${stage} ${name}` : name),
    h("span", { class: "aside", title: `${landmarks ?? "no"} landmarks observed; its own time: that of its calls, without what they spend in a later stage, so that a call below may have taken longer` },
      count ? [events, own] : elsewhere.length ? ["→ ", h("span", { class: "unit" }, "stage "), homesOf(run, elsewhere).join(", "), own] : "not observed"),
  ];
}

function stepContent(run, { label, events }) {
  return [h("span", { class: "name step-name" }, label), h("span", { class: "aside" }, `${formatNumber(events.length)} calls`)];
}

function foldContent(run, node) {
  const total = node.members.reduce((sum, member) => sum + (member.kind === "event" ? durationOf(run, member.event) : 0), 0);
  return [
    dataText(foldLabel(run, node), { class: "name" }),
    h("span", { class: "count", title: node.block > 1 ? `${node.block} events that repeat ${node.times} times` : `${node.times} equal neighbours` }, `×${formatNumber(node.times)}`),
    h("span", { class: "aside" }, total ? formatMilliseconds(total) : ""),
  ];
}

function eventContent(run, { event }) {
  const name = shortName(run, event);
  const step = stepBegins(run, event) ? h("span", { class: "step-chip" }, stepText(run, event)) : null;
  return [
    isLandmark(run, event) ? h("span", { class: "landmark-mark", title: "a landmark of the call path" }, "◆") : null,
    nameText(name, `${eventName(run, event)}\n${locationOf(functionOf(run, event))}`, "own"),
    isModuleCall(run, event) ? dataText(functionOf(run, event).qualname.replace(/\.forward$/, ""), { class: "muted class-name" }) : null,
    isModuleCall(run, event) ? null : tellingText(run, event),
    step,
    run.events.status[event] === ENDED_RAISED ? h("span", { class: "raised" }, "raised") : null,
    h("span", { class: "aside", title: "with the calls within it" }, formatMilliseconds(durationOf(run, event))),
  ];
}

function portalContent(run, { event }) {
  return [
    h("span", { class: "stage-colour", style: { "--stage": `var(--stage-${run.home[event]})` } }),
    nameText(eventName(run, event)),
    stepText(run, event) ? h("span", { class: "step-chip" }, stepText(run, event)) : null,
    h("span", { class: "aside" }, `→ stage ${run.home[event]}`),
  ];
}

/** The stages where these calls are shown. */
const homesOf = (run, events) => [...new Set(events.map((event) => run.home[event]))].sort((one, other) => one - other);

function elsewhereContent(run, { events }) {
  const homes = homesOf(run, events);
  const calls = `${formatNumber(events.length)} ${events.length === 1 ? "call" : "calls"}`;
  return [h("span", { class: "name muted" }, `${calls} from within ${homes.length === 1 ? "stage" : "stages"} ${homes.join(", ")}`)];
}

const absentContent = (run, { rows }) => [h("span", { class: "name muted" }, `${rows.length} ${rows.length === 1 ? "landmark" : "landmarks"} not observed`)];
const unobservedContent = (run, { status }) => [
  dataText(status.id, { class: "name muted" }),
  dataText(status.reason, { class: "muted reason", title: visible(status.reason) }),
];
const summariesContent = (run, { rows }) => [
  h("span", { class: "name muted", title: "record(steps=None) keeps their events" }, `${rows.length} later steps, kept as summary rows`),
];
const summaryContent = (run, { row }) => [
  h("span", { class: "name muted" }, stepName(run, row.generation, row.step)),
  row.kv_tokens >= 0 ? h("span", { class: "muted" }, `${formatNumber(row.kv_tokens)} positions in the KV cache`) : null,
  h("span", { class: "aside" }, formatMilliseconds(row.end - row.start)),
];

/** A module's name within the module around it. */
function shortName(run, event) {
  const around = run.events.parent[event];
  const outer = around >= 0 && run.moduleAround[around] >= 0 ? run.paths[run.moduleAround[around]] : "";
  const path = pathOf(run, event);
  return path && outer && path.startsWith(`${outer}.`) ? path.slice(outer.length + 1) : eventName(run, event);
}

function stepBegins(run, event) {
  const around = run.events.parent[event];
  return run.events.step[event] >= 0 && (around < 0 || run.events.step[around] !== run.events.step[event] || run.home[around] !== run.home[event]);
}

const drawHeading = ({ title, count }) => ({
  attributes: { class: "found-heading", "aria-disabled": "true" },
  children: [h("strong", {}, title), h("span", { class: "aside" }, formatNumber(count))],
});

const drawMore = ({ title, count }) => ({
  attributes: { class: "found" },
  children: [h("span", { class: "name more" }, `show ${formatNumber(count)} more ${title}`)],
});

const drawTensorRow = ({ row, run }) => ({
  attributes: { class: "found" },
  children: [
    nameText(row.parameter ?? row.key),
    dataText([run.loadCount > 1 ? `load ${row.load}` : "", row.file ?? row.status].filter(Boolean).join(", "), { class: "aside", title: visible(`${row.file ?? row.status}, ${row.disk_dtype} → ${row.dtype}, load ${row.load}`) }),
  ],
});

const drawLineRow = ({ found, run }) => ({
  attributes: { class: "found" },
  children: [
    h("span", { class: "line-number" }, found.line),
    dataText(found.text, { class: "name", title: visible(`${run.functions[found.function].qualname}\n${locationOf(run.functions[found.function]).replace(/:\d+$/, "")}:${found.line}\n${found.text}`) }),
    dataText(run.functions[found.function].qualname, { class: "muted" }),
    h("span", { class: found.row >= 0 ? "ran aside" : "aside" }, found.row >= 0 ? "ran" : ""),
  ],
});

const drawFoundEvent = ({ event, run }) => ({
  attributes: { class: "found" },
  children: [
    h("span", { class: "stage-colour", style: { "--stage": `var(--stage-${run.stage[event]})` } }),
    nameText(eventName(run, event), `${functionOf(run, event).qualname}\n${stackOf(run, event).map((one) => eventName(run, one)).join(" › ")}`),
    run.events.path[event] >= 0 ? null : run.moduleAround[event] >= 0 ? dataText(run.paths[run.moduleAround[event]].replace(/^model\./, ""), { class: "muted" }) : tellingText(run, event),
    h("span", { class: "aside", title: `event ${event}, stage ${run.stage[event]}` }, stepText(run, event) || `event ${formatNumber(event)}`),
  ],
});

const drawDifference = ({ difference }) => ({
  attributes: { class: "found" },
  children: [
    h("span", { class: "chip" }, difference.what),
    nameText(difference.name, `${difference.of} ${difference.name}\n${difference.tensors}\n${difference.before} → ${difference.after}`),
    dataText(`${difference.before} → ${difference.after}`, { class: "aside" }),
  ],
});
