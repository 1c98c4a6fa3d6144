//! The result backend through a process that can die.

use bytes::Bytes;
use celeriac_core::{
    Capabilities, ChordPart, Joined, MetaWrite, Result, ResultBackend, ResultsHandle, TaskId, Timestamp, Written,
};

use super::first_of;
use crate::{Sabotage, actor::Actor, step::Step};

pub(super) struct SimResults {
    pub(super) inner: ResultsHandle,
    pub(super) actor: Actor,
}

impl ResultBackend for SimResults {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn store(&self, batch: Vec<MetaWrite>) -> Result<Vec<Written>> {
        if self.actor.sabotage() == Some(Sabotage::SettleBeforeStore) {
            let written = vec![Written::Stored; batch.len()];
            let inner = self.inner.clone();
            self.actor.put_off(Box::pin(async move { inner.store(batch).await.map(|_| ()) }));
            return Ok(written);
        }
        self.actor
            .call(Step::Store, "store", |part| {
                let batch = first_of(batch, part);
                async move {
                    let written = self.inner.store(batch.clone()).await?;
                    for (write, written) in batch.iter().zip(&written) {
                        let MetaWrite { task_id, state, attempt, .. } = write;
                        self.actor.trace(format_args!("stores {task_id} {state} as {attempt}: {written:?}"));
                    }
                    Ok(written)
                }
            })
            .await
    }

    async fn fetch(&self, ids: &[TaskId]) -> Result<Vec<Option<Bytes>>> {
        self.actor.alive().await;
        self.inner.fetch(ids).await
    }

    async fn wait(&self, id: &TaskId) -> Result<Bytes> {
        self.inner.wait(id).await
    }

    async fn forget(&self, ids: &[TaskId]) -> Result<()> {
        self.actor.alive().await;
        self.inner.forget(ids).await
    }

    async fn expire(&self) -> Result<u64> {
        self.actor.alive().await;
        self.inner.expire().await
    }

    async fn begin_chord(&self, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
        self.actor.call(Step::Continue, "begin a chord", |_| self.inner.begin_chord(group, size, expires)).await?;
        self.actor.trace(format_args!("begins chord {group} of {size}"));
        Ok(())
    }

    async fn join(&self, part: ChordPart) -> Result<Joined> {
        let sabotaged = self.actor.sabotage() == Some(Sabotage::FinishChordFirst);
        self.actor
            .call(Step::Continue, "join", |_| async {
                let (group, id, state) = (part.group.clone(), part.task_id.clone(), part.state.clone());
                let joined = self.inner.join(part).await?;
                let word = match &joined {
                    Joined::Waiting => "waiting",
                    Joined::Complete(_) => "complete",
                    Joined::Claimed => "claimed",
                };
                self.actor.trace(format_args!("joins {id} {state} into {group}: {word}"));
                if sabotaged && matches!(joined, Joined::Complete(_)) {
                    self.inner.finish_chord(&group).await?;
                }
                Ok(joined)
            })
            .await
    }

    async fn finish_chord(&self, group: &str) -> Result<()> {
        self.actor.call(Step::Continue, "finish a chord", |_| self.inner.finish_chord(group)).await?;
        self.actor.trace(format_args!("finishes chord {group}"));
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.actor.alive().await;
        self.inner.close().await
    }
}
