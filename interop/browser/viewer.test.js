// Every page of the job viewer in a real browser: what it shows, what it does, how it looks on a phone and in the dark.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fits, openBrowser, openPage, openPlainBrowser, picture, startNewsletter } from "./harness.js";

let browser, plain, newsletter, unknown, waiting, scheduled, wrong;
before(async () => {
  [browser, plain, newsletter] = await Promise.all([openBrowser(), openPlainBrowser(), startNewsletter()]);
  const { celeriac } = newsletter;
  unknown = celeriac("call", "shop.gone", "--args", '["<script>alert(1)</script>"]');
  wrong = celeriac("call", "newsletter.send_email", "--args", "[1]");
  waiting = celeriac("call", "shop.add", "--args", "[1, 2]", "--queue", "nobody;serves&this");
  scheduled = celeriac("call", "newsletter.summarize", "--args", '["x"]', "--countdown", "3600");
});
after(async () => {
  await browser?.close();
  await plain?.close();
  await newsletter?.stop();
});

const at = (path) => newsletter.viewer + path;

test("the dead set shows why, and a message is mended and replayed", async () => {
  const page = await openPage(browser);
  await page.goto(at("dead"));
  await page.getByRole("link", { name: "shop.gone" }).waitFor();
  await picture(page, "viewer-dead");
  await page.getByRole("link", { name: "shop.gone" }).click();
  await page.getByText("Why it died.").waitFor();
  await picture(page, "viewer-dead-entry");
  const headers = JSON.parse(await page.locator('textarea[name="headers"]').inputValue());
  headers.task = "newsletter.summarize";
  await page.locator('textarea[name="headers"]').fill(JSON.stringify(headers));
  await page.locator('textarea[name="body"]').fill('[["no such send"], {}, {}]');
  await page.getByRole("button", { name: "Replay as written here" }).click();
  await page.getByRole("status").getByText("1 message").waitFor();
  assert.deepEqual(page.troubles, []);
  await page.goto(at(`tasks/${unknown}`));
  await page.locator(".timeline .e-started").waitFor(); // it runs now, as another task
});

test("ticked messages are dropped", async () => {
  const page = await openPage(browser);
  const gone = newsletter.celeriac("call", "shop.dropped");
  await page.goto(at(`dead`));
  await page.locator("tr", { hasText: gone }).getByRole("checkbox").check();
  await page.getByRole("button", { name: "Drop the ticked" }).click();
  await page.getByText("Removed for good: 1 message.").waitFor();
  assert.equal(await page.locator("tr", { hasText: gone }).count(), 0);
});

test("wrong arguments name the parameter", async () => {
  const page = await openPage(browser);
  await page.goto(at(`tasks/${wrong}`));
  await page.getByText("TypeError").first().waitFor();
  await picture(page, "viewer-task-failed");
});

test("a task that waits says why, and is revoked", async () => {
  const page = await openPage(browser);
  await page.goto(at(`tasks/${waiting}`));
  await page.getByText("No worker serves the queue nobody;serves&this").waitFor();
  await picture(page, "viewer-task-waiting");
  await page.getByRole("link", { name: "nobody;serves&this" }).first().click();
  await page.getByText("Nobody serves this queue.").waitFor();
  await picture(page, "viewer-queue");
  await page.goto(at(`tasks/${scheduled}`));
  await page.getByText(/It is scheduled: due in \d+ min/).waitFor();
  await page.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("status").getByText("Revoked: it will not run").waitFor();
  assert.equal(await page.getByRole("button", { name: "Revoke" }).count(), 0);
  assert.deepEqual(page.troubles, []);
});

test("what happens appears by itself, and can be paused", async () => {
  const page = await openPage(browser);
  await page.goto(at("tasks?state=FAILURE"));
  await page.getByRole("button", { name: "Live" }).waitFor();
  const fresh = newsletter.celeriac("call", "shop.fresh");
  await page.locator("tr", { hasText: fresh }).waitFor();
  await page.getByRole("button", { name: "Live" }).click();
  await page.getByRole("button", { name: "Paused" }).waitFor();
  assert.deepEqual(page.troubles, []);
});

test("a search finds by argument, and hostile text stays text", async () => {
  const page = await openPage(browser);
  await page.goto(at("tasks"));
  await page.getByLabel("Search").fill("<script>alert");
  await page.getByRole("button", { name: "Show" }).click();
  assert.equal(await page.getByLabel("Search").inputValue(), "<script>alert");
  assert.equal(await page.locator("main script").count(), 0);
  await page.getByRole("link", { name: "Clear" }).click();
  await page.locator("tbody tr").first().waitFor();
  assert.deepEqual(page.troubles, []);
});

test("the keyboard reaches the content", async () => {
  const page = await openPage(browser);
  await page.goto(at(""));
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
});

test("the lists can be read without JavaScript", async () => {
  const page = await openPage(plain);
  for (const path of ["", "tasks", `tasks/${wrong}`, "dead"]) {
    assert.equal((await page.goto(at(path))).status(), 200, path);
    assert.equal(await page.getByRole("button", { name: "Live" }).count(), 0, "the switch is for scripts");
  }
});

for (const [name, options] of [
  ["light", {}],
  ["dark", { colorScheme: "dark" }],
  ["phone", { viewport: { width: 375, height: 720 } }],
]) {
  test(`every page is whole: ${name}`, async () => {
    const page = await openPage(browser, options);
    const { dead } = await (await fetch(at("api/dead"))).json();
    const pages = { overview: "", tasks: "tasks", task: `tasks/${wrong}`, queues: "queues", queue: "queues/celery", workers: "workers", dead: "dead", entry: `dead/${dead[0].entry}` };
    for (const [title, path] of Object.entries(pages)) {
      const answer = await page.goto(at(path));
      assert.equal(answer.status(), 200, path);
      assert.ok(await fits(page), `${path} sticks out`);
      assert.ok((await page.locator("h1").textContent()).trim(), `${path} has no title`);
      await picture(page, `viewer-${title}-${name}`);
    }
    const missing = await page.goto(at("tasks/nothing"));
    assert.equal(missing.status(), 404);
    await page.getByText("it was never sent here").waitFor();
    assert.deepEqual(page.troubles.filter((trouble) => !trouble.includes("404")), []);
  });
}
