// A chart: panels below each other on one axis of time, drawn on canvases.

const ROW = 22, GAP = 4, HEAD = 20, AXIS = 24, ROWS_MOST = 64;

/** Panels in `host`, with their tools; what it returns is redrawn by `redraw`. */
function makeChart(host, alone) {
  const chart = { host, alone, panels: [], view: { from: 0, to: 1 }, total: 1, device: null, pick: null, hover: null };
  host.addEventListener("keydown", (event) => onKey(chart, event));
  host.addEventListener("blur", () => { if (!chart.hover) hideTip(); });
  new ResizeObserver(() => redraw(chart)).observe(host);
  return chart;
}

function setPanels(chart, panels) {
  const whole = chart.view.from === 0 && chart.view.to === chart.total;
  chart.panels = panels;
  chart.total = Math.max(...panels.map((panel) => panel.total), 1e-12);
  if (whole || chart.view.to > chart.total) chart.view = { from: 0, to: chart.total };
  chart.pick = chart.hover = null;
  chart.host.replaceChildren(...panels.map((panel) => {
    panel.canvas = element("canvas", { "aria-hidden": "true" });
    onPointer(chart, panel);
    const note = element("p", { class: "faint" }, panel.summary);
    panel.more = element("p", { class: "faint" });
    return element("figure", {}, element("figcaption", {}, element("strong", {}, panel.name), note), panel.canvas, panel.more);
  }));
  redraw(chart);
}

/** Where each row of a panel is, and where devices have their names. */
function layout(chart, panel) {
  const rows = panel.rows.filter((row) => (chart.device === null || row.device === chart.device) && row.drawn);
  const places = [];
  let y = AXIS, group = "";
  for (const row of rows.slice(0, ROWS_MOST)) {
    const head = row.group !== group && row.group !== "";
    if (head) y += HEAD;
    places.push({ row, y, head });
    group = row.group;
    y += ROW + GAP;
  }
  panel.more.textContent = rows.length > ROWS_MOST ? say("rows_more", { n: rows.length - ROWS_MOST }) : "";
  panel.places = places;
  return y + 2;
}

const gutter = (width) => (width < 560 ? 66 : 104);

function redraw(chart) {
  for (const panel of chart.panels) draw(chart, panel);
  const { from, to } = chart.view;
  Object.assign(chart.host.dataset, { from, to });
  chart.onView?.(from, to);
}

/** One panel: only what is visible, and of bars thinner than a pixel one a pixel. */
function draw(chart, panel) {
  const width = panel.canvas.parentElement.clientWidth;
  if (width === 0) return;
  const height = layout(chart, panel);
  const ratio = Math.min(window.devicePixelRatio || 1, Math.sqrt(2.4e7 / (width * height)));
  const canvas = panel.canvas;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  const left = gutter(width);
  const scale = (width - left - 1) / (chart.view.to - chart.view.from);
  const pen = { context, ratio, left, right: width - 1, height, scale, x: (t) => left + (t - chart.view.from) * scale };
  panel.pen = pen;
  context.scale(ratio, ratio);
  context.textBaseline = "middle";
  drawAxis(chart, panel, pen);
  for (const place of panel.places) drawRow(chart, panel, pen, place);
  drawMarks(chart, panel, pen);
}

function drawAxis(chart, panel, pen) {
  const { context, left, right, height } = pen;
  const { from, to } = chart.view;
  const [one, unit] = panel.slot ? [panel.slot, words.slots_unit] : TIMES.find(([one]) => to >= 0.9995 * one) ?? TIMES[3];
  context.font = `12px ${ink("--font")}`;
  context.strokeStyle = ink("--grid");
  context.lineWidth = 1;
  context.fillStyle = ink("--faint");
  context.textAlign = "left";
  context.fillText(unit, 0, 10);
  context.textAlign = "center";
  for (const { at, label } of ticks(from, to, one, Math.max(2, Math.floor((right - left) / 90)), panel.slot ? 1 : 0)) {
    const x = Math.round(pen.x(at)) + 0.5;
    context.beginPath();
    context.moveTo(x, 20);
    context.lineTo(x, height);
    context.stroke();
    const half = context.measureText(label).width / 2;
    context.fillText(label, Math.min(Math.max(x, left + half), right - half), 10);
  }
}

/** The first bar of a row that ends after a moment. */
function firstAfter(panel, row, seconds) {
  let low = row.first, high = row.first + row.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (panel.start[middle] + panel.length[middle] > seconds) high = middle;
    else low = middle + 1;
  }
  return low;
}

function drawRow(chart, panel, pen, { row, y, head }) {
  const { context, left, right } = pen;
  context.textAlign = "left";
  if (head) {
    context.font = `600 12px ${ink("--font")}`;
    context.fillStyle = ink("--text");
    context.strokeStyle = ink("--page");
    context.lineWidth = 4;
    context.strokeText(row.group, 0, y - HEAD / 2 + 1); // lines of the axis stop before it
    context.fillText(row.group, 0, y - HEAD / 2 + 1);
  }
  context.font = `12px ${ink("--font")}`;
  context.fillStyle = ink("--faint");
  context.fillText(row.name, 8, y + ROW / 2, left - 12);
  context.fillStyle = ink("--lane");
  context.fillRect(left, y, right - left, ROW);
  const end = row.first + row.count;
  let until = -1;
  for (let bar = firstAfter(panel, row, chart.view.from); bar < end && panel.start[bar] < chart.view.to; bar++) {
    const x = Math.max(left, pen.x(panel.start[bar]));
    const stop = Math.min(right, pen.x(panel.start[bar] + panel.length[bar]));
    if (panel.length[bar] <= 0 || stop < until) continue;
    drawBar(panel, pen, bar, x, y, stop);
    until = Math.max(stop, x + 0.5);
  }
}

function drawBar(panel, pen, bar, x, y, stop) {
  const { context, ratio } = pen;
  const width = Math.max(stop - x, 0.6);
  if (width < 6) {
    context.fillStyle = data.thin[panel.fill[bar] - data.own] ?? data.fills[panel.fill[bar]];
    context.fillRect(x, y, width > 2 ? width - 0.5 : width, ROW); // bars of a colour stay apart
    return;
  }
  context.save();
  context.setTransform(1, 0, 0, 1, 0, 0); // textures lie on the pixels of the screen
  context.fillStyle = pattern(context, panel.kind[bar], panel.fill[bar], ratio);
  context.fillRect(x * ratio, y * ratio, width * ratio, ROW * ratio);
  context.restore();
  context.strokeStyle = "#1f2328";
  context.lineWidth = 0.8;
  context.strokeRect(x + 0.4, y + 0.4, width - 0.8, ROW - 0.8);
  const name = labels(panel, bar).find((name) => context.measureText(name).width + 8 <= width);
  if (!name) return;
  context.textAlign = "center";
  context.strokeStyle = data.fills[panel.fill[bar]];
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeText(name, x + width / 2, y + ROW / 2 + 0.5);
  context.fillStyle = "#111";
  context.fillText(name, x + width / 2, y + ROW / 2 + 0.5);
}

/** Names of a bar, the longest first. */
function labels(panel, bar) {
  const { name, letter, exchanges } = data.kinds[panel.kind[bar]];
  const [first, last] = headsOf(panel, bar);
  if (exchanges) return [name];
  if (last === first) {
    const number = panel.fill[bar] < data.own ? panel.micro[bar] : "";
    return [name, `${letter}${number}`, letter];
  }
  const heads = last - first === 1 ? String(first) : `${first}–${last - 1}`;
  return [title(panel, bar), headsWords([first, last]), `${letter} ${heads}`, heads, String(first)];
}

/** The chosen action, the same one in other panels, and what it exchanges with. */
function drawMarks(chart, panel, pen) {
  const chosen = chart.hover ?? chart.pick;
  if (!chosen) return;
  const bar = same(chosen.panel, chosen.bar, panel);
  if (bar === undefined) return;
  const { context, left, right } = pen;
  const box = boxOf(panel, pen, bar);
  if (!box || box.x > right || box.stop < left) return;
  context.strokeStyle = ink("--accent");
  context.lineWidth = 1.5;
  for (const mate of (panel.mates.get(bar) ?? []).flat().filter((mate) => mate !== bar)) {
    const other = boxOf(panel, pen, mate);
    if (!other) continue;
    const [x, y, X, Y] = [(box.x + box.stop) / 2, box.y + ROW / 2, (other.x + other.stop) / 2, other.y + ROW / 2];
    context.beginPath();
    context.moveTo(x, y);
    context.bezierCurveTo(x, (y + Y) / 2, X, (y + Y) / 2, X, Y);
    context.stroke();
  }
  context.lineWidth = 3;
  const from = Math.max(left, box.x), to = Math.min(right, Math.max(box.stop, box.x + 2));
  context.strokeRect(from - 1, box.y - 1, to - from + 2, ROW + 2);
}

function boxOf(panel, pen, bar) {
  const place = panel.places.find(({ row }) => bar >= row.first && bar < row.first + row.count);
  return place && { x: pen.x(panel.start[bar]), stop: pen.x(panel.start[bar] + panel.length[bar]), y: place.y };
}
