// Python source as coloured pieces, line by line. Pure: no DOM.

const KEYWORDS = new Set(
  ("False None True and as assert async await break class continue def del elif else except finally for from global " +
    "if import in is lambda match nonlocal not or pass raise return try while with yield").split(" "),
);
const PYTHON_TOKEN = new RegExp(
  [
    /(?<comment>#[^\n]*)/,
    /(?<string>(?:\b[rRbBuUfF]{1,2})?(?:"""[\s\S]*?(?:"""|(?![\s\S]))|'''[\s\S]*?(?:'''|(?![\s\S]))|"(?:\\[\s\S]|[^"\\\n])*"?|'(?:\\[\s\S]|[^'\\\n])*'?))/,
    /(?<decorator>(?<=^[ \t]*)@[\w.]+)/,
    /(?<number>\b(?:0[xXoObB][\da-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?j?)\b)/,
    /(?<name>[\p{L}_][\p{L}\p{N}_]*)/,
  ].map((part) => part.source).join("|"),
  "gmu",
);

/** For each line of `text`, its pieces as [kind, text]; kind: "" (plain), comment, string, keyword, number, name… */
function pythonLines(text) {
  const lines = [[]];
  const add = (kind, piece) => {
    piece.split("\n").forEach((part, place) => {
      if (place) lines.push([]);
      if (!part) return;
      const line = lines.at(-1);
      if (line.length && line.at(-1)[0] === kind) line.at(-1)[1] += part;
      else line.push([kind, part]);
    });
  };
  let end = 0;
  let wordBefore = "";
  for (const match of text.matchAll(PYTHON_TOKEN)) {
    add("", text.slice(end, match.index));
    end = match.index + match[0].length;
    add(kindOf(match.groups, wordBefore), match[0]);
    wordBefore = match.groups.name ?? "";
  }
  add("", text.slice(end));
  return lines;
}

function kindOf(groups, wordBefore) {
  if (groups.comment) return "comment";
  if (groups.string) return "string";
  if (groups.decorator) return "decorator";
  if (groups.number) return "number";
  if (KEYWORDS.has(groups.name)) return "keyword";
  if (wordBefore === "def" || wordBefore === "class") return "defined";
  return groups.name === "self" || groups.name === "cls" ? "self" : "";
}

/** Where the docstring stands, as [first, last] index of its lines; null without one of at least `least` lines. */
function docstringLines(pieces, least) {
  const define = pieces.findIndex((line) => line.some(([kind, text]) => kind === "keyword" && (text === "def" || text === "class")));
  if (define < 0) return null;
  let body = define;
  while (body < pieces.length && !/:\s*$/.test(plainLine(pieces[body]))) body++;
  let first = body + 1;
  while (first < pieces.length && !plainLine(pieces[first]).trim() && !hasString(pieces[first])) first++;
  if (first >= pieces.length || !/^\s*$/.test(pieces[first][0]?.[0] === "" ? pieces[first][0][1] : "") || !hasString(pieces[first])) return null;
  const begins = pieces[first].find(([kind]) => kind === "string")[1];
  if (!/^[rR]?("""|''')/.test(begins)) return null;
  let last = first;
  while (last + 1 < pieces.length && isInString(pieces[last + 1]) && !endsString(pieces, first, last)) last++;
  return last - first + 1 >= least ? [first, last] : null;
}

const hasString = (line) => line.some(([kind]) => kind === "string");
const plainLine = (line) => line.filter(([kind]) => kind !== "comment").map(([, text]) => text).join("");
const isInString = (line) => line.length === 0 || line[0][0] === "string";

function endsString(pieces, first, last) {
  const text = pieces.slice(first, last + 1).map((line) => line.filter(([kind]) => kind === "string").map(([, piece]) => piece).join("")).join("\n");
  const quotes = text.includes('"""') ? '"""' : "'''";
  return text.indexOf(quotes, text.indexOf(quotes) + 3) >= 0;
}

/**
 * The text of an event's function: {text, first} (its first line's number), or {missing}: why there is none.
 * Two recorded functions of one name: which of them the text belongs to is not known.
 */
function sourceOfEvent(run, event) {
  const of = functionOf(run, event);
  const name = `${of.module}:${of.qualname}`;
  if (!of.line) return { missing: `${name} is a builtin: it has no Python source.` };
  const twin = run.functions.some((one) => one !== of && `${one.module}:${one.qualname}` === name && (one.file !== of.file || one.line !== of.line));
  const text = run.sources[name];
  if (text !== undefined && !twin) return { text: text.replace(/\n$/, ""), first: of.line };
  if (twin) return { missing: `Several functions are called ${name}: which of them the recording's text belongs to is not known.` };
  if (isLandmark(run, event)) return { missing: `The source of ${name} is not in this recording: it could not be read when it was made, or was left out. Read it at ${locationOf(of)} of the same version.` };
  return {
    missing: `The source of ${name} is not in this recording: sources travel for landmarks and for functions whose lines were recorded, ` +
      `and where this page was made its release was not installed. Read it at ${locationOf(of)} of the same version.`,
  };
}

/** {link} to the same lines at the recorded release's tag, or {reason} why there is none. */
function permalinkOf(run, guide, of, lastLine) {
  if (!of.line) return { reason: "a builtin has no source" };
  const [name] = of.file.split("/");
  const published = guide.permalinks[name];
  if (!published) return { reason: `where the source of ${of.file} is published is not known` };
  if (!published.base) return { reason: published.reason };
  return { link: `${published.base}${of.file}#L${of.line}-L${lastLine}` };
}
