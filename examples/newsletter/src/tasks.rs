//! What the workers do: one mail for each reader, and the summary when all are done.

use celeriac::prelude::*;

use crate::{mail::Mailer, store::Store};

/// How often a mail is tried again.
pub const RETRIES: u32 = 8;

/// Sends one mail to one reader. A repeat after a crash does not mail whoever has it already, as far as that was noted.
#[task(max_retries = 8, backoff = "500ms", backoff_max = "5m", time_limit = "2m")]
pub async fn send_email(
    ctx: Context,
    mailer: State<Mailer>,
    store: State<Store>,
    email: String,
    body: String,
    subject: String,
    send: String,
) -> Result<(), TaskError> {
    if !store.is_delivered(send.clone(), email.clone()).await.map_err(TaskError::retryable)?
        && let Err(error) = mailer.send(&store, &send, &email, &subject, &body).await
    {
        let last = matches!(error.kind(), celeriac::TaskErrorKind::Fatal) || ctx.retries() >= RETRIES;
        if !last {
            return Err(error);
        }
        store.failed(send.clone(), email, error.message().to_owned()).await.map_err(TaskError::retryable)?;
        finish_if_done(&ctx, &store, &send).await?;
        return Err(TaskError::fatal(error.message()));
    }
    finish_if_done(&ctx, &store, &send).await
}

/// Whoever finds that nobody is left sends the summary; a unique key keeps it to one.
async fn finish_if_done(ctx: &Context, store: &Store, send: &str) -> Result<(), TaskError> {
    let progress = store.progress(send.to_owned()).await.map_err(TaskError::retryable)?;
    if progress.is_some_and(|progress| progress.is_done() && progress.summary.is_none()) {
        ctx.app().send(summarize(send.to_owned()).unique(&format!("summary of {send}"), 1.hours())).await?;
    }
    Ok(())
}

/// Records how a send went.
#[task]
pub async fn summarize(ctx: Context, store: State<Store>, send: String) -> Result<String, TaskError> {
    store.summarize(send, ctx.app().clock().now()).await.map_err(TaskError::retryable)
}
