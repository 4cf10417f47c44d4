// Without this script everything works but the keys and the live list.
"use strict";

const isTyping = (target) => target.matches("input:not([type=radio]), textarea, select");

// --- the list grows while a run writes

const status = document.getElementById("live");
if (status && status.dataset.version) {
  const rows = document.querySelector("tbody[data-live]");
  const events = new EventSource("/events");
  events.addEventListener("change", async (event) => {
    const state = JSON.parse(event.data);
    status.textContent = state.status;
    if (!rows || String(state.version) === status.dataset.version) return;
    status.dataset.version = state.version;
    const answer = await fetch(rows.dataset.live);
    if (!answer.ok) return;
    // Rows are made of what the server escaped; a parsed document runs no script.
    const parsed = new DOMParser().parseFromString(`<table><tbody>${await answer.text()}</tbody></table>`, "text/html");
    const focused = rows.contains(document.activeElement) && document.activeElement.getAttribute("href");
    rows.replaceChildren(...parsed.querySelector("tbody").children);
    if (focused) rows.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  });
  window.addEventListener("pagehide", () => events.close());
}

// --- keys that follow a link or press a button

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (target) { event.preventDefault(); target.click(); return; }
  if (event.key === "/" && document.getElementById("f-q")) { event.preventDefault(); document.getElementById("f-q").focus(); }
  const list = [...document.querySelectorAll("#rows a")];
  if (list.length && (event.key === "j" || event.key === "k")) {
    const place = list.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
    list[Math.max(0, Math.min(list.length - 1, place))].focus();
  }
});

// --- labelling by keys

const form = document.getElementById("label");
if (form) {
  const sides = [...form.querySelectorAll("fieldset.side")];
  const note = document.getElementById("note");
  let sent = false;
  const press = (value) => form.querySelector(`button[value="${value}"]`)?.click();
  const open = () => sides.findIndex((side) => !side.querySelector("input:checked"));
  const show = () => {
    const current = open();
    sides.forEach((side, place) => side.classList.toggle("current", sides.length > 1 && place === current));
  };
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();  // a second key before the next case is here
    sent = true;
  });
  window.addEventListener("pageshow", () => { sent = false; });
  form.addEventListener("change", show);
  show();
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key === "Escape" && event.target === note) { note.blur(); return; }
    if (isTyping(event.target)) return;
    if (event.target.matches("input[type=radio]") && event.key.startsWith("Arrow")) return;  // moves between scores
    if (/^[1-5]$/.test(event.key)) {
      event.preventDefault();
      const side = sides[Math.max(0, open())];
      side.querySelector(`input[value="${event.key}"]`).checked = true;
      show();
      if (open() < 0) press("score");
      else sides[open()].scrollIntoView({ block: "nearest" });
      return;
    }
    const keys = { ArrowLeft: "0", ArrowRight: "1", t: "tie", "=": "tie", s: "skip" };
    if (sides.length !== 2 && event.key !== "s") delete keys[event.key];
    if (keys[event.key]) {
      event.preventDefault();
      press(keys[event.key]);
    } else if (event.key === "n") {
      event.preventDefault();
      note.focus();
    }
  });
}
