// The step-through player: its state, its parts, and what happens on each step.

const NO_FILTERS = { stage: "", step: "", thread: "" };

function render({ model, el, opened = () => {} }) {
  const mount = mountExplorer(el, "Step through a recorded run");
  const waiting = h("p", { class: "panel muted", role: "status" }, "Opening the recording …");
  mount.root.append(waiting);
  let gone = false;
  mount.onDispose(() => (gone = true));
  openSides(model).then((sides) => {
    if (gone) return;
    waiting.remove();
    const empty = sides.map(({ run }) => emptyText(run)).find(Boolean);
    if (empty) showProblem(mount.root, "There is nothing to step through.", empty);
    else {
      startPlayer(mount, model, sides, nameInAddress(el));
      opened();
    }
  }).catch((error) => {
    if (gone) return;
    waiting.remove();
    showProblem(mount.root, "This recording cannot be shown:", `${error.message}. Make it again with record(), or load it with Recording.load(path), which says what is wrong.`);
  });
  return mount.dispose;
}

async function openSides(model) {
  const labels = model.get("labels") ?? [];
  const sides = [await openSide(bytesOf(model.get("recording_file")), bytesOf(model.get("guide")), labels[0] ?? "A")];
  const other = model.get("other_file");
  const bytes = other ? bytesOf(other) : new Uint8Array();
  if (bytes.length) sides.push(await openSide(bytes, bytesOf(model.get("other_guide")), labels[1] ?? "B"));
  return sides;
}

function startPlayer(mount, model, sides, addressName) {
  const isLive = model.get("kernel") === true;
  const compared = sides.length > 1;
  const match = compared ? matchRuns(sides[0].run, sides[1].run) : null;
  const state = { active: 0, query: "", filters: NO_FILTERS, opened: new Set(), closed: new Set(), unfolded: new Set(), listing: "tree", tensor: null, line: null, playing: 0, speed: 4 };
  const here = () => sides[state.active];

  // Going somewhere ----------------------------------------------------------------------------------------------------

  /** `moved`: the reader did it, so readers of screens are told and the address follows. */
  function go(position, { follow = true, told = true, moved = true } = {}) {
    state.tensor = state.line = null; // of what a search found: marked until the next step
    const side = here();
    if (!samePosition(side.position, position)) state.closed.clear();
    side.position = position;
    if (compared) bringAlong(position.event);
    if (moved) say(""); // what was said was of the step before
    show(follow);
    if (moved) address.write();
    if (told && moved) announce(mount.root, positionText(side));
  }

  function bringAlong(event) {
    const other = match.other[state.active][event];
    const opposite = sides[1 - state.active];
    opposite.present = other >= 0;
    if (other >= 0 && opposite.position.event !== other) opposite.position = atEvent(other);
  }

  const goEvent = (event) => go(atEvent(event));

  /** Go to a position in one of the recordings: what the outline, the filters and the search show is that one's. */
  function goIn(side, position) {
    activate(side);
    go(position);
  }

  function move(name) {
    const included = listing.included();
    const position = MOVES[name](here().run, here().position, (event) => !included || included[event] === 1);
    if (!position) {
      say(noMoveText(name, here(), included));
      return false;
    }
    go(position, { told: !state.playing });
    return true;
  }

  function nextDifference() {
    const { run, position } = here();
    const included = listing.included();
    const differs = match.differs[state.active];
    for (let event = position.event + 1; event < run.count; event++) {
      if (differs[event] && (!included || included[event])) return goEvent(event);
    }
    return say("No further difference.");
  }

  function activate(side) {
    if (side === state.active) return;
    state.active = side;
    state.opened.clear();
    state.closed.clear();
    listing.applyFilters(NO_FILTERS);
  }

  function goTensor(row) {
    const event = eventOfLedger(here().run, row);
    if (event >= 0) go(atEvent(event));
    state.tensor = row;
    show(false);
    announce(mount.root, `${row.parameter ?? row.key}: ${row.file}, ${row.disk_dtype}`);
  }

  function goLine(line) {
    const { run } = here();
    go(line.row >= 0 ? atLine(run, line.row) : atEvent(line.event));
    state.line = line;
    show(false);
    views[state.active].findLine(line.line);
  }

  function goDifference(difference) {
    const event = eventOfDifference(here().run, difference);
    if (event >= 0) return goEvent(event);
    return say(`${difference.what}: ${difference.name} ${difference.before} → ${difference.after}. It is no event of this recording.`);
  }

  // Drawing --------------------------------------------------------------------------------------------------------------

  function show(follow = true) {
    const side = here();
    views.forEach((view, index) => {
      const opposite = compared ? sides[1 - index] : null;
      const present = index === state.active || sides[index].present !== false;
      const other = compared && present ? match.other[index][sides[index].position.event] : -1;
      view.update(compared ? { run: opposite.run, event: other, label: opposite.label } : null, present);
      view.activate(index === state.active);
      timelines[index].element.hidden = index !== state.active;
    });
    timelines[state.active].show(side.position);
    if (state.tensor) tensorFirst(views[state.active].flow, side.run, side.position.event, state.tensor);
    counter.textContent = positionText(side);
    counter.dataset.event = side.position.event;
    listing.draw(follow);
    if (isLive && state.active === 0 && model.get("event") !== side.position.event) {
      model.set("event", side.position.event);
      model.save_changes();
    }
  }

  // The parts ------------------------------------------------------------------------------------------------------------

  const panel = outlinePanel({
    search: (query) => listing.search(query), chooseFirst: (query) => listing.chooseFirst(query),
    choose: (row) => listing.choose(row), toggle: (row, open) => listing.toggle(row, open),
    filter: (name, value) => listing.applyFilters({ ...state.filters, [name]: value }),
    leave: () => views[state.active].focus(),
  });
  const clearFilters = () => {
    listing.applyFilters(NO_FILTERS);
    views[state.active].focus(); // the button is gone, and the keys would be with it
  };
  const notice = filterNotice(clearFilters);
  const message = h("p", { class: "message", role: "status", hidden: true });
  const say = (text) => {
    message.hidden = !text;
    message.textContent = visible(text);
  };
  const listing = makeListing({ sides, state, match, panel, notice }, { goEvent, goLine, goTensor, goDifference, say });
  const views = sides.map((side, index) => sideView(side, { go: (event) => goIn(index, atEvent(event)), activate: () => goIn(index, side.position) }, compared));
  const timelines = sides.map((side, index) => timelinePanel({ go: (event) => goIn(index, atEvent(event)) }, compared ? side.label : ""));
  const counter = h("span", { class: "counter", title: "Events are numbered from 0, as in the tables and in the address" });
  const help = helpDialog();
  const about = aboutDialog(sides);
  const player = makePlay(move, state);
  const leaving = leavePage(here, say, () => address.write(true));
  const ways = { move, nextDifference: compared ? nextDifference : null, player, help, about, clearFilters, ...leaving };
  const tools = toolbarOf({ ...ways, copyLink: isLive ? null : leaving.copyLink, counter, differences: compared ? listing.toggleDifferences : null });
  const highlights = highlightStrip(sides[0], (event) => goIn(0, atEvent(event)));
  const body = h("div", { class: `player-body ${compared ? "two" : "one"}` }, panel.element, views.map((view) => view.element));
  mount.root.append(h("h2", { class: "visually-hidden" }, compared ? "Step through two recorded runs" : "Step through a recorded run"));
  mount.root.append(h("div", { class: "player", dataset: { host: isLive ? "live" : "page" } }, tools, highlights, notice.element, message, body, timelines.map((timeline) => timeline.element)), help, about);

  const address = stepInAddress(isLive, addressName, sides, state, goIn);
  mount.onDispose(address.stop);
  mount.onDispose(() => player.stop());
  mount.root.addEventListener("keydown", (event) => onKey(event, { ...ways, panel, timelines, views, state }));
  mount.root.addEventListener("pointerdown", (event) => {
    // A press on what takes no focus would give it to the host (JupyterLab's cell): keep it here.
    if (!event.target.closest?.("button, input, select, a, summary, dialog, [tabindex='0']")) views[state.active].focus();
  });
  if (isLive) mount.onDispose(listen(model, { "change:event": () => {
    const event = model.get("event");
    if (event !== sides[0].position.event && event >= 0 && event < sides[0].run.count) goIn(0, atEvent(event));
  } }));
  sides.forEach((side, index) => timelines[index].open(side.run));
  redrawTimelines(mount, body, timelines);
  mount.onDispose(() => [panel.tree.stop(), ...views.map((view) => view.stop())]);

  listing.applyFilters(state.filters);
  const begin = clamp(model.get("event") ?? 0, 0, sides[0].run.count - 1);
  const asked = address.read();
  if (asked) activate(asked.side);
  go(asked?.position ?? atEvent(begin), { moved: false });
}

/** A canvas does not follow the room and the theme by itself. */
function redrawTimelines(mount, body, timelines) {
  const redraw = () => timelines.forEach((timeline) => timeline.draw());
  const resized = new ResizeObserver(redraw);
  resized.observe(body);
  const recoloured = new MutationObserver(redraw);
  recoloured.observe(mount.root, { attributes: true, attributeFilter: ["data-theme"] });
  mount.onDispose(() => {
    resized.disconnect();
    recoloured.disconnect();
  });
}

const explorer = { render, isAskedFor };
export default { render };
export {
  openRecording, makeOutline, foldLabel, MOVES, atEvent, atLine, searchAll, searchWords, matchEvents, matchLedger, filterEvents, stepsOfAddress, addressOfSteps, flowOf, compareTensors, highlightsOf, ownRises, markdownOf,
  matchRuns, differenceText, linesInCommon, eventOfDifference, pythonLines, docstringLines, sourceOfEvent, permalinkOf, ledgerOf, eventOfLedger, isModuleCall, eventAtTime, lanesOf, curvesOf, valuesAt, emptyText,
  positionText, filtersText, leftText, nameParts, tellingOf,
  visible, themeOf, staticModel, listen, bytesOf, floatsOf, doublesOf, integersOf, inflate, formatBytes, formatMilliseconds, stackOf, eventName, stepText,
};
