// Opens a document file with the Automerge of the npm registry, says what is in it, changes it and saves it.
// node change.mjs FILE OUT BLOCK: prints one line of JSON.

import { readFileSync, writeFileSync } from "node:fs";
import * as Automerge from "@automerge/automerge";

const [file, out, block] = process.argv.slice(2);
const text = ["blocks", block, "text"];

// The mapping of dinh.json/1.
function plain(value) {
  if (Automerge.isImmutableString(value)) return value.toString();
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return { $base64: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

const loaded = Automerge.load(readFileSync(file));
const seen = {
  document: plain(loaded),
  text: loaded.blocks[block].text,
  marks: Automerge.marks(loaded, text),
  heads: Automerge.getHeads(loaded),
  changes: Automerge.getAllChanges(loaded).length,
};

const changed = Automerge.change(loaded, { message: "elsewhere" }, (doc) => {
  const at = doc.blocks[block].text.indexOf("420 m");
  // Decomposed, as a Mac has it: it comes in composed.
  Automerge.splice(doc, text, at, "420 m".length, "430 m (đo lại)".normalize("NFD"));
  Automerge.splice(doc, text, 0, 0, "🌾 ");
  Automerge.mark(doc, text, { start: 3, end: 8, expand: "after" }, "italic", true);
  const word = doc.blocks[block].text.indexOf("thuận");
  Automerge.mark(doc, text, { start: word, end: word + "thuận".length, expand: "after" }, "italic", true);
  doc.venue = "Nhà văn hóa thôn, phòng bên";
  doc.header.place = new Automerge.ImmutableString("Tân Khê");
  delete doc.header.abstract;
});
writeFileSync(out, Automerge.save(changed));
console.log(JSON.stringify({ ...seen, after: changed.blocks[block].text, marks_after: Automerge.marks(changed, text) }));
