// One side of the player: a recording with where the walk is in it, and the panels that show it.

/** Unpack a recording and its guide: {run, guide, bytes}. Rejects with an Error that says what is wrong. */
async function openSide(recordingBytes, guideBytes, label) {
  const read = async (bytes, what) => {
    const text = new TextDecoder().decode(await inflate(bytes));
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new Error(`the ${what} is damaged: it is no JSON`, { cause: error });
    }
  };
  const guide = await read(guideBytes, "landmark table");
  let run;
  try {
    run = openRecording(await read(recordingBytes, "recording"), guide);
  } catch (error) {
    throw error instanceof TypeError ? new Error("the recording is damaged: parts of it are missing", { cause: error }) : error;
  }
  return { run, guide, bytes: recordingBytes, label, position: atEvent(0) };
}

/** The panels of one side. `actions`: {go(event)} within this side. */
function sideView(side, actions, compared) {
  const stack = h("ol", { class: "breadcrumbs", "aria-label": "Call stack" });
  const purpose = h("div", { class: "purposes" });
  const source = sourcePanel();
  const flow = h("div", { class: "flow", tabindex: "0", role: "region", "aria-label": `What flows${compared ? `, ${side.label}` : ""}` });
  const heading = h("button", { class: "side-heading quiet", onclick: () => actions.activate(), title: "Walk in this recording" },
    h("strong", {}, visible(side.label)), " ", h("span", { class: "muted" }, `torch ${visible(side.run.environment.torch ?? "?")}, ${formatNumber(side.run.count)} events`));
  const missing = h("p", { class: "note missing", hidden: true }, "This recording has no counterpart of that step.");
  const where = h("div", { class: "where" }, h("nav", { "aria-label": "Call stack" }, stack), purpose, source.element);
  const element = h("div", { class: `side ${compared ? "compared-side" : ""}` }, compared ? heading : null, missing, where, flow);
  const flowView = scrollWatch(flow, 300);
  const commons = new Map();

  /** `against`: {run, event, label} of the other side, or null. `here` is false where this side has no such step. */
  function update(against, here) {
    const { run, guide, position } = side;
    const focused = element.contains(document.activeElement);
    element.classList.toggle("absent", !here);
    missing.hidden = here;
    replaceChildren(stack, breadcrumbs(run, position.event, actions.go));
    showEnd();
    replaceChildren(purpose, purposeOf(run, position.event));
    source.update(run, guide, position, against ? commonLines(run, position.event, against) : null);
    replaceChildren(flow, drawFlow(run, guide, position, against, actions.go));
    flowView.scrollTo(0);
    // What had the focus may have been replaced: without a focus in here the player's keys would be dead.
    if (focused && !element.contains(document.activeElement)) focus();
  }

  /** Where the stack is one line that scrolls, its end is the step: asked for in the frame's own layout, not now. */
  const showEnd = debounceFrame(() => (stack.scrollLeft = stack.scrollWidth));

  const focus = () => source.body.focus({ preventScroll: true });

  function commonLines(run, event, against) {
    if (against.event < 0) return null;
    const key = `${run.events.function[event]} ${against.run.events.function[against.event]}`;
    if (!commons.has(key)) {
      const [text, otherText] = [sourceOfEvent(run, event).text, sourceOfEvent(against.run, against.event).text];
      commons.set(key, text !== undefined && otherText !== undefined && text !== otherText ? linesInCommon(text, otherText) : null);
    }
    return commons.get(key);
  }

  return {
    element, update, where, flow, focus,
    scroller: source.body,
    findLine: source.find,
    stop() {
      source.stop();
      flowView.stop();
    },
    activate: (active) => {
      heading.setAttribute("aria-pressed", String(active));
      element.classList.toggle("active-side", active);
    },
  };
}
