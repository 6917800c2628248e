//! What a service tells of trouble, in the log and to those who watch the bus: the first of a kind at once, then each second how many more.
//!
//! A kind is what has happened to which handler. Four thousand messages that cannot be read in a second are two lines and two events, whatever
//! is wrong with each of them; nothing is left out of a count, also when the service ends. Time is an argument.

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use crate::{
    bus::handle::Bus,
    error::{AddressError, Rejection},
    message::delivery::Delivery,
    route::routes::Routes,
    transport::events::BusEvent,
};

/// For how long more of a kind are only counted.
const FOLDED: Duration = Duration::from_secs(1);

/// Characters of a channel, an id and a reason that are shown: enough to find a message, and not enough to fill a log.
const SHOWN: usize = 128;
const SHOWN_REASON: usize = 1024;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trouble {
    Failed,
    Panicked,
    TimedOut,
    Cancelled,
    Expired,
    /// For the kind of reason.
    Rejected(&'static str),
    Dropped,
    Unsent,
    Unanswered,
    /// Of a task, as all below.
    TooOld,
    LeaseLost,
    Unknown,
    Parked,
    Dead,
    Unannounced,
    NotReached,
}

impl Trouble {
    fn text(self) -> &'static str {
        match self {
            Self::Failed => "a handler failed",
            Self::Panicked => "a handler panicked",
            Self::TimedOut => "a handler ran past its timeout",
            Self::Cancelled => {
                "a handler was cancelled, because its requester has stopped waiting; `run_to_end` lets it finish"
            }
            Self::Expired => "a request was reached after its requester had stopped waiting, and was not handled",
            Self::Rejected(_) => "a message was rejected",
            Self::Dropped => "too many messages wait for a handler, and a message was dropped",
            Self::Unsent => "a message that a handler returned was not published",
            Self::Unanswered => "an answer could not be sent; whoever waits for it runs into the timeout",
            Self::TooOld => "a task has waited for longer than it may, and was not run",
            Self::LeaseLost => "a handler was stopped or ended too late: its task was not the instance's any more",
            Self::Unknown => {
                "a task is of a name or version that this instance does not know, and was given back for others"
            }
            Self::Parked => "no instance has known a task for long; it waits aside until one comes that does",
            Self::Dead => "a task is given up, and is in the dead letters",
            Self::Unannounced => "the end of a task could not be announced; it has ended all the same",
            Self::NotReached => "the tasks of a queue cannot be taken or settled; it is tried again",
        }
    }
}

/// One message that it has happened to. What is empty is not known.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    reason: String,
    channel: String,
    id: Option<String>,
}

impl About {
    pub(super) fn message(delivery: Option<&Delivery>) -> Self {
        let Some(delivery) = delivery else { return Self::default() };
        let id = delivery.id().map(|id| cleaned(id, SHOWN));
        Self { reason: String::new(), channel: shown(delivery.frame().channel()), id }
    }

    pub(super) fn channel(channel: &[u8]) -> Self {
        Self { channel: shown(channel), ..Self::default() }
    }

    /// The message of this id.
    pub(super) fn of(mut self, id: &str) -> Self {
        self.id = Some(cleaned(id, SHOWN));
        self
    }

    pub(super) fn because(mut self, reason: &str) -> Self {
        self.reason = cleaned(reason, SHOWN_REASON);
        self
    }

    pub(super) fn rejected(self, rejection: &Rejection) -> Self {
        match rejection {
            // The name comes from the payload, and may be anything.
            Rejection::WrongType { name, .. } => self.because(&format!("the envelope holds another type than {name}")),
            // What a parameter's type says may quote the segment, which is a part of the channel and shown anyway.
            Rejection::Address { source: AddressError::Mismatch, .. } => {
                self.because("the channel does not fit the template")
            }
            Rejection::Address { source, .. } => self.because(&source.to_string()),
            other => self.because(&other.to_string()),
        }
    }
}

/// What was told of a kind, and what is still to be told.
#[derive(Debug)]
struct Told {
    /// More may be told from then on.
    again: Instant,
    more: u64,
    last: About,
}

pub(super) struct Journal {
    bus: Bus,
    routes: Routes,
    /// At most one for each handler and kind of trouble.
    told: HashMap<(usize, Trouble), Told>,
}

impl Journal {
    pub(super) fn new(bus: Bus, routes: Routes) -> Self {
        Self { bus, routes, told: HashMap::new() }
    }

    /// Tells of so many, or counts them to be told later.
    pub(super) fn note(&mut self, now: Instant, route: usize, trouble: Trouble, count: u64, about: About) {
        let again = now + FOLDED;
        match self.told.get_mut(&(route, trouble)) {
            Some(told) if now < told.again => {
                told.more += count;
                told.last = about;
            }
            Some(told) => {
                let more = std::mem::take(&mut told.more);
                told.again = again;
                self.write(route, trouble, more + count, &about);
            }
            None => {
                self.told.insert((route, trouble), Told { again, more: 0, last: About::default() });
                self.write(route, trouble, count, &about);
            }
        }
    }

    /// When there is something to be told next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.told.values().filter(|told| told.more > 0).map(|told| told.again).min()
    }

    /// Tells what is due, and forgets kinds of which there was no more.
    pub(super) fn tell(&mut self, now: Instant) {
        let mut told = std::mem::take(&mut self.told);
        told.retain(|&(route, trouble), told| {
            if told.again > now {
                return true;
            }
            if told.more > 0 {
                self.write(route, trouble, told.more, &told.last);
            }
            told.again = now + FOLDED;
            std::mem::take(&mut told.more) > 0
        });
        self.told = told;
    }

    fn write(&self, route: usize, trouble: Trouble, count: u64, About { reason, channel, id }: &About) {
        let entry = self.routes.at(route);
        let (handler, router, template) = (entry.handler(), entry.router(), entry.template().text());
        let kind = if let Trouble::Rejected(kind) = trouble { Some(kind) } else { None };
        let (reason, channel) = (Some(reason.as_str()).filter(|text| !text.is_empty()), channel.as_str());
        let channel_known = Some(channel).filter(|text| !text.is_empty());
        let (id, folded) = (id.as_deref(), (count > 1).then_some(count));
        let text = Line(trouble, count);
        if trouble == Trouble::Panicked {
            tracing::error!(handler, router, template, channel = channel_known, id, count = folded, "{text}");
        } else {
            tracing::warn!(
                handler,
                router,
                template,
                kind,
                reason,
                channel = channel_known,
                id,
                count = folded,
                "{text}"
            );
        }
        let channel = channel.to_owned();
        match trouble {
            Trouble::Dead => {
                let (queue, reason) = (template, reason.unwrap_or_default().to_owned());
                self.bus.tell(BusEvent::DeadLetter { handler, queue, channel: channel.clone(), reason, count });
            }
            Trouble::Parked => {
                self.bus.tell(BusEvent::Parked { handler, queue: template, channel: channel.clone(), count })
            }
            _ => {}
        }
        if kind.is_some() {
            self.bus.tell(BusEvent::Rejected {
                handler,
                template,
                channel,
                id: id.map(str::to_owned),
                reason: reason.unwrap_or_default().to_owned(),
                count,
            });
        }
    }
}

impl Drop for Journal {
    /// However the service ends, the last counts are told.
    fn drop(&mut self) {
        for (&(route, trouble), told) in &self.told {
            if told.more > 0 {
                self.write(route, trouble, told.more, &told.last);
            }
        }
    }
}

/// A line's text. One that stands for several says so.
struct Line(Trouble, u64);

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(trouble, count) = self;
        formatter.write_str(trouble.text())?;
        if *count > 1 {
            write!(formatter, " ({count} of this kind since the last line; this is the latest)")?;
        }
        Ok(())
    }
}

fn shown(channel: &[u8]) -> String {
    // A character has at most four bytes; the rest need not be looked at.
    cleaned(&String::from_utf8_lossy(&channel[..channel.len().min(4 * SHOWN + 4)]), SHOWN)
}

/// So many characters of it, without those that move a terminal's cursor or turn its text around.
fn cleaned(text: &str, characters: usize) -> String {
    let mut all = text.chars();
    let mut cleaned: String =
        all.by_ref().take(characters).map(|character| if harms(character) { '\u{FFFD}' } else { character }).collect();
    if all.next().is_some() {
        cleaned.push('…');
    }
    cleaned
}

fn harms(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use crate::transport::events::BusEvents;

    use super::*;

    const ROUTES: Routes = Routes::of(&[]);

    async fn journal() -> (Journal, BusEvents) {
        let bus = Bus::connect("memory:").await.unwrap();
        let events = bus.events();
        (Journal::new(bus, ROUTES), events)
    }

    #[test]
    fn what_is_shown_is_bounded_and_moves_no_cursor() {
        assert_eq!(cleaned("a\u{1b}[2Jb\r\n\u{202E}c", 128), "a\u{FFFD}[2Jb\u{FFFD}\u{FFFD}\u{FFFD}c");
        assert_eq!(cleaned("äöü", 2), "äö…");
        assert_eq!(shown(&[b'x'; 10_000]).chars().count(), SHOWN + 1);
        assert_eq!(shown(b"a\xff"), "a\u{FFFD}");
    }

    #[tokio::test]
    async fn nothing_is_due_where_nothing_is_held() {
        let (mut journal, _events) = journal().await;
        let start = Instant::now();
        assert_eq!(journal.due(), None);
        let told = |more| Told { again: start + FOLDED, more, last: About::default() };
        journal.told.insert((0, Trouble::Failed), told(0));
        assert_eq!(journal.due(), None);
        journal.note(start, 0, Trouble::Failed, 3, About::default());
        assert_eq!(journal.due(), Some(start + FOLDED));
        journal.told.clear();
    }
}
