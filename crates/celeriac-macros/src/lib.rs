//! The attribute `#[task]`: a function becomes a task that is called to make a signature, and sent to run later.
//!
//! `options.rs` reads what stands in the parentheses, `key.rs` the key of `unique`, `function.rs` the function; `write.rs` writes
//! what comes of them.

mod function;
mod key;
mod options;
mod write;

use proc_macro::TokenStream;

/// Makes a task of a function.
///
/// ```
/// use celeriac::prelude::*;
///
/// # #[derive(Clone)] struct Mailer;
/// # impl Mailer { async fn send(&self, _: String, _: String) -> std::io::Result<()> { Ok(()) } }
/// #[task(max_retries = 5, rate_limit = "600/m")]
/// async fn send_email(mailer: State<Mailer>, to: String, subject: String) -> Result<(), TaskError> {
///     mailer.send(to, subject).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> celeriac::Result<()> {
/// # let app = celeriac::testing::TestApp::new(tasks![send_email]).state(Mailer);
/// app.send(send_email("ann@example.com".into(), "Hello".into())).await?;
/// # assert_eq!(app.drain().await?.succeeded, 1);
/// # Ok(()) }
/// ```
///
/// Calling it makes a `Signature`; the injected parameters (`State<T>`, `Context`) are left out. `send_email::run(…)`
/// calls the function itself, and `send_email::partial(…)` leaves the first argument to what an earlier step returns.
/// A function that is not `async` runs on a thread for blocking work.
///
/// It may return a plain value, or `Result<T, E>` where `E` becomes a `TaskError`: every `std::error::Error` does, and so do
/// `anyhow::Error`, `Box<dyn Error + Send + Sync>` and `String`. Each of them is retried unless the error, or `retry_if`,
/// says otherwise.
///
/// # Options
///
/// | option | value | what it does |
/// |---|---|---|
/// | `name` | text | the name on the wire; `crate.function` unless said |
/// | `max_retries` | number, or `none` | how often it is retried; 3 unless said, `none` for ever |
/// | `backoff` | duration | the wait before the first retry; 1 s unless said |
/// | `backoff_factor` | number | what each further wait is multiplied by; 2 unless said |
/// | `backoff_max` | duration | the longest wait; 10 minutes unless said |
/// | `jitter` | 0.0 to 1.0, or a bool | the part of the wait that is left to chance; 0.5 unless said |
/// | `retry_if` | a function of `&E` | says `true` or `false`, or a `TaskErrorKind` |
/// | `time_limit`, `soft_time_limit` | duration | when it is stopped; when it is told to stop by itself |
/// | `expires` | duration | how long after sending it may still begin |
/// | `rate_limit` | `"600/m"` | how many may start in a while, for each worker |
/// | `unique` | `(key = "welcome:{to}", for = "1h")` | refuses a call while another one has the key |
/// | `queue` | text | the queue it is sent to, whatever the routes say |
/// | `priority` | 0 to 255 | how urgent it is; higher first |
/// | `serializer` | `"json"`, `"msgpack"`, `"yaml"` | how its arguments are written |
/// | `acks_late` | bool | settle after the run (unless said), or before it: at most once |
/// | `ignore_result` | bool | store no value |
/// | `track_started` | bool | store that it has started |
/// | `keep_failures` | bool | keep it in the dead set when it has failed for good |
/// | `crate` | path | where `celeriac` is found |
///
/// Durations are texts: `"250ms"`, `"30s"`, `"5m"`, `"2h"`, `"1d"`. A bool may be left out: `ignore_result` is
/// `ignore_result = true`. When the key of `unique` names the first argument there is no `partial`: the key could not be
/// made before that argument is known.
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let made = options::parse(attribute.into())
        .and_then(|options| Ok((options, function::parse(item.clone().into())?)))
        .and_then(|(options, function)| write::task(&options, &function));
    match made {
        Ok(tokens) => tokens.into(),
        // The function stays, so that only the mistake is reported and not everything that uses it.
        Err(error) => {
            let mut tokens: TokenStream = error.into_compile_error().into();
            tokens.extend(item);
            tokens
        }
    }
}
