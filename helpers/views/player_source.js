// The source of a step's function: its lines, those that ran, and the one that the walk is at.

const LONG_DOCSTRING = 8; // lines from which a docstring is folded
const LINE_HEIGHT = 18; // pixels, as player_panels.css has it
const CHUNK = 40; // lines that the browser skips together while they are out of view
const KEPT_SOURCES = 60; // functions whose lines stay built

function sourcePanel() {
  const title = h("div", { class: "source-title" });
  const body = h("div", { class: "source-lines", tabindex: "0", role: "region", "aria-label": "Source" });
  const element = h("div", { class: "source" }, title, body);
  const view = scrollWatch(body, 300, () => shown && lit >= 0 && showLine(shown, lit));
  const built = new Map(); // function name to its lines, latest last
  let shown = null;
  let lit = -1; // the line that is to be in view, also when the room for it changes; -1: the first
  let marked = [];

  /** `common`: for each line whether the other recording's function has it too; null where nothing is to be marked. */
  function update(run, guide, position, common = null) {
    const of = functionOf(run, position.event);
    const source = sourceOfEvent(run, position.event);
    const last = source.text === undefined ? of.line : source.first + source.text.split("\n").length - 1;
    replaceChildren(title, sourceTitle(run, guide, of, last));
    unmark();
    if (source.text === undefined) {
      shown = null;
      replaceChildren(body, h("p", { class: "note" }, dataText(source.missing)));
      return;
    }
    const lines = linesFor(`${of.file}:${of.line}:${of.qualname}`, source);
    if (shown !== lines) {
      body.replaceChildren(lines.element);
      body.setAttribute("aria-label", `Source of ${visible(of.qualname)}`);
      shown = lines;
    }
    mark(run, position, lines, of);
    common?.forEach((isCommon, place) => isCommon || addClass(lines.at(source.first + place), "line-differs"));
  }

  function linesFor(key, source) {
    const known = built.get(key);
    if (known?.text === source.text) return known;
    const lines = buildLines(source);
    built.set(key, lines);
    if (built.size > KEPT_SOURCES) built.delete(built.keys().next().value);
    return lines;
  }

  function unmark() {
    for (const undo of marked) undo();
    marked = [];
  }

  /** Mark the lines that ran in this call, with what each changed; light the line that the walk is at. */
  function mark(run, position, lines, of) {
    const rows = run.linesOf.get(position.event) ?? [];
    const latest = new Map();
    for (const row of rows) {
      const { line } = run.lines[row];
      if (position.line >= 0 && row > position.line) addClass(lines.at(line), "later");
      else latest.set(line, row);
    }
    for (const [line, row] of latest) {
      addClass(lines.at(line), "ran");
      const changed = changedAtLine(run, row);
      if (changed && lines.at(line)) {
        const note = h("span", { class: "line-values" }, dataText(changed));
        lines.at(line).append(note);
        marked.push(() => note.remove());
      }
    }
    const current = position.line >= 0 ? run.lines[position.line].line : of.line;
    addClass(lines.at(current), position.line >= 0 ? "current" : "current entry");
    lit = position.line >= 0 ? current : -1;
    if (lit >= 0) showLine(lines, lit);
    else view.scrollTo(0, 0);
  }

  function addClass(line, names) {
    if (!line) return;
    line.classList.add(...names.split(" "));
    marked.push(() => line.classList.remove(...names.split(" ")));
  }

  /** Bring a line into view, by its place: nothing is asked of the page. */
  function showLine(lines, number) {
    lines.openFor(number);
    const top = lines.placeOf(number) * LINE_HEIGHT;
    if (top < view.top + 2 * LINE_HEIGHT || top > view.top + view.height - 3 * LINE_HEIGHT) {
      view.scrollTo(Math.max(0, Math.round(top - view.height / 2)), 0);
    }
  }

  /** Light a line that a search found; false where the function has no such line. */
  function find(number) {
    const line = shown?.at(number);
    if (!line) return false;
    addClass(line, "found-line");
    lit = number;
    showLine(shown, number);
    return true;
  }

  return { element, body, update, find, stop: view.stop };
}

function sourceTitle(run, guide, of, last) {
  const { link, reason } = permalinkOf(run, guide, of, last);
  const place = visible(locationOf(of));
  return [
    dataText(of.qualname, { class: "name" }),
    link
      ? h("a", { href: link, target: "_blank", rel: "noopener noreferrer", class: "muted", title: "the same lines at the tag of the recorded release" }, place)
      : h("span", { class: "muted", title: `no link: ${reason}` }, place),
  ];
}

/** The lines of a function, built in chunks: those in view at once, the others when the page is at rest. */
function buildLines({ text, first }) {
  const pieces = pythonLines(text);
  const folded = docstringLines(pieces, LONG_DOCSTRING);
  const lines = [];
  const chunks = new Map(); // an unbuilt chunk to its first and last line
  const chunkOf = [];

  function chunksOf(from, to) {
    const made = [];
    for (let place = from; place < to; place += CHUNK) {
      const end = Math.min(to, place + CHUNK);
      const chunk = h("div", { class: "chunk", style: `height:${(end - place) * LINE_HEIGHT}px` });
      chunks.set(chunk, [place, end]);
      for (let line = place; line < end; line++) chunkOf[line] = chunk;
      made.push(chunk);
    }
    return made;
  }

  function build(chunk) {
    if (!chunks.has(chunk)) return;
    const [place, end] = chunks.get(chunk);
    chunks.delete(chunk);
    for (let line = place; line < end; line++) lines[line] = buildLine(pieces[line], first + line);
    chunk.append(...lines.slice(place, end));
  }

  function at(number) {
    const place = number - first;
    if (chunkOf[place]) build(chunkOf[place]);
    return lines[place];
  }

  const element = h("div", { class: "lines" });
  const shown = { element, text, at, openFor() {}, placeOf: (number) => number - first };
  if (folded) Object.assign(shown, foldDocstring(element, chunksOf, folded, pieces.length, first));
  else element.append(...chunksOf(0, pieces.length));
  [...chunks.keys()].slice(0, 2).forEach(build);
  const rest = () => {
    build(chunks.keys().next().value);
    if (chunks.size) atRest(rest);
  };
  if (chunks.size) atRest(rest);
  return shown;
}

const atRest = (work) => (globalThis.requestIdleCallback ? requestIdleCallback(work, { timeout: 500 }) : setTimeout(work, 30));

/** A button in place of a long docstring: {openFor(number), placeOf(number)}, a line's place with it folded or not. */
function foldDocstring(element, chunksOf, [from, to], length, first) {
  const before = chunksOf(0, from);
  const inside = h("div", {}, chunksOf(from, to + 1));
  const count = to - from + 1;
  const label = (shown) => `${shown ? "fold" : "show"} the docstring (${count} lines)`;
  const button = h("button", { class: "quiet fold-docstring", onclick: () => open(inside.hidden) });
  const open = (shown) => {
    inside.hidden = !shown;
    button.textContent = label(shown);
    button.setAttribute("aria-expanded", String(shown));
  };
  open(false);
  element.append(...before, button, inside, ...chunksOf(to + 1, length));
  return {
    openFor: (number) => number >= first + from && number <= first + to && open(true),
    placeOf: (number) => number - first + (number > first + from ? 1 : 0) - (number > first + to && inside.hidden ? count : 0),
  };
}

function buildLine(pieces, number) {
  const code = h("code", { class: "tex2jax_ignore mathjax_ignore" });
  for (const [kind, text] of pieces) {
    const shown = visible(text.replaceAll("\t", "    "));
    code.append(kind ? h("span", { class: `py-${kind}` }, shown) : shown);
  }
  return h("div", { class: "line" }, h("span", { class: "gutter", "data-number": number }), code);
}

/** What a line changed, as text: tensors with shape, other values. */
function changedAtLine(run, row) {
  const { tensors, values } = run.lines[row];
  const told = run.tensorLists[tensors].map((index) => `${run.specs[index].name} ${shapeText(run.specs[index].shape)}`);
  told.push(...run.valueLists[values].map(([name, value]) => `${name} = ${pythonText(value)}`));
  return told.join(", ");
}
