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
  for (const line of run.notes || []) box.append(element("p", { class: "note" }, line));
  if (run.card !== undefined) box.append(element("p", { class: "note" }, data.cards[run.card]));
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
