// A list of which only the rows in view are drawn, as tree or as list, by mouse and by keyboard.

const ROW_HEIGHT = 24;
const ROWS_BEYOND = 8; // drawn above and below what is in view
let listsMade = 0;
const LISTS = Math.random().toString(36).slice(2, 8); // a page may hold this module more than once

/**
 * A list of which only the rows in view exist. `draw(row, index)` gives {children, attributes}; `choose(row, index)`
 * is called on a click or Enter, `toggle(row, open)` on arrows and twisties where it is given (then it is a tree).
 */
function virtualList({ label, draw, choose, toggle = null, leave = () => {} }) {
  const name = `explorer-list-${LISTS}-${++listsMade}`;
  const space = h("div", { class: "list-space", role: "presentation" });
  const element = h("div", { class: "list", tabindex: "0", role: toggle ? "tree" : "listbox", "aria-label": label }, space);
  const view = scrollWatch(element, 400, () => Math.abs(view.top - revealedAt) < 2 && reveal(selected));
  let revealedAt = 0; // where the step's row was brought into view; elsewhere the reader has scrolled
  let rows = [];
  let active = -1; // the keyboard's row
  let selected = -1; // the row of the current step
  let kept = new Map(); // rows that are drawn, by what they show: {element, node}

  function render() {
    const first = Math.max(0, Math.floor(view.top / ROW_HEIGHT) - ROWS_BEYOND);
    const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW_HEIGHT) + ROWS_BEYOND);
    const now = new Map();
    for (let index = first; index < last; index++) {
      const { node } = rows[index];
      const key = node ? shownOf(rows[index]) : index;
      const known = node && kept.get(key)?.node === node ? kept.get(key) : null; // another outline has other nodes
      const element = known?.element ?? drawRow(index);
      place(element, index);
      now.set(key, { element, node });
    }
    for (const [key, { element }] of kept) if (now.get(key)?.element !== element) element.remove();
    for (const { element } of now.values()) if (!element.parentNode) space.append(element);
    kept = now;
    if (active >= first && active < last) element.setAttribute("aria-activedescendant", `${name}-${active}`);
    else element.removeAttribute("aria-activedescendant");
  }

  function drawRow(index) {
    const { children, attributes } = draw(rows[index], index);
    return h("div", { role: toggle ? "treeitem" : "option", ...attributes, class: `row ${attributes?.class ?? ""}` }, children);
  }

  function place(row, index) {
    if (row.dataset.index !== String(index)) {
      row.id = `${name}-${index}`;
      row.dataset.index = index;
      row.style.top = `${index * ROW_HEIGHT}px`;
    }
    row.setAttribute("aria-selected", String(index === selected));
    row.classList.toggle("active", index === active);
    row.classList.toggle("selected", index === selected);
  }

  /** Where the list may stand at most is not asked: it follows from the number of rows. */
  const scrollTo = (top) => view.scrollTo(clamp(top, 0, Math.max(0, rows.length * ROW_HEIGHT - view.height)));

  function reveal(index) {
    if (index < 0) return;
    const top = index * ROW_HEIGHT;
    if (top < view.top + ROW_HEIGHT) scrollTo(top - view.height / 3);
    else if (top > view.top + view.height - 2 * ROW_HEIGHT) scrollTo(top - (2 * view.height) / 3);
    revealedAt = view.top;
  }

  function move(index) {
    active = clamp(index, 0, rows.length - 1);
    const top = active * ROW_HEIGHT;
    if (top < view.top) scrollTo(top);
    else if (top + ROW_HEIGHT > view.top + view.height) scrollTo(top + ROW_HEIGHT - view.height);
    render();
  }

  const keys = {
    ArrowDown: () => move(active + 1),
    ArrowUp: () => move(active - 1),
    Home: () => move(0),
    End: () => move(rows.length - 1),
    PageDown: () => move(active + Math.floor(view.height / ROW_HEIGHT)),
    PageUp: () => move(active - Math.floor(view.height / ROW_HEIGHT)),
    Enter: () => rows[active] && choose(rows[active], active),
  };
  if (toggle) {
    keys.ArrowRight = () => {
      if (rows[active]?.expandable && !rows[active].open) toggle(rows[active], true);
      else if (rows[active]?.open) move(active + 1);
    };
    keys.ArrowLeft = () => {
      if (rows[active]?.open) toggle(rows[active], false);
      else {
        let outer = active;
        while (outer > 0 && rows[outer].depth >= rows[active].depth) outer--;
        move(outer);
      }
    };
  }
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.key === "Escape") return void leave();
    if (!keys[event.key] || !rows.length) return;
    event.preventDefault();
    event.stopPropagation();
    if (active < 0) active = Math.max(0, selected);
    keys[event.key]();
  });
  element.addEventListener("click", (event) => {
    const index = Number(event.target.closest?.(".row")?.dataset.index ?? -1);
    if (index < 0 || !rows[index]) return;
    active = index;
    if (toggle && rows[index].expandable && event.target.closest(".twisty")) toggle(rows[index], !rows[index].open);
    else choose(rows[index], index);
  });
  element.addEventListener("scroll", debounceFrame(render), { passive: true });
  const resized = new ResizeObserver(debounceFrame(render));
  resized.observe(element);

  return {
    element,
    stop() {
      view.stop();
      resized.disconnect();
    },
    /** Show `list`; the row `current` is the step's, and comes into view where `follow` is set. */
    update(list, current = -1, follow = true) {
      const node = rows[active];
      rows = list;
      active = node ? rows.findIndex((row) => sameRow(row, node)) : -1;
      if (follow && current !== selected) active = current;
      selected = current;
      space.style.height = `${rows.length * ROW_HEIGHT}px`;
      if (view.top > rows.length * ROW_HEIGHT) scrollTo(view.top);
      if (follow) reveal(current);
      render();
    },
  };
}

/** What a row of the tree shows, as text: a row that shows the same need not be drawn again. */
const shownOf = ({ node, depth, open, expandable, of, mark }) => `${node.id} ${depth} ${open} ${expandable} ${of} ${mark?.text ?? ""}`;

const sameRow = (row, other) => row === other || (row.node && row.node.id === other.node?.id);
