//! The lecture's newsletter: people sign up on a page, one request sends a letter to all, workers deliver it.
//!
//! `store` keeps readers and deliveries, `tasks.rs` is what workers do, `mail` makes mails and hands them over,
//! `import.rs` reads lists of readers, `health.rs` tells whether a part serves, `web` is what people and scripts talk to. `main.rs` puts them into one process or
//! several.

pub mod health;
pub mod import;
pub mod mail;
pub mod store;
pub mod tasks;
pub mod web;
