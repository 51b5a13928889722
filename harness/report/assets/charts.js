// Figures.

const colour = (place) => `var(--c${place % 7})`;
const titleOf = (series) => [series.name, series.mark].filter(Boolean).join(" ");
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
  if (panel.line) {
    // What the points are held against, such as the diagonal of a reliability diagram.
    const points = panel.line.map(([x, y]) => `${px(x)},${py(y)}`).join(" ");
    svg.append(shape("polyline", { points, fill: "none", stroke: "var(--soft)", "stroke-width": 1.3, "stroke-dasharray": "3 3" }));
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
      const says = `${titleOf(series)}\n${series.y[i].toFixed(2)}${spread} %\n${series.words[i] || ""}`.trim();
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

// A name of at most so many letters: variants of a method differ at its end.
function middleOut(name, most) {
  const half = Math.floor((most - 1) / 2);
  return name.length > most ? `${name.slice(0, most - 1 - half)}…${name.slice(-half)}` : name;
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
    const cut = middleOut(name, 24);
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
  const row = 24, width = WIDTH, left = 165, right = 14, top = 10;
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
    const cut = middleOut(name, 26);
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
  for (const panel of figure.panels) for (const series of panel.series) seen.set(titleOf(series), placeOf(series.name, panel.series));
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
