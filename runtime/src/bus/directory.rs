//! Who answers requests: asked once for each template, and kept fresh by what instances say when they start and stop.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use crate::{
    bus::{
        book::{Book, Instance, Look, Turn, Wanted},
        handle::Bus,
        instances::{ANNOUNCEMENTS, Description, INBOX, QUESTIONS, Question},
        replies::REPLIES,
    },
    error::{PublishError, SubscribeError},
    transport::{
        contract::{Attachment, Parcel, Reach},
        inbox::{Direct, Inbox, Item},
        status::NameKind,
    },
};

/// Who answers requests, as far as this bus has asked. It lives as long as the bus, on the subscription connection that everything else shares.
pub(crate) struct Directory {
    /// Where descriptions go, with the namespace.
    channel: String,
    reader: Arc<Reader>,
    _attachment: Attachment,
}

struct Reader {
    book: Book,
    /// How all inboxes of the namespace begin: whoever may only say something here could otherwise send requests anywhere.
    inboxes: String,
    /// Texts that are no description of an instance of the namespace.
    unreadable: AtomicU64,
}

/// For so long it is waited at most for instances that the server has counted and that do not answer, where all are wanted.
pub(crate) const ALL_ANSWER: Duration = Duration::from_millis(500);

impl Directory {
    /// Subscribes to what instances say, and waits for the confirmation: who starts later is heard.
    pub(crate) async fn open(bus: &Bus, name: &str) -> Result<Self, SubscribeError> {
        let own = format!("{REPLIES}{name}:instances");
        let channel = bus.channel(|channel| channel.literal(&own));
        let inboxes = bus.channel(|channel| channel.literal(INBOX));
        let reader = Arc::new(Reader { book: Book::new(Instant::now()), inboxes, unreadable: AtomicU64::new(0) });
        let inbox = Arc::new(Inbox::direct(Arc::clone(&reader) as Arc<dyn Direct>));
        let names = vec![(ANNOUNCEMENTS.to_owned(), NameKind::Channel), (own, NameKind::Channel)];
        let attachment = bus.attach(inbox, names).await?;
        Ok(Self { channel, reader, _attachment: attachment })
    }

    /// Who gets a request: it is asked where that is not known, and waited for an answer. `None` once it is known that nobody takes it. Where somebody
    /// has declined it already, those who do not answer are waited for half a second at most.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it to the next one to ask.
    pub(crate) async fn find(
        &self,
        bus: &Bus,
        template: &'static str,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Turn>, PublishError> {
        let book = &self.reader.book;
        let begun = book.rounds(wanted.template);
        let limit = (!wanted.tried.is_empty()).then(|| Instant::now() + ALL_ANSWER);
        loop {
            let mut changed = pin!(book.changed.notified());
            // Registered before the look, so that a change between the two is not missed.
            changed.as_mut().enable();
            match book.look(wanted, begun) {
                Look::Turn(turn) => return Ok(Some(turn)),
                Look::Nobody => return Ok(None),
                // Boxed, as it is seldom there, and would make the future of every request larger.
                Look::Ask(round) => Box::pin(self.ask(bus, template, wanted.template, round)).await?,
                Look::Wait => match limit {
                    None => changed.await,
                    Some(limit) => {
                        if timeout_at(limit, changed).await.is_err() {
                            book.enough(wanted.template);
                            return Ok(None);
                        }
                    }
                },
            }
        }
    }

    /// The groups of which somebody takes a request, once all have answered, or after half a second.
    ///
    /// # Cancel safety
    ///
    /// As of [`find`](Self::find).
    pub(crate) async fn groups(
        &self,
        bus: &Bus,
        template: &'static str,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<String>, PublishError> {
        let book = &self.reader.book;
        let begun = book.rounds(wanted.template);
        let limit = Instant::now() + ALL_ANSWER;
        loop {
            let mut changed = pin!(book.changed.notified());
            changed.as_mut().enable();
            match book.groups(wanted, begun) {
                (groups, Look::Turn(_) | Look::Nobody) => return Ok(groups),
                (_, Look::Ask(round)) => self.ask(bus, template, wanted.template, round).await?,
                (groups, Look::Wait) => {
                    if timeout_at(limit, changed).await.is_err() {
                        book.enough(wanted.template);
                        return Ok(groups);
                    }
                }
            }
        }
    }

    /// Whether anybody takes requests of a template, of whatever message and version.
    pub(crate) fn is_taken(&self, template: &str) -> bool {
        self.reader.book.is_taken(template)
    }

    /// Nobody receives what is sent to an instance. `true` for the first who has found out.
    pub(crate) fn lost(&self, instance: &Arc<Instance>) -> bool {
        self.reader.book.lost(instance)
    }

    /// Requests that several groups take, with the groups.
    pub(crate) fn shared(&self) -> Vec<(String, Vec<String>)> {
        self.reader.book.shared()
    }

    /// Asks who is there. The answers come where announcements come.
    async fn ask(&self, bus: &Bus, template: &'static str, key: &str, round: u64) -> Result<(), PublishError> {
        let mut asking = Asking { book: &self.reader.book, key, round, is_asked: false };
        let question = Question { reply_to: self.channel.clone(), question: format!("{round} {key}") };
        let payload = serde_json::to_vec(&question)
            .map_err(|error| PublishError::Encode { name: "question", reason: error.to_string() })?;
        let channel = bus.channel(|channel| channel.literal(&format!("{QUESTIONS}{key}")));
        let parcel = Parcel { template, reach: Reach::ShardChannel, channel, payload, expiry: None };
        let receivers = bus.send(parcel).await?.receivers;
        asking.is_asked = true;
        self.reader.book.asked(key, round, receivers);
        Ok(())
    }
}

/// A question on its way. One that was given up is left to others.
struct Asking<'a> {
    book: &'a Book,
    key: &'a str,
    round: u64,
    is_asked: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.is_asked {
            self.book.not_asked(self.key, self.round);
        }
    }
}

impl Direct for Reader {
    fn take(&self, item: Item) -> Option<Item> {
        match item {
            Item::Frame(frame) => return Some(Item::Frame(frame)),
            Item::Gap(_) | Item::Refused(_) | Item::Ended(_) | Item::Lagged(_) | Item::Oversized { .. } => {
                self.book.gap();
            }
        }
        None
    }

    fn read(&self, item: Item) {
        let Item::Frame(frame) = item else {
            self.take(item);
            return;
        };
        match serde_json::from_slice::<Description>(frame.payload()) {
            Ok(description) if description.inbox.starts_with(&self.inboxes) => self.book.learn(description),
            Ok(_) => self.left_out("its inbox is not one of the namespace"),
            Err(error) if error.is_data() => self.left_out("it is no description"),
            Err(_) => self.left_out("it is no JSON"),
        }
    }
}

impl Reader {
    fn left_out(&self, reason: &str) {
        let count = self.unreadable.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(count, reason, "what was said of an instance is left out");
        }
    }
}

impl Bus {
    /// Who answers requests: subscribed and confirmed before it is first asked.
    pub(crate) async fn directory(&self) -> Result<&Directory, SubscribeError> {
        let name = self.shared.id_prefix.trim_end_matches('-');
        self.shared.directory.get_or_try_init(|| Directory::open(self, name)).await
    }
}
