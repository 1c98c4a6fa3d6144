// Starts the newsletter with its job viewer on free ports in a folder of its own (by itself or on its servers), and a
// browser to look at them.
// Used by the tests beside it; it leaves nothing running and nothing behind but pictures in target/screenshots.
import { spawn, execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const program = (name) => {
  const path = join(target, "debug", name);
  if (!existsSync(path)) throw new Error(`${path} is missing: cargo build -p newsletter -p celeriac-cli`);
  return path;
};
const stack = process.env.NEWSLETTER_ON === "stack";
const pictures = join(root, "target", "screenshots");
mkdirSync(pictures, { recursive: true });

const browserPath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
// Chromium has no sandbox for root.
if (process.getuid() === 0) FLAGS.push("--no-sandbox");

/** The browser: one for a test file. */
export async function openBrowser(extra = []) {
  if (!existsSync(browserPath)) throw new Error(`${browserPath} is missing: apt-get install chromium (or set CHROMIUM)`);
  return chromium.launch({ executablePath: browserPath, args: [...FLAGS, ...extra] });
}

/** A browser whose owner has turned JavaScript off. */
export async function openPlainBrowser() {
  return openBrowser(["--blink-settings=scriptEnabled=false"]);
}

/** A page that collects whatever goes wrong in it, in `page.troubles`. */
export async function openPage(browser, options = {}) {
  // Nothing moves: a picture shows how a page is, not how it is becoming.
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) page.troubles.push(`${message.type()}: ${message.text()}`);
  });
  return page;
}

/** Keeps a picture for people: target/screenshots/NAME.png, and stack-NAME.png of the stack. */
export async function picture(page, name) {
  await page.screenshot({ path: join(pictures, `${stack ? "stack-" : ""}${name}.png`), fullPage: true });
}

/** True when nothing sticks out to the side. */
export async function fits(page) {
  return page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);
}

/**
 * The newsletter: `web` and `viewer` are its addresses. One process on files, or, where NEWSLETTER_ON=stack says so, the
 * lecture's five processes with PostgreSQL and Redis.
 */
export async function startNewsletter(extra = {}) {
  const folder = mkdtempSync(join(tmpdir(), "newsletter-"));
  const env = { PATH: process.env.PATH, HOME: folder, RUST_LOG: "warn", ...extra };
  const [command, args, signs] = stack
    ? [join(root, "examples", "newsletter", "stack"), ["up", "--data", join(folder, "stack"), "--program", program("newsletter"), ...stackOptions()], STACK_SIGNS]
    : [program("newsletter"), ["--listen", "127.0.0.1:0", "--viewer-listen", "127.0.0.1:0"], SIGNS];
  // Other users run PostgreSQL: they may pass through, and read nothing.
  if (stack) chmodSync(folder, 0o711);
  const child = spawn(command, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  let errors = "";
  child.stderr.on("data", (data) => { errors += data; });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const addresses = await new Promise((resolve, reject) => {
    child.stdout.on("data", (data) => {
      said += data;
      const [web, viewer, ready] = signs.map((sign) => said.match(sign));
      if (web && viewer && ready) resolve({ web: web[1], viewer: viewer[1] });
    });
    ended.then((code) => reject(new Error(`the newsletter ended with ${code}: ${errors}`)));
  });
  return {
    ...addresses,
    /** Runs `celeriac …` on the same queue and returns what it prints. */
    celeriac: (...args) =>
      execFileSync(program("celeriac"), ["-b", `sqlite://${join(folder, "newsletter-queue.db")}`, ...args], { env, encoding: "utf8" }).trim(),
    async stop() {
      child.kill("SIGTERM");
      await ended;
      for (const log of ["worker", "app", "job_viewer"]) {
        const path = join(folder, "stack", `${log}.log`);
        if (stack) errors += readFileSync(path, "utf8");
      }
      rmSync(folder, { recursive: true, force: true });
      if (errors.includes("panicked")) throw new Error(errors);
    },
  };
}

/** What it says when the page, the job viewer and everything serve. */
const SIGNS = [/newsletter: (http:\S+)/, /job viewer is (http:\S+)/, /the worker is/];
const STACK_SIGNS = [/^app +(http:\S+)$/m, /^job_viewer +(http:\S+)$/m, /^ready: /m];

/** Further options for the stack, as NEWSLETTER_STACK_OPTIONS has them. */
function stackOptions() {
  return (process.env.NEWSLETTER_STACK_OPTIONS ?? "").split(" ").filter(Boolean);
}
