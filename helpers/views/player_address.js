// The step in the page's address: #step=EVENT or #step=EVENT.LINE; in the second of two recordings #step=bEVENT. A page
// with several players has one part for each: #step=12&step-2=b7. Not in JupyterLab, whose address is not ours.

const ADDRESS_DELAY = 400; // milliseconds of rest before the address is changed: browsers limit how often it may be
const STEP_PART = /^(step(?:-\d+)?)=(b?)(\d+)(?:\.(\d+))?$/;

/** The steps of an address' fragment, by name ("step", "step-2"): {side, event, line}; null where it is none of ours. */
function stepsOfAddress(fragment) {
  const parts = fragment.replace(/^#/, "").split("&").filter(Boolean).map((part) => STEP_PART.exec(part));
  if (parts.includes(null)) return null;
  return new Map(parts.map(([, name, side, event, line]) =>
    [name, { side: side ? 1 : 0, event: Number(event), line: line === undefined ? -1 : Number(line) }]));
}

function addressOfSteps(steps) {
  const parts = [...steps].map(([name, { side, event, line }]) => `${name}=${side ? "b" : ""}${event}${line >= 0 ? `.${line}` : ""}`);
  return `#${parts.join("&")}`;
}

/** Whether the address leads to this player: of several, its first part is of the one that moved last. */
function isAskedFor(host) {
  const [first] = stepsOfAddress(location.hash)?.keys() ?? [];
  return first === nameInAddress(host);
}

/** What this player is called in the address: the first of the page is "step", whichever came to life first. */
function nameInAddress(el) {
  const players = [...document.querySelectorAll('.explorer-twin[data-explorer="player"]')];
  const place = players.indexOf(el.closest(".explorer-twin"));
  return place > 0 ? `step-${place + 1}` : "step";
}

/** `state.active` and the sides' positions are written, `travel(side, position)` is called when the address changes. */
function stepInAddress(isLive, name, sides, state, travel) {
  let timer = 0;

  function read() {
    const asked = isLive ? null : stepsOfAddress(location.hash)?.get(name);
    const run = asked && sides[asked.side]?.run;
    if (!run || asked.event >= run.count) return null;
    const isLine = asked.line >= 0 && run.lines[asked.line]?.event === asked.event;
    return { side: asked.side, position: isLine ? atLine(run, asked.line) : atEvent(asked.event) };
  }

  function put() {
    const others = [...(stepsOfAddress(location.hash) ?? [])].filter(([one]) => one !== name);
    const steps = [[name, { side: state.active, ...sides[state.active].position }], ...others]; // this one moved last
    history.replaceState(history.state, "", addressOfSteps(steps));
  }

  /** This player's part of the address, as text; null where the address leads to something else. */
  function part() {
    const steps = stepsOfAddress(location.hash);
    return steps && JSON.stringify(steps.get(name) ?? "");
  }

  /** Later, when the walk rests; not where the address has changed by then: the reader goes there, we hear of it next. */
  function putLater() {
    const before = part();
    timer = setTimeout(() => part() === before && put(), ADDRESS_DELAY);
  }

  const changed = () => {
    const asked = read();
    if (!asked || (asked.side === state.active && samePosition(asked.position, sides[asked.side].position))) return;
    travel(asked.side, asked.position);
  };
  if (!isLive) globalThis.addEventListener("hashchange", changed);
  return {
    read,
    /** Put the step there. An address that leads to something else stays, unless the reader asked (`now`). */
    write(now = false) {
      clearTimeout(timer);
      if (isLive || (!now && !stepsOfAddress(location.hash))) return;
      if (now) put();
      else putLater();
    },
    stop() {
      clearTimeout(timer);
      globalThis.removeEventListener("hashchange", changed);
    },
  };
}
