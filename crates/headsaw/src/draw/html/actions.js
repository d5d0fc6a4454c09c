// Timelines as data: what an action is called, where the same one is in another timeline, what is told of it.

const headsOf = (panel, bar) => [panel.first[bar], panel.last[bar]];

function headsWords([first, last]) {
  return last - first === 1 ? say("head", { n: first }) : say("heads_range", { a: first, b: last - 1 });
}

const headsNumbers = ([first, last]) => (last === first ? "" : last - first === 1 ? String(first) : `${first}–${last - 1}`);

/** Whom a colour belongs to. */
function owner(panel, bar) {
  const heads = headsOf(panel, bar);
  return heads[1] > heads[0] ? headsWords(heads) : say("micro", { n: panel.micro[bar] });
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

const placeOf = (row) => [row.group, row.name].filter(Boolean).join(words.comma);
const rowOf = (panel, bar) => panel.rows.find((row) => bar >= row.first && bar < row.first + row.count);
const title = (panel, bar) => {
  const heads = headsOf(panel, bar);
  const name = data.kinds[panel.kind[bar]].name;
  return heads[1] > heads[0] ? say("of_heads", { step: name, heads: headsWords(heads) }) : name;
};
const inSlots = (number) => say(number === "1" ? "slot" : "slots", { n: number });
const moment = (panel, seconds) => (panel.slot ? inSlots(short(seconds / panel.slot)) : duration(seconds));

/** Names and values of an action, for the tip, the reader and the table. */
function facts(chart, panel, bar) {
  const row = rowOf(panel, bar);
  const heads = headsOf(panel, bar);
  const list = [[words.tip_where, placeOf(row)]];
  if (heads[1] > heads[0]) list.push([words.tip_heads, headsNumbers(heads)]);
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

/** Columns of the table: a name, whether it holds words, and what a cell says; without those that are empty throughout. */
function columnsOf(chart, panel) {
  const amount = (values, unit) => (bar) => (values[bar] == null ? "" : count(values[bar], unit));
  const time = (other) => (bar) => {
    const found = same(panel, bar, other);
    return found === undefined ? "–" : moment(other, other.length[found]);
  };
  const times = chart.alone ? [[words.takes, false, time(panel)]] : chart.panels.map((other) => [other.name, false, time(other)]);
  const some = (values) => values.some((value) => value != null && value !== 0);
  return [
    [words.tip_where, true, (bar) => placeOf(rowOf(panel, bar))],
    [words.step, true, (bar) => data.kinds[panel.kind[bar]].name],
    some(panel.last) && [words.tip_heads, false, (bar) => headsNumbers(headsOf(panel, bar))],
    some(panel.layer) && [words.tip_layer, false, (bar) => panel.layer[bar] ?? ""],
    some(panel.micro) && [words.tip_micro, false, (bar) => panel.micro[bar]],
    some(panel.round) && [words.tip_round, false, (bar) => panel.round[bar]],
    [words.begins, false, (bar) => moment(panel, panel.start[bar])],
    ...times,
    some(panel.flops) && [words.tip_flops, false, amount(panel.flops, "FLOP")],
    some(panel.bytes) && [words.tip_bytes, false, amount(panel.bytes, "B")],
  ].filter(Boolean);
}

function tableOf(chart, panel) {
  const columns = columnsOf(chart, panel);
  const style = (isWords) => (isWords ? { class: "words" } : {});
  const head = element("tr", {}, ...columns.map(([name, isWords]) => element("th", { scope: "col", ...style(isWords) }, name)));
  const body = element("tbody");
  const shown = element("span", { class: "faint", role: "status" });
  const more = element("button", { type: "button", onclick: () => add() }, say("table_next", { n: PAGE }));
  const caption = say("table", { name: panel.name, n: grouped(panel.count) });
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {}, element("thead", {}, head), body));
  const details = element("details", {}, element("summary", {}, caption), scroll, element("p", {}, shown, more));
  let next = 0;
  const add = () => {
    const last = Math.min(next + PAGE, panel.count);
    for (; next < last; next++) {
      const bar = next;
      body.append(element("tr", {}, ...columns.map(([, isWords, cell]) => element("td", style(isWords), String(cell(bar))))));
    }
    shown.textContent = say("table_shown", { n: grouped(next), all: grouped(panel.count) });
    more.textContent = say("table_next", { n: Math.min(PAGE, panel.count - next) });
    more.hidden = next >= panel.count;
  };
  details.addEventListener("toggle", () => { if (details.open && next === 0) add(); });
  return details;
}
