// The sampling explorer: controls, pictures and the tree around one contract. A request is set on the model, and the
// answer comes back as its `result`: from the installed library where there is a kernel, else from this page.

const WAIT_MILLISECONDS = 400;
const LONG_MILLISECONDS = 10_000; // the kernel may be busy, or another by now, and no host tells which for certain
const OLD_NUMBERS = "The numbers are those of the last answer.";
const NO_ANSWER = "No answer yet. If the kernel was restarted or shut down, run this cell again.";
const ENDINGS = new Set(["restarting", "autorestarting", "terminating", "dead"]); // of a kernel, in JupyterLab's words
const GONE = "The kernel that answered was restarted or shut down: run this cell again.";

function render({ model, el, opened = () => {} }) {
  const { root, dispose, onDispose } = mountExplorer(el, "Sampling explorer");
  const explorer = new SamplingView(model, root, onDispose);
  explorer.begin();
  opened();
  return dispose;
}

class SamplingView {
  constructor(model, root, onDispose) {
    this.model = model;
    this.root = root;
    this.onDispose = onDispose;
    this.kernel = Boolean(model.get("kernel"));
    this.installed = model.get("installed");
    const { node, a, b } = model.get("request");
    this.wanted = { node, a, b };
    this.editing = "a"; // which of the two settings the controls show
    this.shown = { count: ROWS_SHOWN[0], find: "", logarithmic: false };
    this.draw = null;
    this.queue = [];
    this.inFlight = null;
    this.viewId = Math.random().toString(36).slice(2);
    this.sent = 0;
  }

  begin() {
    if (!this.kernel) this.onDispose(answerOnPage(this.model));
    this.decode();
    this.build();
    this.onDispose(listen(this.model, {
      "change:result": () => this.answered(),
      "change:request": () => this.otherViewAsked(),
    }));
    const resized = new ResizeObserver(debounceFrame(() => this.answers && this.drawCumulative()));
    resized.observe(this.parts.cumulative);
    this.onDispose(() => resized.disconnect());
    this.onDispose(() => clearTimeout(this.waiting));
    if (this.kernel) this.onDispose(whenKernelGoes(this.model, () => this.kernelGone()));
    this.show();
  }

  // Requests and answers ---------------------------------------------------------------------------------------------

  /** Ask for an answer to what is wanted now. While one is on its way, later changes of a setting become one. */
  ask(what = null, node = null) {
    const last = this.queue.at(-1);
    const replaced = last && !last.do && !what ? this.queue.pop() : null;
    // An action is done where the reader stood when they asked for it.
    const place = node ?? replaced?.node ?? (what ? this.wanted.node : null);
    this.queue.push({ ...this.wanted, node: place, do: what });
    this.sendNext();
  }

  sendNext() {
    if (this.gone || this.inFlight !== null || !this.queue.length) return;
    const next = this.queue.shift();
    // A setting that changed means the node to which the last answer has led.
    const request = { ...next, node: next.node ?? this.wanted.node };
    this.inFlight = request.serial = `${this.viewId}-${++this.sent}`;
    this.parts.sampling.setAttribute("aria-busy", "true");
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.waits(), WAIT_MILLISECONDS);
    this.model.set("request", request);
    this.model.save_changes();
  }

  waits() {
    this.tellOld("Waiting for the kernel …");
    this.waiting = setTimeout(() => this.tellOld(NO_ANSWER), LONG_MILLISECONDS - WAIT_MILLISECONDS);
  }

  /** Nobody will answer: say so, now and to all that is asked from here on. */
  kernelGone() {
    clearTimeout(this.waiting);
    this.gone = true;
    this.tellOld(GONE);
  }

  /** A message on an answer that is missing; what is shown does not look like it. */
  tellOld(message) {
    this.tell(`${message} ${OLD_NUMBERS}`);
    this.parts.sampling.classList.add("old-numbers");
  }

  answered() {
    const result = this.model.get("result");
    const mine = result.serial === this.inFlight;
    if (mine) {
      this.inFlight = null;
      clearTimeout(this.waiting);
    }
    const asked = this.queue.findLast((one) => !one.do && one.node !== null); // a node clicked while this was on its way
    this.wanted.node = asked?.node ?? result.node;
    this.decode();
    this.show();
    if (mine) this.sendNext();
    if (this.inFlight === null) this.parts.sampling.removeAttribute("aria-busy");
  }

  otherViewAsked() {
    const request = this.model.get("request");
    if (request.serial.startsWith(this.viewId)) return;
    this.wanted = { node: request.node, a: request.a, b: request.b };
    if (!request.b) this.editing = "a";
  }

  decode() {
    const data = this.model.get("distribution");
    if (this.decodedFrom !== data) {
      this.decodedFrom = data;
      this.logits = decodeLogits(data);
    }
    const result = this.model.get("result");
    const ready = (answer) => {
      if (!answer || answer.refusal) return answer;
      const numbers = (value, read) => (typeof value === "string" ? read(value) : value);
      const decoded = {
        ...answer,
        probabilities: numbers(answer.probabilities, floatsOf),
        removed_by: numbers(answer.removed_by, integersOf),
      };
      return { ...decoded, raw: rawProbabilities(this.logits, decoded) };
    };
    this.result = { ...result, a: ready(result.a), b: ready(result.b) };
    const draw = result.draw;
    if (draw) {
      this.draw = {
        ...draw,
        node: result.node,
        settings: JSON.stringify(this.model.get("request")[draw.which]),
        counts: typeof draw.counts === "string" ? integersOf(draw.counts) : draw.counts,
      };
    }
  }

  /** The draws, while what they were drawn from is what is shown. */
  currentDraw() {
    const { draw } = this;
    if (!draw || draw.node !== this.result.node) return null;
    return this.wanted[draw.which] && draw.settings === JSON.stringify(this.wanted[draw.which]) ? draw : null;
  }

  // The page ---------------------------------------------------------------------------------------------------------

  build() {
    const parts = (this.parts = {});
    for (const name of ["text", "message", "actions", "tokens", "chain", "cumulative", "penalty", "draws", "tree", "grown"]) {
      parts[name] = h("div", { class: `part-${name}` });
    }
    parts.message.setAttribute("role", "status");
    this.controls = settingControls(this.installed, this.logits.vocabulary, (settings) => {
      this.wanted = { ...this.wanted, [this.editing]: settings };
      this.ask();
    });
    this.root.append(
      explorerHeader(this),
      parts.sampling = h("div", { class: "sampling" }, h("div", { class: "sampling-frame" },
        h("div", { class: "sampling-controls" }, settingsPanel(this)),
        h("div", { class: "sampling-main" },
          parts.text, promptForm(this), parts.message, parts.actions, parts.tokens, parts.draws),
        h("div", { class: "sampling-side" }, parts.chain, parts.cumulative, parts.penalty),
        h("div", { class: "sampling-below" }, parts.tree, parts.grown))),
    );
    fillActions(this);
    fillTokens(this);
  }

  // What the reader does ---------------------------------------------------------------------------------------------

  /** The answer that pictures of only one show; A while B's is on its way. */
  answer() {
    return this.result[this.editing] ?? this.result.a;
  }

  /** Which settings a picture of only one shows. */
  whose() {
    return this.wanted.b ? ` under ${this.editing.toUpperCase()}` : "";
  }

  set(settings) {
    this.wanted = { ...this.wanted, [this.editing]: settings };
    this.ask();
  }

  edit(which) {
    this.editing = which;
    this.show();
  }

  toggleCompare() {
    const b = this.wanted.b ? null : { ...this.wanted.a };
    this.wanted = { ...this.wanted, b };
    this.editing = b ? "b" : "a";
    this.ask();
  }

  append({ id, text }, how) {
    this.ask({ kind: "append", which: this.editing, token_id: id, text, how });
  }

  go(node) {
    this.wanted = { ...this.wanted, node };
    this.ask(null, node);
  }

  list(change) {
    this.shown = { ...this.shown, ...change };
    this.showTokens();
  }

  // Showing ----------------------------------------------------------------------------------------------------------

  show() {
    const { parts, result, wanted } = this;
    if (!wanted.b) this.editing = "a";
    parts.compare.setAttribute("aria-pressed", String(Boolean(wanted.b)));
    parts.tabs.hidden = !wanted.b;
    for (const tab of parts.tabs.children) tab.setAttribute("aria-pressed", String(tab.dataset.which === this.editing));
    const refused = result[this.editing]?.refusal;
    if (this.queue.length === 0) this.controls.show(wanted[this.editing], refused);
    parts.python.textContent = asPython(wanted[this.editing]);
    parts.python.classList.toggle("refused", Boolean(refused));
    parts.copy.disabled = Boolean(refused); // generate() would refuse it
    parts.time.textContent = result.milliseconds === null ? "" : `in ${formatMilliseconds(result.milliseconds)}`;
    replaceChildren(parts.text, textStrip(this.logits, this.model.get("tree"), result.node, this.answer()));
    this.tell(result.message);
    this.showTree();
    const refusals = [["A", result.a], ["B", result.b]].filter(([, answer]) => answer?.refusal);
    this.answers = refusals.length ? null : [result.a, result.b].filter(Boolean);
    this.showRefusals(refusals);
    if (this.answers) this.showAnswers();
  }

  tell(message) {
    this.parts.sampling.classList.remove("old-numbers");
    replaceChildren(this.parts.message, message ? h("p", { class: "note" }, dataText(message)) : null);
  }

  /** What cannot be used stands where the numbers would; nothing of an earlier answer stays. */
  showRefusals(refused) {
    const { parts } = this;
    for (const name of ["actions", "tokens", "chain", "cumulative", "penalty", "draws"]) {
      parts[name].hidden = refused.length > 0;
    }
    parts.refusal?.remove();
    if (!refused.length) return;
    parts.refusal = h("div", { class: "refusal" });
    for (const [name, answer] of refused) {
      const whose = this.wanted.b ? `Settings ${name}` : "These settings";
      showProblem(parts.refusal, `${whose} cannot be used:`, answer.refusal);
    }
    parts.message.after(parts.refusal);
  }

  showAnswers() {
    const { parts, answers } = this;
    const answer = this.answer();
    const drawn = this.currentDraw();
    const greedy = answer.probabilities[this.logits.places.get(answer.greedy_id)] ?? 0;
    const best = dataText(answer.greedy_text, { class: "token" });
    replaceChildren(parts.greedy, "Append greedy ", best, ` ${percent(greedy)}`);
    replaceChildren(parts.drawn, "Append drawn ", drawn ? dataText(drawn.last_text, { class: "token" }) : "…",
      this.kernel ? "" : " (the browser's random numbers)");
    parts.greedy.disabled = answer.greedy_id < 0;
    parts.drawn.disabled = !drawn || drawn.last_id < 0;
    this.showTokens();
    this.showChain();
    this.drawCumulative();
    replaceChildren(parts.penalty, answer.penalised ? penaltyTable(this.logits, answer, this.whose()) : null);
    const many = drawn && drawn.count > 1;
    replaceChildren(parts.draws, many ? drawsPlot(this.logits, this.result[drawn.which], drawn) : null);
    const last = answer.stages.at(-1);
    announce(this.root, `${tokensOf(last.kept)} possible, entropy ${last.entropy.toFixed(2)} bits, ` +
      `most likely ${visible(last.top_text)} ${percent(last.top_probability)}`);
  }

  showTokens() {
    const { parts, answers, logits } = this;
    if (!answers) return;
    const shown = tokenRows(logits, answers, this.shown);
    const tree = this.model.get("tree");
    const children = tree.filter((one) => one.parent === this.result.node);
    const carried = new Set(this.kernel ? [] : children.map((one) => one.token_id));
    replaceChildren(parts.legend, legendOf(answers));
    const focused = parts.list.contains(document.activeElement);
    replaceChildren(parts.list, shown.rows.length ? tokenList(shown, {
      carried, drawn: this.currentDraw()?.last_id, greedyId: this.answer().greedy_id,
      onAppend: (row) => this.append(row, "chosen"),
    }) : h("p", { class: "muted" }, `None of the ${formatNumber(logits.ids.length)} likeliest tokens contains this.`));
    if (focused) parts.list.focus();
  }

  showChain() {
    const { parts, answers } = this;
    const tables = answers.map((answer, place) => {
      const name = answers.length > 1 ? ` ${"AB"[place]}` : "";
      return [
        chainTable(answer, `The chain${name}, in the order of the library`),
        h("p", { class: "muted absent" }, absentSteps(this.installed, answer)),
        tiesKept(answer).map((words) => h("p", { class: "muted ties" }, words)),
        answer.messages.map((message) => h("p", { class: "note" }, dataText(message))),
      ];
    });
    replaceChildren(parts.chain, answers.length > 1 ? h("p", {}, differenceInWords(answers)) : null, tables);
  }

  drawCumulative() {
    const { parts } = this;
    const width = Math.max(260, parts.cumulative.clientWidth || 480);
    replaceChildren(parts.cumulative, cumulativePlot(this.answer(), this.logits.vocabulary, width, this.whose()));
  }

  showTree() {
    const { parts } = this;
    const tree = this.model.get("tree");
    const go = (node) => this.go(node);
    const pictures = [
      [parts.tree, [h("h3", {}, "Continuations so far"), treeOf(tree, this.result.node, go)]],
      [parts.grown, grownTexts(tree, this.result.node, go)],
    ];
    for (const [part, content] of pictures) {
      const focused = part.contains(document.activeElement);
      replaceChildren(part, content);
      if (focused) part.querySelector('[aria-current="true"]')?.focus();
    }
  }
}

/** Call `gone` when the kernel of a live explorer restarts or ends, where the host says so (JupyterLab does). */
function whenKernelGoes(model, gone) {
  const told = model.widget_manager?.kernel?.statusChanged;
  if (!told?.connect) return () => {};
  const listener = (_, status) => ENDINGS.has(status) && gone();
  told.connect(listener);
  return () => told.disconnect(listener);
}

/** What the library has and did not build, with the value in force. */
function absentSteps(installed, answer) {
  const built = new Set(answer.stages.map((stage) => stage.processor));
  const absent = installed.chain.True.filter((name) => !built.has(name) && PROCESSORS[name]);
  if (!absent.length) return "Every step that this library has is in the chain.";
  const values = absent.map((name) => {
    const { parameter } = PROCESSORS[name];
    return `${parameter}=${answer.effective[parameter]}`;
  });
  const why = answer.do_sample ? "" : "do_sample=False: nothing from temperature on is built. ";
  return `${why}Not in the chain: ${values.join(", ")}.`;
}

/** How much probability two answers place differently. */
function differenceInWords([a, b]) {
  let moved = Math.abs(a.others.probability - b.others.probability);
  a.probabilities.forEach((probability, place) => (moved += Math.abs(probability - b.probabilities[place])));
  const [first, second] = [a, b].map((answer) => answer.stages.at(-1));
  return `A keeps ${tokensOf(first.kept)}, B ${tokensOf(second.kept)}; entropy ${first.entropy.toFixed(2)} and ` +
    `${second.entropy.toFixed(2)} bits; they place ${percent(moved / 2)} of the probability differently.`;
}

const explorer = { render };
export default { render };
export { answerRequest, buildChain, computeResult, decodeLogits, effectiveSettings, pythonFloat, randomNumbers };
