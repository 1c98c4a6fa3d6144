// The whole way as a person goes it: sign up, write, watch the bar, find the tasks in the job viewer.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fits, openBrowser, openPage, openPlainBrowser, picture, startNewsletter } from "./harness.js";

let browser, plain, newsletter;
before(async () => {
  [browser, plain, newsletter] = await Promise.all([openBrowser(), openPlainBrowser(), startNewsletter()]);
});
after(async () => {
  await browser?.close();
  await plain?.close();
  await newsletter?.stop();
});

const signUp = async (page, name, email) => {
  await page.goto(newsletter.web);
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("E-mail").fill(email);
  await page.getByRole("button", { name: "Sign me up" }).click();
};

test("three readers sign up, a letter goes to all, and the job viewer shows that it arrived", async () => {
  const page = await openPage(browser);
  await page.goto(newsletter.web);
  await picture(page, "newsletter-empty");
  for (const [name, email] of [["Ann", "ann@example.com"], ["Bob", "bob@example.com"], ["Chloë", "chloe@example.com"]]) {
    await signUp(page, name, email);
    await page.getByText("Registration successful!").waitFor();
  }
  await picture(page, "newsletter-signed-up");

  await page.getByLabel("Subject").fill("The first leaves");
  await page.getByLabel("Letter").fill("Dear readers,\n\nthe celeriac is up.");
  await page.getByRole("button", { name: /Send to 3 readers/ }).click();
  await page.waitForURL(/\/sends\//);
  await page.locator("#percent", { hasText: "100 %" }).waitFor();
  await page.locator("#summary", { hasText: "3 sent" }).waitFor();
  await picture(page, "newsletter-sent");

  await page.goto(newsletter.viewer);
  await page.locator(".numbers .good b", { hasText: /^4$/ }).waitFor(); // three mails and the summary
  await picture(page, "viewer-overview");
  await page.getByRole("link", { name: "Tasks", exact: true }).click();
  await page.getByLabel("Task", { exact: true }).fill("newsletter.send_email");
  await page.getByRole("button", { name: "Show" }).click();
  assert.equal(await page.locator("tbody tr .s-success").count(), 3);
  await picture(page, "viewer-tasks");
  await page.locator("tbody tr a").first().click();
  await page.locator(".timeline .e-succeeded").waitFor();
  await picture(page, "viewer-task");
  assert.deepEqual(page.troubles, []);
});

test("a mistake keeps what was typed and says what is wrong", async () => {
  const page = await openPage(browser);
  await signUp(page, "Ann again", "ann@example.com");
  await page.getByText("registered already").waitFor();
  assert.equal(await page.getByLabel("Name").inputValue(), "Ann again");
  assert.equal(await page.getByLabel("E-mail").inputValue(), "ann@example.com");
  await picture(page, "newsletter-conflict");
});

test("everything works without JavaScript", async () => {
  const page = await openPage(plain);
  await signUp(page, "Dora", "dora@example.com");
  await page.getByText("Registration successful!").waitFor();
  await page.getByLabel("Subject").fill("Plain");
  await page.getByLabel("Letter").fill("Plain and simple.");
  await page.getByRole("button", { name: /Send to/ }).click();
  await page.waitForURL(/\/sends\//);
  await page.locator("#summary", { hasText: "sent" }).waitFor();
  await page.goto(`${newsletter.viewer}tasks?search=dora`);
  await page.getByText("dora@example.com").first().waitFor();
});

test("pages fit a phone, and the dark has its colours", async () => {
  for (const [name, options] of [["phone", { viewport: { width: 375, height: 720 } }], ["dark", { colorScheme: "dark" }]]) {
    const page = await openPage(browser, options);
    for (const path of ["", "outbox"]) {
      await page.goto(newsletter.web + path);
      assert.ok(await fits(page), `${path} sticks out on ${name}`);
      await picture(page, `newsletter-${path || "home"}-${name}`);
    }
    assert.deepEqual(page.troubles, []);
  }
});
