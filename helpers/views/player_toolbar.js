// The player's buttons: steps, play, what leaves the page; and where to begin.

const SPEEDS = [[1, "1 a second"], [4, "4 a second"], [12, "12 a second"], [30, "30 a second"]];

/** Play: a step forward at each tick, until the end. */
function makePlay(move, state) {
  const button = h("button", { title: "Play (p)", "aria-label": "Play", onclick: () => toggle() }, icon("play"));
  const speed = h("select", { "aria-label": "Steps a second", onchange: () => { state.speed = Number(speed.value); if (state.playing) start(); } },
    SPEEDS.map(([value, text]) => h("option", { value, selected: value === 4 }, text)));
  function start() {
    clearInterval(state.playing);
    state.playing = setInterval(() => move("forward") || stop(), 1000 / state.speed);
    paint();
  }
  function stop() {
    clearInterval(state.playing);
    state.playing = 0;
    paint();
  }
  function paint() {
    button.setAttribute("aria-pressed", String(Boolean(state.playing)));
    button.setAttribute("aria-label", state.playing ? "Pause" : "Play");
    replaceChildren(button, icon(state.playing ? "pause" : "play"));
  }
  const toggle = () => (state.playing ? stop() : start());
  return { button, speed, toggle, stop };
}

function toolbarOf({ move, nextDifference, player, counter, copyMarkdown, copyLink, download, help, about, differences }) {
  const tool = (name, text, key, work = () => move(name), shown = text) => h("button", { title: `${text} (${keyText(key)})`, "aria-label": text, "aria-keyshortcuts": key, class: "tool", onclick: () => { player.stop(); work(); } },
    icon(name), shown ? h("span", { class: "tool-text" }, shown) : null);
  const listing = differences ? h("button", { "aria-pressed": "false", onclick: () => listing.setAttribute("aria-pressed", String(differences())) }, "Differences") : null;
  return h("div", { class: "explorer-toolbar", role: "toolbar", "aria-label": "Steps" },
    h("span", { class: "group" }, tool("previousLandmark", "Landmark before", "Shift+ArrowLeft", undefined, null), tool("back", "Back", "ArrowLeft"), tool("forward", "Forward", "ArrowRight"), tool("nextLandmark", "Next landmark", "Shift+ArrowRight", undefined, "Landmark")),
    h("span", { class: "group" }, tool("into", "Into", "i"), tool("over", "Over", "ArrowDown"), tool("out", "Out", "ArrowUp")),
    h("span", { class: "group" }, tool("nextStep", "Next token", "Shift+ArrowDown")),
    nextDifference ? h("span", { class: "group" }, tool("difference", "Next difference", "d", nextDifference), listing) : null,
    h("span", { class: "group" }, player.button, player.speed),
    counter,
    h("span", { class: "group end" },
      copyLink ? h("button", { class: "quiet", onclick: copyLink, title: "Copy the address of this step" }, "Link") : null,
      h("button", { class: "quiet", onclick: copyMarkdown, title: "Copy this step as Markdown (m)" }, "Markdown"),
      h("button", { class: "quiet", onclick: download, title: "Download the recording" }, "Download"),
      h("button", { class: "quiet", onclick: () => about.showModal() }, "About"),
      h("button", { class: "quiet", onclick: () => help.showModal(), "aria-label": "Keys", title: "Keys (?)" }, "?")));
}

/** What leaves the page: a step as Markdown, its address, the recording. `here` gives the side, `write` the address. */
function leavePage(here, say, write) {
  return {
    async copyMarkdown() {
      const copied = await copyText(markdownOf(here().run, here().position));
      say(copied ? "This step is on the clipboard, as Markdown." : "The browser does not let this page use the clipboard.");
    },
    async copyLink() {
      write();
      const copied = await copyText(location.href);
      say(copied ? "The address of this step is on the clipboard." : `The address of this step: ${location.href}`);
    },
    download() {
      const version = String(here().run.environment.transformers ?? "run").replace(/[^\w.+-]/g, "");
      downloadBytes(here().bytes, `recording-transformers-${version}.json.gz`, "application/gzip");
      say("Read it back with Recording.load(path).");
    },
  };
}

/** Where to begin: the greatest memory rise, the lines in which a load decides, the steps. */
function highlightStrip({ run, guide }, go) {
  const found = highlightsOf(run, guide);
  if (!found.length) return null;
  return h("div", { class: "highlights", role: "group", "aria-label": "Highlights of this run" }, h("span", { class: "muted" }, "Start here"),
    found.map(({ title, text, event }) => h("button", { class: "highlight", onclick: () => go(event) }, h("strong", {}, title), " ", h("span", { class: "muted" }, visible(text)))));
}
