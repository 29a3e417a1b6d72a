// The logits processors of the library, in double precision. Each: the parameter that switches it on, when, what its
// label says, what it refuses (the key of the library's words), and what it does: from row, value and context to a new
// row.

const isFloat = ({ text }) => !/^[-+]?[\d_]+$/.test(text);

const PROCESSORS = {
  RepetitionPenaltyLogitsProcessor: {
    parameter: "repetition_penalty",
    attribute: "penalty",
    isOn: ({ number }) => number !== 1,
    refuses: (value) => (isFloat(value) && value.number > 0 ? null : "refused"),
    apply(row, penalty, context) {
      const scores = row.scores.slice();
      const changed = context.own.filter((index) => scores[index] > -Infinity && scores[index] !== 0);
      for (const index of changed) {
        scores[index] = scores[index] < 0 ? scores[index] * penalty : scores[index] / penalty;
      }
      return { scores, order: reordered(scores, row.order, new Set(changed)) };
    },
  },
  NoRepeatNGramLogitsProcessor: {
    parameter: "no_repeat_ngram_size",
    attribute: "ngram_size",
    isOn: ({ number }) => number > 0,
    refuses: (value) => (isFloat(value) ? "refused" : null),
    apply(row, size, context) {
      const banned = bannedByNGrams(context.inputIds, size);
      return { scores: row.scores, order: row.order.filter((index) => !banned.has(context.ids[index])) };
    },
  },
  TemperatureLogitsWarper: {
    parameter: "temperature",
    isOn: ({ number }) => number !== 1,
    refuses(value) {
      if (isFloat(value) && value.number === 0) return "zero";
      return isFloat(value) && value.number > 0 ? null : "refused";
    },
    apply: (row, temperature) => ({ scores: row.scores.map((score) => score / temperature), order: row.order }),
  },
  TopHLogitsWarper: {
    parameter: "top_h",
    label: (value) => `top_n=100, top_h=${shortNumber(value)}`,
    isOn: () => true,
    refuses: ({ number }) => (number > 0 && number <= 1 ? null : "refused"),
    apply(row, share) {
      const top = { scores: row.scores, order: row.order.slice(0, 100) };
      const weighed = weigh(top);
      const most = entropyOf(weighed) * share;
      let count = 0;
      let together = 0;
      for (const weight of weighed.weights) {
        const probability = weight / weighed.sum;
        together -= probability > 0 ? probability * Math.log(probability) : 0;
        if (!(together <= most)) break;
        count++;
      }
      return { scores: row.scores, order: row.order.slice(0, Math.max(1, count)) };
    },
  },
  TopKLogitsWarper: {
    parameter: "top_k",
    isOn: ({ number }) => number !== 0,
    refuses: (value) => (!isFloat(value) && value.number > 0 ? null : "refused"),
    apply(row, k) {
      let count = Math.min(k, row.order.length);
      const last = row.scores[row.order[count - 1]];
      while (count < row.order.length && row.scores[row.order[count]] === last) count++; // what ties with it stays
      return { scores: row.scores, order: row.order.slice(0, count) };
    },
  },
  TopPLogitsWarper: {
    parameter: "top_p",
    isOn: ({ number }) => number < 1,
    refuses: ({ number }) => (number < 0 ? "refused" : null),
    apply(row, share) {
      const { weights, sum } = weigh(row);
      let count = row.order.length;
      let below = weights[count - 1] / sum;
      while (count > 1 && below <= 1 - share) below += weights[--count - 1] / sum;
      return { scores: row.scores, order: row.order.slice(0, count) };
    },
  },
  MinPLogitsWarper: {
    parameter: "min_p",
    isOn: () => true,
    refuses: ({ number }) => (number >= 0 && number <= 1 ? null : "refused"),
    apply: (row, share) => keepAtLeast(row, (weighed) => share, 1),
  },
  TypicalLogitsWarper: {
    parameter: "typical_p",
    attribute: "mass",
    isOn: ({ number }) => number < 1,
    refuses: ({ number }) => (number > 0 ? null : "refused"),
    apply: keepTypical,
  },
  EpsilonLogitsWarper: {
    parameter: "epsilon_cutoff",
    attribute: "epsilon",
    isOn: ({ number }) => number > 0 && number < 1,
    refuses: () => null,
    apply: (row, epsilon) => keepAtLeast(row, ({ sum }) => epsilon * sum),
  },
  EtaLogitsWarper: {
    parameter: "eta_cutoff",
    label: ({ text, number }) => `epsilon=${shortNumber({ text, number: Math.fround(number) })}`, // it keeps a float32
    isOn: ({ number }) => number > 0 && number < 1,
    refuses: () => null,
    apply: (row, epsilon) =>
      keepAtLeast(row, (weighed) => {
        const eta = Math.min(epsilon, Math.sqrt(epsilon) * Math.exp(-entropyOf(weighed)));
        return eta * weighed.sum;
      }),
  },
};

const PARAMETER_NAMES = ["do_sample", ...Object.values(PROCESSORS).map(({ parameter }) => parameter)];

/** order after the scores of `changed` are new: those sorted, and merged with the rest. */
function reordered(scores, order, changed) {
  const moved = byFallingScore(scores, order.filter((index) => changed.has(index)));
  const rest = order.filter((index) => !changed.has(index));
  const merged = new Uint32Array(order.length);
  let a = 0;
  let b = 0;
  for (let rank = 0; rank < merged.length; rank++) {
    const movedFirst =
      b === rest.length ||
      (a < moved.length && (scores[rest[b]] - scores[moved[a]] || moved[a] - rest[b]) < 0);
    merged[rank] = movedFirst ? moved[a++] : rest[b++];
  }
  return merged;
}

/** The ids that would complete an n-gram of `size` that is already there. */
function bannedByNGrams(inputIds, size) {
  const banned = new Set();
  const end = inputIds.length + 1 - size;
  for (let start = 0; start < end; start++) {
    let same = true;
    for (let n = 0; n < size - 1 && same; n++) same = inputIds[start + n] === inputIds[end + n];
    if (same) banned.add(inputIds[start + size - 1]);
  }
  return banned;
}

/** Keep what weighs `least(weighed)` or more (the highest weighs 1), and in any case all that ties with the highest. */
function keepAtLeast(row, least) {
  const weighed = weigh(row);
  const cutoff = least(weighed);
  let count = 1;
  while (count < row.order.length && (weighed.weights[count] >= cutoff || weighed.weights[count] === 1)) count++;
  return { scores: row.scores, order: row.order.slice(0, count) };
}

/** Keep the tokens whose surprise is nearest to the entropy, until they hold `mass`. */
function keepTypical(row, mass) {
  const weighed = weigh(row);
  const entropy = entropyOf(weighed);
  const distance = weighed.weights.map((_, rank) => {
    const surprise = Math.log(weighed.sum) - (row.scores[row.order[rank]] - row.scores[row.order[0]]);
    return Math.abs(surprise - entropy);
  });
  // Distances fall up to the rank nearest to the entropy and rise after it: walk outwards from there.
  let high = 0;
  for (let rank = 1; rank < distance.length; rank++) if (distance[rank] < distance[high]) high = rank;
  let low = high + 1;
  let together = 0;
  let cutoff = 0;
  while (high >= 0 || low < distance.length) {
    const up = high >= 0 && (low === distance.length || distance[high] <= distance[low]);
    const rank = up ? high-- : low++;
    cutoff = distance[rank];
    together += weighed.weights[rank] / weighed.sum;
    if (!(together < mass)) break;
  }
  return { scores: row.scores, order: row.order.filter((_, rank) => distance[rank] <= cutoff) };
}
