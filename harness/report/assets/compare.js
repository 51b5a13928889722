// Two settings, or two runs, side by side: what differs in settings, numbers, costs, curves and pictures.

const MOST_CHOICES = 500;
const NUMBERS = columns.map((column, c) => c).filter((c) => columns[c].digits !== undefined);
const sides = { A: null, B: null };

function choices() {
  // Key -> words and rows of what can be chosen: single runs, or all seeds of a setting.
  const single = byId("compare-kind").value === "runs", found = new Map();
  rows.forEach((row, i) => {
    if (row[at.state] !== "done") return;
    const words = GROUP.map((name) => (name === "shots" ? counted(row[at[name]], "shot") : row[at[name]])).filter(Boolean);
    if (single) words.push(`seed ${row[at.seed]}`, row[at.id]);
    const key = single ? row[at.id] : words.join(", ");
    if (!found.has(key)) found.set(key, { words: words.join(", "), places: [] });
    found.get(key).places.push(i);
  });
  return found;
}
let known = choices();

function fillSides() {
  const words = byId("compare-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const matching = [...known].filter(([, one]) => words.every((word) => one.words.toLowerCase().includes(word)));
  const offered = matching.slice(0, MOST_CHOICES);
  for (const [side, number] of [["A", 0], ["B", 1]]) {
    const select = byId(`compare-${side.toLowerCase()}`);
    const entries = [...offered];
    if (known.has(sides[side]) && !entries.some(([key]) => key === sides[side])) entries.unshift([sides[side], known.get(sides[side])]);
    if (!known.has(sides[side])) sides[side] = (entries[number] || entries[0] || [null])[0];
    select.replaceChildren(...entries.map(([key, one]) => element("option", { value: key }, one.words)));
    select.value = sides[side];
  }
  byId("compare-count").textContent = matching.length > offered.length ? `The first ${offered.length} of ${matching.length} are offered: filter them.` : "";
  showComparison();
}

function statistics(places, c) {
  const values = places.map((i) => rows[i][c]).filter((value) => value !== null && value !== undefined);
  if (!values.length) return null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, spread: values.length > 1 ? Math.sqrt(square / (values.length - 1)) : null, count: values.length };
}

function representatives(a, b) {
  // Of each side one run that is described: of a seed that both have, if there is one.
  const described = (places) => places.filter((i) => (data.details[rows[i][at.id]] || {}).costs);
  const [first, second] = [described(a), described(b)];
  for (const i of first) {
    const partner = second.find((j) => rows[j][at.seed] === rows[i][at.seed]);
    if (partner !== undefined) return [i, partner];
  }
  return [first[0], second[0]];
}

function comparisonTable(title, lines, numeric) {
  const cells = (line) => line.map((text, k) => element(k ? "td" : "th", k ? { class: numeric ? "" : "words" } : { scope: "row" }, text));
  const names = ["", "A", "B", ...(numeric ? ["B − A"] : [])];
  const head = element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col", ...(numeric ? {} : { class: "words" }) }, name))));
  const button = element("button", { type: "button" }, "Copy as LaTeX");
  button.addEventListener("click", () => copy(asLatex(title, names, lines, numeric), button));
  return element("figure", { class: "table" }, element("figcaption", {}, element("span", {}, title), button),
    element("div", { class: "scroll" }, element("table", {}, head, element("tbody", {}, ...lines.map((line) => element("tr", {}, ...cells(line)))))));
}
const LATEX = { "\\": "\\textbackslash{}", "±": "$\\pm$", "−": "$-$", "–": "--", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$" };
function asLatex(title, names, lines, numeric) {
  const escape = (text) => text.replace(/[\\±−–~^<>|&%$#_{}]/g, (sign) => LATEX[sign] || `\\${sign}`);
  const row = (line) => `${line.map(escape).join(" & ")} \\\\`;
  return ["% needs \\usepackage{booktabs}", "\\begin{table}[t]", "\\centering", `\\caption{${escape(title)}.}`, `\\begin{tabular}{l${(numeric ? "r" : "l").repeat(names.length - 1)}}`,
    "\\toprule", row(names), "\\midrule", ...lines.map(row), "\\bottomrule", "\\end{tabular}", "\\end{table}", ""].join("\n");
}

function signedText(value, digits) { return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`; }
function numberLines(a, b) {
  const text = (found, digits) => (found === null ? "–" : `${found.mean.toFixed(digits)}${found.spread === null ? "" : ` ± ${found.spread.toFixed(digits)}`}`);
  return NUMBERS.map((c) => [columns[c], statistics(a, c), statistics(b, c)]).filter(([, first, second]) => first || second)
    .map(([column, first, second]) => [column.name, text(first, column.digits), text(second, column.digits),
      first && second ? signedText(second.mean - first.mean, column.digits) : "–"]);
}
function settingLines(one, other) {
  const values = (run) => new Map(linesOf(run).map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
  const [first, second] = [values(one), values(other)];
  return [...new Set([...first.keys(), ...second.keys()])].filter((key) => first.get(key) !== second.get(key))
    .map((key) => [key, first.get(key) ?? "–", second.get(key) ?? "–"]);
}

function showComparison() {
  const box = byId("compare-result");
  const [a, b] = ["A", "B"].map((side) => known.get(sides[side]));
  box.replaceChildren();
  if (!a || !b) { box.append(element("p", { class: "note" }, "There are no two complete runs to compare.")); return; }
  const seeds = [a, b].map((one) => counted(one.places.length, "run"));
  box.append(element("p", {}, element("b", {}, "A"), `: ${a.words} (${seeds[0]}). `, element("b", {}, "B"), `: ${b.words} (${seeds[1]}).`));
  box.append(comparisonTable("Accuracies and costs", numberLines(a.places, b.places), true));
  const [i, j] = representatives(a.places, b.places);
  if (i === undefined || j === undefined) { box.append(element("p", { class: "note" }, "Settings and curves of these runs did not fit on this page.")); return; }
  const ids = [i, j].map((place) => rows[place][at.id]), [one, other] = ids.map((id) => data.details[id]);
  const differing = settingLines(one, other);
  box.append(differing.length ? comparisonTable("Settings that differ", differing, false) : element("p", { class: "note" }, "Their settings are the same, but for the seed perhaps."));
  const parts = element("div", { class: "parts" }, ...curves([["A", one], ["B", other]]));
  const [first, second] = ids.map(predictedOf);
  const common = Object.keys(first).filter((name) => second[name]);
  for (const name of common) parts.append(part(`Reliability: ${name}`, ...reliabilityChart([["A", first[name].bins], ["B", second[name].bins]])));
  if (parts.children.length) {
    if (a.places.length + b.places.length > 2) box.append(element("p", { class: "note" }, `What follows is of two runs: A ${ids[0]} (seed ${rows[i][at.seed]}), B ${ids[1]} (seed ${rows[j][at.seed]}).`));
    box.append(parts);
  }
  for (const name of common) box.append(disagreement(name, first[name], second[name]));
  if (!common.length) box.append(element("p", { class: "note" }, "The pictures that they disagree on are shown for two runs that kept their logits of the same evaluation, as far as these fit on this page."));
}

function compareRun(side, id) {
  byId("compare-kind").value = "runs";
  known = choices();
  sides[side] = id;
  fillSides();
  byId("compare").scrollIntoView();
  byId(`compare-${side.toLowerCase()}`).focus();
}
byId("compare-kind").addEventListener("change", () => { known = choices(); fillSides(); });
byId("compare-filter").addEventListener("input", fillSides);
for (const side of ["A", "B"]) byId(`compare-${side.toLowerCase()}`).addEventListener("change", (event) => { sides[side] = event.target.value; showComparison(); });
byId("compare-swap").addEventListener("click", () => { [sides.A, sides.B] = [sides.B, sides.A]; fillSides(); });
fillSides();
