// Runs: only the rows of one page are in the document.

const columns = data.runs.columns;
const rows = data.runs.rows.map((row) => row.map((value, i) => columns[i].words && typeof value === "number" ? columns[i].words[value] : value));
const at = Object.fromEntries(columns.map((column, i) => [column.name, i]));
const trials = new Set(data.trials);
const texts = rows.map((row) => row.filter((value) => typeof value === "string").join(" ").toLowerCase());
let order = rows.map((_, i) => i), shown = order, page = 0, open = null;

function fillChoice(id, name) {
  byId(id).parentElement.hidden = at[name] === undefined;
  if (at[name] === undefined) return;
  for (const value of new Set(rows.map((row) => row[at[name]]))) byId(id).append(element("option", { value }, value));
  byId(id).addEventListener("change", filterRuns);
}
// What runs of one setting share: they differ in seeds and samples only.
const GROUP = ["method", "protocol", "backbone", "tuned", "track", "data set", "shots"].filter((name) => at[name] !== undefined);
const groupOf = (i) => JSON.stringify(GROUP.map((name) => rows[i][at[name]]));
const described = new Map();
rows.forEach((row, i) => { if (data.details[row[at.id]] && !described.has(groupOf(i))) described.set(groupOf(i), row[at.id]); });
const settingTexts = [];
function settingsOf(i) {
  // Runs that differ in seeds only have the same settings: those of one that is described stand for all of them.
  const run = data.details[rows[i][at.id]] || data.details[described.get(groupOf(i))];
  if (!run) return "";
  if (settingTexts[run.spec] === undefined) settingTexts[run.spec] = linesOf(run).join("\n").toLowerCase();
  return settingTexts[run.spec];
}
function filterRuns() {
  const words = byId("filter-runs").value.toLowerCase().split(/\s+/).filter(Boolean);
  const settings = byId("filter-settings").value.toLowerCase().trim();
  const chosen = [["method", "filter-method"], ["data set", "filter-dataset"], ["protocol", "filter-protocol"], ["state", "filter-state"]]
    .map(([name, id]) => [at[name], byId(id).value]).filter(([, value]) => value);
  const hide = byId("hide-trials").checked;
  shown = order.filter((i) => words.every((word) => texts[i].includes(word)) && chosen.every(([column, value]) => rows[i][column] === value)
    && (!hide || !trials.has(i)) && (!settings || settingsOf(i).includes(settings)));
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
    if (open === id) body.append(element("tr", { class: "detail" }, detail(id, i)));
  }
  byId("count").textContent = shown.length === rows.length ? `${rows.length} runs` : `${shown.length} of ${rows.length} runs`;
  byId("page").textContent = `Page ${page + 1} of ${pages}`;
  byId("pages").hidden = pages === 1;
  byId("previous").disabled = page === 0;
  byId("next").disabled = page === pages - 1;
}

const head = element("tr", {}, ...columns.map((column) => element("th", { scope: "col", ...(column.digits === undefined ? { class: "words" } : {}) }, column.name)));
byId("run-table").tHead.append(head);
sortButtons(head, (column, direction) => {
  order = sorted(order, (i) => rows[i][column], direction);
  filterRuns();
});
fillChoice("filter-method", "method");
fillChoice("filter-dataset", "data set");
fillChoice("filter-protocol", "protocol");
fillChoice("filter-state", "state");
byId("trials").hidden = !trials.size;
byId("hide-trials").addEventListener("change", filterRuns);
byId("filter-settings").addEventListener("input", filterRuns);
byId("filter-runs").addEventListener("input", filterRuns);
byId("previous").addEventListener("click", () => { page -= 1; showRuns(); });
byId("next").addEventListener("click", () => { page += 1; showRuns(); });
showRuns();
