//! The scripts, each with the names of the layout in front.

use redis::Script;

use crate::layout::Layout;

/// All scripts of one layout. A script is sent once and then called by its digest; see [`crate::link::Link::call`].
pub(crate) struct Scripts {
    pub(crate) publish: Code,
    pub(crate) claim: Code,
    pub(crate) begin: Code,
    pub(crate) settle: Code,
    pub(crate) extend: Code,
    pub(crate) release: Code,
    pub(crate) close: Code,
    pub(crate) depth: Code,
    pub(crate) purge: Code,
    pub(crate) bury: Code,
    pub(crate) raise: Code,
    pub(crate) revoke: Code,
    pub(crate) broadcast: Code,
    pub(crate) hear: Code,
    pub(crate) store: Code,
    pub(crate) begin_chord: Code,
    pub(crate) join: Code,
    pub(crate) finish_chord: Code,
    pub(crate) fold: Code,
    pub(crate) prune: Code,
}

/// One script.
pub(crate) struct Code {
    pub(crate) text: String,
    pub(crate) digest: String,
}

impl Scripts {
    pub(crate) fn new(layout: &Layout) -> Self {
        let header = layout.header();
        let queues = |script: &str| Code::new(header.clone() + include_str!("lua/prelude.lua") + script);
        let plain = |script: &str| Code::new(script.to_owned());
        Self {
            publish: queues(include_str!("lua/publish.lua")),
            claim: queues(include_str!("lua/claim.lua")),
            begin: queues(include_str!("lua/begin.lua")),
            settle: queues(include_str!("lua/settle.lua")),
            extend: queues(include_str!("lua/extend.lua")),
            release: queues(include_str!("lua/release.lua")),
            close: queues(include_str!("lua/close.lua")),
            depth: queues(include_str!("lua/depth.lua")),
            purge: queues(include_str!("lua/purge.lua")),
            bury: queues(include_str!("lua/bury.lua")),
            raise: queues(include_str!("lua/raise.lua")),
            revoke: queues(include_str!("lua/revoke.lua")),
            broadcast: queues(include_str!("lua/broadcast.lua")),
            hear: plain(include_str!("lua/hear.lua")),
            store: plain(include_str!("lua/store.lua")),
            begin_chord: plain(include_str!("lua/begin_chord.lua")),
            join: plain(include_str!("lua/join.lua")),
            finish_chord: plain(include_str!("lua/finish_chord.lua")),
            fold: plain(include_str!("lua/fold.lua")),
            prune: plain(include_str!("lua/prune.lua")),
        }
    }
}

impl Code {
    fn new(text: String) -> Self {
        let digest = Script::new(&text).get_hash().to_owned();
        Self { text, digest }
    }
}
