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

// Figures.

const colour = (place) => `var(--c${place % 7})`;
const placeOf = (name, several) => {
  const place = data.names.indexOf(name);
  return place >= 0 ? place : several.findIndex((series) => series.name === name);
};

function mark(place, x, y, size = 4.5) {
  const s = size;
  const at = (points) => shape("polygon", { points: points.map(([dx, dy]) => `${x + dx * s},${y + dy * s}`).join(" ") });
  switch (place % 8) {
    case 0: return shape("circle", { cx: x, cy: y, r: s });
    case 1: return at([[-1, -1], [1, -1], [1, 1], [-1, 1]]);
    case 2: return at([[0, -1.2], [1.1, 0.9], [-1.1, 0.9]]);
    case 3: return at([[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]]);
    case 4: return at([[0, 1.2], [1.1, -0.9], [-1.1, -0.9]]);
    case 5: return at([[-.4, -1.2], [.4, -1.2], [.4, -.4], [1.2, -.4], [1.2, .4], [.4, .4], [.4, 1.2], [-.4, 1.2], [-.4, .4], [-1.2, .4], [-1.2, -.4], [-.4, -.4]]);
    case 6: return at([[-1, -.4], [-.4, -1], [0, -.6], [.4, -1], [1, -.4], [.6, 0], [1, .4], [.4, 1], [0, .6], [-.4, 1], [-1, .4], [-.6, 0]]);
    default: return at([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((k) => {
      const radius = k % 2 ? 0.55 : 1.4, angle = Math.PI * k / 5;
      return [radius * Math.sin(angle), -radius * Math.cos(angle)];
    }));
  }
}

function ticks(low, high, count = 5) {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => span / candidate <= count);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9 * span; value += step) found.push(value);
  return found;
}
const short = (value) => String(Number(value.toPrecision(4)));

function pointChart(figure, panel, label) {
  const width = WIDTH, height = 290, left = 48, right = 14, top = 24, bottom = 42;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  const words = panel.series.some((series) => series.x.some((x) => typeof x === "string"));
  const named = [...new Set(panel.series.flatMap((series) => series.x))];
  const raw = (x) => words ? named.indexOf(x) : figure.log_x ? Math.log2(x) : x;
  const xs = panel.series.flatMap((series) => series.x.map(raw));
  const ends = panel.series.flatMap((series) => series.y.flatMap((y, i) => [y - (series.error[i] || 0), y + (series.error[i] || 0)]));
  const pad = (low, high) => { const more = (high - low || Math.abs(high) || 1) * 0.07; return [low - more, high + more]; };
  const [x0, x1] = pad(Math.min(...xs), Math.max(...xs));
  const [y0, y1] = pad(Math.min(...ends), Math.max(...ends));
  const px = (x) => left + (raw(x) - x0) / (x1 - x0) * (width - left - right);
  const py = (y) => height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom);
  for (const y of ticks(y0, y1)) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: py(y), y2: py(y) }));
    svg.append(shape("text", { class: "soft", x: left - 6, y: py(y) + 4, "text-anchor": "end" }, short(y)));
  }
  const all = [...new Set(named)].sort((a, b) => raw(a) - raw(b));
  for (const x of figure.kind === "lines" && all.length <= 10 ? all : ticks(x0, x1)) {
    svg.append(shape("text", { class: "soft", x: px(x), y: height - bottom + 16, "text-anchor": "middle" }, words ? x : short(x)));
  }
  svg.append(shape("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  svg.append(shape("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, figure.x_label));
  svg.append(shape("text", { x: 8, y: 15 }, [panel.title, figure.y_label].filter(Boolean).join(": ")));
  if (panel.front.length) {
    let path = "";
    panel.front.forEach(([x, y], i) => { path += i ? `H${px(x)}V${py(y)}` : `M${px(x)} ${py(y)}`; });
    svg.append(shape("path", { d: path, fill: "none", stroke: "var(--soft)", "stroke-width": 1.3, "stroke-dasharray": "3 3" }));
  }
  for (const series of panel.series) {
    const place = placeOf(series.name, panel.series);
    const group = shape("g", { style: `color:${colour(place)}`, stroke: "currentColor", fill: "currentColor" });
    if (figure.kind === "lines") {
      const points = series.x.map((x, i) => `${px(x)},${py(series.y[i])}`).join(" ");
      group.append(shape("polyline", { points, fill: "none", "stroke-width": 1.8, "stroke-dasharray": DASHES[place % 5] }));
    }
    series.x.forEach((x, i) => {
      const error = series.error[i];
      if (error) group.append(shape("line", { x1: px(x), x2: px(x), y1: py(series.y[i] - error), y2: py(series.y[i] + error) }));
      const point = mark(place, px(x), py(series.y[i]));
      const spread = error ? ` ± ${error.toFixed(2)}` : "";
      const says = `${series.name}\n${series.y[i].toFixed(2)}${spread} %\n${series.words[i] || ""}`.trim();
      point.dataset.tip = says;
      point.setAttribute("tabindex", 0);
      point.setAttribute("role", "img");
      point.setAttribute("aria-label", says.replaceAll("\n", ", "));
      group.append(point);
    });
    svg.append(group);
  }
  return svg;
}

function barChart(figure, panel, label) {
  const [series] = panel.series;
  const row = 15, width = WIDTH, left = 150, right = 46, top = 28;
  const height = top + row * series.x.length + 40;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  const low = Math.min(0, ...series.y), high = Math.max(0, ...series.y);
  const px = (value) => left + (value - low) / (high - low || 1) * (width - left - right);
  svg.append(shape("text", { x: 8, y: 17, "font-weight": 600 }, panel.title));
  series.x.forEach((name, i) => {
    const y = top + row * i, value = series.y[i];
    const cut = name.length > 24 ? `${name.slice(0, 23)}…` : name;
    svg.append(shape("text", { x: left - 6, y: y + 11, "text-anchor": "end", class: "soft" }, cut));
    const bar = shape("rect", {
      x: Math.min(px(0), px(value)), width: Math.max(1, Math.abs(px(value) - px(0))), y: y + 2, height: row - 4,
      style: `color:${value >= 0 ? "var(--c0)" : "var(--c1)"}`, fill: "currentColor", tabindex: 0, role: "img",
    });
    bar.dataset.tip = `${panel.title}: ${name}\n${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)} points`;
    bar.setAttribute("aria-label", bar.dataset.tip.replace("\n", ", "));
    svg.append(bar);
  });
  svg.append(shape("line", { class: "axis", x1: px(0), x2: px(0), y1: top, y2: top + row * series.x.length }));
  for (const x of ticks(low, high, 4)) {
    svg.append(shape("text", { class: "soft", x: px(x), y: height - 24, "text-anchor": "middle" }, short(x)));
  }
  svg.append(shape("text", { class: "soft", x: width - 6, y: height - 7, "text-anchor": "end" }, figure.x_label));
  return svg;
}

function stackedChart(figure, panel, label) {
  const names = panel.series[0].x;
  const row = 24, width = WIDTH, left = 120, right = 14, top = 10;
  const height = top + row * names.length + 40;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  const totals = names.map((_, i) => panel.series.reduce((sum, series) => sum + series.y[i], 0));
  const high = Math.max(...totals, 1e-9);
  const px = (value) => left + value / high * (width - left - right);
  for (const x of ticks(0, high)) {
    svg.append(shape("line", { class: "grid", x1: px(x), x2: px(x), y1: top, y2: height - 38 }));
    svg.append(shape("text", { class: "soft", x: px(x), y: height - 24, "text-anchor": "middle" }, short(x)));
  }
  names.forEach((name, i) => {
    const cut = name.length > 19 ? `${name.slice(0, 18)}…` : name;
    svg.append(shape("text", { x: left - 6, y: top + row * i + 16, "text-anchor": "end" }, cut));
    let before = 0;
    panel.series.forEach((series, place) => {
      const bar = shape("rect", {
        x: px(before), width: Math.max(0, px(before + series.y[i]) - px(before)), y: top + row * i + 3, height: row - 6,
        style: `color:${colour(place)}`, fill: "currentColor", stroke: "var(--panel)", tabindex: 0, role: "img",
      });
      bar.dataset.tip = `${name}\n${series.name}: ${series.y[i].toFixed(2)} s of ${totals[i].toFixed(2)} s`;
      bar.setAttribute("aria-label", bar.dataset.tip.replace("\n", ", "));
      svg.append(bar);
      before += series.y[i];
    });
  });
  svg.append(shape("text", { x: (left + width - right) / 2, y: height - 7, "text-anchor": "middle" }, figure.x_label));
  return svg;
}

function legend(figure) {
  const list = element("ul", { class: "legend" });
  const seen = new Map();
  for (const panel of figure.panels) for (const series of panel.series) seen.set(series.name, placeOf(series.name, panel.series));
  let number = 0;
  for (const [name, found] of seen) {
    const place = figure.kind === "stacked" ? number : found;
    const key = shape("svg", { viewBox: "0 0 34 14", "aria-hidden": "true", style: `color:${colour(place)}`, fill: "currentColor" });
    if (figure.kind === "lines") {
      key.append(shape("line", { x1: 1, x2: 33, y1: 7, y2: 7, stroke: "currentColor", "stroke-width": 1.8, "stroke-dasharray": DASHES[place % 5] }));
    }
    key.append(figure.kind === "stacked" ? shape("rect", { x: 8, y: 2, width: 18, height: 10 }) : mark(place, 17, 7));
    list.append(element("li", {}, key, name));
    number += 1;
  }
  return list;
}

function drawFigure(figure) {
  const chart = { lines: pointChart, scatter: pointChart, bars: barChart, stacked: stackedChart }[figure.kind];
  const panels = figure.panels.filter((panel) => panel.series.length);
  const box = element("div", { class: panels.length > 1 ? "panels" : "panels one" });
  for (const panel of panels) box.append(chart(figure, panel, [figure.title, panel.title].filter(Boolean).join(", ")));
  const parts = [box];
  if (figure.kind !== "bars") parts.push(legend(figure));
  parts.push(element("p", { class: "note" }, figure.note));
  return parts;
}

// Figures of one kind and table share a card, with a list to choose from.
const changes = data.figures.filter((figure) => figure.kind === "bars");
for (const figure of data.figures) {
  if (figure.kind === "bars") continue;
  const wide = figure.panels.length > 1 ? "wide" : "";
  byId("charts").append(element("figure", { class: wide }, element("figcaption", {}, figure.title), ...drawFigure(figure)));
}
if (changes.length) {
  const choice = element("select", { "aria-label": "Evaluation" });
  changes.forEach((figure, i) => choice.append(element("option", { value: i }, figure.title)));
  const body = element("div");
  const show = () => body.replaceChildren(...drawFigure(changes[Number(choice.value)]));
  choice.addEventListener("change", show);
  show();
  byId("charts").append(element("figure", { class: "wide" }, element("figcaption", {}, choice), body));
}
if (!data.figures.length) byId("figures").hidden = true;

// Runs: only the rows of one page are in the document.

const columns = data.runs.columns;
const rows = data.runs.rows.map((row) => row.map((value, i) => columns[i].words && typeof value === "number" ? columns[i].words[value] : value));
const at = Object.fromEntries(columns.map((column, i) => [column.name, i]));
const texts = rows.map((row) => row.filter((value) => typeof value === "string").join(" ").toLowerCase());
let order = rows.map((_, i) => i), shown = order, page = 0, open = null;

function fillChoice(id, name) {
  for (const value of new Set(rows.map((row) => row[at[name]]))) byId(id).append(element("option", { value }, value));
  byId(id).addEventListener("change", filterRuns);
}
function filterRuns() {
  const words = byId("filter-runs").value.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = [["method", "filter-method"], ["data set", "filter-dataset"], ["state", "filter-state"]]
    .map(([name, id]) => [at[name], byId(id).value]).filter(([, value]) => value);
  shown = order.filter((i) => words.every((word) => texts[i].includes(word)) && chosen.every(([column, value]) => rows[i][column] === value));
  page = 0;
  showRuns();
}
function cellText(value, column) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" && column.digits !== undefined ? value.toFixed(column.digits) : String(value);
}
function showRuns() {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
  page = Math.max(0, Math.min(page, pages - 1));
  const body = byId("run-table").tBodies[0];
  body.replaceChildren();
  for (const i of shown.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)) {
    const id = rows[i][at.id];
    const line = element("tr");
    columns.forEach((column, c) => {
      const value = rows[i][c];
      const cell = element("td", column.digits === undefined && column.name !== "shots" && column.name !== "seed" ? { class: "words" } : {});
      if (c === 0) {
        const button = element("button", { type: "button", "aria-expanded": String(open === id) }, cellText(value, column));
        button.addEventListener("click", () => { open = open === id ? null : id; showRuns(); byId("run-table").querySelector(`[data-run="${id}"] button`).focus(); });
        cell.append(button);
      } else cell.textContent = cellText(value, column);
      if (column.name === "state") cell.classList.add(`state-${value}`);
      line.append(cell);
    });
    line.dataset.run = id;
    body.append(line);
    if (open === id) body.append(element("tr", { class: "detail" }, detail(id)));
  }
  byId("count").textContent = shown.length === rows.length ? `${rows.length} runs` : `${shown.length} of ${rows.length} runs`;
  byId("page").textContent = `Page ${page + 1} of ${pages}`;
  byId("pages").hidden = pages === 1;
  byId("previous").disabled = page === 0;
  byId("next").disabled = page === pages - 1;
}

function part(title, ...children) { return element("div", {}, element("h3", {}, title), ...children); }

function detail(id) {
  const box = element("div", { class: "box" });
  const cell = element("td", { colspan: columns.length }, box);
  const links = element("p", {}, `Run ${id}: `);
  const run = data.details[id];
  if (run && run.url && /^https?:/.test(run.url)) links.append(element("a", { href: run.url, rel: "noreferrer" }, "W&B"), " ");
  for (const file of ["result.json", "spec.yaml", "metrics.jsonl", "log.txt"]) {
    links.append(element("a", { href: `${data.folder}/${id}/${file}` }, file), " ");
  }
  box.append(links);
  if (!run) { box.append(element("p", { class: "note" }, data.left_out)); return cell; }
  if (run.reason) box.append(element("p", { class: "state-failed" }, run.reason));
  const parts = element("div", { class: "parts" });
  parts.append(part("Spec", element("pre", { tabindex: 0 }, `seed: ${run.seed}\n${data.specs[run.spec]}`)));
  if (run.costs) parts.append(costs(run));
  if (run.losses && run.losses.length > 1) {
    const [epochs, losses] = [0, 1].map((place) => run.losses.map((pair) => pair[place]));
    const series = { name: "loss", x: epochs, y: losses, error: [], words: epochs.map((epoch) => `epoch ${epoch}`) };
    parts.append(part("Training loss", curve(series)));
  }
  for (const [name, found] of Object.entries(run.classes || {})) parts.append(perClass(name, found));
  box.append(parts);
  for (const [name, several] of Object.entries(run.examples || {})) box.append(examples(name, several));
  return cell;
}
function curve(series) {
  const figure = { kind: "lines", x_label: "epoch", y_label: "loss", log_x: false };
  const chart = pointChart(figure, { title: "", series: [series], front: [] }, "training loss");
  for (const point of chart.querySelectorAll("[data-tip]")) {
    point.dataset.tip = point.dataset.tip.replace(" %", "");
    point.removeAttribute("tabindex");
  }
  return chart;
}
function costs(run) {
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...["phase", "s", "images/s", "peak MiB"].map((name) => element("th", { scope: "col" }, name)))));
  const body = element("tbody");
  for (const [phase, ...values] of run.costs) {
    body.append(element("tr", {}, element("th", { scope: "row" }, phase), ...values.map((value, i) => element("td", {}, value === null ? "–" : value.toFixed([2, 0, 1][i])))));
  }
  table.append(body);
  return part("Costs", table, element("p", { class: "note" }, run.facts));
}
function perClass(name, found) {
  const body = element("tbody");
  const pairs = data.classes[found.names].map((label, i) => [label, found.values[i]]).sort((a, b) => b[1] - a[1]);
  for (const [label, value] of pairs) {
    const meter = element("span", { class: "meter" }, element("i", { style: `width:${value}%` }));
    body.append(element("tr", {}, element("th", { scope: "row" }, label), element("td", {}, meter), element("td", {}, value.toFixed(1))));
  }
  return part(`Accuracy of classes: ${name}`, element("div", { class: "scroll-y", tabindex: 0 }, element("table", {}, body)));
}
function examples(name, several) {
  const box = element("div", { class: "examples" });
  for (const [path, label, predicted, confidence] of several) {
    const picture = data.pictures[path];
    const right = label === predicted;
    const says = element("figcaption", {}, label, element("br"), element("span", { class: right ? "right" : "wrong" }, `${right ? "✓" : `✗ ${predicted}`} ${(100 * confidence).toFixed(0)}%`));
    box.append(element("figure", { title: path }, picture ? element("img", { src: picture, alt: label }) : element("span", { class: "none" }), says));
  }
  return part(`Predictions: ${name}`, box);
}

const head = element("tr", {}, ...columns.map((column) => element("th", { scope: "col", ...(column.digits === undefined ? { class: "words" } : {}) }, column.name)));
byId("run-table").tHead.append(head);
sortButtons(head, (column, direction) => {
  order = sorted(order, (i) => rows[i][column], direction);
  filterRuns();
});
fillChoice("filter-method", "method");
fillChoice("filter-dataset", "data set");
fillChoice("filter-state", "state");
byId("filter-runs").addEventListener("input", filterRuns);
byId("previous").addEventListener("click", () => { page -= 1; showRuns(); });
byId("next").addEventListener("click", () => { page += 1; showRuns(); });
showRuns();
