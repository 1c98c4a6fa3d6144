//! What the workers do: one mail for each reader, and the summary when all are done.

use std::time::Duration;

use celeriac::prelude::*;

use crate::{
    mail::{Handed, Mail, Mailer},
    store::{Errand, Store},
};

/// How often a mail is tried again.
const RETRIES: u32 = 8;
/// How long handing one mail over may take, all in all; below the task's own limit, so that a failure is noted.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(90);

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
    match store.errand(send.clone(), email.clone()).await.map_err(unusable)? {
        Errand::Deliver(letter, reader) => {
            let mail = mailer.mail(&send, &letter, &reader);
            if let Err(error) = deliver(&mailer, &store, mail).await {
                let last = matches!(error.kind(), TaskErrorKind::Fatal) || ctx.retries() >= RETRIES;
                if !last {
                    return Err(error);
                }
                store.failed(send.clone(), email, error.message()).await.map_err(unusable)?;
                finish_if_done(&ctx, &store, &send).await?;
                return Err(TaskError::fatal(error.message()));
            }
        }
        Errand::Unsubscribed => store.skipped(send.clone(), email).await.map_err(unusable)?,
        Errand::Unknown => return Err(TaskError::fatal(format!("there is no send {send} in the readers' file"))),
        Errand::Delivered => {}
    }
    finish_if_done(&ctx, &store, &send).await
}

/// Hands a mail over and notes it. A crash between the two repeats the mail, under the same id; the other order would
/// lose it.
async fn deliver(mailer: &Mailer, store: &Store, mail: Mail) -> Result<(), TaskError> {
    let handed = tokio::time::timeout(HAND_OVER_WITHIN, mailer.hand_over(&mail)).await;
    let handed = handed.map_err(|_| TaskError::retryable(format!("not handed over within {HAND_OVER_WITHIN:?}")))??;
    store.delivered(mail, matches!(handed, Handed::Outbox)).await.map_err(unusable)
}

/// Whoever finds that nobody is left sends the summary; a unique key keeps it to one.
async fn finish_if_done(ctx: &Context, store: &Store, send: &str) -> Result<(), TaskError> {
    let progress = store.progress(send.to_owned()).await.map_err(unusable)?;
    if progress.is_some_and(|progress| progress.is_done() && progress.summary.is_none()) {
        ctx.app().send(summarize(send.to_owned()).unique(&format!("summary of {send}"), 1.hours())).await?;
    }
    Ok(())
}

/// Records how a send went.
#[task]
pub async fn summarize(ctx: Context, store: State<Store>, send: String) -> Result<String, TaskError> {
    store.summarize(send, ctx.app().clock().now()).await.map_err(unusable)
}

/// The readers' file is busy or away: trying again may help.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn unusable(error: anyhow::Error) -> TaskError {
    TaskError::retryable(format!("{error:#}"))
}
