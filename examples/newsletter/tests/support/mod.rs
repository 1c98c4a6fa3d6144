//! What the tests share: the site without a network, and a mail server that is not ours.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use celeriac::prelude::*;
use celeriac_testbed::{Database, Postgres};
use newsletter::{
    mail::Mailer,
    store::{Progress, Store},
    tasks::{queue_rest, send_email, summarize},
    web::{Site, router},
};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub const JSON: &str = "application/json";
pub const FORM: &str = "application/x-www-form-urlencoded";
/// The longest answer that a test reads, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Runs each case on a store of each kind: `sqlite::case` and `postgres::case`.
#[macro_export]
macro_rules! on_both {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() -> anyhow::Result<()> {
                super::$case($crate::support::Kept::sqlite()).await
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() -> anyhow::Result<()> {
                super::$case($crate::support::Kept::postgres()).await
            })*
        }
    };
}

/// Where a test's readers and sends are kept. It goes with the test.
pub struct Kept {
    pub url: String,
    folder: tempfile::TempDir,
    database: Option<Database>,
}

impl Kept {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { url: format!("sqlite://{}", folder.path().join("readers.db").display()), folder, database: None }
    }

    pub fn postgres() -> Self {
        let database = Postgres::shared().database();
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { url: database.url(), folder, database: Some(database) }
    }

    pub async fn store(&self) -> anyhow::Result<Store> {
        Store::connect(&self.url).await
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database, where it is one.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }
}

/// The site on a store of its own.
pub struct Bench {
    pub app: App,
    pub store: Store,
    pub router: Router,
    kept: Kept,
}

/// The mailer that only knows the outbox.
pub fn outbox() -> anyhow::Result<Mailer> {
    Mailer::from_lookup(|_| None)
}

pub async fn bench(kept: Kept) -> anyhow::Result<Bench> {
    let settings = Settings { result_extended: true, ..Settings::default() };
    let queue = format!("sqlite://{}", kept.folder().join("queue.db").display());
    let app = App::connect_with(&queue, settings).await?;
    let store = kept.store().await?;
    let stop = CancellationToken::new();
    let site = Site { app: app.clone(), store: store.clone(), mailer: outbox()?, viewer: None, stop };
    Ok(Bench { app, store, router: router(site), kept })
}

impl Bench {
    pub fn folder(&self) -> &Path {
        self.kept.folder()
    }

    pub async fn ask(&self, request: Request<Body>) -> anyhow::Result<(StatusCode, String)> {
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        Ok((status, String::from_utf8(to_bytes(response.into_body(), ANSWER_BYTES_MAX).await?.to_vec())?))
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, String)> {
        self.ask(Request::get(path).body(Body::empty())?).await
    }

    pub async fn post(&self, path: &str, kind: &str, body: &str) -> anyhow::Result<(StatusCode, String)> {
        self.ask(Request::post(path).header(header::CONTENT_TYPE, kind).body(Body::from(body.to_owned()))?).await
    }

    /// As a browser does it, which wants a page.
    pub async fn submit(&self, path: &str, kind: &str, body: &str) -> anyhow::Result<(StatusCode, String)> {
        let request = Request::post(path).header(header::CONTENT_TYPE, kind).header(header::ACCEPT, "text/html,*/*");
        self.ask(request.body(Body::from(body.to_owned()))?).await
    }

    /// Sends a letter and gives the ids of the send and of its tasks.
    pub async fn send(&self, letter: &str) -> anyhow::Result<(String, Vec<String>)> {
        #[derive(Deserialize)]
        struct Answer {
            send: String,
            tasks: Vec<String>,
        }
        let (status, answer) = self.post("/send", JSON, letter).await?;
        anyhow::ensure!(status == StatusCode::OK, "{status}: {answer}");
        let answer: Answer = serde_json::from_str(&answer)?;
        Ok((answer.send, answer.tasks))
    }

    /// Runs a worker until a send has its summary.
    pub async fn deliver(&self, mailer: Mailer, send: &str) -> anyhow::Result<Progress> {
        let stop = Shutdown::new();
        let worker = Worker::builder(self.app.clone())
            .tasks(tasks![send_email, summarize, queue_rest])
            .state(mailer)
            .state(self.store.clone())
            .build()?;
        let working = tokio::spawn(worker.run(stop.clone()));
        // The stream ends with the summary.
        let (_, events) = tokio::time::timeout(60.s(), self.get(&format!("/sends/{send}/events"))).await??;
        assert!(events.contains("\"summary\":\""), "{events}");
        stop.graceful();
        working.await??;
        self.store.progress(send.to_owned()).await?.context("the send is known")
    }

    pub async fn task(&self, id: &str) -> anyhow::Result<Value> {
        let (status, text) = self.get(&format!("/tasks/{id}")).await?;
        anyhow::ensure!(status == StatusCode::OK, "{status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

/// What a developer may have set, and a test must not meet.
const FOREIGN: [&str; 12] = [
    "CELERIAC_BROKER_URL",
    "CELERY_BROKER_URL",
    "CELERIAC_RESULT_BACKEND",
    "CELERY_RESULT_BACKEND",
    "DATABASE_URL",
    "SENDGRID_API_KEY",
    "SMTP_URL",
    "CELERIAC_BASIC_AUTH",
    "NEWSLETTER_VIEWER_LISTEN",
    "NEWSLETTER_READERS",
    "NEWSLETTER_LISTEN",
    "NEWSLETTER_URL",
];

/// The program, with everything it keeps in one place.
pub fn newsletter(kept: &Kept) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_newsletter"));
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.current_dir(kept.folder()).env("DATABASE_URL", &kept.url);
    command
}

/// A child that does not outlive its test.
pub struct Running(pub Child);

impl Running {
    /// As `kill -9` does it.
    pub fn kill(&mut self) {
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

/// The first line that a child prints.
pub fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("its output is piped")?).read_line(&mut line)?;
    Ok(line)
}

/// aiosmtpd in a process of its own: takes every mail and writes down what it took.
pub struct Catcher {
    _process: Running,
    caught: PathBuf,
    pub url: String,
}

/// One mail, as the server saw it.
#[derive(Debug, Deserialize)]
pub struct Caught {
    pub recipient: String,
    pub message_id: String,
    /// This and the rest only where the catcher reads mails whole.
    #[serde(default)]
    pub to: String,
    #[serde(default)]
    pub subject: String,
    #[serde(default)]
    pub list_unsubscribe: String,
    #[serde(default)]
    pub parts: Vec<String>,
}

impl Catcher {
    /// Notes who got which mail.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        Self::run(folder, &[])
    }

    /// Notes what the mails say too.
    pub fn start_reading(folder: &Path) -> anyhow::Result<Self> {
        Self::run(folder, &["--whole"])
    }

    fn run(folder: &Path, options: &[&str]) -> anyhow::Result<Self> {
        let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop");
        let venv = Command::new(interop.join("venv")).arg("smtp").output().context("could not run interop/venv")?;
        let said = String::from_utf8_lossy(&venv.stderr);
        anyhow::ensure!(venv.status.success(), "the mail catcher cannot start: {}", said.trim());
        let python = PathBuf::from(String::from_utf8(venv.stdout)?.trim());
        let caught = folder.join("caught.jsonl");
        let mut process = Command::new(python)
            .arg(interop.join("smtp_catcher.py"))
            .args(options)
            .arg(&caught)
            // It ends when this pipe closes, also when the test is killed.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let port = first_line(&mut process)?;
        let url = format!("smtp://127.0.0.1:{}", port.trim().parse::<u16>().context("the catcher says its port")?);
        Ok(Self { _process: Running(process), caught, url })
    }

    pub fn caught(&self) -> anyhow::Result<Vec<Caught>> {
        let text = std::fs::read_to_string(&self.caught)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// How many mails each recipient got.
    pub fn count(&self) -> anyhow::Result<HashMap<String, u32>> {
        let mut counts = HashMap::new();
        for mail in self.caught()? {
            *counts.entry(mail.recipient).or_default() += 1;
        }
        Ok(counts)
    }

    /// A mailer to it.
    pub fn mailer(&self) -> anyhow::Result<Mailer> {
        Mailer::from_lookup(|name| match name {
            "SMTP_URL" => Some(self.url.clone()),
            "SMTP_FROM" => Some("Root & Leaf <news@example.org>".into()),
            _ => None,
        })
    }
}
