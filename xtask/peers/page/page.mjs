// Drives the pages of a folder in headless Chromium: node page.mjs NODE_MODULES CHROMIUM FOLDER [SCREENSHOTS]
// Prints a line a test, then `test result:` with their counts.
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import assert from "node:assert/strict";

const [modules, executablePath, folder, screenshots] = process.argv.slice(2);
const require = createRequire(join(resolve(modules), "_"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const PAGES = ["both", "grain-en", "grain-zh", "many", "hostile"];

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

/** A page in a window of its own; what goes wrong in it ends up in `wrong`. */
async function open(name, { width = 1280, height = 900, theme = "light", touch = false } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, hasTouch: touch });
  const page = await context.newPage();
  page.wrong = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) page.wrong.push(message.text()); });
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("dialog", (dialog) => { page.wrong.push(dialog.message()); dialog.dismiss(); });
  page.on("request", (request) => { if (request.url() !== page.address) page.wrong.push(`asks for ${request.url()}`); });
  page.address = pathToFileURL(join(resolve(folder), `${name}.html`)).href;
  await page.goto(page.address);
  await page.waitForSelector("html[data-ready=yes]", { state: "attached" });
  return page;
}

const tests = [];
const test = (name, run) => tests.push([name, run]);

/** The part of the time that a chart shows. */
const view = (page, chart = "#timelines .chart") => page.locator(chart).evaluate((host) => [Number(host.dataset.from), Number(host.dataset.to)]);
const length = ([from, to]) => to - from;
const near = (a, b, what) => assert.ok(Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(a), Math.abs(b), 1e-12), `${what}: ${a}, not ${b}`);
const tip = (page) => page.locator("#tip");
const data = (page) => page.locator("#data").evaluate((script) => JSON.parse(script.textContent));

/** Moves the mouse along the first lane of a panel until something is told; where it then is. */
async function hoverFirst(page, panel = 0) {
  const canvas = page.locator("#timelines .chart canvas").nth(panel);
  await canvas.scrollIntoViewIfNeeded();
  const box = await canvas.boundingBox();
  for (let x = box.x + 60; x < box.x + box.width; x += 3) {
    await page.mouse.move(x, box.y + 24 + 20 + 11);
    if (await tip(page).isVisible()) return { x, y: box.y + 55, box };
  }
  throw new Error("nothing is told anywhere in the first lane");
}

for (const name of PAGES) {
  for (const width of [1280, 400]) {
    for (const theme of ["light", "dark"]) {
      test(`${name} at ${width}, ${theme}: nothing goes wrong, nothing is asked for, nothing is too wide, axe finds nothing`, async () => {
        const page = await open(name, { width, theme });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(wide, 0, "the page scrolls sideways");
        for (const summary of await page.locator("summary").all()) await summary.click();
        if (screenshots) {
          mkdirSync(screenshots, { recursive: true });
          await page.screenshot({ path: join(screenshots, `${name}-${width}-${theme}.png`), fullPage: true });
        }
        await page.evaluate(axe);
        const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
        assert.deepEqual(found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target).join(", ")}`), []);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0, "with all tables open");
        assert.deepEqual(page.wrong, []);
        await page.context().close();
      });
    }
  }
}

test("pointing tells heads, layer, operations, bytes, and both times of the same action", async () => {
  const page = await open("both");
  await page.keyboard.press("Escape");
  await hoverFirst(page);
  await page.locator("#timelines .chart").focus();
  for (let i = 0; i < 40 && !/attend/.test(await tip(page).textContent()); i++) await page.keyboard.press(i % 9 === 8 ? "ArrowDown" : ".");
  const told = await tip(page).textContent();
  for (const word of ["attend, head", "layer", "micro-batch", "FLOP", "predicted1.00 ms", "measured1.50 ms", "measured against predicted+50.0 %"]) {
    assert.ok(told.includes(word), `${word} in ${told}`);
  }
  assert.ok((await page.locator("#live").textContent()).includes("attend, head"), "and says it aloud");
  await page.keyboard.press("Escape");
  assert.ok(!(await tip(page).isVisible()));
});

test("the mouse tells and stops telling", async () => {
  const page = await open("both");
  const { box } = await hoverFirst(page, 1);
  assert.ok((await tip(page).textContent()).includes("device 0, lane 0"));
  await page.mouse.move(box.x + 20, box.y - 60);
  assert.ok(!(await tip(page).isVisible()));
});

test("Ctrl and the wheel zoom about the pointer; the wheel alone scrolls until the picture is clicked", async () => {
  const page = await open("both");
  const { x, y, box } = await hoverFirst(page);
  const whole = await view(page);
  await page.mouse.wheel(0, 120);
  await page.waitForFunction(() => scrollY >= 120); // smoothly, as all scrolling
  assert.deepEqual(await view(page), whole, "it scrolls the page");
  await page.evaluate(() => scrollTo({ top: 0, behavior: "instant" }));
  const top = await page.locator("#timelines .chart canvas").first().boundingBox();
  await page.mouse.move(x, top.y + 55);
  await page.keyboard.down("Control");
  await page.mouse.wheel(0, -100);
  await page.keyboard.up("Control");
  await page.waitForFunction((before) => Number(document.querySelector("#timelines .chart").dataset.to) !== before, whole[1]);
  const zoomed = await view(page);
  assert.ok(length(zoomed) < 0.7 * length(whole), "it zooms in");
  const share = (x - box.x - 104) / (box.width - 105);
  near(zoomed[0] + share * length(zoomed), whole[0] + share * length(whole), "what is under the pointer stays there");
  await page.mouse.click(x, top.y + 55);
  await page.mouse.wheel(0, -100);
  await page.waitForFunction((before) => Number(document.querySelector("#timelines .chart").dataset.to) !== before, zoomed[1]);
  assert.ok(length(await view(page)) < length(zoomed));
  const before = await view(page);
  await page.keyboard.down("Shift");
  await page.mouse.wheel(0, 100);
  await page.keyboard.up("Shift");
  await page.waitForFunction((before) => Number(document.querySelector("#timelines .chart").dataset.from) !== before, before[0]);
  near(length(await view(page)), length(before), "it pans");
  assert.ok(y > 0);
});

test("dragging pans by what the mouse moves", async () => {
  const page = await open("both");
  await page.locator("#timelines .chart").focus();
  await page.keyboard.press("+");
  await page.keyboard.press("+");
  const before = await view(page);
  const box = await page.locator("#timelines .chart canvas").first().boundingBox();
  await page.mouse.move(box.x + 600, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + 500, box.y + 60, { steps: 4 });
  await page.mouse.up();
  const after = await view(page);
  near(after[0] - before[0], (100 / (box.width - 105)) * length(before), "seconds");
});

test("keys and buttons zoom and pan, and stay inside", async () => {
  const page = await open("both");
  await page.locator("#timelines .chart").focus();
  const whole = await view(page);
  const press = async (key) => { await page.keyboard.press(key); return view(page); };
  near(length(await press("+")), length(whole) / 1.5, "+");
  near(length(await press("w")), length(whole) / 2.25, "w");
  const middle = await view(page);
  near((await press("ArrowRight"))[0], middle[0] + 0.2 * length(middle), "→");
  near((await press("a"))[0], middle[0], "a");
  near((await press("d"))[0], middle[0] + 0.2 * length(middle), "d");
  near((await press("ArrowLeft"))[0], middle[0], "←");
  near(length(await press("s")), length(whole) / 1.5, "s");
  near(length(await press("-")), length(whole), "-");
  assert.deepEqual(await press("-"), whole, "no further out than all");
  for (let i = 0; i < 60; i++) await page.keyboard.press("+");
  near(length(await view(page)), 1e-6 * length(whole), "no further in than a millionth");
  assert.deepEqual(await press("0"), whole);
  const click = async (what) => { await page.locator(`[data-do=${what}]`).click(); return view(page); };
  near(length(await click("in")), length(whole) / 1.5, "button in");
  const shown = await page.locator("#timelines output").textContent();
  assert.ok(/µs|ms/.test(shown), shown);
  const before = await view(page);
  assert.ok((await click("right"))[0] > before[0]);
  near((await click("left"))[0], before[0], "left");
  near(length(await click("out")), length(whole), "button out");
  await click("in");
  assert.deepEqual(await click("fit"), whole);
});

test("arrow keys go from lane to lane and from picture to picture, Enter zooms to an action", async () => {
  const page = await open("both");
  await page.locator("#timelines .chart").focus();
  const told = new Set();
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("ArrowDown");
    told.add((await page.locator("#live").textContent()).split(":")[0]);
  }
  assert.deepEqual([...told].sort(), ["measured", "predicted"]);
  const before = await view(page);
  await page.keyboard.press("Enter");
  assert.ok(length(await view(page)) < length(before));
});

test("two fingers zoom, a tap tells", async () => {
  const page = await open("both", { width: 400, height: 800, touch: true });
  const canvas = page.locator("#timelines .chart canvas").first();
  await canvas.scrollIntoViewIfNeeded();
  const box = await canvas.boundingBox();
  const whole = await view(page);
  const session = await page.context().newCDPSession(page);
  const touch = (type, ...places) => session.send("Input.dispatchTouchEvent", { type, touchPoints: places.map((x, id) => ({ x, y: box.y + 70, id })) });
  const middle = box.x + 220;
  await touch("touchStart", middle - 30, middle + 30);
  for (const half of [40, 55, 75]) await touch("touchMove", middle - half, middle + half);
  await touch("touchEnd");
  const zoomed = await view(page);
  assert.ok(length(zoomed) < 0.6 * length(whole), `${length(zoomed)} of ${length(whole)}`);
  await page.locator("[data-do=fit]").click();
  for (let x = box.x + 70; x < box.x + box.width && !(await tip(page).isVisible()); x += 4) await page.touchscreen.tap(x, box.y + 55);
  assert.ok((await tip(page).textContent()).includes("device 0, lane 0"));
  const place = await tip(page).boundingBox();
  assert.ok(place.x >= 0 && place.x + place.width <= 400, "inside the window");
});

test("a device alone is drawn when it is chosen", async () => {
  const page = await open("both");
  const height = () => page.locator("#timelines .chart canvas").first().evaluate((canvas) => canvas.clientHeight);
  const all = await height();
  await page.locator("#timelines select").selectOption("2");
  assert.ok((await height()) < all / 2);
  await hoverFirst(page);
  assert.ok((await tip(page).textContent()).includes("device 2, lane 0"));
});

test("the table behind the picture has all actions, 500 at a time", async () => {
  const page = await open("many");
  const { bars } = (await data(page)).timelines[0];
  assert.ok(bars.start.length > 5000, "thousands of actions");
  const table = page.locator("#timelines .tables details").first();
  assert.equal(await table.locator("tbody tr").count(), 0, "nothing before it is opened");
  await table.locator("summary").click();
  await table.locator("tbody tr").first().waitFor();
  assert.equal(await table.locator("tbody tr").count(), 500);
  const all = bars.start.length.toLocaleString("en-US");
  assert.equal(await table.locator("[role=status]").textContent(), `500 of ${all} shown`);
  await table.locator("button").click();
  assert.equal(await table.locator("tbody tr").count(), 1000);
  while (await table.locator("button").isVisible()) await table.locator("button").click();
  assert.equal(await table.locator("tbody tr").count(), bars.start.length);
  assert.equal(await table.locator("[role=status]").textContent(), `${all} of ${all} shown`);
});

const exact = (page) => page.locator("#example").evaluate((section) => Object.fromEntries(["units", "serial", "overlapped", "bubble"].map((name) => [name, Number(section.dataset[name])])));

/** Sets the sliders as a hand would, the largest first where one bounds another. */
const set = (page, example) => page.locator("#example form").evaluate((form, example) => {
  const values = { ...example, project: example.steps[0], attend: example.steps[1], merge: example.steps[2] };
  for (const name of ["heads", "devices", "chunk", "micros", "project", "attend", "merge", "fixed", "lanes"]) {
    form.elements[name].value = values[name];
    (form.elements[name].tagName ? form.elements[name] : form).dispatchEvent(new Event("input", { bubbles: true }));
  }
}, example);

test("the sliders give the slots that are simulated, over a grid", async () => {
  const page = await open("both");
  const cases = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"));
  assert.ok(cases.length > 200);
  for (const { example, units, overlapped, bubble } of cases) {
    await set(page, example);
    const found = await exact(page);
    const what = JSON.stringify(example);
    assert.equal(found.units, units, what);
    near(found.overlapped, overlapped, what);
    assert.ok(Math.abs(found.bubble - bubble) < 1e-9, `${what}: bubble ${found.bubble}, not ${bubble}`);
  }
});

test("a slider redraws the example, by keys too; what it shows are the closed forms", async () => {
  const page = await open("both");
  const out = (name) => page.locator(`[data-out=${name}]`).textContent();
  assert.deepEqual([await out("serial"), await out("overlapped"), await out("speedup"), await out("bubble")], ["6", "4", "1.50 ×", "50.0 %"]);
  const picture = () => page.locator("#example .chart canvas").nth(1).evaluate((canvas) => canvas.toDataURL());
  const before = await picture();
  await page.locator("#example [name=micros]").focus();
  await page.keyboard.press("ArrowRight");
  assert.deepEqual([await out("serial"), await out("overlapped"), await out("bubble")], ["12", "6", "33.3 %"]);
  assert.notEqual(await picture(), before);
  assert.ok((await out("formula")).includes("3 + (4 − 1) · 1 = 6"), await out("formula"));
  assert.ok((await page.locator("#live").textContent()).includes("12 units"));
  await page.locator("[data-set=llama]").click();
  assert.equal(await out("speedup"), "1.13 ×");
  await page.locator("#example [name=lanes][value=own]").check();
  assert.equal(await out("speedup"), "1.20 ×");
  await page.locator("[data-set=article]").click();
  await page.locator(".chunks button").nth(1).click();
  assert.deepEqual([await out("overlapped"), await page.locator("#example [name=chunk]").inputValue()], ["6", "2"]);
});

test("names are text, whatever they are; the policy forbids all that is not the page's own", async () => {
  const page = await open("hostile");
  assert.ok((await page.locator("h1").textContent()).includes("</script><script>alert(1)</script>"));
  assert.equal(await page.locator("script").count(), 2);
  assert.deepEqual(page.wrong, []);
  const asked = await page.evaluate(() => fetch("https://example.com/").then(() => "loaded", () => "refused"));
  assert.equal(asked, "refused");
  await page.evaluate(() => { const script = document.createElement("script"); script.textContent = "window.hacked = 1"; document.body.append(script); });
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.ok(page.wrong.some((text) => text.includes("Content Security Policy")), page.wrong.join());
});

test("paper is white", async () => {
  const page = await open("both", { theme: "dark" });
  const corner = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.notEqual(await corner(), "rgb(255, 255, 255)");
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  assert.equal(await corner(), "rgb(255, 255, 255)");
  assert.ok((await page.pdf()).length > 10000);
  assert.deepEqual(page.wrong, []);
});

let failed = 0;
for (const [name, run] of tests) {
  try {
    await run();
    console.log(`ok     ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
  for (const context of browser.contexts()) await context.close();
}
await browser.close();
console.log(`test result: ${failed ? "FAILED" : "ok"}. ${tests.length - failed} passed; ${failed} failed`);
process.exitCode = failed ? 1 : 0;
