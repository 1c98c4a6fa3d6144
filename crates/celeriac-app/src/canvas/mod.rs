//! The canvas: from signatures to publications, and what follows when a task ends.
//!
//! Everything here is pure: it makes a [`Plan`], and [`App::dispatch`](crate::App::dispatch) carries it out.

mod continuation;
mod expand;
mod publication;

pub use continuation::{ChordEnd, Place, Unreached, chord_part, unreached};
pub use expand::Lineage;

use celeriac_core::Publication;

/// What has to be sent.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The messages.
    pub publications: Vec<Publication>,
    /// The chords that must be known before their members run: group id and number of parts.
    pub chords: Vec<(String, u32)>,
}

impl Plan {
    /// True when nothing has to be sent.
    pub fn is_empty(&self) -> bool {
        self.publications.is_empty() && self.chords.is_empty()
    }

    /// Adds another plan's work.
    pub fn extend(&mut self, other: Self) {
        self.publications.extend(other.publications);
        self.chords.extend(other.chords);
    }
}
