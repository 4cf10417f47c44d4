"use strict";

const sheet = document.getElementById("sheet");
const cases = [...document.querySelectorAll("article.pair")];
const key = `ra-judge-sheet-${sheet.dataset.sheet}`;
const person = document.getElementById("person");
const KEYS = { ArrowLeft: "left", ArrowRight: "right", t: "tie", "=": "tie", s: "skip" };

// --- what was decided: [{case, better, at}], the latest last; kept in the browser

let state = { person: "", decisions: [] };
try {
  const stored = JSON.parse(localStorage.getItem(key) || "null");
  const names = new Set(cases.map((each) => each.dataset.case));
  if (stored && Array.isArray(stored.decisions)) {
    state = { person: String(stored.person || ""), decisions: stored.decisions.filter((each) => names.has(each.case)) };
  }
} catch {
  warn();
}

function warn() {
  document.getElementById("kept").textContent = "This browser does not keep your decisions: download them before you close the page.";
}

function keep() {
  try {
    localStorage.setItem(key, JSON.stringify(state));
  } catch {
    warn();
  }
}

// --- one case at a time

function current() {
  const decided = new Set(state.decisions.map((each) => each.case));
  return cases.find((each) => !decided.has(each.dataset.case));
}

function show({ scroll = true } = {}) {
  const open = current();
  for (const each of cases) each.hidden = each !== open;
  const done = state.decisions.length;
  document.getElementById("progress").textContent = open ? `Pair ${done + 1} of ${cases.length}` : `All ${cases.length} pairs`;
  document.getElementById("bar").value = done;
  document.getElementById("start").hidden = done > 0;
  document.getElementById("done").hidden = Boolean(open);
  document.getElementById("controls").hidden = !open && done === 0;
  for (const button of document.querySelectorAll("[data-better]")) button.hidden = !open;
  document.getElementById("undo").disabled = done === 0;
  if (scroll) window.scrollTo(0, 0);
}

function decide(better) {
  const open = current();
  if (!open) return;
  state.decisions.push({ case: open.dataset.case, better, at: new Date().toISOString() });
  keep();
  show();
}

function undo() {
  state.decisions.pop();
  keep();
  show();
}

for (const button of document.querySelectorAll("[data-better]")) {
  button.addEventListener("click", () => { button.blur(); decide(button.dataset.better); });
}
document.getElementById("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target === person) return;
  if (KEYS[event.key]) {
    event.preventDefault();
    decide(KEYS[event.key]);
  } else if (event.key === "u") {
    undo();
  }
});
person.value = state.person;
person.addEventListener("input", () => { state.person = person.value; keep(); });

// --- the file to send back

function rows() {
  return state.decisions.filter((each) => each.better !== "skip").map((each) => ({ ...each, person: state.person.trim() }));
}

function download(type, extension, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  const name = (state.person.match(/[\p{L}\p{N}]+/gu) || []).join("-");
  link.download = `decisions${name ? "-" : ""}${name}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const cell = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;

document.getElementById("csv").addEventListener("click", () => {
  const lines = rows().map((each) => [each.case, each.better, each.at, each.person].map(cell).join(","));
  download("text/csv", "csv", ["case,better,at,person", ...lines, ""].join("\n"));
});
document.getElementById("json").addEventListener("click", () => {
  download("application/json", "json", JSON.stringify(rows(), null, 1));
});

show({ scroll: false });
