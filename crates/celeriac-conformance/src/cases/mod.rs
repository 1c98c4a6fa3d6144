//! The cases, one file for each thing that the contract is about. A case's name is the fact it checks.

pub(crate) mod bodies;
pub(crate) mod broadcasts;
pub(crate) mod chords;
pub(crate) mod closing;
pub(crate) mod dead;
pub(crate) mod durable;
pub(crate) mod history;
pub(crate) mod leases;
pub(crate) mod looking;
pub(crate) mod model;
pub(crate) mod ordering;
pub(crate) mod parking;
pub(crate) mod racing;
pub(crate) mod results;
pub(crate) mod revoking;
pub(crate) mod settling;
pub(crate) mod subscribing;
pub(crate) mod uniqueness;
pub(crate) mod waiting;
