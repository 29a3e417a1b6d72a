// Answers to the sampling explorer's requests on a page without a kernel: the same contract as
// helpers/sampling_answers/answers.py, from the distributions that travelled with the page and the page's own chain.

/** Answer every request that is set on a static model, at once. Returns what takes it off again. */
function answerOnPage(model) {
  const carried = model.get("distributions");
  const decoded = new Map();
  const host = {
    installed: model.get("installed"),
    tree: model.get("tree"),
    carries: (node) => Object.hasOwn(carried, node),
    count: Object.keys(carried).length,
    decoded(node) {
      if (!decoded.has(node)) decoded.set(node, decodeLogits(carried[node]));
      return decoded.get(node);
    },
  };
  const answer = () => {
    const request = model.get("request");
    const result = answerRequest(host, request);
    if (model.get("distribution").node !== result.node) {
      model.set("distribution", { node: result.node, ...carried[result.node] });
    }
    model.set("result", result);
  };
  const off = listen(model, { "change:request": answer });
  answer();
  return off;
}

/** The answer to one request; what this page cannot do is said in `message`. */
function answerRequest(host, request) {
  let { node } = request;
  let draw = null;
  let message = "";
  try {
    ({ node, draw } = act(host, request));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    message = error.message;
    node = error.node ?? node;
  }
  const result = (settings) => settings && computeResult(host.installed, host.decoded(node), settings);
  return {
    serial: request.serial,
    node,
    message,
    a: result(request.a),
    b: result(request.b),
    draw,
    milliseconds: null,
  };
}

function act(host, { node, do: what, ...request }) {
  if (!what) return { node, draw: null };
  const settings = request[what.which ?? "a"] ?? {};
  if (what.kind === "append") return { node: childOf(host, node, what.token_id, what.text), draw: null };
  if (what.kind === "draw") return { node, draw: drawMany(host, node, settings, what) };
  if (what.kind === "continue") {
    const asked = what.greedy ? { ...settings, do_sample: "False" } : settings;
    return { node: goOn(host, node, asked, what), draw: null };
  }
  throw new Refusal("A new prompt runs the model, and this page has none: open the notebook, with a kernel.");
}

/** The node behind `node` with this token, where its distribution travelled. */
function childOf(host, node, tokenId, text) {
  const child = host.tree.find((one) => one.parent === node && one.token_id === tokenId);
  if (child && host.carries(child.id)) return child.id;
  const refusal = new Refusal(
    `What comes after ${text ?? "this token"} takes a forward pass of the model, and this page has none. ` +
      `It carries ${host.count} distributions: those in the tree, whose tokens are marked ▸. ` +
      "With a kernel, any token can be appended.",
  );
  refusal.node = node;
  throw refusal;
}

function goOn(host, node, settings, { seed, count }) {
  const random = randomNumbers(seed);
  for (let step = 0; step < count && !host.tree[node].ends; step++) {
    const result = usable(computeResult(host.installed, host.decoded(node), settings));
    const drawn = result.do_sample ? drawOne(host.decoded(node), result.final, random()) : null;
    const token = drawn ?? { id: result.greedy_id, text: result.greedy_text };
    node = childOf(host, node, token.id, token.text);
  }
  return node;
}

function drawMany(host, node, settings, { which, seed, count }) {
  const decoded = host.decoded(node);
  const result = usable(computeResult(host.installed, decoded, settings));
  const random = randomNumbers(seed);
  const counts = new Int32Array(decoded.exact);
  const cumulative = cumulated(result.final);
  let others = 0;
  let last = { id: result.greedy_id, text: result.greedy_text, index: decoded.places.get(result.greedy_id) };
  for (let n = 0; n < count; n++) {
    if (result.do_sample) last = drawOne(decoded, result.final, random(), cumulative);
    if (last.index < decoded.exact) counts[last.index]++;
    else others++;
  }
  const source = "this page's own random numbers, which are not torch's";
  return { which, seed, count, source, counts, others, last_id: last.id, last_text: last.text };
}

function usable(result) {
  if (result.refusal) throw new Refusal(result.refusal);
  return result;
}

function cumulated({ weighed }) {
  let total = 0;
  return weighed.weights.map((weight) => (total += weight));
}

/** The token at which a random number between 0 and 1 falls. */
function drawOne(decoded, final, random, cumulative = cumulated(final)) {
  const wanted = random * cumulative.at(-1);
  let low = 0;
  let high = cumulative.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (cumulative[middle] > wanted) high = middle;
    else low = middle + 1;
  }
  const index = final.row.order[low];
  if (index < decoded.exact) return { id: decoded.ids[index], text: decoded.texts[index], index };
  return { id: -1, text: "one of the others", index };
}

/** Random numbers between 0 and 1 from a seed: Mulberry32 (Tommy Ettinger, public domain). */
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
