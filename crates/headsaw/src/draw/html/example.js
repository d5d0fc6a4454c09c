// The example: one layer cut twice, its closed forms, and its sliders.

const STEPS = ["project", "attend", "merge"];
const LANES = { own: [0, 1, 2], shared: [0, 1, 0], one: [0, 0, 0] };
const sum = (list) => list.reduce((a, b) => a + b, 0);

/** Heads of each chunk of the busiest device, one micro-batch after another. */
function unitsOf({ heads, devices, chunk, micros }) {
  const held = Math.ceil(heads / devices);
  const chunks = [];
  for (let first = 0; first < held; first += chunk) chunks.push([first, Math.min(first + chunk, held)]);
  return Array.from({ length: micros }, (_, micro) => chunks.map(([first, last]) => ({ first, last, micro }))).flat();
}

const timesOf = (example, unit) => example.steps.map((time) => time * (unit.last - unit.first) + example.fixed);

/** T for n equal units of these step times. */
function closedForm(lanes, n, [p, a, m]) {
  const all = p + a + m;
  if (lanes === "one") return n * all;
  if (lanes === "own" || n === 1) return all + (n - 1) * Math.max(p, a, m);
  const waits = Math.max(a - p, 0) + Math.max(a - m, 0); // for the first attend, and for the last
  return Math.max(n * (p + m) + waits, p + n * a + m);
}

/** When every unit is in every step: a shared lane takes the next unit's project before a unit's merge. */
function play(example) {
  const units = unitsOf(example);
  const lanes = LANES[example.lanes];
  const free = [0, 0, 0];
  const done = units.map(() => 0);
  const bars = [];
  const act = (unit, step) => {
    const length = timesOf(example, units[unit])[step];
    const start = Math.max(free[lanes[step]], done[unit]);
    free[lanes[step]] = done[unit] = start + length;
    bars.push({ ...units[unit], step, lane: lanes[step], start, length });
  };
  const lag = example.lanes === "shared" ? 1 : 0;
  for (let turn = 0; turn < units.length + lag; turn++) {
    if (turn < units.length) [0, 1].forEach((step) => act(turn, step));
    if (turn >= lag) act(turn - lag, 2);
  }
  return { bars, total: Math.max(...done) };
}

/** Units, slots, speed-up and bubble: by the closed forms where units are equal, else as played. */
function outcome(example) {
  const units = unitsOf(example);
  const even = units.every((unit) => unit.last - unit.first === units[0].last - units[0].first);
  const times = timesOf(example, units[0]);
  const serial = sum(units.map((unit) => sum(timesOf(example, unit))));
  const overlapped = even ? closedForm(example.lanes, units.length, times) : play(example).total;
  const lanes = new Set(LANES[example.lanes]).size;
  const all = lanes * overlapped;
  return { units: units.length, even, times, serial, overlapped, speedup: serial / overlapped, all, bubble: Math.max(0, 1 - serial / all) };
}

/** A panel of bars that were played. */
function panelOfBars(name, total, bars, lanes) {
  const kinds = STEPS.map((step) => data.kinds.findIndex((kind) => kind.key === step));
  const sorted = [...bars].sort((a, b) => a.lane - b.lane || a.start - b.start);
  const rows = Array.from({ length: lanes }, (_, lane) => ({
    device: 0, group: "", name: say("lane", { n: lane }), drawn: true,
    first: sorted.filter((bar) => bar.lane < lane).length, count: sorted.filter((bar) => bar.lane === lane).length,
  }));
  const chunk = Math.max(...bars.map((bar) => bar.last - bar.first));
  const each = (of) => sorted.map(of);
  return {
    name, total, rows, slot: 1, summary: inSlots(short(total)), count: sorted.length, mates: new Map(),
    kind: each((bar) => kinds[bar.step]), fill: each((bar) => Math.floor(bar.first / chunk) % data.own), first: each((bar) => bar.first),
    last: each((bar) => bar.last), micro: each((bar) => bar.micro), round: each(() => 0), layer: each(() => null),
    flops: each(() => null), bytes: each(() => null), start: each((bar) => bar.start), length: each((bar) => bar.length),
  };
}

/** All steps of a unit, then those of the next. */
function inTurn(example) {
  let at = 0;
  return unitsOf(example).flatMap((unit) => timesOf(example, unit).map((length, step) => {
    at += length;
    return { ...unit, step, lane: 0, start: at - length, length };
  }));
}

function startExample(section) {
  const form = section.querySelector("form");
  const chart = makeChart(section.querySelector(".chart"), true);
  const redo = () => showExample(section, chart, readExample(form));
  form.addEventListener("input", redo);
  form.addEventListener("change", () => { live.textContent = saidOf(outcome(readExample(form))); });
  form.addEventListener("submit", (event) => event.preventDefault());
  const presets = {
    article: { heads: 8, devices: 4, chunk: 1, micros: 1, steps: [1, 1, 1], fixed: 0, lanes: "own" },
    llama: { heads: 8, devices: 4, chunk: 1, micros: 1, steps: [3, 0.5, 1], fixed: 0, lanes: "shared" },
    model: data.model,
  };
  for (const button of section.querySelectorAll("[data-set]")) {
    const preset = presets[button.dataset.set];
    button.hidden = !preset;
    button.addEventListener("click", () => {
      writeExample(form, preset);
      form.dispatchEvent(new Event("change"));
      redo();
    });
  }
  writeExample(form, data.example);
  redo();
  return chart;
}

function writeExample(form, example) {
  const fields = form.elements;
  fields.chunk.max = Math.ceil(example.heads / example.devices);
  for (const name of ["heads", "devices", "chunk", "micros", "fixed"]) {
    fields[name].max = Math.max(fields[name].max, example[name]);
    fields[name].value = example[name];
  }
  STEPS.forEach((step, i) => { fields[step].value = example.steps[i]; });
  fields.lanes.value = example.lanes;
}

/** What the sliders say; a chunk has no more heads than a device. */
function readExample(form) {
  const number = (name) => Number(form.elements[name].value);
  const example = { heads: number("heads"), devices: number("devices"), micros: number("micros"), fixed: number("fixed"),
    steps: STEPS.map(number), lanes: form.elements.lanes.value };
  const chunk = form.elements.chunk;
  chunk.max = Math.ceil(example.heads / example.devices);
  example.chunk = Number(chunk.value);
  for (const label of form.querySelectorAll("label")) {
    const output = label.querySelector("output");
    if (output) output.textContent = short(Number(label.querySelector("input").value));
  }
  return example;
}

const saidOf = (made) => say("said", { units: 3 * made.units, a: short(made.serial), b: short(made.overlapped), s: short(made.speedup), bubble: percent(made.bubble) });

function showExample(section, chart, example) {
  const made = outcome(example);
  const texts = {
    units: String(3 * made.units),
    units_note: say("units_note", { units: made.units }),
    serial: short(made.serial),
    overlapped: short(made.overlapped),
    speedup: `${made.speedup.toFixed(2)} ×`,
    speedup_note: say("speedup_note", { a: short(made.serial), b: short(made.overlapped) }),
    bubble: percent(made.bubble),
    bubble_note: say("bubble_note", { idle: short(made.all - made.serial), all: short(made.all) }),
    formula: formulaOf(example, made),
    formula_bubble: say("formula_bubble", { bubble: percent(2 / (made.units + 2)), n: made.units }),
  };
  for (const [name, text] of Object.entries(texts)) section.querySelector(`[data-out=${name}]`).textContent = text;
  Object.assign(section.dataset, { units: made.units, serial: made.serial, overlapped: made.overlapped, bubble: made.bubble });
  const { bars, total } = play(example);
  const lanes = new Set(LANES[example.lanes]).size;
  const panels = [panelOfBars(words.serial, made.serial, inTurn(example), 1), panelOfBars(words.overlapped, total, bars, lanes)];
  chart.view = { from: 0, to: chart.total };
  hideTip();
  setPanels(chart, panels);
  legend(section.querySelector(".legend"), panels);
  section.querySelector(".tables").replaceChildren(...panels.map((panel) => tableOf(chart, panel)));
  chunkBars(section, example);
}

function formulaOf(example, made) {
  const values = { n: made.units, sum: short(sum(made.times)), max: short(Math.max(...made.times)), t: short(made.overlapped) };
  return say(made.even ? `formula_${example.lanes}` : "formula_uneven", values);
}

/** The same with chunks of other sizes: one for each number of chunks. */
function chunkBars(section, example) {
  const held = Math.ceil(example.heads / example.devices);
  const sizes = Array.from({ length: held }, (_, i) => i + 1).filter((size) => size === example.chunk || Math.ceil(held / size) < Math.ceil(held / (size - 1)));
  const slots = sizes.map((chunk) => outcome({ ...example, chunk }).overlapped);
  const most = Math.max(...slots);
  const bar = (size, i) => {
    const aside = (text) => element("span", { class: "aside" }, ` ${text} `);
    const choose = () => {
      const form = section.querySelector("form");
      form.elements.chunk.value = size;
      form.dispatchEvent(new Event("input"));
      section.querySelector("[aria-pressed=true]")?.focus();
    };
    const button = element("button", { type: "button", "aria-pressed": String(size === example.chunk), onclick: choose },
      element("b", {}, short(slots[i])), aside(words.slots_unit), element("i"), element("span", {}, String(size)), aside(words.chunk_bar));
    button.querySelector("i").style.height = `${Math.max(2, (72 * slots[i]) / most)}px`;
    return element("li", {}, button);
  };
  section.querySelector(".chunks ul").replaceChildren(...sizes.map(bar));
  section.querySelector(".chunks").hidden = sizes.length < 2;
}
