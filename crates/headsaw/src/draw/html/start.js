// Begins: what of the page is there, and what changes its colours.

const sections = [["timelines", startTimelines], ["example", startExample]];
const charts = sections.map(([id, start]) => [document.getElementById(id), start])
  .filter(([section]) => section).map(([section, start]) => start(section));
const redrawAll = () => charts.forEach(redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
addEventListener("beforeprint", () => { root.classList.add("print"); redrawAll(); });
addEventListener("afterprint", () => { root.classList.remove("print"); redrawAll(); });
addEventListener("scroll", () => { if (!tip.hidden) charts.forEach(keepTip); }, { passive: true });
root.dataset.ready = "yes";
