//! What the workers do: one mail for each reader, the summary when all are done, and whatever a web process left undone.

use std::time::Duration;

use celeriac::prelude::*;

use crate::{
    mail::{Handed, Mail, Mailer},
    store::{Errand, Progress, Store},
};

/// How often a mail is tried again.
const RETRIES: u32 = 8;
/// How long handing one mail over may take, all in all; below the task's own limit, so that a failure is noted.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(90);
/// How long a web process has to give a send to the queue before a worker looks after it.
pub const QUEUED_WITHIN: Duration = Duration::from_mins(1);

/// Sends one mail to one reader. A repeat after a crash does not mail whoever has it already, as far as that was noted;
/// whoever has unsubscribed since gets none.
#[task(max_retries = 8, backoff = "500ms", backoff_max = "5m", time_limit = "2m")]
pub async fn send_email(
    ctx: Context,
    mailer: State<Mailer>,
    store: State<Store>,
    email: String,
    send: String,
) -> Result<(), TaskError> {
    let claimed = store.errand(send.clone(), email.clone(), ctx.id().clone(), ctx.app().clock().now()).await;
    let progress = match claimed.map_err(unusable)? {
        Errand::Deliver(letter, reader) => {
            let mail = mailer.mail(&send, &letter, &reader);
            match deliver(&mailer, &store, email.clone(), mail).await {
                Ok(progress) => progress,
                Err(error) => {
                    let last = matches!(error.kind(), TaskErrorKind::Fatal) || ctx.retries() >= RETRIES;
                    if !last {
                        return Err(error);
                    }
                    let progress = store.failed(send, email, error.message()).await.map_err(unusable)?;
                    finish_if_done(&ctx, &progress).await?;
                    return Err(TaskError::fatal(error.message()));
                }
            }
        }
        Errand::Unsubscribed => store.skipped(send, email).await.map_err(unusable)?,
        // Noted by an earlier run that may have ended before it saw that it was the last.
        Errand::Delivered => known(&store, &send).await?,
        Errand::Taken => return Ok(()),
        Errand::Unknown => return Err(TaskError::fatal(format!("there is no send {send} to {email}"))),
    };
    finish_if_done(&ctx, &progress).await
}

/// Hands a mail over and notes it. A crash between the two repeats the mail, under the same id; the other order would
/// lose it.
async fn deliver(mailer: &Mailer, store: &Store, email: String, mail: Mail) -> Result<Progress, TaskError> {
    let handed = tokio::time::timeout(HAND_OVER_WITHIN, mailer.hand_over(&mail)).await;
    let handed = handed.map_err(|_| TaskError::retryable(format!("not handed over within {HAND_OVER_WITHIN:?}")))??;
    store.delivered(email, mail, matches!(handed, Handed::Outbox)).await.map_err(unusable)
}

/// Whoever finds that nobody is left sends the summary; a unique key keeps it to one.
async fn finish_if_done(ctx: &Context, progress: &Progress) -> Result<(), TaskError> {
    if progress.is_done() && progress.summary.is_none() {
        let key = format!("summary of {}", progress.id);
        ctx.app().send(summarize(progress.id.clone()).unique(&key, 1.hours())).await?;
    }
    Ok(())
}

/// Records how a send went.
#[task]
pub async fn summarize(ctx: Context, store: State<Store>, send: String) -> Result<String, TaskError> {
    store.summarize(send, ctx.app().clock().now()).await.map_err(unusable)
}

/// Looks after a send that a web process has begun: queues a task for everybody who still waits, unless it is known that
/// the queue has them all. A task too many finds its mail taken or delivered, and does nothing.
#[task(max_retries = 100, backoff = "1s", backoff_max = "5m")]
pub async fn queue_rest(ctx: Context, store: State<Store>, send: String) -> Result<usize, TaskError> {
    let waiting = store.unqueued(send.clone()).await.map_err(unusable)?;
    let missing = waiting.len();
    ctx.app().send_many(waiting.into_iter().map(|email| send_email(email, send.clone()))).await?;
    store.queued(send.clone()).await.map_err(unusable)?;
    if let Some(progress) = store.progress(send).await.map_err(unusable)? {
        // Of a send to nobody no mail is the last.
        finish_if_done(&ctx, &progress).await?;
    }
    Ok(missing)
}

async fn known(store: &Store, send: &str) -> Result<Progress, TaskError> {
    let progress = store.progress(send.to_owned()).await.map_err(unusable)?;
    progress.ok_or_else(|| TaskError::fatal(format!("there is no send {send}")))
}

/// The store is busy or away: trying again may help.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn unusable(error: anyhow::Error) -> TaskError {
    TaskError::retryable(format!("{error:#}"))
}
