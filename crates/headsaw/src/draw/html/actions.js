// Timelines as data: what an action is called, where the same one is in another timeline, what is told of it.

const headsOf = (panel, bar) => [panel.first[bar], panel.last[bar]];

function headsWords([first, last]) {
  return last - first === 1 ? say("head", { n: first }) : say("heads_range", { a: first, b: last - 1 });
}

/** Whom a colour belongs to. */
function owner(panel, bar) {
  const heads = headsOf(panel, bar);
  return heads[1] > heads[0] ? headsWords(heads) : `${words.tip_micro} ${panel.micro[bar]}`;
}

/** A panel of what is in the page: times in seconds from its beginning. */
function panelOf(told) {
  const seconds = (list) => Float64Array.from(list, (nanoseconds) => nanoseconds * 1e-9);
  const bars = told.bars;
  const panel = { ...told, ...bars, start: seconds(bars.start), length: seconds(bars.length), count: bars.start.length };
  panel.mates = new Map();
  for (const flow of told.flows) for (const bar of flow) panel.mates.set(bar, (panel.mates.get(bar) ?? []).concat([flow]));
  return panel;
}

/** What an action is called in every timeline of the same program: the k-th of its kind. */
function keys(panel) {
  if (panel.keys) return panel.keys;
  const seen = new Map();
  panel.keys = [];
  panel.rows.forEach((row) => {
    for (let bar = row.first; bar < row.first + row.count; bar++) {
      const parts = [row.device, panel.kind[bar], ...headsOf(panel, bar), panel.micro[bar], panel.round[bar], panel.layer[bar]];
      const name = parts.join(" ");
      const turn = seen.get(name) ?? 0;
      seen.set(name, turn + 1);
      panel.keys[bar] = `${name} ${turn}`;
    }
  });
  panel.byKey = new Map(panel.keys.map((key, bar) => [key, bar]));
  return panel.keys;
}

/** The same action in another panel; nothing where it has none. */
function same(panel, bar, other) {
  if (panel === other) return bar;
  const key = keys(panel)[bar];
  keys(other);
  return other.byKey.get(key);
}

const rowOf = (panel, bar) => panel.rows.find((row) => bar >= row.first && bar < row.first + row.count);
const title = (panel, bar) => {
  const heads = headsOf(panel, bar);
  const name = data.kinds[panel.kind[bar]].name;
  return heads[1] > heads[0] ? `${name}, ${headsWords(heads)}` : name;
};
const moment = (panel, seconds) => (panel.slot ? say("slots", { n: short(seconds / panel.slot) }) : duration(seconds));

/** Names and values of an action, for the tip, the reader and the table. */
function facts(chart, panel, bar) {
  const row = rowOf(panel, bar);
  const heads = headsOf(panel, bar);
  const list = [[words.tip_where, `${row.group}, ${row.name}`]];
  if (heads[1] > heads[0]) list.push([words.tip_heads, heads[1] - heads[0] === 1 ? String(heads[0]) : `${heads[0]}–${heads[1] - 1}`]);
  if (panel.layer[bar] != null) list.push([words.tip_layer, String(panel.layer[bar])]);
  list.push([words.tip_micro, String(panel.micro[bar])]);
  if (panel.round[bar] > 0) list.push([words.tip_round, String(panel.round[bar])]);
  list.push([words.tip_start, moment(panel, panel.start[bar])]);
  const times = chart.panels.map((other) => [other, same(panel, bar, other)]).filter(([, found]) => found !== undefined);
  for (const [other, found] of times) list.push([chart.alone ? words.takes : other.name, moment(other, other.length[found])]);
  if (times.length > 1 && !panel.slot) {
    const [[a, one], [b, two]] = times.slice(-2);
    const change = b.length[two] / a.length[one] - 1;
    if (Number.isFinite(change)) list.push([say("tip_difference", { a: a.name, b: b.name }), `${change < 0 ? "−" : "+"}${percent(Math.abs(change))}`]);
  }
  if (panel.flops[bar] != null) list.push([words.tip_flops, count(panel.flops[bar], "FLOP")]);
  if (panel.bytes[bar] != null) list.push([words.tip_bytes, count(panel.bytes[bar], "B")]);
  return list;
}

const PAGE = 500;

function tableOf(chart, panel) {
  const columns = [words.tip_where, words.step, words.tip_heads, words.tip_layer, words.tip_micro, words.tip_round, words.begins];
  const times = chart.panels.map((other) => (chart.alone ? words.takes : other.name)).slice(0, chart.alone ? 1 : undefined);
  const head = element("tr", {}, ...[...columns, ...times, words.tip_flops, words.tip_bytes].map((name) => element("th", { scope: "col" }, name)));
  const body = element("tbody");
  const shown = element("span", { class: "faint", role: "status" });
  const more = element("button", { type: "button", onclick: () => add() });
  const caption = say("table", { name: panel.name, n: grouped(panel.count) });
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {}, element("thead", {}, head), body));
  const details = element("details", {}, element("summary", {}, caption), scroll, element("p", {}, shown, more));
  let next = 0;
  const add = () => {
    const last = Math.min(next + PAGE, panel.count);
    for (; next < last; next++) body.append(tableRow(chart, panel, next));
    shown.textContent = say("table_shown", { n: grouped(next), all: grouped(panel.count) });
    more.textContent = say("table_next", { n: Math.min(PAGE, panel.count - next) });
    more.hidden = next >= panel.count;
  };
  details.addEventListener("toggle", () => { if (details.open && next === 0) add(); });
  return details;
}

function tableRow(chart, panel, bar) {
  const row = rowOf(panel, bar);
  const [first, last] = headsOf(panel, bar);
  const heads = last === first ? "" : last - first === 1 ? first : `${first}–${last - 1}`;
  const number = (value, unit) => (value == null ? "" : count(value, unit));
  const others = chart.alone ? [panel] : chart.panels;
  const times = others.map((other) => {
    const found = same(panel, bar, other);
    return found === undefined ? "–" : moment(other, other.length[found]);
  });
  const cells = [`${row.group}, ${row.name}`, data.kinds[panel.kind[bar]].name, heads, panel.layer[bar] ?? "", panel.micro[bar],
    panel.round[bar], moment(panel, panel.start[bar]), ...times, number(panel.flops[bar], "FLOP"), number(panel.bytes[bar], "B")];
  return element("tr", {}, ...cells.map((cell, i) => element("td", i < 2 ? { class: "words" } : {}, String(cell))));
}
