//! Pausing a queue, and having it go on.

use crate::{error::QueueError, message::contract::Message, operate::queue::QueueHandle};

impl<M: Message> QueueHandle<M> {
    /// Has no instance of any service take a task from this queue, until [`resume`](Self::resume): the whole queue, all of its parts, also by
    /// instances that start later. Whether it was paused before.
    ///
    /// When this returns the server gives no task to a handler any more. What instances have by then they finish; what a connection that was
    /// waiting is still given goes back at once, without an attempt, to its place before what is new. Tasks are enqueued, become due, expire,
    /// and are found and cancelled as always. A queue stays paused over restarts of the instances, and of a server that keeps its data.
    ///
    /// **A program in another language that takes tasks from the queue** has to obey by itself. The pause is a key: `<base>paused`, where `<base>` is
    /// `<namespace>:tidings:queues:{<template>}:`, as for every other key of the queue. Such a program asks `EXISTS <base>paused` before each
    /// XREADGROUP, and reads only while the answer is 0. Where it blocks in XREADGROUP it sends the same `EXISTS` behind it in the same
    /// pipeline, and if that says 1 it gives back what it was given: it adds the task's fields to `<base>back:<channel>`, and XACKs and XDELs the
    /// entry, in one MULTI, instead of running it.
    ///
    /// # Errors
    ///
    /// That the server cannot be asked, or refuses.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open whether the queue is paused.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidings::{Bus, Message};
    /// # #[derive(Message, Serialize, Deserialize)]
    /// # #[queue("tasks:mails")]
    /// # struct SendMail { to: String }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = Bus::connect("memory:").await?;
    /// let mails = bus.queue::<SendMail>();
    /// mails.pause().await?;
    /// assert!(mails.is_paused().await? && mails.counts().await?.is_paused);
    /// // … the mail server is moved …
    /// mails.resume().await?;
    /// # Ok(()) }
    /// ```
    pub async fn pause(&self) -> Result<bool, QueueError> {
        self.bus.durable().pause(&self.name(), true).await
    }

    /// Has instances take tasks again: those that rest are woken at once. Whether it was paused before.
    ///
    /// # Errors
    ///
    /// As of [`pause`](Self::pause).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it open whether the queue goes on.
    pub async fn resume(&self) -> Result<bool, QueueError> {
        self.bus.durable().pause(&self.name(), false).await
    }

    /// Whether it is [paused](Self::pause).
    ///
    /// # Errors
    ///
    /// That the server cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the answer.
    pub async fn is_paused(&self) -> Result<bool, QueueError> {
        self.bus.durable().is_paused(&self.name()).await
    }
}
