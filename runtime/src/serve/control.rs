//! Where an instance hears that somebody has cancelled a task that it has.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    bus::handle::Bus,
    error::SubscribeError,
    serve::holdings::Holdings,
    time::now,
    transport::{
        contract::Attachment,
        durable::{contract::QueueSpec, course::TakenAway},
        inbox::{Direct, Inbox, Item},
        status::NameKind,
    },
};

/// Takes the news in the tokio task of the connection, which several queues share.
struct Control {
    queue: &'static str,
    holdings: Arc<Holdings>,
    /// Whether it was told that the server refuses the channel.
    is_refused: AtomicBool,
}

/// Listens for tasks of a queue that are cancelled while the instance has them; returns once the server has confirmed that. Where the server refuses
/// the channel there is nothing: such tasks are found with the next heartbeat.
pub(super) async fn listen(
    bus: &Bus,
    queue: &QueueSpec,
    holdings: &Arc<Holdings>,
) -> Result<Option<Attachment>, SubscribeError> {
    let holdings = Arc::clone(holdings);
    let control = Arc::new(Control { queue: queue.name.template, holdings, is_refused: AtomicBool::new(false) });
    let inbox = Arc::new(Inbox::direct(Arc::clone(&control) as Arc<dyn Direct>).unlisted());
    match bus.attach(inbox, vec![(queue.name.control(), NameKind::Channel)]).await {
        Ok(attachment) => Ok(Some(attachment)),
        Err(error @ SubscribeError::Refused { .. }) => {
            control.refused(&error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl Control {
    fn refused(&self, error: &SubscribeError) {
        if !self.is_refused.swap(true, Ordering::Relaxed) {
            let queue = self.queue;
            tracing::warn!(
                queue,
                %error,
                "a handler whose task is cancelled runs on until the next heartbeat, a third of the lease at most"
            );
        }
    }
}

impl Direct for Control {
    fn take(&self, item: Item) -> Option<Item> {
        match item {
            Item::Frame(_) => return Some(item),
            Item::Refused(error) => self.refused(&error),
            // What was missed is found with the next heartbeat, and what is too large is no news.
            Item::Gap(_) | Item::Lagged(_) | Item::Oversized { .. } | Item::Ended(_) => {}
        }
        None
    }

    fn read(&self, item: Item) {
        let Item::Frame(frame) = item else { return };
        match serde_json::from_slice::<TakenAway>(frame.payload()) {
            Ok(taken_away) => self.holdings.cancelled(taken_away.at(), now()),
            Err(error) => tracing::debug!(queue = self.queue, %error, "what came to instances cannot be read"),
        }
    }
}
