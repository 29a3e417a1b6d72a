// The player's keys. player_help.js tells them.

const LETTER_SCROLLS = 54; // pixels: three lines

/** Scroll the source, or what flows where the focus is there: the arrows walk, so letters scroll. */
function scrollKeys(target, view) {
  const scroller = target.closest?.(".source-lines, .flow") ?? view.scroller;
  const by = (left, top) => () => scroller.scrollBy({ left: left * LETTER_SCROLLS, top: top * LETTER_SCROLLS });
  return { h: by(-1, 0), l: by(1, 0), k: by(0, -1), j: by(0, 1) };
}

function onKey(event, { move, nextDifference, player, copyMarkdown, help, clearFilters, panel, timelines, views, state }) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea, dialog")) return;
  const shifted = { ArrowRight: () => move("nextLandmark"), ArrowLeft: () => move("previousLandmark"), ArrowDown: () => move("nextStep") };
  const keys = {
    ArrowRight: () => move("forward"), ArrowLeft: () => move("back"), ArrowDown: () => move("over"), ArrowUp: () => move("out"),
    i: () => move("into"), Home: () => move("first"), End: () => move("last"),
    d: () => nextDifference?.(), "/": () => panel.search.focus(), o: () => panel.tree.element.focus(),
    t: () => timelines[state.active].element.querySelector(".track").focus(), m: copyMarkdown, c: clearFilters, "?": () => help.showModal(),
  };
  if (event.key === "p") {
    event.preventDefault();
    return player.toggle();
  }
  const scroll = scrollKeys(event.target, views[state.active])[event.key];
  if (scroll) {
    event.preventDefault();
    return scroll();
  }
  const work = event.shiftKey && event.key.startsWith("Arrow") ? shifted[event.key] : keys[event.key];
  if (!work) return undefined;
  event.preventDefault();
  player.stop();
  return work();
}
