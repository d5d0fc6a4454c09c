// Zooming, panning, pointing and choosing, by wheel, fingers, mouse and keys; and the tip.

/** Shows a part of the time; never less than a millionth of it, nothing outside. */
function show(chart, from, to) {
  const length = Math.min(Math.max(to - from, chart.total * 1e-6), chart.total);
  const start = Math.min(Math.max(from, 0), chart.total - length);
  chart.view = { from: start, to: start + length };
  redraw(chart);
}

function zoom(chart, factor, at = (chart.view.from + chart.view.to) / 2) {
  const { from, to } = chart.view;
  const length = Math.min(Math.max((to - from) * factor, chart.total * 1e-6), chart.total);
  const start = at - ((at - from) * length) / (to - from);
  show(chart, start, start + length);
}

function pan(chart, share) {
  const { from, to } = chart.view;
  show(chart, from + share * (to - from), to + share * (to - from));
}

const ACTS = {
  in: (chart) => zoom(chart, 1 / 1.5),
  out: (chart) => zoom(chart, 1.5),
  left: (chart) => pan(chart, -0.2),
  right: (chart) => pan(chart, 0.2),
  fit: (chart) => show(chart, 0, chart.total),
  next: (chart) => step(chart, 1),
  previous: (chart) => step(chart, -1),
  below: (chart) => changeLane(chart, 1),
  above: (chart) => changeLane(chart, -1),
  into: (chart) => zoomTo(chart),
  none: (chart) => choose(chart, null),
};
const KEYS = {
  "+": "in", "=": "in", w: "in", "-": "out", _: "out", s: "out", 0: "fit", a: "left", d: "right", ArrowLeft: "left",
  ArrowRight: "right", ArrowUp: "above", ArrowDown: "below", ".": "next", ",": "previous", Enter: "into", f: "into",
  Escape: "none",
};

function onKey(chart, event) {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  chart.hover = null;
  ACTS[act](chart);
  keepTip(chart);
}

/** Chooses an action, says it, and shows it. */
function choose(chart, chosen) {
  chart.pick = chosen;
  chart.hover = null;
  if (chosen) {
    const { panel, bar } = chosen;
    const start = panel.start[bar], end = start + panel.length[bar];
    const { from, to } = chart.view;
    if (end < from || start > to) show(chart, start - (to - from) / 2, start + (to - from) / 2);
    const told = facts(chart, panel, bar).map((fact) => fact.join(" ")).join(words.comma);
    live.textContent = say("told", { name: panel.name, what: title(panel, bar), facts: told });
  }
  redraw(chart);
  if (chosen) showTip(chart, chosen);
  else hideTip();
}

/** The next action of the lane that takes time. */
function step(chart, by) {
  if (!chart.pick) return chooseFirst(chart);
  const { panel, bar } = chart.pick;
  const row = rowOf(panel, bar);
  for (let next = bar + by; next >= row.first && next < row.first + row.count; next += by) {
    if (panel.length[next] > 0) return choose(chart, { panel, bar: next });
  }
}

function chooseFirst(chart) {
  for (const panel of chart.panels) {
    for (const { row } of panel.places) {
      for (let bar = firstAfter(panel, row, chart.view.from); bar < row.first + row.count; bar++) {
        if (panel.length[bar] > 0) return choose(chart, { panel, bar });
      }
    }
  }
}

/** What the next lane does at about the same time; below the last lane the next panel. */
function changeLane(chart, by) {
  if (!chart.pick) return chooseFirst(chart);
  const { panel, bar } = chart.pick;
  const lanes = chart.panels.flatMap((panel) => panel.places.map(({ row }) => ({ panel, row })));
  const middle = panel.start[bar] + panel.length[bar] / 2;
  const own = lanes.findIndex((lane) => lane.panel === panel && bar >= lane.row.first && bar < lane.row.first + lane.row.count);
  for (let i = own + by; i >= 0 && i < lanes.length; i += by) {
    const { panel: other, row } = lanes[i];
    const last = row.first + row.count - 1;
    for (let found = Math.min(firstAfter(other, row, middle), last); found >= row.first; found--) {
      if (other.length[found] > 0) return choose(chart, { panel: other, bar: found });
    }
  }
}

function zoomTo(chart) {
  if (!chart.pick) return chooseFirst(chart);
  const { panel, bar } = chart.pick;
  const half = Math.max(panel.length[bar], chart.total * 1e-6);
  show(chart, panel.start[bar] - half, panel.start[bar] + panel.length[bar] + half);
  keepTip(chart);
}

/** What is under the pointer; of thin bars the nearest within 3 pixels. */
function hit(chart, panel, event) {
  const bounds = panel.canvas.getBoundingClientRect();
  const x = event.clientX - bounds.left, y = event.clientY - bounds.top;
  const place = panel.places.find((place) => y >= place.y && y < place.y + ROW);
  const { left, scale } = panel.pen;
  if (!place || x < left) return null;
  const at = chart.view.from + (x - left) / scale;
  let best = null, distance = 3 / scale;
  const end = place.row.first + place.row.count;
  for (let bar = firstAfter(panel, place.row, at - distance); bar < end && panel.start[bar] < at + distance; bar++) {
    const away = Math.max(panel.start[bar] - at, at - panel.start[bar] - panel.length[bar], 0);
    if (panel.length[bar] > 0 && away < distance) [best, distance] = [{ panel, bar }, away];
    if (away === 0) break;
  }
  return best;
}

/** Wheel, drag, pinch, hover and tap on one panel. */
function onPointer(chart, panel) {
  const { canvas } = panel;
  const down = new Map();
  let moved = false;
  const timeAt = (x) => chart.view.from + (x - canvas.getBoundingClientRect().left - panel.pen.left) / panel.pen.scale;
  canvas.addEventListener("wheel", (event) => {
    const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    const zooms = event.ctrlKey || event.metaKey || document.activeElement === chart.host;
    if (!sideways && !zooms) return;
    event.preventDefault();
    const pixels = (event.deltaY || event.deltaX) * [1, 16, 400][event.deltaMode];
    if (sideways) pan(chart, (event.deltaX || event.deltaY) / (panel.pen.right - panel.pen.left));
    else zoom(chart, Math.exp(Math.max(-200, Math.min(200, pixels)) * (event.ctrlKey ? 0.008 : 0.003)), timeAt(event.clientX));
    hideTip();
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    down.set(event.pointerId, event.clientX);
    moved = down.size > 1;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!down.has(event.pointerId)) return hoverAt(chart, panel, event);
    const before = [...down.values()];
    const start = down.get(event.pointerId);
    if (down.size === 1 && !moved && Math.abs(event.clientX - start) < 4) return;
    moved = true;
    hideTip();
    down.set(event.pointerId, event.clientX);
    const after = [...down.values()];
    if (down.size === 1) show(chart, chart.view.from - (event.clientX - start) / panel.pen.scale, chart.view.to - (event.clientX - start) / panel.pen.scale);
    else pinch(chart, before, after, timeAt);
  });
  const up = (event) => {
    if (!down.delete(event.pointerId)) return;
    if (!moved && event.type === "pointerup") {
      chart.host.focus({ preventScroll: true });
      choose(chart, hit(chart, panel, event));
    }
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => { if (chart.hover) leave(chart); });
  canvas.addEventListener("dblclick", () => zoomTo(chart));
}

function pinch(chart, before, after, timeAt) {
  const spread = ([a, b]) => Math.max(Math.abs(a - b), 8);
  zoom(chart, spread(before) / spread(after), timeAt((after[0] + after[1]) / 2));
}

function hoverAt(chart, panel, event) {
  if (event.pointerType === "touch") return;
  const found = hit(chart, panel, event);
  if (found?.bar === chart.hover?.bar && found?.panel === chart.hover?.panel) {
    if (found) placeTip(event.clientX, event.clientY);
    return;
  }
  if (!found) return leave(chart);
  chart.hover = found;
  redraw(chart);
  showTip(chart, found, event);
}

function leave(chart) {
  if (!chart.hover) return;
  chart.hover = null;
  redraw(chart);
  hideTip();
}

function showTip(chart, { panel, bar }, event) {
  const list = facts(chart, panel, bar).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  const head = element("p", {}, swatch(panel.kind[bar], panel.fill[bar]), title(panel, bar));
  tip.replaceChildren(head, element("dl", {}, ...list));
  tip.hidden = false;
  if (event) return placeTip(event.clientX, event.clientY);
  const bounds = panel.canvas.getBoundingClientRect();
  const box = boxOf(panel, panel.pen, bar);
  const y = bounds.top + (box?.y ?? 0) + ROW;
  const visible = box && box.stop > panel.pen.left && box.x < panel.pen.right && y > 0 && y < window.innerHeight;
  if (visible) placeTip(bounds.left + Math.max(box.x, panel.pen.left), y);
  else hideTip();
}

/** The tip of the chosen action goes with it, when the picture moves. */
function keepTip(chart) {
  if (chart.pick && !chart.hover) showTip(chart, chart.pick);
}

/** Beside a point, inside the window. */
function placeTip(x, y) {
  const { offsetWidth: width, offsetHeight: height } = tip;
  const left = Math.max(8, Math.min(x + 14, root.clientWidth - width - 8));
  const below = y + 18 + height < window.innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? y + 18 : Math.max(8, y - height - 14)}px`;
}

function hideTip() {
  tip.hidden = true;
}
