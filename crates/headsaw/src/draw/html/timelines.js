// The timelines of the page, with their tools.

function startTimelines(section) {
  const chart = makeChart(section.querySelector(".chart"), false);
  const range = section.querySelector(".range output");
  const thumb = section.querySelector(".overview i");
  chart.onView = (from, to) => {
    range.textContent = `${moment(chart.panels[0], from)} – ${moment(chart.panels[0], to)}`;
    thumb.style.marginLeft = `${(100 * from) / chart.total}%`;
    thumb.style.width = `${Math.max(0.3, (100 * (to - from)) / chart.total)}%`;
  };
  for (const button of section.querySelectorAll("[data-do]")) button.addEventListener("click", () => ACTS[button.dataset.do](chart));
  const panels = data.timelines.map(panelOf);
  chooseDevice(section.querySelector("select"), chart, panels);
  setPanels(chart, panels);
  legend(section.querySelector(".legend"), panels);
  section.querySelector(".tables").replaceChildren(...panels.map((panel) => tableOf(chart, panel)));
  return chart;
}

function chooseDevice(select, chart, panels) {
  const devices = new Map(panels.flatMap((panel) => panel.rows.map((row) => [row.device, row.label])));
  select.append(element("option", { value: "" }, words.all), ...[...devices].map(([id, name]) => element("option", { value: id }, name)));
  select.parentElement.hidden = devices.size < 2;
  select.addEventListener("change", () => {
    chart.device = select.value === "" ? null : Number(select.value);
    chart.pick = chart.hover = null;
    hideTip();
    redraw(chart);
  });
}
