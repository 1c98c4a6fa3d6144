//! `assert_sent!` and `assert_not_sent!`: what a test expects to have been sent, and what to print when it was not.

use std::marker::PhantomData;

use serde::Serialize;
use serde_json::Value;

use super::{Sent, TestApp};
use crate::Task;

/// Fails unless a task was sent with these arguments; the others may be anything. Prints what was sent.
///
/// ```no_run
/// # use celeriac::{assert_sent, prelude::*, testing::TestApp};
/// # #[task] async fn send_email(to: String, subject: String) {}
/// # fn example(app: TestApp) {
/// assert_sent!(app, send_email);
/// assert_sent!(app, send_email, to = "ann@example.com", subject = "Welcome");
/// # }
/// ```
#[macro_export]
macro_rules! assert_sent {
    ($app:expr, $task:ty $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::testing::Expectation::<$task>::of(&$app)$(.with(stringify!($name), &$value))*.sent()
    };
}

/// Fails when a task was sent with these arguments; the others may be anything.
#[macro_export]
macro_rules! assert_not_sent {
    ($app:expr, $task:ty $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::testing::Expectation::<$task>::of(&$app)$(.with(stringify!($name), &$value))*.not_sent()
    };
}

/// What `assert_sent!` writes calls to.
pub struct Expectation<'a, T> {
    app: &'a TestApp,
    arguments: Vec<(String, Value)>,
    task: PhantomData<T>,
}

impl<'a, T: Task> Expectation<'a, T> {
    /// Something about this task.
    pub fn of(app: &'a TestApp) -> Self {
        Self { app, arguments: Vec::new(), task: PhantomData }
    }

    /// The same, with this value for this argument.
    ///
    /// # Panics
    /// When the task has no such argument, or the value cannot be JSON.
    #[track_caller]
    pub fn with(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let name = name.trim_start_matches("r#");
        let params = T::definition().params;
        if !params.iter().any(|param| param.name == name) {
            let known: Vec<_> = params.iter().map(|param| param.name).collect();
            panic!("{} has no argument `{name}`: it has {}", T::NAME, known.join(", "));
        }
        match serde_json::to_value(value) {
            Ok(value) => self.arguments.push((name.to_owned(), value)),
            Err(error) => panic!("what `{name}` is compared with cannot be JSON: {error}"),
        }
        self
    }

    /// Fails unless it was sent.
    ///
    /// # Panics
    /// Then.
    #[track_caller]
    pub fn sent(self) {
        let sent = self.app.sent();
        assert!(sent.iter().any(|one| self.fits(one)), "{} was not sent. {}", self.shown(), all(&sent));
    }

    /// Fails when it was sent.
    ///
    /// # Panics
    /// Then.
    #[track_caller]
    pub fn not_sent(self) {
        let sent = self.app.sent();
        assert!(!sent.iter().any(|one| self.fits(one)), "{} was sent. {}", self.shown(), all(&sent));
    }

    fn fits(&self, sent: &Sent) -> bool {
        sent.task == T::NAME && self.arguments.iter().all(|(name, value)| sent.argument(name) == Some(value))
    }

    fn shown(&self) -> String {
        let arguments: Vec<_> = self.arguments.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        format!("{}({})", T::NAME, arguments.join(", "))
    }
}

/// The most that a failure prints.
const SHOWN_MAX: usize = 50;

fn all(sent: &[Sent]) -> String {
    if sent.is_empty() {
        return "Nothing was.".into();
    }
    let mut lines = vec!["These were, in order:".to_owned()];
    lines.extend(sent.iter().take(SHOWN_MAX).map(ToString::to_string));
    if sent.len() > SHOWN_MAX {
        lines.push(format!("and {} more", sent.len() - SHOWN_MAX));
    }
    lines.join("\n  ")
}
