//! `dead`: browse, replay and drop dead messages.

use celeriac::{
    App,
    core::{DeadEntry, DeadQuery, Error, ErrorKind, Message, QueueName, TaskName},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{Exit, commands, output};

/// How many entries one look at the store brings.
const PAGE: usize = 500;

/// `dead …`
#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List dead messages, newest first
    List {
        #[command(flatten)]
        which: Which,
        /// How many at the most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        limit: u64,
    },
    /// Show one: reason, headers and body
    Show {
        /// The entry, as `dead list` numbers it
        entry: u64,
    },
    /// Put dead messages back into their queues
    Replay {
        #[command(flatten)]
        chosen: Chosen,
        /// New headers for the one message (a JSON object)
        #[arg(long, value_name = "JSON")]
        headers: Option<String>,
        /// A new body for the one message, such as `[["ann@example.com"], {}, {}]`
        #[arg(long, value_name = "TEXT")]
        body: Option<String>,
    },
    /// Remove dead messages for good
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        /// Do not ask
        #[arg(short, long, visible_alias = "force", visible_short_alias = 'f')]
        yes: bool,
    },
}

/// Which dead messages are meant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Which {
    /// Only those of this queue
    #[arg(short = 'Q', long)]
    queue: Option<String>,
    /// Only those of this task
    #[arg(long)]
    task: Option<String>,
    /// Only this task id
    #[arg(long)]
    id: Option<String>,
}

/// Entries by number, or all of a kind.
#[derive(Args, Debug)]
pub(crate) struct Chosen {
    /// The entries, as `dead list` numbers them
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    entries: Vec<u64>,
    /// All of them, or all that --queue, --task and --id leave
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
}

pub(crate) async fn run(app: &App, command: &Dead, as_json: bool) -> anyhow::Result<Exit> {
    match command {
        Dead::List { which, limit } => list(app, which, *limit, as_json).await,
        Dead::Show { entry } => show(app, *entry, as_json).await,
        Dead::Replay { chosen, headers, body } => {
            replay(app, chosen, headers.as_deref(), body.as_deref(), as_json).await
        }
        Dead::Drop { chosen, yes } => drop_dead(app, chosen, *yes, as_json).await,
    }
}

async fn list(app: &App, which: &Which, limit: u64, as_json: bool) -> anyhow::Result<Exit> {
    let entries = find(app, which, usize::try_from(limit)?).await?;
    if as_json {
        output::json(&entries.iter().map(summary).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        output::line("no dead messages")?;
        return Ok(Exit::Done);
    }
    let now = app.clock().now();
    output::table(
        ["ENTRY", "AGE", "QUEUE", "REASON", "TASK", "ID", "DETAIL"],
        entries.iter().map(|dead| {
            [
                dead.entry.to_string(),
                output::span(dead.died_at, now),
                dead.queue.to_string(),
                dead.reason.to_string(),
                dead.task.as_ref().map_or("-", TaskName::as_str).to_owned(),
                dead.task_id.to_string(),
                cut(&dead.detail, 60),
            ]
        }),
    )?;
    Ok(Exit::Done)
}

async fn show(app: &App, entry: u64, as_json: bool) -> anyhow::Result<Exit> {
    let Some(dead) = one(app, entry).await? else {
        anyhow::bail!(nothing(entry));
    };
    if as_json {
        output::json(&whole(&dead))?;
        return Ok(Exit::Done);
    }
    output::line(format_args!("entry    {}", dead.entry))?;
    output::line(format_args!("task     {}", dead.task.as_ref().map_or("-", TaskName::as_str)))?;
    output::line(format_args!("id       {}", dead.task_id))?;
    output::line(format_args!("queue    {}", dead.queue))?;
    output::line(format_args!("died     {}", output::instant(dead.died_at)))?;
    output::line(format_args!("attempt  {}", dead.attempt))?;
    output::line(format_args!("reason   {}: {}", dead.reason, output::printable(&dead.detail)))?;
    for (part, bytes) in parts(&dead.message) {
        output::line(format_args!("{part} ({} bytes)", bytes.len()))?;
        output::line(format_args!("  {}", shown(bytes)))?;
    }
    Ok(Exit::Done)
}

async fn replay(
    app: &App,
    chosen: &Chosen,
    headers: Option<&str>,
    body: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let entries = chosen.resolve(app).await?;
    let edited = if headers.is_some() || body.is_some() {
        let [entry] = entries.as_slice() else {
            anyhow::bail!("--headers and --body edit one message: name one entry, not {}", entries.len());
        };
        let Some(dead) = one(app, *entry).await? else { anyhow::bail!(nothing(*entry)) };
        let mut message = dead.message;
        if let Some(text) = headers {
            crate::args::json_object(text)
                .map_err(|error| Error::new(ErrorKind::Invalid, format!("read --headers: {error}")))?;
            message.headers = text.to_owned().into();
        }
        if let Some(text) = body {
            message.body = text.to_owned().into();
        }
        Some(message)
    } else {
        None
    };
    let mut replayed = 0;
    if edited.is_some() {
        replayed = app.broker().replay(&entries, edited).await?;
    } else {
        let progress = output::Progress::new("replayed", entries.len(), PAGE);
        for some in entries.chunks(PAGE) {
            replayed += app.broker().replay(some, None).await?;
            progress.show(replayed);
        }
    }
    report(as_json, "replayed", replayed, entries.len())
}

async fn drop_dead(app: &App, chosen: &Chosen, yes: bool, as_json: bool) -> anyhow::Result<Exit> {
    let entries = chosen.resolve(app).await?;
    if !yes && !entries.is_empty() && !output::confirm(&format!("Remove {} dead messages for good?", entries.len()))? {
        anyhow::bail!("nothing was removed: answer y, or say --yes where nobody can");
    }
    let mut dropped = 0;
    let progress = output::Progress::new("dropped", entries.len(), PAGE);
    for some in entries.chunks(PAGE) {
        dropped += app.broker().drop_dead(some).await?;
        progress.show(dropped);
    }
    drop(progress);
    report(as_json, "dropped", dropped, entries.len())
}

impl Chosen {
    async fn resolve(&self, app: &App) -> anyhow::Result<Vec<u64>> {
        if self.all {
            Ok(find(app, &self.which, usize::MAX).await?.into_iter().map(|dead| dead.entry).collect())
        } else {
            Ok(self.entries.clone())
        }
    }
}

/// Reads up to `limit` entries, a page at a time.
async fn find(app: &App, which: &Which, limit: usize) -> anyhow::Result<Vec<DeadEntry>> {
    let mut query = DeadQuery {
        queue: which.queue.as_deref().map(QueueName::new).transpose()?,
        task: which.task.as_deref().map(TaskName::new).transpose()?,
        task_id: which.id.as_deref().map(commands::task_id).transpose()?,
        before: None,
        limit: PAGE.min(limit),
    };
    let mut found = Vec::new();
    loop {
        let page = app.broker().dead(query.clone()).await?;
        let full = page.len() == query.limit;
        query.before = page.last().map(|dead| dead.entry);
        found.extend(page);
        if !full || found.len() >= limit {
            found.truncate(limit);
            return Ok(found);
        }
    }
}

async fn one(app: &App, entry: u64) -> anyhow::Result<Option<DeadEntry>> {
    let query = DeadQuery { before: Some(entry.saturating_add(1)), limit: 1, ..DeadQuery::default() };
    Ok(app.broker().dead(query).await?.into_iter().find(|dead| dead.entry == entry))
}

fn nothing(entry: u64) -> Error {
    Error::new(ErrorKind::NotFound, format!("find the dead message {entry}: `dead list` shows which there are"))
}

fn report(as_json: bool, done: &str, count: u64, asked: usize) -> anyhow::Result<Exit> {
    if as_json {
        output::json(&json!({ done: count, "asked": asked }))?;
    } else {
        output::line(format_args!("{done} {count} of {asked}"))?;
    }
    Ok(if count == 0 && asked > 0 { Exit::NotFound } else { Exit::Done })
}

fn summary(dead: &DeadEntry) -> Value {
    json!({
        "entry": dead.entry,
        "task": dead.task,
        "id": dead.task_id,
        "queue": dead.queue,
        "reason": dead.reason.as_str(),
        "detail": dead.detail,
        "died_at": dead.died_at.to_string(),
        "attempt": dead.attempt,
    })
}

fn whole(dead: &DeadEntry) -> Value {
    let mut value = summary(dead);
    for (part, bytes) in parts(&dead.message) {
        value[part] = Value::String(String::from_utf8_lossy(bytes).into_owned());
    }
    value
}

fn parts(message: &Message) -> [(&'static str, &[u8]); 3] {
    [("headers", &message.headers), ("properties", &message.properties), ("body", &message.body)]
}

/// Bytes for a terminal: text where they are text, never more than a screenful.
fn shown(bytes: &[u8]) -> String {
    cut(&String::from_utf8_lossy(bytes), 4_000)
}

fn cut(text: &str, chars_max: usize) -> String {
    let mut short: String = output::printable(text).chars().take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() {
        short.push('…');
    }
    short
}
