//! The application: engines, settings, clock and identities under one handle that sends tasks.

use std::sync::Arc;

use celeriac_core::{
    Accepted, BrokerHandle, Clock, Error, ErrorKind, HistoryHandle, Ids, Result, ResultsHandle, TaskId,
};
use celeriac_protocol::Signature as Wire;

use crate::{
    AsyncResult, Group, GroupResult, Settings, Signature,
    canvas::{Lineage, Plan},
};

/// The engines an application stands on.
#[derive(Clone, Debug)]
pub struct Engines {
    /// Carries the messages.
    pub broker: BrokerHandle,
    /// Remembers what became of tasks; without one every result is ignored.
    pub results: Option<ResultsHandle>,
    /// Keeps the records of tasks, where the engine can.
    pub history: Option<HistoryHandle>,
    /// Tells the time.
    pub clock: Clock,
    /// Makes identities.
    pub ids: Ids,
}

/// An application: sends tasks and reads their results. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engines: Engines,
    settings: Settings,
    origin: String,
}

/// The most messages that one round trip carries.
const BATCH_MAX: usize = 10_000;

impl App {
    /// An application on these engines.
    pub fn new(engines: Engines, settings: Settings) -> Self {
        let origin = format!("gen{}@{}", std::process::id(), host_name());
        Self(Arc::new(Inner { engines, settings, origin }))
    }

    /// The broker.
    pub fn broker(&self) -> &BrokerHandle {
        &self.0.engines.broker
    }

    /// The result backend, if there is one.
    pub fn results(&self) -> Option<&ResultsHandle> {
        self.0.engines.results.as_ref()
    }

    /// The history, if the engine keeps one.
    pub fn history(&self) -> Option<&HistoryHandle> {
        self.0.engines.history.as_ref()
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.engines.clock
    }

    /// Where identities come from.
    pub fn ids(&self) -> &Ids {
        &self.0.engines.ids
    }

    /// What it is set to.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Who sends: `gen<pid>@<host>`.
    pub(crate) fn origin(&self) -> &str {
        &self.0.origin
    }

    pub(crate) fn results_or_error(&self) -> Result<&ResultsHandle> {
        self.results().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "read a result: this application has no result backend; set result_backend",
            )
        })
    }

    /// Gives a signature an id unless it has one.
    pub(crate) fn give_id(&self, signature: &mut Wire) -> String {
        match signature.option_text("task_id") {
            Some(id) if !id.is_empty() => id,
            _ => {
                let id = self.ids().task_id().to_string();
                signature.set_option_text("task_id", &id);
                id
            }
        }
    }

    /// Sends a task or a canvas, and returns once it is durable.
    ///
    /// # Errors
    /// When the signature makes no sense or the broker cannot take it.
    pub async fn send<T>(&self, signature: Signature<T>) -> Result<AsyncResult<T>> {
        self.send_from(signature, &Lineage::default()).await
    }

    pub(crate) async fn send_from<T>(&self, signature: Signature<T>, lineage: &Lineage) -> Result<AsyncResult<T>> {
        let (plan, id) = self.plan(signature.into_wire()?, lineage)?;
        let first = plan.publications.first().map(|publication| publication.task_id.clone());
        let accepted = self.dispatch(plan).await?;
        // A duplicate's result is the earlier task's.
        let id = match accepted.first() {
            Some(Accepted::Duplicate(earlier)) if first.is_some_and(|first| first.as_str() == id) => earlier.clone(),
            _ => TaskId::new(id)?,
        };
        Ok(AsyncResult::new(self.clone(), id))
    }

    /// Sends many in one round trip for each ten thousand, in order.
    ///
    /// # Errors
    /// As [`Self::send`]; nothing is sent when one of the signatures makes no sense. When the broker fails in the
    /// middle, earlier ones may have been sent.
    pub async fn send_many<T>(
        &self,
        signatures: impl IntoIterator<Item = Signature<T>>,
    ) -> Result<Vec<AsyncResult<T>>> {
        self.send_many_from(signatures, &Lineage::default()).await
    }

    pub(crate) async fn send_many_from<T>(
        &self,
        signatures: impl IntoIterator<Item = Signature<T>>,
        lineage: &Lineage,
    ) -> Result<Vec<AsyncResult<T>>> {
        let mut plan = Plan::default();
        let mut ids = Vec::new();
        let mut singles = true;
        for signature in signatures {
            let (one, id) = self.plan(signature.into_wire()?, lineage)?;
            singles &= one.publications.len() == 1;
            plan.extend(one);
            ids.push(TaskId::new(id)?);
        }
        let accepted = self.dispatch(plan).await?;
        if singles {
            for (id, accepted) in ids.iter_mut().zip(accepted) {
                if let Accepted::Duplicate(earlier) = accepted {
                    *id = earlier;
                }
            }
        }
        Ok(ids.into_iter().map(|id| AsyncResult::new(self.clone(), id)).collect())
    }

    /// Sends the members of a group in one round trip. To go on with all their values, make it a chord:
    /// `group(…).then(…)`.
    ///
    /// # Errors
    /// As [`Self::send_many`].
    pub async fn send_group<T>(&self, group: Group<T>) -> Result<GroupResult<T>> {
        self.send_group_from(group, &Lineage::default()).await
    }

    pub(crate) async fn send_group_from<T>(&self, group: Group<T>, lineage: &Lineage) -> Result<GroupResult<T>> {
        let id = self.ids().uuid().to_string();
        let members = group.tasks.into_iter().enumerate();
        let members = members.map(|(index, task)| task.option("group_id", &id).option("group_index", &index));
        let members = self.send_many_from(members, lineage).await?;
        Ok(GroupResult::new(id, members))
    }

    /// Carries out a plan: makes its chords known, then publishes everything in one batch.
    ///
    /// # Errors
    /// When an engine cannot.
    pub async fn dispatch(&self, plan: Plan) -> Result<Vec<Accepted>> {
        if !plan.chords.is_empty() {
            let expires = self.result_expiry();
            let results = self.results_or_error()?;
            for (group, size) in &plan.chords {
                results.begin_chord(group, *size, expires).await?;
            }
        }
        if (1..=BATCH_MAX).contains(&plan.publications.len()) {
            return self.broker().publish(plan.publications).await;
        }
        let mut accepted = Vec::with_capacity(plan.publications.len());
        let mut rest = plan.publications.into_iter();
        while rest.len() > 0 {
            accepted.extend(self.broker().publish(rest.by_ref().take(BATCH_MAX).collect()).await?);
        }
        Ok(accepted)
    }

    /// When a record stored now may go; never when none.
    pub fn result_expiry(&self) -> Option<celeriac_core::Timestamp> {
        let kept = self.settings().result_expires;
        (!kept.is_zero()).then(|| self.clock().now().saturating_add(kept).unwrap_or(celeriac_core::Timestamp::MAX))
    }

    /// The result of a task that was sent earlier, or elsewhere.
    pub fn result<T>(&self, id: TaskId) -> AsyncResult<T> {
        AsyncResult::new(self.clone(), id)
    }

    /// Puts the engines down. Idempotent.
    ///
    /// # Errors
    /// When an engine cannot be put down in order.
    pub async fn close(&self) -> Result<()> {
        if let Some(results) = self.results() {
            results.close().await?;
        }
        self.broker().close().await
    }
}

/// The machine's name, for names and origins.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}
