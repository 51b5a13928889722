// One run in full: files, settings, costs, curves, classes, confusions, predictions.

function part(title, ...children) { return element("div", {}, element("h3", {}, title), ...children); }
function counted(number, noun) { return `${number} ${noun}${number === 1 ? "" : "s"}`; }
const linesOf = (run) => data.specs[run.spec].map((line) => data.lines[line]);

function detail(id, place) {
  const box = element("div", { class: "box" });
  const cell = element("td", { colspan: columns.length }, box);
  const links = element("p", {}, `Run ${id}: `);
  const run = data.details[id];
  if (run && run.url && /^https?:/.test(run.url)) links.append(element("a", { href: run.url, rel: "noreferrer" }, "W&B"), " ");
  for (const file of data.files.sets[data.files.of[place]]) {
    links.append(element("a", { href: `${data.folder}/${id}/${file}` }, file), " ");
  }
  for (const side of ["A", "B"]) {
    const button = element("button", { type: "button" }, `Compare as ${side}`);
    button.addEventListener("click", () => compareRun(side, id));
    links.append(button, " ");
  }
  box.append(links);
  if (!run) { box.append(element("p", { class: "note" }, data.left_out)); return cell; }
  if (run.reason) box.append(element("p", { class: "state-failed" }, run.reason));
  for (const line of run.notes || []) box.append(element("p", { class: "note" }, line));
  if (run.card !== undefined) box.append(element("p", { class: "note" }, data.cards[run.card]));
  const parts = element("div", { class: "parts" });
  if (!run.reason) parts.append(part("Settings", element("pre", { tabindex: 0 }, [`seed: ${run.seed}`, ...linesOf(run)].join("\n"))));
  if (run.costs) parts.append(costs(run));
  parts.append(...curves([["", run]]));
  for (const [name, found] of Object.entries(run.classes || {})) parts.append(perClass(name, found));
  for (const [name, entry] of Object.entries(predictedOf(id))) {
    parts.append(part(`Reliability: ${name}`, ...reliabilityChart([[name, entry.bins]])), confusionPart(name, entry));
  }
  box.append(parts);
  for (const [name, several] of Object.entries(run.examples || {})) box.append(examples(name, several));
  return cell;
}

function curves(several) {
  // several: [words for the legend, run]; loss and accuracies over epochs, as far as there are two epochs.
  const lines = (of) => several.flatMap(([words, run]) => Object.entries(of(run) || {}).map(([name, points]) => ({
    name: [words, name].filter(Boolean).join(", "), x: points.map((point) => point[0]), y: points.map((point) => point[1]), error: [], words: points.map((point) => `epoch ${point[0]}`),
  }))).filter((series) => series.x.length > 1);
  const found = [];
  for (const [title, label, of] of [
    ["Training loss", "loss", (run) => run.losses && { loss: run.losses }], ["Accuracy over epochs", "accuracy (%)", (run) => run.accuracies],
  ]) {
    const series = lines(of);
    if (series.length) found.push(part(title, curve(series, label), ...(series.length > 1 || several.length > 1 ? [legend({ kind: "lines", panels: [{ series }] })] : [])));
  }
  return found;
}
function curve(series, label) {
  const figure = { kind: "lines", x_label: "epoch", y_label: label, log_x: false };
  const chart = pointChart(figure, { title: "", series, front: [] }, label);
  for (const point of chart.querySelectorAll("[data-tip]")) {
    if (label === "loss") point.dataset.tip = point.dataset.tip.replace(" %", "");
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
