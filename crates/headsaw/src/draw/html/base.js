// Words, numbers, elements, textures. Nothing is fetched: all data is in the page. Texts are set as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const words = data.words;
const root = document.documentElement;

const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** Three significant digits and a unit. */
function scaled(number, units) {
  const [one, name] = units.find(([one]) => Math.abs(number) >= 0.9995 * one) ?? units[units.length - 1];
  const value = number / one;
  const size = Math.abs(value);
  return `${value.toFixed(size >= 99.95 || value === 0 ? 0 : size >= 9.995 ? 1 : 2)} ${name}`.trim();
}
const TIMES = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
const COUNTS = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
const duration = (seconds) => (seconds === 0 ? "0 s" : scaled(seconds, TIMES));
const count = (number, unit) => `${scaled(number, COUNTS)}${number >= 999.5 ? "" : " "}${unit}`.trim();
const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const short = (number) => String(Math.round(number * 100) / 100);

/** At most `most` round marks between two moments: places and labels. */
function ticks(from, to, one, most, least) {
  const wanted = Math.max((to - from) / one / most, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((m) => m * power).find((step) => step >= wanted * (1 - 1e-9));
  const digits = Math.min(9, Math.max(0, -Math.floor(Math.log10(step))));
  const marks = [];
  for (let i = Math.ceil(from / one / step - 1e-6); i * step <= to / one + 1e-9; i++) {
    marks.push({ at: i * step * one, label: (i * step + 0).toFixed(digits) });
  }
  return marks;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}
const live = document.getElementById("live");
const tip = document.getElementById("tip");
const ink = (name) => getComputedStyle(root).getPropertyValue(name).trim();

const tiles = new Map();

/** A colour with the texture of a step on it, as the SVG has it: squares of 8. */
function pattern(context, kind, fill, ratio) {
  const key = `${data.kinds[kind].letter} ${fill} ${ratio}`;
  if (!tiles.has(key)) tiles.set(key, context.createPattern(tile(kind, fill, ratio), "repeat"));
  return tiles.get(key);
}

function tile(kind, fill, ratio) {
  const size = Math.round(8 * ratio);
  const canvas = element("canvas", { width: size, height: size });
  const context = canvas.getContext("2d");
  context.fillStyle = data.fills[fill];
  context.fillRect(0, 0, size, size);
  context.scale(size / 8, size / 8);
  context.strokeStyle = context.fillStyle = "rgba(31, 35, 40, 0.5)";
  context.lineWidth = 1.2;
  const { lines, dots } = data.kinds[kind];
  context.stroke(new Path2D(lines));
  for (const [x, y] of dots) {
    context.beginPath();
    context.arc(x, y, 1, 0, 7);
    context.fill();
  }
  return canvas;
}

function swatch(kind, fill) {
  const ratio = window.devicePixelRatio || 1;
  const canvas = element("canvas", { class: "swatch", width: 20 * ratio, height: 16 * ratio, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  context.fillStyle = pattern(context, kind, fill, ratio);
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Steps by texture, heads or micro-batches by colour; each that is drawn, once. */
function legend(host, panels) {
  const steps = new Map();
  const colours = new Map();
  const owners = new Set();
  for (const panel of panels) {
    for (let bar = 0; bar < panel.count; bar++) {
      if (panel.length[bar] <= 0) continue;
      const kind = data.kinds[panel.kind[bar]];
      const names = steps.get(kind.letter) ?? steps.set(kind.letter, { kind: panel.kind[bar], names: new Set() }).get(kind.letter);
      names.names.add(kind.legend);
      const fill = panel.fill[bar];
      if (fill >= data.own) continue;
      const name = owner(panel, bar);
      owners.add(name);
      if (!colours.has(fill)) colours.set(fill, name);
    }
  }
  const item = (sample, text) => element("li", {}, sample, text);
  const inOrder = [...steps].sort((a, b) => a[1].kind - b[1].kind).map(([letter, { kind, names }]) => {
    const exchanges = data.kinds[kind].exchanges;
    const name = [...names].join(words.and);
    const text = exchanges ? name : say("signed", { letter, name });
    return item(swatch(kind, exchanges ? data.own + 1 : data.own), text);
  });
  const plain = data.kinds.findIndex((kind) => kind.lines === "" && kind.dots.length === 0);
  const ofColours = [...colours].sort((a, b) => a[0] - b[0]).map(([fill, text]) => item(swatch(plain, fill), text));
  host.replaceChildren(element("ul", {}, ...inOrder), element("ul", {}, ...ofColours));
  if (owners.size > data.own) host.append(element("p", { class: "faint" }, say("again", { n: data.own })));
}
