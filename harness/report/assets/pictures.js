// What runs predicted for every picture, from the logits that they kept: confusions, reliability, disagreement.

const SHOWN_PICTURES = 24, SHOWN_PAIRS = 15, MOST_CLASSES = 60;
const unpackedTexts = new Map();

function unpacked(text) {
  // Base64 of unsigned 16-bit numbers, the lowest byte first.
  if (!unpackedTexts.has(text)) {
    const bytes = atob(text), found = [];
    for (let i = 0; i < bytes.length; i += 2) found.push(bytes.charCodeAt(i) + 256 * bytes.charCodeAt(i + 1));
    unpackedTexts.set(text, found);
  }
  return unpackedTexts.get(text);
}
const predictedOf = (id) => data.predicted.runs[id] || {};

function confusions(entry) {
  // Rows are the classes of the pictures, columns the predicted ones.
  const set = data.predicted.sets[entry.set], labels = unpacked(set.labels), found = unpacked(entry.predicted);
  const counts = set.names.map(() => set.names.map(() => 0));
  labels.forEach((label, i) => { counts[label][found[i]] += 1; });
  return { names: set.names, counts };
}

function confusionMatrix(names, counts) {
  const cell = 11, left = 110, size = cell * names.length;
  const svg = shape("svg", { viewBox: `0 0 ${left + size + 4} ${size + 24}`, role: "img", "aria-label": "Confusion matrix: the list of confused classes has its largest numbers" });
  svg.append(shape("text", { class: "soft", x: left + size / 2, y: 11, "text-anchor": "middle" }, "predicted class, in the same order"));
  counts.forEach((row, i) => {
    const total = row.reduce((sum, count) => sum + count, 0), y = 18 + cell * i;
    const cut = names[i].length > 19 ? `${names[i].slice(0, 18)}…` : names[i];
    svg.append(shape("text", { class: "soft small", x: left - 4, y: y + cell - 2, "text-anchor": "end" }, cut));
    svg.append(shape("rect", { x: left, y, width: size, height: cell, fill: "var(--back)" }));
    row.forEach((count, j) => {
      if (!count) return;
      const square = shape("rect", { x: left + cell * j, y, width: cell - 0.5, height: cell - 0.5, fill: i === j ? "var(--c2)" : "var(--c1)", "fill-opacity": 0.25 + 0.75 * count / total });
      square.dataset.tip = `${names[i]} taken for ${names[j]}\n${count} of ${total} pictures`;
      svg.append(square);
    });
  });
  return svg;
}

function confusionPart(name, entry) {
  const { names, counts } = confusions(entry);
  const pairs = [];
  counts.forEach((row, i) => row.forEach((count, j) => { if (i !== j && count) pairs.push([names[i], names[j], count]); }));
  pairs.sort((a, b) => b[2] - a[2]);
  const body = element("tbody", {}, ...pairs.slice(0, SHOWN_PAIRS).map(([label, other, count]) => element("tr", {}, element("th", { scope: "row" }, label), element("td", { class: "words" }, other), element("td", {}, String(count)))));
  const head = element("thead", {}, element("tr", {}, ...["class", "taken for", "pictures"].map((word, i) => element("th", { scope: "col", ...(i < 2 ? { class: "words" } : {}) }, word))));
  const more = pairs.length > SHOWN_PAIRS ? `The ${SHOWN_PAIRS} most frequent of ${pairs.length} confusions.` : "";
  const parts = [];
  if (names.length <= MOST_CLASSES) parts.push(element("div", { class: "matrix" }, confusionMatrix(names, counts)));
  else parts.push(element("p", { class: "note" }, `The matrix of ${names.length} classes is not drawn; skipbench rescore writes it.`));
  parts.push(pairs.length ? element("div", { class: "scroll-y", tabindex: 0 }, element("table", {}, head, body)) : element("p", { class: "note" }, "No picture is wrong."));
  if (more) parts.push(element("p", { class: "note" }, more));
  return part(`Confusions: ${name}`, ...parts);
}

function reliabilityChart(several) {
  // several: [name, bins]; of each bin the mean confidence, the share that is right (both in percent), and its pictures.
  const series = several.map(([name, bins]) => ({
    name, x: bins.map((bin) => bin[0]), y: bins.map((bin) => bin[1]), error: [], words: bins.map((bin) => `confidence ${bin[0].toFixed(1)} %\n${counted(bin[2], "picture")}`),
  }));
  const ends = series.flatMap((one) => one.x);
  const diagonal = [Math.min(...ends), Math.max(...ends)].map((value) => [value, value]);
  const figure = { kind: "scatter", x_label: "confidence (%)", y_label: "right (%)", log_x: false };
  return [pointChart(figure, { title: "", series, front: [], line: diagonal }, "reliability"), ...(several.length > 1 ? [legend({ kind: "scatter", panels: [{ series }] })] : []),
    element("p", { class: "note" }, "Dashed: as often right as confident; below it predictions are too confident.")];
}

function pictureOf(set, place, ...lines) {
  const path = set.pictures[place], picture = path && data.pictures[path];
  const label = set.names[unpacked(set.labels)[place]];
  const name = path ? path.split("/").pop() : `picture ${place + 1}`;
  const says = element("figcaption", {}, label, ...lines.flatMap((line) => [element("br"), line]), ...(picture ? [] : [element("br"), element("small", {}, name)]));
  return element("figure", { title: path || name }, picture ? element("img", { src: picture, alt: label }) : element("span", { class: "none" }), says);
}

function disagreement(name, a, b, names) {
  // a, b: entries of two runs for the same evaluation.
  if (a.set !== b.set) return part(`Pictures: ${name}`, element("p", { class: "note" }, "The two were evaluated on different pictures."));
  const set = data.predicted.sets[a.set], labels = unpacked(set.labels), first = unpacked(a.predicted), second = unpacked(b.predicted);
  const groups = [["only A is right", []], ["only B is right", []], ["both are wrong, and say different classes", []]];
  let same = 0;
  labels.forEach((label, i) => {
    if (first[i] === second[i]) same += 1;
    else groups[first[i] === label ? 0 : second[i] === label ? 1 : 2][1].push(i);
  });
  const total = labels.length, box = [];
  box.push(element("p", {}, `They agree on ${same} of ${counted(total, "picture")}; ${groups.map(([words, places]) => `${words}: ${places.length}`).join("; ")}.`));
  for (const [words, places] of groups) {
    if (!places.length) continue;
    // Those whose picture is here come first.
    const order = [...places].sort((i, j) => (data.pictures[set.pictures[j]] !== undefined) - (data.pictures[set.pictures[i]] !== undefined));
    const shown = order.slice(0, SHOWN_PICTURES);
    const figures = shown.map((i) => pictureOf(set, i, `A: ${set.names[first[i]]}`, `B: ${set.names[second[i]]}`));
    const some = places.length > shown.length ? `, ${shown.length} of ${places.length}` : "";
    box.push(element("details", { open: "" }, element("summary", {}, `${words[0].toUpperCase()}${words.slice(1)}${some}`), element("div", { class: "examples" }, ...figures)));
  }
  if (!Object.keys(set.pictures).length) box.push(element("p", { class: "note" }, "Pictures are counted in the order of the evaluation: their data set is not on the machine that wrote this page."));
  return part(`Pictures: ${name}`, ...box);
}
