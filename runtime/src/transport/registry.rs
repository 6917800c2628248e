//! The names that one connection is subscribed to, and the inboxes that want them.
//!
//! Pure state: no tokio task, no clock, no socket. Time is an argument. The owner keeps it behind a mutex, which nothing holds
//! across an `.await`.
//!
//! A name is subscribed once on the server however many inboxes want it. What an inbox wants and what the server has confirmed
//! are two things; a name's [`Standing`] state says where it stands, and [`Registry::next_command`] what to send to bring the two
//! together. A transport without a server says [`Confirmation::Immediate`] and never looks at that half.

pub(crate) mod attached;
pub(crate) mod names;
pub(crate) mod snapshot;
pub(crate) mod standing;

#[cfg(test)]
mod tests;
