//! A worker is killed three times in the middle of a send: nobody goes without the mail, and the repeats are counted.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use newsletter::store::Store;
use rusqlite::Connection;

const READERS: u32 = 2_000;
/// What one worker has on its way at a time: a kill repeats at most so many mails.
const CONCURRENCY: u32 = 8;

fn newsletter(folder: &Path, part: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_newsletter"));
    command.current_dir(folder).args([
        part,
        "--listen",
        "127.0.0.1:0",
        "--viewer-listen",
        "127.0.0.1:0",
        "--concurrency",
        &CONCURRENCY.to_string(),
    ]);
    for name in
        ["CELERIAC_BROKER_URL", "CELERY_BROKER_URL", "SENDGRID_API_KEY", "NEWSLETTER_READERS", "NEWSLETTER_LISTEN"]
    {
        command.env_remove(name);
    }
    command
}

/// A child that does not outlive its test.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn progress(store: &Store, send: &str) -> anyhow::Result<newsletter::store::Progress> {
    store.progress(send.to_owned()).await?.ok_or_else(|| anyhow::anyhow!("the send is known"))
}

/// Looks until it is so, with a deadline far beyond what it takes: three lapsed leases of 30 s among it.
async fn until<F: Future<Output = anyhow::Result<bool>>>(what: &str, look: impl Fn() -> F) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_mins(5);
    while !look().await? {
        anyhow::ensure!(Instant::now() < deadline, "{what}: not within five minutes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_kills_lose_no_mail_and_repeat_no_more_than_was_on_its_way() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut web = newsletter(folder.path(), "web").stdout(Stdio::piped()).spawn()?;
    let mut banner = String::new();
    BufReader::new(web.stdout.take().expect("it is piped")).read_line(&mut banner)?;
    let web = Running(web);
    let url = banner.split_whitespace().nth(1).ok_or_else(|| anyhow::anyhow!("no address in {banner:?}"))?.to_owned();

    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let list = (0..READERS).map(|n| format!("reader{n}@example.com,Reader {n}")).collect::<Vec<_>>().join("\n");
    client.post(format!("{url}import")).body(list).send().await?.error_for_status()?;
    let letter = serde_json::json!({"subject": "News", "body": "<p>All is well</p>"});
    let answer: serde_json::Value =
        client.post(format!("{url}send")).json(&letter).send().await?.error_for_status()?.json().await?;
    assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(READERS as usize));
    let send = answer["send"].as_str().unwrap_or_default().to_owned();

    let store = Store::open(&folder.path().join("newsletter.db"))?;
    for kill in 1..=3 {
        let mut worker = Running(newsletter(folder.path(), "worker").stdout(Stdio::null()).spawn()?);
        let enough = READERS * kill / 5;
        until("a part is sent", || async { Ok(progress(&store, &send).await?.sent >= enough) }).await?;
        worker.kill();
        let now = progress(&store, &send).await?;
        assert!(!now.is_done(), "killed in the middle: {now:?}");
    }
    let survivor = Running(newsletter(folder.path(), "worker").stdout(Stdio::null()).spawn()?);
    until("all are sent", || async { Ok(progress(&store, &send).await?.summary.is_some()) }).await?;

    let end = progress(&store, &send).await?;
    assert_eq!((end.sent, end.failed), (READERS, 0), "{end:?}");
    drop((survivor, web));
    let outbox = Connection::open(folder.path().join("newsletter.db"))?;
    let (mails, people): (u32, u32) =
        outbox.query_row("SELECT count(*), count(DISTINCT email) FROM outbox", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    println!("{READERS} readers, 3 kills: {mails} mails, {} repeats", mails - people);
    assert_eq!(people, READERS, "nobody goes without");
    assert!(mails - people <= 3 * CONCURRENCY, "{} repeats", mails - people);
    Ok(())
}
