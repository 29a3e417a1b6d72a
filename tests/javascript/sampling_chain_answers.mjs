// The answers of the page's own chain, for tests/test_sampling_chain.py: node sampling_chain_answers.mjs CASES ANSWERS

import { readFileSync, writeFileSync } from "node:fs";
import { computeResult, decodeLogits } from "./explorer.mjs";

const [cases, answers] = process.argv.slice(2);
const { library, rows, settings } = JSON.parse(readFileSync(cases, "utf8"));
const base64 = (numbers) => Buffer.from(numbers.buffer, numbers.byteOffset, numbers.byteLength).toString("base64");

const lines = rows.flatMap((row) => {
  const decoded = decodeLogits(row);
  return settings.map((asked) => {
    const { final, ...answer } = computeResult(library, decoded, asked);
    if (!answer.refusal) {
      answer.probabilities = base64(answer.probabilities);
      answer.removed_by = base64(answer.removed_by);
    }
    return JSON.stringify(answer);
  });
});
writeFileSync(answers, lines.join("\n"));
