//! Handles: what everybody but an engine holds. Cheap to clone, no type parameters.
//!
//! Each seam has an erased twin (boxed futures) that no one outside this file sees. Boxing is paid once a batch.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use celeriac_protocol::Message;
use jiff::Timestamp;

use crate::{
    Accepted, Broadcast, Broker, Capabilities, ChordPart, Consumer, ConsumerInfo, Cursor, DeadEntry, DeadQuery,
    DeadReason, Delivery, DeliveryTag, History, Joined, LeaseReport, Listener, MetaWrite, Notice, Peek, Peeked,
    Publication, QueueDepth, QueueName, Result, ResultBackend, Revocation, Settled, Settlement, StateCount,
    Subscription, TaskId, TaskQuery, TaskRecord, TimelineEntry, Topology, Written,
};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Writes a handle over an erased twin of a seam: the same methods, boxed inside.
macro_rules! handle {
    (
        $(#[$doc:meta])*
        $handle:ident over $seam:ident as $twin:ident {
            $(fn $plain:ident(&self) -> $plain_out:ty;)*
            $(async fn $method:ident<$l:lifetime>(&self $(, $arg:ident: $type:ty)*) -> $out:ty;)*
        }
        $(wrap { $(async fn $wmethod:ident<$wl:lifetime>(&self $(, $warg:ident: $wtype:ty)*) -> $whandle:ident;)* })?
    ) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $handle {
            engine: &'static str,
            erased: Arc<dyn $twin>,
        }

        trait $twin: Send + Sync {
            $(fn $plain(&self) -> $plain_out;)*
            $(fn $method<$l>(&$l self $(, $arg: $type)*) -> BoxFuture<$l, Result<$out>>;)*
            $($(fn $wmethod<$wl>(&$wl self, engine: &'static str $(, $warg: $wtype)*) -> BoxFuture<$wl, Result<$whandle>>;)*)?
        }

        impl<T: $seam> $twin for T {
            $(fn $plain(&self) -> $plain_out {
                <T as $seam>::$plain(self)
            })*
            $(fn $method<$l>(&$l self $(, $arg: $type)*) -> BoxFuture<$l, Result<$out>> {
                Box::pin(<T as $seam>::$method(self $(, $arg)*))
            })*
            $($(fn $wmethod<$wl>(&$wl self, engine: &'static str $(, $warg: $wtype)*) -> BoxFuture<$wl, Result<$whandle>> {
                Box::pin(async move { Ok($whandle::new(engine, <T as $seam>::$wmethod(self $(, $warg)*).await?)) })
            })*)?
        }

        impl $handle {
            /// A handle over `inner`; `engine` is the URL scheme by which people know it.
            pub fn new(engine: &'static str, inner: impl $seam) -> Self {
                Self { engine, erased: Arc::new(inner) }
            }

            /// The engine's name.
            pub fn engine(&self) -> &'static str {
                self.engine
            }

            $(#[doc = concat!("See [`", stringify!($seam), "::", stringify!($plain), "`].")]
            pub fn $plain(&self) -> $plain_out {
                self.erased.$plain()
            })*
            $(#[doc = concat!("See [`", stringify!($seam), "::", stringify!($method), "`].")]
            pub async fn $method<$l>(&$l self $(, $arg: $type)*) -> Result<$out> {
                self.erased.$method($($arg),*).await
            })*
            $($(#[doc = concat!("See [`", stringify!($seam), "::", stringify!($wmethod), "`].")]
            pub async fn $wmethod<$wl>(&$wl self $(, $warg: $wtype)*) -> Result<$whandle> {
                self.erased.$wmethod(self.engine $(, $warg)*).await
            })*)?
        }

        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($handle), "({})"), self.engine)
            }
        }
    };
}

handle! {
    /// A broker, whichever engine it is.
    BrokerHandle over Broker as ErasedBroker {
        fn capabilities(&self) -> Capabilities;
        async fn declare<'a>(&self, topology: &'a Topology) -> ();
        async fn publish<'a>(&self, batch: Vec<Publication>) -> Vec<Accepted>;
        async fn depth<'a>(&self, queues: &'a [QueueName]) -> Vec<QueueDepth>;
        async fn peek<'a>(&self, peek: Peek) -> Vec<Peeked>;
        async fn purge<'a>(&self, queue: &'a QueueName) -> u64;
        async fn consumers<'a>(&self) -> Vec<ConsumerInfo>;
        async fn bury<'a>(&self, entry: Publication, reason: DeadReason, detail: &'a str) -> ();
        async fn dead<'a>(&self, query: DeadQuery) -> Vec<DeadEntry>;
        async fn replay<'a>(&self, entries: &'a [u64], edited: Option<Message>) -> u64;
        async fn drop_dead<'a>(&self, entries: &'a [u64]) -> u64;
        async fn revoke<'a>(&self, batch: Vec<Revocation>) -> ();
        async fn revoked<'a>(&self, ids: &'a [TaskId]) -> Vec<Option<Revocation>>;
        async fn broadcast<'a>(&self, channel: &'a str, notices: Vec<Notice>) -> ();
        async fn close<'a>(&self) -> ();
    }
    wrap {
        async fn consume<'a>(&self, from: Subscription) -> ConsumerHandle;
        async fn listen<'a>(&self, channel: &'a str, routing_key: Option<&'a str>, after: Option<Cursor>) -> ListenerHandle;
    }
}

handle! {
    /// A consumer, whichever engine it is.
    ConsumerHandle over Consumer as ErasedConsumer {
        async fn recv<'a>(&self, limit: usize) -> Vec<Delivery>;
        async fn subscribe<'a>(&self, queues: Vec<QueueName>) -> ();
        async fn begin<'a>(&self, suspects: &'a [DeliveryTag]) -> ();
        async fn settle<'a>(&self, batch: Vec<Settlement>) -> Vec<Settled>;
        async fn extend<'a>(&self, held: &'a [DeliveryTag]) -> LeaseReport;
        async fn close<'a>(&self) -> ();
    }
}

handle! {
    /// A listener of broadcasts, whichever engine it is.
    ListenerHandle over Listener as ErasedListener {
        async fn recv<'a>(&self, limit: usize) -> Vec<Broadcast>;
    }
}

handle! {
    /// A result backend, whichever engine it is.
    ResultsHandle over ResultBackend as ErasedResults {
        fn capabilities(&self) -> Capabilities;
        async fn store<'a>(&self, batch: Vec<MetaWrite>) -> Vec<Written>;
        async fn fetch<'a>(&self, ids: &'a [TaskId]) -> Vec<Option<Bytes>>;
        async fn wait<'a>(&self, id: &'a TaskId) -> Bytes;
        async fn forget<'a>(&self, ids: &'a [TaskId]) -> ();
        async fn expire<'a>(&self) -> u64;
        async fn begin_chord<'a>(&self, group: &'a str, size: u32, expires: Option<Timestamp>) -> ();
        async fn join<'a>(&self, part: ChordPart) -> Joined;
        async fn finish_chord<'a>(&self, group: &'a str) -> ();
        async fn close<'a>(&self) -> ();
    }
}

handle! {
    /// A history, whichever engine keeps it.
    HistoryHandle over History as ErasedHistory {
        async fn cursor<'a>(&self) -> Option<Cursor>;
        async fn fold<'a>(&self, from: Option<Cursor>, to: Cursor, records: Vec<TaskRecord>, timeline: Vec<(TaskId, TimelineEntry)>) -> bool;
        async fn records<'a>(&self, ids: &'a [TaskId]) -> Vec<Option<TaskRecord>>;
        async fn timeline<'a>(&self, id: &'a TaskId) -> Vec<TimelineEntry>;
        async fn tasks<'a>(&self, query: TaskQuery) -> Vec<TaskRecord>;
        async fn counts<'a>(&self, name: Option<&'a str>) -> Vec<StateCount>;
        async fn prune<'a>(&self, before: Timestamp) -> u64;
    }
}
