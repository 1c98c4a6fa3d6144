//! Ten thousand readers, one request, a mail server of somebody else's: everybody gets their mail, also when the worker is
//! killed three times in the middle.

mod support;

use std::{
    collections::HashSet,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context as _;
use newsletter::store::Progress;
use serde_json::{Value, json};
use support::{Catcher, Kept, Running, first_line};

const READERS: u32 = 10_000;
/// What one worker has on its way at a time: a kill repeats at most so many mails.
const CONCURRENCY: u32 = 16;
const KILLS: u32 = 3;
/// Short, so that what a killed worker held comes back soon.
const LEASE_SECONDS: &str = "5";

on_both! {
    ten_thousand_readers_get_one_mail_each
    three_kills_lose_no_mail_and_repeat_no_more_than_was_on_its_way
}

fn newsletter(kept: &Kept, catcher: &Catcher) -> Command {
    let mut command = support::newsletter(kept);
    command
        .env("SMTP_URL", &catcher.url)
        .env("SMTP_FROM", "news@example.org")
        .env("SMTP_CONNECTIONS", CONCURRENCY.to_string())
        .env("CELERIAC_LEASE", LEASE_SECONDS)
        .args(["--listen", "127.0.0.1:0", "--concurrency", &CONCURRENCY.to_string()]);
    command
}

fn worker(kept: &Kept, catcher: &Catcher) -> anyhow::Result<Running> {
    Ok(Running(newsletter(kept, catcher).arg("worker").stdout(Stdio::null()).spawn()?))
}

/// A page with ten thousand readers, and a letter sent to all of them.
struct Sent {
    kept: Kept,
    catcher: Catcher,
    _web: Running,
    url: String,
    client: reqwest::Client,
    send: String,
}

async fn send_to_ten_thousand(kept: Kept) -> anyhow::Result<Sent> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let catcher = Catcher::start(kept.folder())?;
    let list: Vec<String> = (0..READERS).map(|n| format!("reader{n}@example.com,\"Reader {n}\"")).collect();
    std::fs::write(kept.folder().join("list.csv"), format!("email,name\n{}\n", list.join("\n")))?;
    let started = Instant::now();
    let import = newsletter(&kept, &catcher).args(["import", "list.csv"]).output()?;
    println!("import of {READERS} readers: {:?}", started.elapsed());
    assert_eq!(
        String::from_utf8_lossy(&import.stdout),
        format!("{READERS} added, 0 there already, 0 refused\n"),
        "{}",
        String::from_utf8_lossy(&import.stderr)
    );

    let mut web = newsletter(&kept, &catcher).arg("web").stdout(Stdio::piped()).spawn()?;
    let banner = first_line(&mut web)?;
    let web = Running(web);
    let url = banner.split_whitespace().nth(1).with_context(|| format!("no address in {banner:?}"))?.to_owned();
    let client = reqwest::Client::new();
    let letter = json!({"subject": "News", "body": "<p>All is well</p>"});
    let started = Instant::now();
    let answer = client.post(format!("{url}send")).json(&letter).send().await?.error_for_status()?;
    let answer: Value = answer.json().await?;
    println!("send to {READERS} readers: answered in {:?}", started.elapsed());
    let tasks: HashSet<&str> = answer["tasks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(tasks.len(), READERS as usize, "a task a reader");
    let send = answer["send"].as_str().context("the send's id")?.to_owned();
    assert!(catcher.caught()?.is_empty(), "no worker runs yet: the answer waited for no mail");
    Ok(Sent { kept, catcher, _web: web, url, client, send })
}

impl Sent {
    /// Watches the send as the page does, until it has come so far.
    async fn until(&self, enough: impl Fn(&Progress) -> bool) -> anyhow::Result<Progress> {
        let url = format!("{}sends/{}/events", self.url, self.send);
        let mut stream = self.client.get(url).send().await?.error_for_status()?;
        let mut text = String::new();
        let mut last = None;
        while let Some(bytes) = stream.chunk().await? {
            text.push_str(std::str::from_utf8(&bytes)?);
            while let Some((event, rest)) = text.split_once("\n\n") {
                if let Some(data) = event.strip_prefix("data: ") {
                    let progress: Progress = serde_json::from_str(data)?;
                    if enough(&progress) {
                        return Ok(progress);
                    }
                    last = Some(progress);
                }
                text = rest.to_owned();
            }
        }
        anyhow::bail!("the stream has ended at {last:?}")
    }
}

async fn ten_thousand_readers_get_one_mail_each(kept: Kept) -> anyhow::Result<()> {
    let sent = send_to_ten_thousand(kept).await?;
    let started = Instant::now();
    let worker = worker(&sent.kept, &sent.catcher)?;
    let end = sent.until(|progress| progress.summary.is_some()).await?;
    println!("{READERS} mails delivered in {:?}", started.elapsed());
    assert_eq!((end.sent, end.failed, end.repeated), (READERS, 0, 0), "{end:?}");
    drop(worker);
    let counts = sent.catcher.count()?;
    assert_eq!(counts.len(), READERS as usize, "nobody goes without");
    assert_eq!(counts.values().filter(|mails| **mails != 1).count(), 0, "nobody gets two");
    Ok(())
}

async fn three_kills_lose_no_mail_and_repeat_no_more_than_was_on_its_way(kept: Kept) -> anyhow::Result<()> {
    let sent = send_to_ten_thousand(kept).await?;
    for kill in 1..=KILLS {
        let mut worker = worker(&sent.kept, &sent.catcher)?;
        sent.until(|progress| progress.sent >= READERS * kill / (KILLS + 2)).await?;
        worker.kill();
        let now = sent.until(|_| true).await?;
        assert!(!now.is_done(), "killed in the middle: {now:?}");
        println!("killed at {} of {READERS}", now.sent);
    }
    let survivor = worker(&sent.kept, &sent.catcher)?;
    let end = sent.until(|progress| progress.summary.is_some()).await?;
    assert_eq!((end.sent, end.failed), (READERS, 0), "{end:?}");
    drop(survivor);

    let counts = sent.catcher.count()?;
    let mails: u32 = counts.values().sum();
    println!("{READERS} readers, {KILLS} kills: {mails} mails, {} repeats", mails - READERS);
    assert_eq!(counts.len(), READERS as usize, "nobody goes without");
    assert!(mails - READERS <= KILLS * CONCURRENCY, "{} repeats", mails - READERS);
    // Who got it twice can tell: both have one id.
    let ids: HashSet<String> = sent.catcher.caught()?.into_iter().map(|mail| mail.message_id).collect();
    assert_eq!(ids.len(), READERS as usize);
    Ok(())
}
