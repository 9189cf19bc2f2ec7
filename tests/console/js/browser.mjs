// Chromium, driven by lines of JSON: {"call": name, "with": [...]} -> {"value": ...} or {"error": text}.
// One browser; every page has a context of its own, so that nothing is left from the one before.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, folder] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
  `--user-data-dir=${folder}`,
];

const context = { made: null, page: null, requests: [], errors: [] };
const browser = await chromium.launch({ executablePath, args: FLAGS.filter((one) => !one.startsWith("--user-data")) });

const calls = {
  async open(url, options = {}) {
    await context.made?.close();
    context.requests = [];
    context.errors = [];
    const { width = 1280, height = 860, colorScheme = "light", phone = false, until = "load" } = options;
    context.made = await browser.newContext({
      viewport: { width, height },
      colorScheme,
      hasTouch: phone,
      isMobile: phone,
      reducedMotion: "reduce",
      acceptDownloads: true,
    });
    await context.made.grantPermissions(["clipboard-read", "clipboard-write"]);
    const page = (context.page = await context.made.newPage());
    page.setDefaultTimeout(15_000);
    page.on("request", (one) => context.requests.push(one.url()));
    page.on("console", (one) => {
      const text = `${one.type()}: ${one.text()}`;
      if (one.type() === "error" || /Content.Security|Refused/i.test(text)) context.errors.push(text);
    });
    page.on("pageerror", (problem) => context.errors.push(`exception: ${problem.stack ?? problem}`));
    page.on("dialog", (one) => {
      context.errors.push(`dialog: ${one.message()}`);
      void one.dismiss();
    });
    const response = await page.goto(url, { waitUntil: until });
    return { status: response?.status() ?? 0, url: page.url() };
  },
  go: (url) => context.page.goto(url).then(() => null),
  hash: (hash) => context.page.evaluate((to) => void (location.hash = to), hash),
  click: (selector) => context.page.click(selector),
  fill: (selector, text) => context.page.fill(selector, text),
  select: (selector, value) => context.page.selectOption(selector, value).then(() => null),
  type: (text) => context.page.keyboard.type(text),
  press: (key) => context.page.keyboard.press(key),
  wait: (selector, state = "visible") => context.page.waitForSelector(selector, { state }).then(() => null),
  // Not by waitForFunction, which the content policy of the page forbids.
  async until(code) {
    const ends = Date.now() + 15_000;
    while (!(await context.page.evaluate(code))) {
      if (Date.now() > ends) throw new Error(`it did not become true: ${code}`);
      await context.page.waitForTimeout(30);
    }
  },
  text: (selector) => context.page.locator(selector).first().innerText(),
  texts: (selector) => context.page.locator(selector).allInnerTexts(),
  contents: (selector) => context.page.locator(selector).allTextContents(),
  count: (selector) => context.page.locator(selector).count(),
  run: (code) => context.page.evaluate(code),
  download: async (selector) => {
    const [found] = await Promise.all([context.page.waitForEvent("download"), context.page.click(selector)]);
    const stream = await found.createReadStream();
    const parts = [];
    for await (const part of stream) parts.push(part);
    return { name: found.suggestedFilename(), text: Buffer.concat(parts).toString("utf8") };
  },
  async shot(path, options = {}) {
    await context.page.screenshot({ path, animations: "disabled", ...options });
    return null;
  },
  /** Failures that the page was meant to meet. */
  forget: () => {
    context.errors = context.errors.filter((one) => !/Failed to load resource/.test(one));
  },
  seen: () => ({ requests: context.requests, errors: context.errors }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, with: given } = JSON.parse(line);
  let said;
  try {
    said = { value: (await calls[call](...given)) ?? null };
  } catch (problem) {
    said = { error: String(problem.message ?? problem) };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
await browser.close();
