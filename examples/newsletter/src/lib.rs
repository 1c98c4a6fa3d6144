//! The lecture's newsletter: people sign up on a page, one request sends a letter to all, workers deliver it.
//!
//! `store.rs` keeps readers and deliveries, `tasks.rs` is what workers do, `mail.rs` hands mails over, `web.rs` is what
//! people and scripts talk to. `main.rs` puts them into one process or several.

pub mod mail;
pub mod store;
pub mod tasks;
pub mod web;
