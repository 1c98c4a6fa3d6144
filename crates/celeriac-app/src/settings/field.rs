//! One setting as a place that a value is written to: what fits it, and what to say when a value does not.

use std::time::Duration;

use celeriac_core::QueueName;

use super::Routes;

/// A value before it is known which setting it is for: from a file, or the text of a variable.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(f64),
    Switch(bool),
    /// Names and values, in the order they were written.
    Table(Vec<(String, Value)>),
    /// Something that no setting takes.
    Other(&'static str),
}

/// Where a setting is kept.
pub(super) enum Field<'a> {
    Url(&'a mut Option<String>),
    Queue(&'a mut QueueName),
    Serializer(&'a mut String),
    Seconds(&'a mut Duration),
    MaybeSeconds(&'a mut Option<Duration>),
    Switch(&'a mut bool),
    Count(&'a mut Option<u32>),
    Priority(&'a mut u8),
    Routes(&'a mut Routes),
}

impl Field<'_> {
    /// What fits, for people.
    pub(super) fn shape(&self) -> &'static str {
        match self {
            Self::Url(_) => "a URL",
            Self::Queue(_) => "a queue's name",
            Self::Serializer(_) => "`json`, `msgpack` or `yaml`",
            Self::Seconds(_) | Self::MaybeSeconds(_) => {
                "seconds, or a text such as \"250ms\", \"30s\", \"5m\", \"24h\""
            }
            Self::Switch(_) => "`true` or `false`",
            Self::Count(_) => "a whole number, 1 or more",
            Self::Priority(_) => "a whole number from 0 to 255",
            Self::Routes(_) => {
                "queues by task name or glob: a table `\"mail.*\" = \"mail\"`, or in a variable `mail.*=mail,slow.*=slow`"
            }
        }
    }

    /// What is kept, for people.
    pub(super) fn shown(&self) -> String {
        let seconds = |it: &Duration| it.as_secs_f64().to_string();
        match self {
            Self::Url(it) => it.as_deref().map_or("none".into(), super::masked),
            Self::Queue(it) => it.to_string(),
            Self::Serializer(it) => (*it).clone(),
            Self::Seconds(it) => seconds(it),
            Self::MaybeSeconds(it) => it.as_ref().map_or("none".into(), seconds),
            Self::Switch(it) => it.to_string(),
            Self::Count(it) => it.map_or("none".into(), |it| it.to_string()),
            Self::Priority(it) => it.to_string(),
            Self::Routes(it) => {
                let routes: Vec<_> = it.iter().map(|(pattern, queue)| format!("{pattern}={queue}")).collect();
                if routes.is_empty() { "none".into() } else { routes.join(",") }
            }
        }
    }

    /// Writes a value, or says in words what is wrong with it.
    pub(super) fn write(self, value: &Value) -> Result<(), String> {
        let wrong = format!("is {}: write {}", value.shown(), self.shape());
        let done = match self {
            Self::Url(it) => value.text().map(|text| *it = Some(text.to_owned())),
            Self::Queue(it) => match value.text().map(QueueName::new) {
                Some(Ok(queue)) => {
                    *it = queue;
                    Some(())
                }
                _ => None,
            },
            Self::Serializer(it) => {
                value.text().filter(|text| ["json", "msgpack", "yaml"].contains(text)).map(|text| text.clone_into(it))
            }
            Self::Seconds(it) => value.seconds().map(|seconds| *it = seconds),
            Self::MaybeSeconds(it) => value.seconds().map(|seconds| *it = Some(seconds)),
            Self::Switch(it) => value.switch().map(|on| *it = on),
            Self::Count(it) => value.whole().filter(|count| *count > 0).map(|count| *it = Some(count)),
            Self::Priority(it) => {
                value.whole().and_then(|number| u8::try_from(number).ok()).map(|priority| *it = priority)
            }
            Self::Routes(it) => value.routes().map(|routes| *it = routes),
        };
        done.ok_or(wrong)
    }
}

impl Value {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    fn whole(&self) -> Option<u32> {
        let number =
            self.number().filter(|number| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number))?;
        format!("{number:.0}").parse().ok()
    }

    fn switch(&self) -> Option<bool> {
        match self {
            Self::Switch(on) => Some(*on),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn seconds(&self) -> Option<Duration> {
        if let Some(number) = self.number() {
            return Duration::try_from_secs_f64(number).ok();
        }
        let text = self.text()?.trim();
        let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit.trim() {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
    }

    fn routes(&self) -> Option<Routes> {
        let pairs: Vec<(String, String)> = match self {
            Self::Table(members) => members
                .iter()
                .map(|(pattern, value)| Some((pattern.clone(), value.queue()?.to_owned())))
                .collect::<Option<_>>()?,
            Self::Text(text) => text
                .split(',')
                .filter(|pair| !pair.trim().is_empty())
                .map(|pair| pair.split_once('=').map(|(pattern, queue)| (pattern.trim().into(), queue.trim().into())))
                .collect::<Option<_>>()?,
            _ => return None,
        };
        pairs.into_iter().try_fold(Routes::default(), |routes, (pattern, queue)| routes.with(pattern, &queue).ok())
    }

    /// A route's queue: `"mail"`, or `{ queue = "mail" }` as Celery writes it.
    fn queue(&self) -> Option<&str> {
        match self {
            Self::Table(members) => match members.as_slice() {
                [(name, queue)] if name == "queue" => queue.text(),
                _ => None,
            },
            other => other.text(),
        }
    }

    fn shown(&self) -> String {
        match self {
            // A URL may have been put into the wrong line.
            Self::Text(text) => format!("{:?}", super::masked(text).chars().take(60).collect::<String>()),
            Self::Number(number) => number.to_string(),
            Self::Switch(on) => on.to_string(),
            Self::Table(_) => "a table that does not fit".into(),
            Self::Other(what) => (*what).into(),
        }
    }
}
