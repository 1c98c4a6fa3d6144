//! Every setting there is, in one table: files, variables and the documentation are read from it.

use super::{Settings, field::Field};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name, Celery's where Celery has it.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub about: &'static str,
    pub(super) field: fn(&mut Settings) -> Field<'_>,
}

impl Setting {
    /// What fits, for people.
    pub fn shape(&self) -> &'static str {
        (self.field)(&mut Settings::default()).shape()
    }

    /// What it is unless somebody sets it.
    pub fn default_shown(&self) -> String {
        (self.field)(&mut Settings::default()).shown()
    }
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    Setting { name: "broker_url", about: "Where messages go.", field: |it| Field::Url(&mut it.broker_url) },
    Setting {
        name: "result_backend",
        about: "Where results go; where messages go when none.",
        field: |it| Field::Url(&mut it.result_backend),
    },
    Setting {
        name: "task_default_queue",
        about: "The queue of tasks that are not routed elsewhere.",
        field: |it| Field::Queue(&mut it.task_default_queue),
    },
    Setting {
        name: "task_routes",
        about: "Which tasks go to which queue. A name wins over globs, and of those the first that fits.",
        field: |it| Field::Routes(&mut it.task_routes),
    },
    Setting {
        name: "task_default_priority",
        about: "How urgent a task is that says nothing; higher first.",
        field: |it| Field::Priority(&mut it.task_default_priority),
    },
    Setting {
        name: "task_serializer",
        about: "How arguments are written.",
        field: |it| Field::Serializer(&mut it.task_serializer),
    },
    Setting {
        name: "task_ignore_result",
        about: "Store no outcomes of tasks that say nothing. Failures are stored all the same.",
        field: |it| Field::Switch(&mut it.task_ignore_result),
    },
    Setting {
        name: "task_track_started",
        about: "Store that a task has started.",
        field: |it| Field::Switch(&mut it.task_track_started),
    },
    Setting {
        name: "task_time_limit",
        about: "When a task that says nothing is stopped, from its start.",
        field: |it| Field::MaybeSeconds(&mut it.task_time_limit),
    },
    Setting {
        name: "task_soft_time_limit",
        about: "When a task that says nothing is told to stop by itself, from its start.",
        field: |it| Field::MaybeSeconds(&mut it.task_soft_time_limit),
    },
    Setting {
        name: "result_expires",
        about: "How long results are kept; for ever when zero.",
        field: |it| Field::Seconds(&mut it.result_expires),
    },
    Setting {
        name: "result_extended",
        about: "Add name, arguments, worker, retries and queue to each result.",
        field: |it| Field::Switch(&mut it.result_extended),
    },
    Setting {
        name: "worker_concurrency",
        about: "How many tasks a worker runs at a time; ten for each core when none.",
        field: |it| Field::Count(&mut it.worker_concurrency),
    },
    Setting {
        name: "worker_send_task_events",
        about: "Send task events from workers, which the job viewer shows.",
        field: |it| Field::Switch(&mut it.worker_send_task_events),
    },
    Setting {
        name: "lease",
        about: "How long after its last sign of life a worker's deliveries come back to their queues. Not Celery's.",
        field: |it| Field::Seconds(&mut it.lease),
    },
];

/// The setting of this name.
pub(super) fn find(name: &str) -> Result<&'static Setting, String> {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
        return Ok(setting);
    }
    let lower = name.to_lowercase();
    let bare = lower.strip_prefix("celery_").or_else(|| lower.strip_prefix("celeriac_")).unwrap_or(&lower);
    let near = SETTINGS
        .iter()
        .map(|setting| (strsim::normalized_damerau_levenshtein(setting.name, bare), setting.name))
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    Err(match near {
        Some((likeness, near)) if likeness >= 0.6 => {
            format!("there is no setting `{shown}`: did you mean `{near}`?")
        }
        _ => format!("there is no setting `{shown}`: docs/reference/settings.md lists them"),
    })
}
