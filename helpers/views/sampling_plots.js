// The pictures of the sampling explorer, from results and compact logits; each gives an element or fills one.

// A processor has the same colour in every picture. Patterns repeat what a colour says.
const COLOURS = {
  TopKLogitsWarper: 2, TopPLogitsWarper: 3, MinPLogitsWarper: 4, TypicalLogitsWarper: 5, TopHLogitsWarper: 7,
  EpsilonLogitsWarper: 6, EtaLogitsWarper: 8, NoRepeatNGramLogitsProcessor: 1,
};
const colourOf = (processor) => `var(--series-${COLOURS[processor] ?? 8})`;
const patternOf = (processor) => `pattern-${COLOURS[processor] ?? 8}`;

const shortName = (processor) => processor.replace(/Logits(Warper|Processor)$/, "") || processor;

/** "TopKLogitsWarper(top_k=50)" as "TopK", "top_k=50". */
function labelParts(label) {
  const place = label.indexOf("(");
  return place < 0 ? [shortName(label), ""] : [shortName(label.slice(0, place)), label.slice(place + 1, -1)];
}

/** A probability with two significant digits or more, as helpers.views.pictures.percent writes it. */
function percent(probability) {
  if (probability === 0) return "0%";
  if (probability < 0.00001) return "<0.001%";
  return `${(100 * probability).toFixed(probability >= 0.001 ? 1 : 3)}%`;
}

/** Softmax of the raw logits over the whole vocabulary, for the exact tokens. */
function rawProbabilities(logits, answer) {
  const top = logits.logits.reduce((most, logit) => Math.max(most, logit), -Infinity);
  const weights = Float64Array.from(logits.logits, (logit) => Math.exp(logit - top));
  const share = 1 - answer.others.raw;
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => (share * weight) / sum);
}

// Tokens -------------------------------------------------------------------------------------------------------------

const LOWEST_SHOWN = 1e-6; // where a logarithmic axis of probabilities begins

/** What the rows of tokens show: {rows, rest, share}. `find`: a text that a token must contain. */
function tokenRows(logits, answers, { count, find, logarithmic }) {
  const [a, b] = answers;
  const wanted = find.toLowerCase();
  const places = [];
  for (let place = 0; place < logits.ids.length && places.length < count; place++) {
    if (!wanted || logits.texts[place].toLowerCase().includes(wanted)) places.push(place);
  }
  const own = new Set(logits.input_ids);
  const rows = places.map((place) => ({
    place,
    id: logits.ids[place],
    text: logits.texts[place],
    raw: a.raw[place],
    own: own.has(logits.ids[place]),
    a: fateOf(a, place),
    b: b && fateOf(b, place),
  }));
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const restOf = (answer, key) => {
    const kept = answer.stages.at(-1).kept - rows.filter((row) => row[key].removedBy === null).length;
    const left = 1 - sum(rows.map((row) => row[key].probability));
    return { kept, probability: kept ? Math.max(0, left) : 0 };
  };
  const rest = {
    count: logits.vocabulary - rows.length,
    raw: Math.max(0, 1 - sum(rows.map((row) => row.raw))),
    a: restOf(a, "a"),
    b: b && restOf(b, "b"),
  };
  const shown = [...rows.flatMap((row) => [row.raw, row.a.probability, row.b?.probability ?? 0])];
  if (!wanted) shown.push(rest.raw, rest.a.probability, rest.b?.probability ?? 0);
  return { rows, rest, share: axisOf(Math.max(...shown, 1e-12), logarithmic) };
}

/** A function from a probability to the share of the axis that its bar takes. */
function axisOf(most, logarithmic) {
  if (!logarithmic) return (probability) => Math.min(1, probability / most);
  const decades = (probability) => Math.max(0, Math.log10(probability / LOWEST_SHOWN));
  return (probability) => Math.min(1, decades(probability) / Math.max(decades(most), 1e-12));
}

/** What became of a token: its probability, and the processor that removed it (null: kept). */
function fateOf(answer, place) {
  const by = answer.removed_by[place];
  if (by === NEVER_POSSIBLE) return { probability: 0, removedBy: "the model (-inf)" };
  return { probability: answer.probabilities[place], removedBy: by < 0 ? null : answer.stages[by + 1].processor };
}

/** The list of tokens: outline raw, bar processed, hatched where removed. A click appends the token. */
function tokenList({ rows, rest, share }, { carried, drawn, greedyId, onAppend }) {
  const items = rows.map((row) =>
    h("li", {}, h("button", {
      class: "token-row",
      title: `id ${row.id}. Click to append it to the text and look at what comes then.`,
      onclick: () => onAppend(row),
    },
    h("span", { class: "token-name" },
      h("span", { class: "token-mark muted", "aria-hidden": "true" }, carried.has(row.id) ? "▸" : ""),
      dataText(row.text, { class: "token" }),
      row.own ? h("span", { class: "token-tag", title: "This token is in the text already." }, "in text") : null,
      row.id === greedyId ? h("span", { class: "token-tag greedy" }, "greedy") : null,
      row.id === drawn ? h("span", { class: "token-tag drawn" }, "drawn") : null),
    barsOf(row, share),
    h("span", { class: "token-values" }, valueOf(row.a), row.b ? [" | ", valueOf(row.b)] : null)),
  ));
  if (rest.count > 0) items.push(h("li", { class: "token-row rest" }, restCells(rest, share)));
  return h("ol", { class: "tokens", "aria-label": "Tokens by falling raw probability" }, items);
}

function restCells(rest, share) {
  const kept = (part) => `${percent(part.probability)}, ${formatNumber(part.kept)} kept`;
  const fate = (part) => ({ probability: part.probability, removedBy: null });
  return [
    h("span", { class: "token-name muted" }, `the other ${formatNumber(rest.count)}`),
    barsOf({ raw: rest.raw, a: fate(rest.a), b: rest.b && fate(rest.b) }, share),
    h("span", { class: "token-values" }, kept(rest.a), rest.b ? ` | ${kept(rest.b)}` : ""),
  ];
}

function valueOf({ probability, removedBy }) {
  if (removedBy === null) return percent(probability);
  return h("span", { class: "removed" }, h("span", { class: "visually-hidden" }, "removed by "), shortName(removedBy));
}

function barsOf({ raw, a, b }, share) {
  const width = (probability) => ({ width: `${(100 * share(probability)).toFixed(3)}%` });
  const bar = (fate, kind) =>
    fate.removedBy === null
      ? h("span", { class: `bar ${kind}`, style: width(fate.probability) })
      : h("span", {
        class: `bar removed ${patternOf(fate.removedBy)}`,
        style: { ...width(raw), "--colour": colourOf(fate.removedBy) },
      });
  return h("span", { class: b ? "bars two" : "bars", "aria-hidden": "true" },
    bar(a, "a"), b ? bar(b, "b") : null, h("span", { class: "outline", style: width(raw) }));
}

/** What the bars mean, and how many tokens each processor removed. */
function legendOf(answers) {
  const entries = [h("li", {}, h("span", { class: "swatch outline" }), "before: raw probability")];
  answers.forEach((answer, place) => {
    const name = answers.length > 1 ? ` ${"AB"[place]}` : "";
    entries.push(h("li", {}, h("span", { class: `swatch ${place ? "b" : "a"}` }),
      `after${name}: ${tokensOf(answer.stages.at(-1).kept)} possible`));
    for (const stage of answer.stages.slice(1)) {
      if (!stage.removed) continue;
      entries.push(h("li", {}, swatchOf(stage.processor),
        `removed by ${shortName(stage.processor)}${name}: ${formatNumber(stage.removed)}`));
    }
  });
  return h("ul", { class: "legend" }, entries);
}

const tokensOf = (count) => `${formatNumber(count)} ${count === 1 ? "token" : "tokens"}`;

function swatchOf(processor) {
  return h("span", { class: `swatch removed ${patternOf(processor)}`, style: { "--colour": colourOf(processor) } });
}

// The chain ----------------------------------------------------------------------------------------------------------

const CHAIN_COLUMNS = ["stage", "kept", "entropy (bits)", "p(top)", "top token"];

/** The chain as a table, in the library's order; stages that do nothing are grey. */
function chainTable(answer, caption) {
  const rows = answer.stages.map((stage, number) => {
    const [name, parameters] = labelParts(stage.label);
    const effect = !stage.changed ? "changes nothing" : stage.removed ? `−${formatNumber(stage.removed)}` : "";
    return h("tr", { class: stage.changed ? "" : "idle" },
      h("th", { scope: "row" },
        stage.removed ? swatchOf(stage.processor) : h("span", { class: "swatch none" }),
        number ? `${number}. ` : "", h("span", { title: stage.processor }, name),
        parameters ? h("span", { class: "muted parameters" }, ` ${parameters}`) : null,
        effect ? h("span", { class: "muted effect" }, ` ${effect}`) : null),
      h("td", { class: "number" }, formatNumber(stage.kept)),
      h("td", { class: "number" }, stage.entropy.toFixed(2)),
      h("td", { class: "number" }, percent(stage.top_probability)),
      h("td", {}, dataText(stage.top_text, { class: "token" })));
  });
  const head = CHAIN_COLUMNS.map((name, place) =>
    h("th", { scope: "col", class: place > 0 && place < 4 ? "number" : "" }, name));
  return h("div", { class: "scrolling", tabindex: 0, role: "region", "aria-label": caption },
    h("table", { class: "grid chain" }, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
}

/** Where top_k keeps more than k tokens, why. */
function tiesKept(answer) {
  const k = Number(answer.effective.top_k);
  const more = answer.stages.filter((stage) => stage.processor === "TopKLogitsWarper" && stage.kept > k);
  return more.map(({ kept }) => `top_k=${k} keeps ${tokensOf(kept)}: all with a score as high as number ${k}'s stay.`);
}

/** The prompt's own tokens before and after the repetition penalty, the likeliest first. */
function penaltyTable(logits, answer, whose, most = 12) {
  const { ids, scores } = answer.penalised;
  const rows = ids
    .map((id, n) => ({ place: logits.places.get(id), score: scores[n] }))
    .filter(({ place }) => place !== undefined)
    .sort((one, other) => logits.logits[other.place] - logits.logits[one.place]);
  const body = rows.slice(0, most).map(({ place, score }) => {
    const fate = fateOf(answer, place);
    const after = score === null ? "-inf" : score.toFixed(2);
    return h("tr", {},
      h("th", { scope: "row" }, dataText(logits.texts[place], { class: "token" })),
      h("td", { class: "number" }, `${logits.logits[place].toFixed(2)} → ${after}`),
      h("td", { class: "number" }, percent(answer.raw[place]), " → ", valueOf(fate)));
  });
  const part = rows.length > most ? `, the likeliest ${most}` : "";
  const caption = `The repetition penalty${whose} on the text's own ${tokensOf(rows.length)}${part}`;
  return h("div", { class: "scrolling", tabindex: 0, role: "region", "aria-label": caption },
    h("table", { class: "grid" }, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "token"),
        h("th", { scope: "col", class: "number" }, "score"),
        h("th", { scope: "col", class: "number" }, "probability, at the end of the chain"))),
      h("tbody", {}, body)));
}

// Cumulative probability ---------------------------------------------------------------------------------------------

/** The probability of the n likeliest tokens together: raw, and after each stage that changed something. */
function cumulativePlot(answer, vocabulary, width, whose) {
  const height = 230;
  const area = { left: 40, right: 12, top: 10, bottom: 34 };
  const across = (rank) =>
    area.left + ((width - area.left - area.right) * Math.log(rank)) / Math.max(Math.log(vocabulary), 1e-9);
  const down = (share) => area.top + (height - area.top - area.bottom) * (1 - share);
  const picture = svg("svg", {
    class: "cumulative", width, height, viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": cumulativeInWords(answer),
  });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    picture.append(
      svg("line", { class: "guide", x1: area.left, x2: width - area.right, y1: down(share), y2: down(share) }),
      svg("text", { class: "tick", x: area.left - 6, y: down(share) + 4, "text-anchor": "end" }, `${100 * share}%`),
    );
  }
  for (let rank = 1; rank <= vocabulary; rank *= 10) {
    const anchor = rank === 1 ? "start" : "middle";
    picture.append(
      svg("text", { class: "tick", x: across(rank), y: height - 18, "text-anchor": anchor }, formatNumber(rank)),
    );
  }
  picture.append(svg("text", { class: "tick", x: width - area.right, y: height - 4, "text-anchor": "end" },
    "the n likeliest tokens (logarithmic)"));
  answer.stages.forEach((stage, number) => {
    if (!stage.curve) return;
    const { ranks, together } = stage.curve;
    const points = ranks.map((rank, n) => `${across(rank).toFixed(1)},${down(Math.min(1, together[n])).toFixed(1)}`);
    const stroke = number === 0 ? "var(--muted)" : stage.removed ? colourOf(stage.processor) : "var(--accent)";
    const dashes = number === 0 ? "6 4" : stage.removed ? null : "2 3";
    const line = svg("polyline", { class: "curve", points: points.join(" "), stroke, "stroke-dasharray": dashes });
    picture.append(svg("g", {}, svg("title", {}, stage.label), line,
      svg("circle", { cx: across(ranks.at(-1)), cy: down(Math.min(1, together.at(-1))), r: 4, fill: stroke })));
    if (stage.removed) {
      picture.append(svg("line", {
        class: "cut", x1: across(stage.kept), x2: across(stage.kept), y1: down(0), y2: down(stage.share), stroke,
      }));
    }
  });
  return h("figure", { class: "plot" }, h("figcaption", {}, `Cumulative probability${whose}, and where each filter cuts`),
    picture, h("p", { class: "muted cuts" }, cumulativeInWords(answer)));
}

function cumulativeInWords(answer) {
  const cuts = answer.stages
    .filter((stage) => stage.removed)
    .map((stage) => {
      const held = stage.share > 0.9995 && stage.share < 1 ? ">99.9%" : percent(stage.share);
      return `${shortName(stage.processor)} leaves ${tokensOf(stage.kept)}, which held ${held}`;
    });
  return cuts.length ? `${cuts.join("; ")}.` : "No stage cuts: every token stays possible.";
}

// Draws --------------------------------------------------------------------------------------------------------------

/** How often each of the likeliest tokens was drawn, against what is expected, with ± 2 standard deviations. */
function drawsPlot(logits, answer, draw, most = 10) {
  const likeliest = Array.from(answer.probabilities.keys())
    .filter((place) => answer.probabilities[place] > 0)
    .sort((one, other) => answer.probabilities[other] - answer.probabilities[one])
    .slice(0, most);
  const rows = likeliest.map((place) => {
    const probability = answer.do_sample ? answer.probabilities[place] : Number(logits.ids[place] === answer.greedy_id);
    const expected = draw.count * probability;
    const spread = 2 * Math.sqrt(expected * (1 - probability));
    return { text: logits.texts[place], count: draw.counts[place], expected, spread };
  });
  const scale = Math.max(...rows.map((row) => Math.max(row.count, row.expected + row.spread)), 1);
  const at = (value) => `${(100 * clamp(value, 0, scale)) / scale}%`;
  const items = rows.map((row) =>
    h("li", { class: "draw-row" },
      dataText(row.text, { class: "token token-name" }),
      h("span", { class: "bars", "aria-hidden": "true" },
        h("span", { class: "bar expected", style: { width: at(row.expected) } }),
        h("span", {
          class: "whisker",
          style: { left: at(row.expected - row.spread), right: `calc(100% - ${at(row.expected + row.spread)})` },
        }),
        h("span", { class: "dot", style: { left: at(row.count) } })),
      h("span", { class: "token-values" },
        `${formatNumber(row.count)} (${row.expected.toFixed(row.expected < 10 ? 1 : 0)} expected)`)));
  const drawn = rows.reduce((sum, row) => sum + row.count, 0);
  return h("figure", { class: "plot" },
    h("figcaption", {}, `${formatNumber(draw.count)} draws against the theory, seed ${draw.seed}`),
    h("ol", { class: "draws" }, items),
    h("p", { class: "muted" },
      "Dot: drawn; bar: expected; line: ± 2 standard deviations. ",
      `All other tokens: ${formatNumber(draw.count - drawn)} times. `,
      `Drawn with ${draw.source}.`));
}
