//! Which queue a task goes to.

use celeriac_core::{QueueName, Result};

/// Queues by task name or glob (`mail.*`): a name wins over globs, and of those the first that fits, in the order
/// they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Vec<(String, QueueName)>);

impl Routes {
    /// The same with one more: `pattern` is a task's name, or a glob where `*` is any text and `?` any byte.
    ///
    /// # Errors
    /// `Invalid` when `queue` is no queue's name.
    pub fn with(mut self, pattern: impl Into<String>, queue: &str) -> Result<Self> {
        self.0.push((pattern.into(), QueueName::new(queue)?));
        Ok(self)
    }

    /// The queue for a task of this name, if a route says one.
    pub fn find(&self, task: &str) -> Option<&QueueName> {
        let named = self.0.iter().find(|(pattern, _)| pattern == task);
        let fits = || self.0.iter().find(|(pattern, _)| glob(pattern.as_bytes(), task.as_bytes()));
        named.or_else(fits).map(|(_, queue)| queue)
    }

    /// Patterns and queues, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &QueueName)> {
        self.0.iter().map(|(pattern, queue)| (pattern.as_str(), queue))
    }
}

/// True when `text` fits `pattern`, where `*` is any text and `?` any byte.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                at = place + 1;
                from = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_wins_over_globs_and_globs_fit_in_the_order_they_were_written() {
        let routes = Routes::default()
            .with("mail.*", "mail")
            .and_then(|routes| routes.with("*.slow?", "slow"))
            .and_then(|routes| routes.with("*", "rest"))
            .and_then(|routes| routes.with("mail.urgent", "urgent"))
            .unwrap();
        for (task, queue) in [
            ("mail.send", "mail"),
            ("mail.slow1", "mail"),
            ("shop.slow1", "slow"),
            ("shop.slow", "rest"),
            ("mail", "rest"),
            ("mail.urgent", "urgent"),
        ] {
            assert_eq!(routes.find(task).map(QueueName::as_str), Some(queue), "{task}");
        }
        assert!(Routes::default().find("mail.send").is_none());
    }
}
