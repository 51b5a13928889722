"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "6 3", "6 2 2 2", "2 2", "8 2 2 2 2 2"];
const PAGE_SIZE = 50;
// On a phone charts are drawn narrower, not scaled down, so that their words stay readable.
const WIDTH = Math.max(300, Math.min(460, byId("charts").clientWidth || 460));

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes = {}, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Theme: what the system says, until somebody says otherwise.

const THEMES = ["auto", "light", "dark"];
let theme = "auto";
try { theme = localStorage.getItem("skipbench-theme") || "auto"; } catch { /* no storage for pages from disk */ }

function showTheme() {
  if (theme === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
}
byId("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  try { localStorage.setItem("skipbench-theme", theme); } catch { /* then it lasts until the page is closed */ }
  showTheme();
});
showTheme();

// What a mark says, on pointing and on focus.

const tip = byId("tip");
function showTip(target, x, y) {
  tip.textContent = target.dataset.tip;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - box.width - 4))}px`;
  tip.style.top = `${y - box.height - 10 > 0 ? y - box.height - 10 : y + 16}px`;
}
function tipTarget(event) { return event.target.closest ? event.target.closest("[data-tip]") : null; }
document.addEventListener("pointermove", (event) => {
  const target = tipTarget(event);
  if (target) showTip(target, event.clientX, event.clientY);
  else tip.hidden = true;
});
document.addEventListener("focusin", (event) => {
  const target = tipTarget(event);
  if (!target) { tip.hidden = true; return; }
  const box = target.getBoundingClientRect();
  showTip(target, box.right, box.top);
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

// Copying.

async function copy(text, button) {
  const before = button.textContent;
  let done = true;
  try { await navigator.clipboard.writeText(text); } catch {
    const area = element("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}
for (const button of document.querySelectorAll("button[data-latex]")) {
  button.addEventListener("click", () => copy(data.latex[Number(button.dataset.latex)], button));
}

// Sorting, of any table.

function compare(a, b) {
  // What has no value comes last, whichever way is up.
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}
function sorted(rows, valueOf, direction) {
  const missing = (row) => { const value = valueOf(row); return value === null || value === undefined || value === ""; };
  return [...rows].sort((a, b) => (missing(a) - missing(b)) || direction * compare(valueOf(a), valueOf(b)));
}
function sortButtons(head, onSort) {
  const cells = [...head.children];
  cells.forEach((cell, column) => {
    const name = cell.textContent;
    cell.textContent = "";
    cell.setAttribute("aria-sort", "none");
    const button = element("button", { type: "button" }, name || ["group", "metric"][column] || "value");
    cell.append(button);
    button.addEventListener("click", () => {
      const down = cell.getAttribute("aria-sort") === "descending";
      for (const other of cells) other.setAttribute("aria-sort", "none");
      cell.setAttribute("aria-sort", down ? "ascending" : "descending");
      onSort(column, down ? 1 : -1);
    });
  });
}

// The paper's tables.

for (const table of document.querySelectorAll("figure.table table")) {
  const body = table.tBodies[0];
  sortButtons(table.tHead.rows[0], (column, direction) => {
    const valueOf = (row) => {
      const cell = row.cells[column];
      if (cell.tagName === "TH") return cell.textContent;
      return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
    };
    body.append(...sorted(body.rows, valueOf, direction));
    table.classList.add("sorted");
  });
}
byId("filter-tables").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  for (const row of document.querySelectorAll("figure.table tbody tr")) {
    const name = [...row.querySelectorAll("th")].map((cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !words.every((word) => name.includes(word));
  }
  for (const table of document.querySelectorAll("figure.table table")) table.classList.toggle("filtered", words.length > 0);
});
