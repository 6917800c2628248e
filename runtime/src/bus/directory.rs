//! Who answers requests: asked once for each template, and kept fresh by what instances say when they start and stop.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::timeout_at;

use crate::{
    bus::{
        book::{Book, Instance, Look, Turn, Wanted},
        handle::{Bus, made},
        instances::{ANNOUNCEMENTS, Description, INBOX, QUESTIONS, Question},
        replies::Replies,
    },
    error::{PublishError, SubscribeError},
    time::now,
    transport::{
        contract::{Attachment, Parcel, Reach, ReceiptComes},
        inbox::{Direct, Item},
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
    /// How inboxes begin, with the namespace.
    inboxes: String,
    /// Texts that are no description.
    unreadable: AtomicU64,
}

/// Inboxes have no longer names, in bytes behind the namespace: what an instance says goes into each request.
const LONGEST: usize = 512;

impl Directory {
    /// Subscribes to what instances say, and waits for the confirmation: who starts later is heard.
    pub(crate) async fn open(bus: &Bus, name: &str) -> Result<Self, SubscribeError> {
        let inboxes = bus.channel(|channel| channel.literal(INBOX));
        let reader = Arc::new(Reader { book: Book::default(), inboxes, unreadable: AtomicU64::new(0) });
        let direct = || Arc::clone(&reader) as Arc<dyn Direct>;
        let (channel, attachment) = bus.attach_for_answers(direct, name, ":instances", &[ANNOUNCEMENTS]).await?;
        Ok(Self { channel, reader, _attachment: attachment })
    }

    /// Who gets a request, where that is known.
    pub(crate) fn known(&self, wanted: &Wanted<'_>, now: std::time::Instant) -> Option<Turn> {
        self.reader.book.choose(wanted, now)
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
        self.found(bus, template, wanted.template, |begun| book.look(wanted, begun, now())).await
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
        let groups = self.found(bus, template, wanted.template, |begun| book.groups(wanted, begun, now())).await?;
        Ok(groups.unwrap_or_default())
    }

    /// What is looked for, once it is known.
    async fn found<T>(
        &self,
        bus: &Bus,
        template: &'static str,
        key: &str,
        look: impl Fn(&mut Option<u64>) -> Look<T>,
    ) -> Result<Option<T>, PublishError> {
        let mut begun = None;
        loop {
            // Made before the look: from then on no change is missed.
            let changed = self.reader.book.changed.notified();
            match look(&mut begun) {
                Look::Found(found) => return Ok(Some(found)),
                Look::Nobody => return Ok(None),
                // Boxed, as it is seldom there, and would make the future of every request larger.
                Look::Ask(round) => Box::pin(self.ask(bus, template, key, round)).await?,
                Look::Wait(until) => {
                    let _ = timeout_at(until.into(), changed).await;
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
        let parcel = Parcel {
            template,
            reach: Reach::ShardChannel,
            channel,
            payload,
            expiry: None,
            receipt: ReceiptComes::Anytime,
        };
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
        let reason = match serde_json::from_slice::<Description>(frame.payload()) {
            Ok(description) if self.is_inbox(&description.inbox) => {
                return self.book.learn(description, frame.payload().len());
            }
            Ok(_) => "its inbox is none",
            Err(error) if error.is_eof() => "it is cut off",
            Err(_) => "it is no description",
        };
        let count = self.unreadable.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(count, reason, "what was said of an instance cannot be read, and is left out");
        }
    }
}

impl Reader {
    /// Whether requests may go there: nobody is to have them sent anywhere else.
    fn is_inbox(&self, name: &str) -> bool {
        let own = name.strip_prefix(&self.inboxes);
        own.is_some_and(|own| (1..=LONGEST).contains(&own.len()) && !own.contains(char::is_control))
    }
}

impl Bus {
    /// Where instances and answers are heard of, if nothing has to be waited for.
    pub(crate) fn opened(&self) -> Option<(&Directory, &Replies)> {
        let (directory, replies) = (self.shared.directory.get()?, self.shared.replies.get()?);
        replies.check().is_ok().then_some((directory, replies))
    }

    /// Who answers requests: subscribed and confirmed before it is first asked.
    pub(crate) async fn directory(&self) -> Result<&Directory, SubscribeError> {
        let name = self.shared.id_prefix.trim_end_matches('-');
        made(&self.shared.directory, || Directory::open(self, name)).await
    }
}
