// The base of the explorers: what needs no browser.
import test from "node:test";
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { bytesOf, doublesOf, floatsOf, formatBytes, inflate, integersOf, listen, staticModel, themeOf, visible } from "./explorer.mjs";

test("characters that are not seen, or reorder others, become signs", () => {
  assert.equal(visible("a\nb\tc\u0000\u007f"), "a⏎b⇥c⟨U+0000⟩⟨U+007F⟩");
  assert.equal(visible("\u202eevil\u2066"), "⟨U+202E⟩evil⟨U+2066⟩");
  assert.equal(visible("zero\u200bwidth\ufeff"), "zero⟨U+200B⟩width⟨U+FEFF⟩");
  assert.equal(visible("\u0301 alone"), "◌\u0301 alone");
  assert.equal(visible("\ud800x"), "⟨U+D800⟩x");
  assert.equal(visible("</script><img src=x onerror=1> $x$ שלום 😀"), "</script><img src=x onerror=1> $x$ שלום 😀");
});

test("bytes come from base64, views and buffers alike", () => {
  const bytes = new Uint8Array([0, 1, 254, 255]);
  const view = new DataView(new Uint8Array([9, ...bytes]).buffer, 1);
  for (const form of [Buffer.from(bytes).toString("base64"), view, bytes.buffer, bytes]) assert.deepEqual([...bytesOf(form)], [0, 1, 254, 255]);
  assert.throws(() => bytesOf({}), TypeError);
});

test("numbers are read from any alignment", () => {
  const odd = (array) => new DataView(new Uint8Array([7, ...new Uint8Array(array.buffer)]).buffer, 1);
  assert.deepEqual([...floatsOf(odd(new Float32Array([1.5, -2])))], [1.5, -2]);
  assert.deepEqual([...doublesOf(odd(new Float64Array([0.1])))], [0.1]);
  assert.deepEqual([...integersOf(odd(new Int32Array([-5, 70000])))], [-5, 70000]);
});

test("gzip unpacks, and damaged data is told", async () => {
  const packed = new Uint8Array(gzipSync("x".repeat(10_000)));
  assert.equal((await inflate(packed)).length, 10_000);
  await assert.rejects(inflate(packed.slice(0, 20)), /cut short or damaged/);
  await assert.rejects(inflate(new Uint8Array([1, 2, 3])), /cut short or damaged/);
});

test("a model without a kernel tells its listeners at once, until they are off", () => {
  const model = staticModel({ x: 1 });
  const heard = [];
  const off = listen(model, { "change:x": () => heard.push(model.get("x")), change: () => heard.push("any") });
  model.set("x", 2);
  model.set("x", 2);
  off();
  model.set("x", 3);
  assert.deepEqual(heard, [2, "any"]);
  assert.equal(model.get("kernel"), undefined);
  model.save_changes();
});

test("the theme is the site's, else JupyterLab's, else the system's", () => {
  const page = (html, body) => ({ documentElement: { dataset: html }, body: { dataset: body } });
  assert.equal(themeOf(page({ theme: "dark" }, { jpThemeLight: "true" }), false), "dark");
  assert.equal(themeOf(page({}, { jpThemeLight: "false" }), false), "dark");
  assert.equal(themeOf(page({}, { jpThemeLight: "true" }), true), "light");
  assert.equal(themeOf(page({ theme: "auto" }, {}), true), "dark");
  assert.equal(themeOf(page({}, {}), false), "light");
});

test("bytes for people are written as in Python", () => {
  assert.deepEqual([0, 768, 1024, 1.5 * 2 ** 20, -3 * 2 ** 30].map(formatBytes), ["0 B", "768 B", "1.0 KiB", "1.5 MiB", "-3.0 GiB"]);
});
