// The base of every explorer: DOM, theme, keyboard, decoding of data, and a model for pages without a kernel.
// `explorers.py` joins it with an explorer's own parts into one ES module, so nothing here imports or exports.

// DOM: text from data becomes text nodes, never markup ---------------------------------------------------------------

const FOCUSABLE_TAGS = new Set(["button", "input", "select", "textarea", "summary", "a"]);
const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** An HTML element. Strings and numbers become text nodes; null, undefined and false are left out. */
function h(tag, attributes, ...children) {
  const element = fill(document.createElement(tag), attributes, children);
  // Lumino (JupyterLab) asks the event's target first, so each focusable element says itself that its keys are its own.
  if (FOCUSABLE_TAGS.has(tag) || element.hasAttribute("tabindex")) element.dataset.lmSuppressShortcuts = "true";
  return element;
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) setAttribute(element, name, value);
  appendAll(element, children);
  return element;
}

function setAttribute(element, name, value) {
  if (value === false || value === null || value === undefined) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "dataset") Object.assign(element.dataset, value);
  else if (name === "style" && typeof value === "object") {
    for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
  } else if (name === "value" || name === "checked") element[name] = value;
  else element.setAttribute(name, value === true ? "" : String(value));
}

function appendAll(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child.nodeType ? child : document.createTextNode(String(child)));
  }
}

function replaceChildren(element, ...children) {
  element.replaceChildren();
  appendAll(element, children);
}

const SIGNS = { 0x09: "⇥", 0x0a: "⏎" }; // the pictures of controls (U+2400 on) are missing in many fonts
// Controls, bidirectional controls, zero-width characters, separators, lone surrogates.
const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Text with a sign in place of each character that would not be seen, or would reorder its neighbours. */
function visible(text) {
  const shown = String(text).replace(UNSEEN, (character) => {
    const code = character.codePointAt(0);
    if (SIGNS[code]) return SIGNS[code];
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
  return /^\p{M}/u.test(shown) ? `◌${shown}` : shown; // a combining mark would attach to what stands before
}

/** Text from data, apart from its surroundings: no reordering, no mathematics, no markup. */
function dataText(text, attributes = {}) {
  const kind = `data tex2jax_ignore mathjax_ignore ${attributes.class ?? ""}`.trim();
  return h("bdi", { ...attributes, class: kind }, visible(text));
}

// Mounting -----------------------------------------------------------------------------------------------------------

/** A section for an explorer in `el`: {root, dispose, onDispose}. Return `dispose` from render. */
function mountExplorer(el, label) {
  const root = h("section", { class: "explorer", "aria-label": label, tabindex: "-1" });
  const live = h("div", { class: "visually-hidden", "aria-live": "polite" });
  root.append(live);
  root.announcer = live;
  const leaving = [];
  const onDispose = (leave) => leaving.push(leave);
  onDispose(watchTheme(root));
  // Keys that an explorer's own listeners did not take must not reach the host either: they are typed in here.
  root.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(root);
  const dispose = () => {
    while (leaving.length) leaving.pop()();
    root.remove();
  };
  return { root, dispose, onDispose };
}

/** Keep root's data-theme as the page's: the site's switch, else JupyterLab's, else the system's. */
function watchTheme(root) {
  const system = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
  const apply = () => {
    root.dataset.theme = themeOf(document, system?.matches ?? false);
  };
  apply();
  const observer = new MutationObserver(apply);
  const attributeFilter = ["data-theme", "data-jp-theme-light", "data-vscode-theme-kind", "class"];
  for (const element of [document.documentElement, document.body]) {
    if (element) observer.observe(element, { attributes: true, attributeFilter });
  }
  system?.addEventListener("change", apply);
  return () => {
    observer.disconnect();
    system?.removeEventListener("change", apply);
  };
}

function themeOf(page, systemIsDark) {
  const site = page.documentElement.dataset.theme;
  if (site === "dark" || site === "light") return site;
  const jupyter = page.body?.dataset.jpThemeLight;
  if (jupyter) return jupyter === "false" ? "dark" : "light";
  const code = page.body?.dataset.vscodeThemeKind;
  if (code) return /dark|high-contrast$/.test(code) ? "dark" : "light";
  return systemIsDark ? "dark" : "light";
}

/** A message in place of what cannot be shown: what was wrong, and what to do. */
function showProblem(root, title, message) {
  root.append(h("div", { class: "problem", role: "alert" }, h("strong", {}, title), " ", dataText(message)));
}

/** Tell readers of screens what changed. */
function announce(root, text) {
  if (root.announcer && root.announcer.textContent !== text) root.announcer.textContent = text;
}

function reducedMotion() {
  return globalThis.matchMedia?.("(prefers-reduced-motion: reduce)").matches ?? false;
}

/**
 * The height of a scrolling element and where it stands, known without asking the page for a layout: {height, top,
 * left, scrollTo(top, left), stop}; `changed` is called when the height is another. A step that asks in the middle of its changes makes the browser lay out twice.
 */
function scrollWatch(element, guess, changed = () => {}) {
  const known = { height: guess, top: 0, left: 0 };
  const scrolled = () => {
    known.top = element.scrollTop;
    known.left = element.scrollLeft;
  };
  element.addEventListener("scroll", scrolled, { passive: true });
  const resized = () => {
    known.height = element.clientHeight || guess;
    scrolled(); // what was scrolled under the guess may lie beyond the end
    changed();
  };
  const observer = globalThis.ResizeObserver ? new ResizeObserver(resized) : null;
  observer?.observe(element);
  known.scrollTo = (top, left = known.left) => {
    if (top !== known.top) element.scrollTop = known.top = top;
    if (left !== known.left) element.scrollLeft = known.left = left;
  };
  known.stop = () => observer?.disconnect();
  return known;
}

/** Call `work` at most once per frame, with the latest arguments; at once where there are no frames. */
function debounceFrame(work) {
  if (!globalThis.requestAnimationFrame) return work;
  let latest = null;
  return (...given) => {
    if (latest === null) {
      requestAnimationFrame(() => {
        const current = latest;
        latest = null;
        work(...current);
      });
    }
    latest = given;
  };
}

// Out of the page ----------------------------------------------------------------------------------------------------

/** Copy; true when the browser took it. Pages from disk may have no clipboard: then a selected text area is copied. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { value: text, style: "position: fixed; opacity: 0" });
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    before?.focus?.();
    return copied;
  }
}

function downloadBytes(content, name, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// Data ---------------------------------------------------------------------------------------------------------------

/** Bytes from base64 text (a page), a DataView (anywidget) or a buffer. */
function bytesOf(value) {
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (typeof value !== "string") throw new TypeError("bytes, or base64 text, expected");
  const text = atob(value);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

function numbersOf(value, Kind) {
  const bytes = bytesOf(value);
  return new Kind(bytes.slice().buffer); // a copy, because a view must be aligned
}
const floatsOf = (value) => numbersOf(value, Float32Array);
const doublesOf = (value) => numbersOf(value, Float64Array);
const integersOf = (value) => numbersOf(value, Int32Array);

/** Unpack gzip; rejects with an Error that says what is wrong. */
async function inflate(bytes) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack gzip (DecompressionStream): use one from 2023 or later");
  }
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  try {
    return new Uint8Array(await new Response(unpacked).arrayBuffer());
  } catch (error) {
    throw new Error("the data is cut short or damaged and cannot be unpacked", { cause: error });
  }
}

// Models -------------------------------------------------------------------------------------------------------------

/** What anywidget's model is to an explorer, for a page without a kernel: set() tells the listeners at once. */
function staticModel(state) {
  const values = { ...state };
  const listeners = new Map();
  const tell = (event) => [...(listeners.get(event) ?? [])].forEach((listener) => listener());
  return {
    get: (name) => values[name],
    set(name, value) {
      if (values[name] === value) return;
      values[name] = value;
      tell(`change:${name}`);
      tell("change");
    },
    on(event, listener) {
      if (!listeners.has(event)) listeners.set(event, new Set());
      listeners.get(event).add(listener);
    },
    off(event, listener) {
      if (listener) listeners.get(event)?.delete(listener);
      else listeners.delete(event);
    },
    save_changes() {},
    send() {},
  };
}

/** Listen to several events of a model; the answer takes the listeners off. */
function listen(model, handlers) {
  for (const [event, handler] of Object.entries(handlers)) model.on(event, handler);
  return () => {
    for (const [event, handler] of Object.entries(handlers)) model.off(event, handler);
  };
}

/**
 * Bring a twin to life when it comes into view; its static table stays for readers without scripts. `explorer`: {render},
 * and where the page's address can lead to a place in it isAskedFor(host): then the page begins there.
 */
function mountTwin(id, explorer) {
  for (const host of document.querySelectorAll(`[id="${id}"]:not([data-mounted])`)) {
    host.dataset.mounted = "waiting";
    const asked = (explorer.isAskedFor?.(host) ?? false) && isFirstVisit();
    const begin = () => {
      host.dataset.mounted = "yes";
      const fallback = host.querySelector(".explorer-static");
      const place = h("div", {});
      host.append(place);
      try {
        const state = JSON.parse(host.querySelector('script[type="application/json"]').textContent);
        // Only a live explorer takes the table's place; one that opens later, or cannot, leaves it there.
        const opened = () => (fallback.hidden = true);
        explorer.render({ model: staticModel(state), el: place, opened });
        // alone in its document, or where the address leads, keys are for it from the start
        const alone = document.body.classList.contains("explorer-page") || asked;
        if (alone && document.activeElement === document.body) place.querySelector(".explorer")?.focus({ preventScroll: true });
      } catch (error) {
        fallback.hidden = false;
        showProblem(place, "This explorer could not be shown.", `${error}. The table has what it holds.`);
      }
    };
    if (typeof IntersectionObserver === "undefined") begin();
    else {
      const observer = new IntersectionObserver((entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        observer.disconnect();
        begin();
      }, { rootMargin: "200px" });
      observer.observe(host);
    }
    if (asked) host.scrollIntoView();
  }
}

/** Not after Back or a reload: there the browser brings the reader to where they were. */
function isFirstVisit() {
  return (globalThis.performance?.getEntriesByType?.("navigation")[0]?.type ?? "navigate") === "navigate";
}

// Numbers for people -------------------------------------------------------------------------------------------------

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const NUMBERS = new Intl.NumberFormat("en-GB");
const ONE_DECIMAL = new Intl.NumberFormat("en-GB", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const formatNumber = (value) => NUMBERS.format(value);

/** 1.5 MiB; as helpers.tables.format_bytes writes it. */
function formatBytes(count) {
  if (count === null || count === undefined || Number.isNaN(count)) return "";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (Math.abs(count) >= size) return `${ONE_DECIMAL.format(count / size)} ${unit}`;
  }
  return `${Math.trunc(count)} B`;
}

function formatMilliseconds(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  if (value >= 10) return `${value.toFixed(1)} ms`;
  return value >= 0.1 ? `${value.toFixed(2)} ms` : `${(value * 1000).toFixed(1)} µs`;
}
