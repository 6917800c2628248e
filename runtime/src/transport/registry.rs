//! The names that one connection is subscribed to, and the inboxes that want them.
//!
//! Pure state: no tokio task, no clock, no socket. Time is an argument. The owner keeps it behind a mutex, which nothing holds
//! across an `.await`.
//!
//! A name is subscribed once on the server however many inboxes want it. What an inbox wants and what the server has confirmed
//! are two things; a name's state in `standing` says how they differ, and `Registry::next_command` what to send to bring the two
//! together. A transport without a server says `Confirmation::Immediate` and never looks at that half.
//!
//! | room | holds |
//! |--|--|
//! | `attached` | the registry: which inbox wants which names, and who gets a message |
//! | `standing` | what the server has confirmed, and what to ask of it next |
//! | `moving` | names that an inbox gives up here, and takes up on another connection |
//! | `names` | its two containers: places by name, and values by place |
//! | `snapshot` | what the subscriptions look like from outside |
//!
//! It uses its neighbours in `transport` and the floors below, and knows neither `memory` nor `redis`.

pub(crate) mod attached;
pub(crate) mod moving;
pub(crate) mod names;
pub(crate) mod snapshot;
pub(crate) mod standing;

#[cfg(test)]
mod tests;
