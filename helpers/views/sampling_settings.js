// Settings as the library reads and refuses them, and numbers in Python's spelling.

const IS_INTEGER = /^[-+]?(0+|[1-9](_?\d)*)$/;
const IS_FLOAT = /^[-+]?(\d(_?\d)*(\.(\d(_?\d)*)?)?|\.\d(_?\d)*)(e[-+]?\d+)?$/i;

/** A setting as typed, in Python's spelling: {text, number}; null leaves it to the library. Throws a refusal. */
function parseSetting(name, typed) {
  const text = String(typed ?? "").trim();
  if (text === "" || text === "None") return null;
  if (name === "do_sample") {
    if (text !== "True" && text !== "False") throw new Refusal(`${name}: ${text} is not True or False.`);
    return { text, number: text === "True" ? 1 : 0 };
  }
  const number = Number(text.replaceAll("_", ""));
  const written = IS_INTEGER.test(text) || (isFloat({ text }) && IS_FLOAT.test(text));
  if (!written || !Number.isFinite(number)) {
    throw new Refusal(`${name}: ${text} is not a number as Python writes it (50, 0.7).`);
  }
  return { text, number };
}

class Refusal extends Error {}

/** Settings over the installed defaults: {name: {text, number} or null}. */
function effectiveSettings(installed, settings) {
  const effective = {};
  for (const name of installed.parameters) {
    effective[name] = parseSetting(name, settings[name]) ?? parseSetting(name, installed.defaults[name]);
  }
  return effective;
}

/** The steps that the library would build: [{name, processor, value}]. Throws a Refusal in the library's words. */
function buildChain(installed, effective) {
  const sampled = Boolean(effective.do_sample?.number);
  const steps = [];
  for (const name of installed.chain[sampled ? "True" : "False"]) {
    const processor = PROCESSORS[name];
    const value = effective[processor.parameter];
    if (!value || !processor.isOn(value)) continue;
    const key = processor.refuses(value);
    if (key) throw new Refusal(inWords(installed.words[processor.parameter][key], value));
    steps.push({ name, processor, value });
  }
  return steps;
}

/** Processors of the installed chain that this page cannot compute. */
function unknownProcessors(installed) {
  const all = [...installed.chain.True, ...installed.chain.False];
  return [...new Set(all)].filter((name) => !Object.hasOwn(PROCESSORS, name));
}

function inWords(words, value) {
  return words.replaceAll("{float}", pythonFloat(value.number)).replaceAll("{value}", pythonText("", value));
}

/** A setting as Python's repr writes it. */
function pythonText(name, value) {
  if (!value || name === "do_sample") return value?.text ?? "None";
  return isFloat(value) ? pythonFloat(value.number) : BigInt(value.number).toString();
}

/** A number as Python's repr writes a float. */
function pythonFloat(number) {
  const [digits, exponent] = number.toExponential().split("e");
  const power = Number(exponent);
  if (power >= 16 || power < -4) return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  const text = String(number);
  if (!text.includes("e")) return text.includes(".") ? text : `${text}.0`;
  return number.toFixed(Math.max(1, digits.replace(/^-?\d\.?/, "").length - power));
}

/** A number with six significant digits, as Python's "{:.6g}"; whole numbers as they are. */
function shortNumber({ text, number }) {
  if (!isFloat({ text })) return String(number);
  const rounded = Number(number.toPrecision(6));
  const power = rounded === 0 ? 0 : Number(rounded.toExponential().split("e")[1]);
  return power < -4 || power >= 6 ? pythonExponent(rounded, power) : String(rounded);
}

function pythonExponent(number, power) {
  return `${number.toExponential().split("e")[0]}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}
