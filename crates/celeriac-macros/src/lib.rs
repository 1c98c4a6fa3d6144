//! The attribute `#[task]`: a function becomes a task that is called to make a signature, and sent to run later.
//!
//! `options.rs` reads what stands in the parentheses, `function.rs` the function, `write.rs` writes what comes of both.

mod function;
mod options;
mod write;

use proc_macro::TokenStream;

/// Makes a task of a function.
///
/// ```ignore
/// #[task(max_retries = 5, rate_limit = "600/m")]
/// async fn send_email(mailer: State<Mailer>, to: String, subject: String) -> Result<(), TaskError> { … }
///
/// app.send(send_email("ann@example.com".into(), "Hello".into())).await?;
/// ```
///
/// Calling it makes a `Signature`; the injected parameters (`State<T>`, `Context`) are left out. `send_email::run(…)`
/// calls the function itself, and `send_email::partial(…)` leaves the first argument to what an earlier step returns.
/// A function that is not `async` runs on a thread for blocking work.
///
/// It may return `Result<T, E>` where `E` becomes a `TaskError` (every `std::error::Error` does: it is retried), or a
/// plain value. Options: `name`, `max_retries` (a number, or `none` for ever), `backoff`, `backoff_max`, `time_limit`,
/// `soft_time_limit`, `expires` (durations such as `"30s"`, `"5m"`), `rate_limit` (`"600/m"`), `queue`, `priority`,
/// `serializer`, `acks_late`, `ignore_result`, `track_started`, `keep_failures` (true unless said), and `crate` for
/// where `celeriac` is found.
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let made = options::parse(attribute.into())
        .and_then(|options| Ok((options, function::parse(item.clone().into())?)))
        .map(|(options, function)| write::task(&options, &function));
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
