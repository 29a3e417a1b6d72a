// What the list on the left shows: the outline, what a search found, or what differs; and what the filters leave.

/**
 * `parts`: {sides, state, match, panel, notice}; `actions`: {goEvent, goLine, goTensor, goDifference, say}.
 * `included()` gives a mark for each event that passes the filters, null where nothing is filtered.
 */
function makeListing({ sides, state, match, panel, notice }, actions) {
  const here = () => sides[state.active];
  let included = null;
  let outline = null;
  let found = null;

  function draw(follow) {
    notice.show(included, here().position.event);
    if (state.listing === "differences") return panel.tree.update(differenceRows(), -1, false);
    if (found) return panel.tree.update(found.rows, found.rows.findIndex(isHere), false);
    return drawOutline(follow);
  }

  const IS_HERE = {
    event: (row) => row.event === here().position.event,
    tensor: (row) => row.row === state.tensor,
    line: (row) => row.found.function === state.line?.function && row.found.line === state.line.line,
  };
  const isHere = (row) => IS_HERE[row.kind]?.(row) ?? false;

  function drawOutline(follow) {
    const path = outline.pathTo(here().position.event);
    const revealed = new Set(path.slice(0, -1).map((node) => node.id));
    const isOpen = (node) => (revealed.has(node.id) && !state.closed.has(node.id)) || state.opened.has(node.id);
    const rows = outline.rows(isOpen);
    const last = path.at(-1);
    let current = -1;
    rows.forEach((row, index) => {
      row.kind = "tree";
      row.run = here().run;
      row.expandable = outline.hasChildren(row.node);
      if (row.node === last) current = index;
    });
    if (match) markDifferences(rows, match.differs[state.active], match.below[state.active]);
    panel.tree.update(rows, current, follow);
  }

  function choose(row) {
    panel.tree.element.focus({ preventScroll: true });
    const { node } = row;
    const choices = {
      tensor: () => actions.goTensor(row.row),
      line: () => actions.goLine(row.found),
      event: () => actions.goEvent(row.event),
      difference: () => actions.goDifference(row.difference),
      heading: () => undefined,
      more: () => unfold(row.title),
      tree: () => chooseNode(row, node),
    };
    return choices[row.kind]();
  }

  function chooseNode(row, node) {
    if (node.kind === "event" || node.kind === "portal") return actions.goEvent(node.event);
    if (node.kind === "summary") return actions.say(`${stepName(here().run, node.row.generation, node.row.step)} was kept as a summary row only: record(steps=None) keeps its events.`);
    if (node.kind === "unobserved") return actions.say(`${node.status.id}: ${node.status.reason}`);
    return toggle(row, !row.open);
  }

  function toggle({ node }, open) {
    const [to, from] = open ? [state.opened, state.closed] : [state.closed, state.opened];
    to.add(node.id);
    from.delete(node.id);
    draw(false);
  }

  // Search -----------------------------------------------------------------------------------------------------------

  function search(query) {
    if (query !== state.query) state.unfolded.clear();
    state.query = query;
    if (state.listing === "differences") return drawDifferences();
    found = query.trim() ? searchAll(here().run, query, included, state.unfolded) : null;
    for (const row of found?.rows ?? []) row.run = here().run;
    panel.tell(found && foundText(found, query), () => clearSearch());
    return draw(!found); // back in the tree, the current step comes into view
  }

  function unfold(title) {
    state.unfolded.add(title);
    search(state.query);
  }

  function clearSearch() {
    panel.search.value = "";
    search("");
    panel.search.focus({ preventScroll: true });
  }

  /** Enter in the search box: what it found first. The box may be ahead of the list by a frame. */
  function chooseFirst(query) {
    search(query);
    const rows = state.listing === "differences" ? differenceRows() : (found?.rows ?? []);
    const first = rows.find((row) => row.kind !== "heading");
    if (first) choose(first);
  }

  // Differences ------------------------------------------------------------------------------------------------------

  function differenceRows() {
    const words = searchWords(state.query);
    const has = (difference) => words.every((word) => Object.values(difference).join("\n").toLowerCase().includes(word));
    return sides[0].guide.differences.filter(has).map((difference) => ({ kind: "difference", difference }));
  }

  function drawDifferences() {
    const all = sides[0].guide.differences.length;
    panel.tell(`${formatNumber(differenceRows().length)} of ${formatNumber(all)} rows of recording.diff(other); Enter goes there`);
    draw(false);
  }

  function toggleDifferences() {
    state.listing = state.listing === "differences" ? "tree" : "differences";
    if (state.listing === "differences") drawDifferences();
    else search(state.query);
    return state.listing === "differences";
  }

  // Filters ----------------------------------------------------------------------------------------------------------

  function applyFilters(filters) {
    const { run, guide } = here();
    state.filters = filters;
    included = filterEvents(run, filters);
    outline = makeOutline(run, guide, included);
    panel.offer(run, guide, filters);
    notice.filter(filtersText(run, guide, filters), included);
    actions.say("");
    if (state.query) search(state.query);
    else draw(true);
  }

  return { draw, choose, toggle, search, chooseFirst, toggleDifferences, applyFilters, included: () => included };
}

/** Mark rows of the outline whose events differ from the other recording's, or hold such ones. */
function markDifferences(rows, differs, below) {
  for (const row of rows) {
    const { node } = row;
    const events = node.kind === "event" || node.kind === "portal" ? [node.event] : node.kind === "fold" ? node.members.map((one) => one.event) : [];
    const own = events.find((event) => differs[event]);
    const inside = events.reduce((sum, event) => sum + below[event], 0);
    if (own !== undefined) row.mark = { text: node.kind === "event" && differs[node.event] & ONLY_HERE ? "only here" : "≠", title: differenceText(differs[own]) };
    else if (inside && !row.open) row.mark = { text: `≠ ${formatNumber(inside)}`, title: `${inside} differences within` };
  }
}

/** Filters left set steer every step: a bar says so for as long as they are, with a button that takes them off. */
function filterNotice(clear) {
  const text = h("span", {});
  const outside = h("span", { hidden: true }, " The step shown is not one of them.");
  const element = h("div", { class: "filter-notice", role: "status", hidden: true }, h("span", {}, text, outside), h("button", { onclick: clear, title: "Clear filters (c)" }, "Clear filters"));
  return {
    element,
    filter(names, included) {
      element.hidden = !included;
      text.textContent = included ? visible(leftText(names, included)) : "";
    },
    show(included, event) {
      outside.hidden = !included || included[event] === 1 || !included.includes(1);
    },
  };
}
