// The text so far, and the tree of its continuations.

const CONTEXT_SHOWN = 80;

/** The tokens of the text as chips: the prompt's, then those that were appended. */
function textStrip(logits, tree, node, answer) {
  const appended = pathTo(tree, node).length - 1;
  const first = logits.input_ids.length - appended;
  const from = Math.max(0, logits.input_ids.length - CONTEXT_SHOWN);
  const penalised = new Set(answer?.penalised?.ids);
  const chips = logits.input_texts.slice(from).map((text, n) => {
    const place = from + n;
    const kinds = ["chip", "token"];
    if (place >= first) kinds.push("appended");
    if (penalised.has(logits.input_ids[place])) kinds.push("penalised");
    return dataText(text, { class: kinds.join(" "), title: `id ${logits.input_ids[place]}` });
  });
  const hidden = from > 0 ? h("span", { class: "muted" }, `… ${formatNumber(from)} tokens before`) : null;
  const next = h("span", { class: "chip next", "aria-hidden": "true" }, "?");
  return h("div", { class: "text-tokens" }, hidden, chips, next);
}

function pathTo(tree, node) {
  const path = [node];
  while (tree[path[0]].parent !== null) path.unshift(tree[path[0]].parent);
  return path;
}

/** The tree as nested lists of buttons; a run of single children stays on one line. */
function treeOf(tree, node, onGo) {
  const children = tree.map(() => []);
  for (const one of tree) if (one.parent !== null) children[one.parent].push(one.id);
  const button = (id) => {
    const one = tree[id];
    const chance = one.probability === null ? "" : ` ${percent(one.probability)}`;
    const title = one.parent === null ? "Back to the prompt" : `id ${one.token_id}, ${one.how}, probability when appended`;
    return h("button", {
      class: `tree-node ${one.how}`,
      "aria-current": id === node ? "true" : null,
      title,
      onclick: () => onGo(id),
    }, one.parent === null ? "prompt" : dataText(one.text, { class: "token" }),
    h("span", { class: "tree-chance" }, chance), one.ends ? h("span", { class: "tree-chance" }, " end") : null);
  };
  const branch = (id) => {
    const line = [button(id)];
    let last = id;
    while (children[last].length === 1) {
      [last] = children[last];
      line.push(button(last));
    }
    const below = children[last].map(branch);
    return h("li", {}, h("div", { class: "tree-line" }, line), below.length ? h("ul", {}, below) : null);
  };
  return h("ul", { class: "tree", "aria-label": "Tree of continuations" }, branch(0));
}

/** The texts that the tree has grown to, one beside the other. */
function grownTexts(tree, node, onGo) {
  const parents = new Set(tree.map((one) => one.parent));
  const leaves = tree.filter((one) => one.parent !== null && !parents.has(one.id));
  if (!leaves.length) return h("p", { class: "muted" }, "Nothing was appended yet.");
  const rows = leaves.map((leaf) => {
    const path = pathTo(tree, leaf.id).slice(1);
    const kinds = [...new Set(path.map((id) => tree[id].how))];
    return h("tr", {},
      h("td", { class: "muted" }, kinds.join(", ")),
      h("td", {}, h("button", {
        class: "quiet grown",
        "aria-current": leaf.id === node ? "true" : null,
        onclick: () => onGo(leaf.id),
      }, "… ", dataText(path.map((id) => tree[id].text).join(""), { class: "token" }))));
  });
  return h("table", { class: "grid grown-texts" }, h("caption", {}, "Texts so far, by how their tokens were chosen"),
    h("tbody", {}, rows));
}
