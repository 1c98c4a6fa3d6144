//! Every name that is used in the server, and nowhere else.
//!
//! `P` is the prefix (`global_keyprefix`), `Q` a queue, `⊥` the two bytes `06 16`. In the database of the URL:
//!
//! | key | type | content | who |
//! |---|---|---|---|
//! | `PQ` | list | envelopes of priority 0; in at the left, out at the right | Celery |
//! | `PQ⊥n` | list | the same of priority (step) n | Celery |
//! | `Punacked` | hash | delivery tag → `[envelope, exchange, routing key]` of what is in somebody's hands | Celery |
//! | `Punacked_index` | zset | delivery tag → when it was taken, in seconds; ours lie an hour ahead, which keeps Celery's hands off | Celery |
//! | `P_kombu.binding.Q` | set | that the queue exists | Celery |
//! | `P_kombu.binding.reply.celery.pidbox` | set | the mailboxes of those who wait for answers | Celery |
//! | `PID.reply.celery.pidbox` | list | a mailbox | Celery |
//! | `celery-task-meta-ID` | string | a result's document; a channel of the same name tells of it | Celery |
//! | `celery-taskset-meta-ID` + `.j .s .t .d .c` | zset, strings, set | a chord's parts, size, additions, members counted, claim | Celery |
//! | `Pceleriac:seq` | string | the last number given to a message. Stays | ours |
//! | `Pceleriac:queues` | set | the queues ever declared or published to. Stays | ours |
//! | `Pceleriac:priorities:Q` | zset | in our layout: the priorities whose lists are not empty | ours |
//! | `Pceleriac:consumers` | zset | a consumer's start → when its lease ends, in µs | ours |
//! | `Pceleriac:consumer:START` | string | its worker, queues and beginning, as JSON | ours |
//! | `Pceleriac:held:START` | hash | delivery tag → `attempt priority queue` of what it holds, with `!` after the attempt of a suspect that runs: the owner of a tag is known, not guessed | ours |
//! | `Pceleriac:held-count` | hash | queue → how many of its messages our consumers hold | ours |
//! | `Pceleriac:strays` | hash | tag → bytes in our hands that are no envelope | ours |
//! | `Pceleriac:served` | zset | queue → until when one of our consumers is sure to serve it, in µs | ours |
//! | `Pceleriac:due:Q` | zset | `number:priority` → when it is due, in µs | ours |
//! | `Pceleriac:parked:Q` | hash | `number:priority` → the envelope that waits | ours |
//! | `Pceleriac:listed:Q` | zset | number → due, of what lies due later in Celery's lists, since none of our workers was there | ours |
//! | `Pceleriac:dead` | zset | the entries of the dead set | ours |
//! | `Pceleriac:dead:N` | hash | one entry | ours |
//! | `Pceleriac:dead-count` | hash | queue → entries | ours |
//! | `Pceleriac:revoked`, `Pceleriac:revoked-until` | hash, zset | task id → the fact, and until when | ours |
//! | `Pceleriac:unique:KEY` | string | `until task-id`; expires | ours |
//! | `Pceleriac:channel:NAME` | stream | broadcasts; trimmed, expires | ours |
//! | `Pceleriac:heard:TAG` | string | that a broadcast of Celery's is in the stream; expires | ours |
//! | `Pceleriac:history…` | several | see `history.rs` | ours |
//! | `RPceleriac:attempt:ID` | string | the attempt that wrote a result, where the document alone does not tell who may overwrite it; expires with it | ours |
//!
//! Channels of Celery's: `P/DB.NAME` and `P/DB.NAME/ROUTING.KEY`, with the database's number, since channels know none.
//!
//! Results have a prefix of their own in Celery, `RP`: the same text, with `_` after it unless it ends in `:`, `_`, `-`
//! or `.`.
//!
//! Our envelopes begin with `{"celeriac": [attempt, losses, published, number, due], `, which the scripts read and write
//! without decoding the rest, and which Celery carries along without looking at it.
//!
//! Source: kombu 5.7, `kombu/transport/redis.py` and `virtual/base.py`; Celery 5.7, `celery/backends/redis.py`.

use std::fmt::Write as _;

use crate::config::{Config, Priorities};

/// Stands between a queue's name and a priority step.
pub(crate) const SEPARATOR: &str = "\u{6}\u{16}";
/// The exchange for answers to remote control.
pub(crate) const REPLIES: &str = "reply.celery.pidbox";
/// How far ahead of the time our entries of `unacked_index` lie, in seconds. Celery restores what lies behind the time
/// by its visibility timeout: so long after our last worker is gone, and not before.
pub(crate) const MARK_SECONDS: i64 = 3600;

/// The names, under the prefix.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: String,
    db: u16,
    results_prefix: String,
    priorities: Priorities,
}

impl Layout {
    pub(crate) fn new(config: &Config) -> Self {
        let prefix = config.global_keyprefix.clone();
        let mut results_prefix = prefix.clone();
        if !prefix.is_empty() && !prefix.ends_with([':', '_', '-', '.']) {
            results_prefix.push('_');
        }
        Self { prefix, db: config.db, results_prefix, priorities: config.layout.clone() }
    }

    /// One of our own keys.
    pub(crate) fn own(&self, name: &str) -> String {
        format!("{}celeriac:{name}", self.prefix)
    }

    /// The list of a queue and a step.
    pub(crate) fn list(&self, queue: &str, step: u8) -> String {
        let prefix = &self.prefix;
        if step == 0 { format!("{prefix}{queue}") } else { format!("{prefix}{queue}{SEPARATOR}{step}") }
    }

    pub(crate) fn unacked(&self) -> String {
        format!("{}unacked", self.prefix)
    }

    /// Where Celery looks which queues an exchange leads to. A queue's own exchange has its name.
    pub(crate) fn binding(&self, queue: &str) -> (String, String) {
        (format!("{}_kombu.binding.{queue}", self.prefix), format!("{queue}{SEPARATOR}{SEPARATOR}{queue}"))
    }

    /// The binding of a mailbox for answers.
    pub(crate) fn reply_binding(&self, routing_key: &str) -> (String, String) {
        let mailbox = mailbox(routing_key);
        (self.binding(REPLIES).0, format!("{routing_key}{SEPARATOR}{SEPARATOR}{mailbox}"))
    }

    /// The stream of a channel.
    pub(crate) fn channel(&self, channel: &str) -> String {
        self.own(&format!("channel:{channel}"))
    }

    /// Where Celery publishes to an exchange.
    pub(crate) fn topic(&self, channel: &str, routing_key: &str) -> String {
        let topic = format!("{}/{}.{channel}", self.prefix, self.db);
        if routing_key.is_empty() { topic } else { format!("{topic}/{routing_key}") }
    }

    /// The patterns of everything that Celery publishes to an exchange.
    pub(crate) fn topics(&self, channel: &str) -> [String; 2] {
        let plain: String = self
            .topic(channel, "")
            .chars()
            .flat_map(|c| "*?[]\\".contains(c).then_some('\\').into_iter().chain(std::iter::once(c)))
            .collect();
        [plain.clone(), plain + "/*"]
    }

    /// A result's key, and its channel.
    pub(crate) fn meta(&self, task_id: &str) -> String {
        format!("{}celery-task-meta-{task_id}", self.results_prefix)
    }

    /// The beginning of a chord's keys.
    pub(crate) fn taskset(&self, group: &str) -> String {
        format!("{}celery-taskset-meta-{group}", self.results_prefix)
    }

    pub(crate) fn attempt(&self, task_id: &str) -> String {
        format!("{}celeriac:attempt:{task_id}", self.results_prefix)
    }

    pub(crate) fn unique(&self, key: &str) -> String {
        self.own(&format!("unique:{key}"))
    }

    /// Where a message of this priority goes.
    pub(crate) fn step(&self, priority: u8) -> u8 {
        match &self.priorities {
            Priorities::Celery(steps) => steps.iter().rev().find(|&&step| step <= priority).copied().unwrap_or(0),
            Priorities::Celeriac => priority,
        }
    }

    /// Celery's steps in the order in which they are served; none where each priority has its own list.
    pub(crate) fn fixed_steps(&self) -> Option<&[u8]> {
        match &self.priorities {
            Priorities::Celery(steps) => Some(steps),
            Priorities::Celeriac => None,
        }
    }

    /// The keys whose change may mean that there is something for a consumer of these queues.
    pub(crate) fn watched(&self, queues: &[&str]) -> Vec<String> {
        let mut keys = Vec::new();
        for queue in queues {
            match &self.priorities {
                Priorities::Celery(steps) => keys.extend(steps.iter().map(|&step| self.list(queue, step))),
                // The set of priorities changes when a list stops being empty.
                Priorities::Celeriac => keys.push(self.own(&format!("priorities:{queue}"))),
            }
            keys.push(self.own(&format!("due:{queue}")));
        }
        keys
    }

    /// The names as a script's first lines, so that none is built at each call.
    pub(crate) fn header(&self) -> String {
        let own = |name: &str| quote(&self.own(name));
        let steps = self.fixed_steps().map_or_else(
            || "nil".to_owned(),
            |steps| format!("{{{}}}", steps.iter().map(u8::to_string).collect::<Vec<_>>().join(",")),
        );
        let names = [
            ("PREFIX", quote(&self.prefix)),
            ("SEPARATOR", quote(SEPARATOR)),
            ("STEPS", steps),
            ("MARK", MARK_SECONDS.to_string()),
            ("UNACKED", quote(&self.unacked())),
            ("UNACKED_INDEX", quote(&format!("{}unacked_index", self.prefix))),
            ("SEQ", own("seq")),
            ("QUEUES", own("queues")),
            ("PRIORITIES", own("priorities:")),
            ("CONSUMERS", own("consumers")),
            ("CONSUMER", own("consumer:")),
            ("HELD", own("held:")),
            ("HELD_COUNT", own("held-count")),
            ("STRAYS", own("strays")),
            ("SERVED", own("served")),
            ("DUE", own("due:")),
            ("PARKED", own("parked:")),
            ("LISTED", own("listed:")),
            ("DEAD", own("dead")),
            ("DEAD_COUNT", own("dead-count")),
            ("REVOKED", own("revoked")),
            ("REVOKED_UNTIL", own("revoked-until")),
        ];
        names.iter().fold(String::new(), |header, (name, value)| header + "local " + name + " = " + value + "\n")
    }
}

/// The queue of answers for whoever asked with this routing key.
pub(crate) fn mailbox(routing_key: &str) -> String {
    format!("{routing_key}.{REPLIES}")
}

/// A text as Lua reads it.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b":_-.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "\\{byte:03}");
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(url: &str) -> Layout {
        Layout::new(&Config::from_url(url).expect("a URL"))
    }

    #[test]
    fn the_prefix_stands_before_every_key_and_results_have_theirs() {
        let layout = layout("redis://h?global_keyprefix=p");
        assert_eq!(layout.list("celery", 3), "pcelery\u{6}\u{16}3");
        assert_eq!(layout.own("seq"), "pceleriac:seq");
        assert_eq!(layout.meta("id"), "p_celery-task-meta-id");
    }

    #[test]
    fn a_priority_goes_to_the_largest_step_that_is_not_larger() {
        let layout = layout("redis://h");
        assert_eq!([0, 2, 3, 5, 6, 9, 255].map(|priority| layout.step(priority)), [0, 0, 3, 3, 6, 9, 9]);
    }

    #[test]
    fn topics_are_celerys() {
        let layout = layout("redis://h/3?global_keyprefix=p*");
        assert_eq!(layout.topic("celeryev", "worker.heartbeat"), "p*/3.celeryev/worker.heartbeat");
        assert_eq!(layout.topics("celery.pidbox"), ["p\\*/3.celery.pidbox", "p\\*/3.celery.pidbox/*"]);
    }

    #[test]
    fn names_are_quoted_for_lua() {
        assert_eq!(quote("a\"b\u{6}"), r#""a\034b\006""#);
    }
}
