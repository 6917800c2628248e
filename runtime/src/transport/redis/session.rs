//! One subscription connection's protocol, without its socket: which commands await which answers, and what arrives for whom.
//!
//! Redis answers in order, so an answer belongs to the oldest command without one. Whatever does not fit ends the connection:
//! a stream that is out of step would be worse than an outage.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use crate::{
    error::SubscribeError,
    time::Arrival,
    transport::{
        contract::Name,
        frame::{Frame, Origin},
        inbox::{Item, Wishes},
        redis::{
            access::{Operation, is_refusal, rule, rule_for_names},
            cluster::group,
            resp::{
                parts::{ProtocolError, Span},
                scanner::{Scanned, Scanner},
            },
            settings::Settings,
            wire::encode,
            words::{cleaned, code},
        },
        registry::{
            attached::Registry,
            standing::{Command, CommandBounds, Verb, one_group},
        },
        status::{GapCause, NameKind},
    },
};

/// A command's size: a refused one is repeated name by name, and 20,000 names still take only 79 commands.
const COMMAND_BOUNDS: CommandBounds = CommandBounds { names: 256, bytes: 32 * 1024, group: one_group };
/// A name whose slot the node does not have is tried there again after so long, unless it was found elsewhere before.
const ELSEWHERE: Duration = Duration::from_millis(100);
/// So much may wait to be written before more commands are made.
const OUTGOING_LIMIT: usize = 64 * 1024;

/// Knows which command of one connection awaits which answer, and hands on to the registry what arrives.
pub(super) struct Session {
    settings: Arc<Settings>,
    bounds: CommandBounds,
    scanner: Scanner,
    /// Sent, and not or not wholly answered.
    asked: VecDeque<Asked>,
    /// What one batch holds; kept for its memory.
    found: Vec<Scanned>,
    /// How often names were postponed in a row, for the pause.
    postponed: u32,
    /// Subscriptions that the server ended by itself in this batch.
    ended: usize,
    /// The node said that it does not have a slot.
    moved: bool,
    /// What the server would not unsubscribe, which it goes on sending.
    stuck: Stuck,
}

/// Of which kinds a name was not unsubscribed.
#[derive(Debug, Default)]
struct Stuck {
    channels: bool,
    shard_channels: bool,
    patterns: bool,
}

impl Stuck {
    fn of(&mut self, kind: NameKind) -> &mut bool {
        match kind {
            NameKind::Channel => &mut self.channels,
            NameKind::ShardChannel => &mut self.shard_channels,
            NameKind::Pattern => &mut self.patterns,
        }
    }
}

/// What was read at once.
struct Batch {
    bytes: Bytes,
    now: Instant,
    /// The same, for the frames.
    arrived: Arrival,
}

enum Asked {
    Ping,
    Names { command: Command, answered: usize },
}

impl Session {
    /// On a node of a cluster only names of one slot may be in one command; on another server any names.
    pub(super) fn new(settings: Arc<Settings>, group: fn(&Name) -> u16) -> Self {
        let scanner = Scanner::new(settings.payload_limit);
        Self {
            settings,
            bounds: CommandBounds { group, ..COMMAND_BOUNDS },
            scanner,
            asked: VecDeque::new(),
            found: Vec::new(),
            postponed: 0,
            ended: 0,
            moved: false,
            stuck: Stuck::default(),
        }
    }

    /// How many bytes the read buffer must be able to hold.
    pub(super) fn needed(&self) -> usize {
        self.scanner.needed()
    }

    /// Whether everything that was sent has been answered.
    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whether the node has said since the last question that a slot is elsewhere.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    pub(super) fn ping(&mut self, outgoing: &mut BytesMut) {
        encode(outgoing, 1, ["PING"]);
        self.asked.push_back(Asked::Ping);
    }

    /// Appends the commands that the registry wants sent.
    pub(super) fn ask(&mut self, registry: &mut Registry, outgoing: &mut BytesMut) {
        while outgoing.len() < OUTGOING_LIMIT {
            let Some(command) = registry.next_command(self.bounds) else { return };
            let word = match (command.verb, command.kind) {
                (Verb::Subscribe, NameKind::Channel) => "SUBSCRIBE",
                (Verb::Subscribe, NameKind::ShardChannel) => "SSUBSCRIBE",
                (Verb::Subscribe, NameKind::Pattern) => "PSUBSCRIBE",
                (Verb::Unsubscribe, NameKind::Channel) => "UNSUBSCRIBE",
                (Verb::Unsubscribe, NameKind::ShardChannel) => "SUNSUBSCRIBE",
                (Verb::Unsubscribe, NameKind::Pattern) => "PUNSUBSCRIBE",
            };
            let names = command.names.iter().filter_map(|&id| registry.name(id)).map(|name| name.text.as_str());
            encode(outgoing, 1 + command.names.len(), [word].into_iter().chain(names));
            self.asked.push_back(Asked::Names { command, answered: 0 });
        }
    }

    /// Takes the whole values out of the read buffer and hands them on; returns what the inboxes ask of the reader, and an error when the
    /// connection is of no further use. What came before the trouble has been handed on.
    pub(super) fn receive(
        &mut self,
        incoming: &mut BytesMut,
        registry: &mut Registry,
        now: Instant,
    ) -> (Wishes, Result<(), GapCause>) {
        let mut end = 0;
        let scanned = loop {
            match self.scanner.next(incoming, end) {
                Ok(Some((scanned, next))) => {
                    end = next;
                    self.found.push(scanned);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(protocol(error)),
            }
        };
        let batch = Batch { bytes: incoming.split_to(end).freeze(), now, arrived: Arrival::of(now) };
        let mut found = std::mem::take(&mut self.found);
        let handled = found.drain(..).try_for_each(|scanned| self.handle(scanned, &batch, registry));
        self.found = found;
        if self.ended > 0 {
            let names = std::mem::take(&mut self.ended);
            tracing::warn!(names, "the server ended subscriptions; they are made anew");
        }
        (registry.flush(), handled.and(scanned))
    }

    fn handle(&mut self, scanned: Scanned, batch: &Batch, registry: &mut Registry) -> Result<(), GapCause> {
        let Batch { bytes, now, arrived } = batch;
        match scanned {
            Scanned::Message { by, channel, payload } => {
                let (kind, name) = by.name(&channel);
                let channel = self.stripped(bytes, channel);
                let delivered = registry.deliver(kind, &bytes[name.clone()], |token| {
                    let origin = Origin::Broadcast { token };
                    Item::Frame(Frame::new(bytes.clone(), short(&channel), short(&payload), origin, *arrived))
                });
                if !delivered && !*self.stuck.of(kind) {
                    known(kind, &bytes[name], registry)?;
                }
            }
            Scanned::Oversized { by, channel, head, size } => {
                let (kind, name) = by.name(&channel);
                let channel = self.stripped(bytes, channel);
                registry.deliver(kind, &bytes[name], |token| Item::Oversized {
                    token,
                    channel: bytes[channel.clone()].to_vec(),
                    head: bytes[head.clone()].to_vec(),
                    size,
                });
            }
            Scanned::Confirmation { verb, kind, name } => self.confirmed(verb, kind, &bytes[name], registry, *now)?,
            Scanned::Reply(text) => match self.asked.pop_front() {
                Some(Asked::Ping) => {}
                _ => return Err(unexpected(&bytes[text])),
            },
            Scanned::Error(text) => self.refused(&bytes[text], registry, *now)?,
            // Nobody asked for such a push, so its bytes were damaged on the way: a message may have been in them, and must not vanish.
            Scanned::Foreign => return Err(GapCause::Protocol("a push of an unknown kind".to_owned())),
            Scanned::Skipped => {}
        }
        Ok(())
    }

    fn confirmed(
        &mut self,
        verb: Verb,
        kind: NameKind,
        name: &[u8],
        registry: &mut Registry,
        now: Instant,
    ) -> Result<(), GapCause> {
        if let Some(Asked::Names { command, answered }) = self.asked.front_mut()
            && (command.verb, command.kind) == (verb, kind)
            && let Some(&id) = command.names.get(*answered)
            && registry.name(id).is_some_and(|expected| expected.text.as_bytes() == name)
        {
            *answered += 1;
            if *answered == command.names.len() {
                self.asked.pop_front();
            }
            self.postponed = 0;
            registry.confirmed(verb, id, now);
            return Ok(());
        }
        match verb {
            // Not asked for: the server ended the subscription by itself, if there was one.
            Verb::Unsubscribe => {
                if let Some(id) = registry.find(kind, name) {
                    let cause = match kind {
                        NameKind::ShardChannel => GapCause::SlotMoved,
                        _ => GapCause::Disconnected("the server ended the subscription".to_owned()),
                    };
                    self.moved |= kind == NameKind::ShardChannel;
                    if registry.name_lost(id, &cause, now) {
                        self.ended += 1;
                    }
                }
                Ok(())
            }
            Verb::Subscribe => Err(unexpected(name)),
        }
    }

    /// <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>
    fn refused(&mut self, words: &[u8], registry: &mut Registry, now: Instant) -> Result<(), GapCause> {
        if let Some(slot) = moved_slot(words) {
            self.elsewhere(slot, registry, now);
            return Ok(());
        }
        let words = cleaned(words);
        let code = code(&words);
        let command = match self.asked.pop_front() {
            Some(Asked::Names { command, answered: 0 }) if code != "NOAUTH" => command,
            // A server that can refuse a PING is alive, which is all that was asked.
            Some(Asked::Ping) if code != "NOAUTH" => return Ok(()),
            _ => return Err(GapCause::Disconnected(format!("the server said {words}"))),
        };
        let rest = now + self.settings.reconnect.longest_pause;
        match (command.verb, code) {
            (Verb::Subscribe, "NOPERM" | "CROSSSLOT") if command.names.len() > 1 => registry.separate(&command.names),
            (Verb::Subscribe, "NOPERM") => {
                for id in command.names {
                    registry.refused(id, |name| refusal(&self.settings, name, &words), rest);
                }
            }
            (Verb::Subscribe, _) => {
                let pause = self.settings.reconnect.pause(self.postponed);
                self.postponed = self.postponed.saturating_add(1);
                // Rarer the longer it lasts, as with reconnections.
                if self.postponed.is_power_of_two() {
                    tracing::warn!(names = command.names.len(), reason = words, "cannot subscribe now, will try again");
                }
                command.names.iter().for_each(|&id| registry.postponed(id, now + pause));
                registry.put_off(words);
            }
            (Verb::Unsubscribe, _) => {
                // What nobody wants is ignored until the next connection. No name is kept for it: there may be any number of them.
                if !std::mem::replace(self.stuck.of(command.kind), true) {
                    let rule = is_refusal(&words).then(|| self.unsubscribe_rule(command.kind, &words));
                    tracing::warn!(
                        reason = words,
                        rule,
                        "the server refuses to unsubscribe, and goes on sending what nobody wants; it is ignored"
                    );
                }
                command.names.iter().for_each(|&id| registry.confirmed(Verb::Unsubscribe, id, now));
            }
        }
        Ok(())
    }

    /// The node does not have the slot.
    fn elsewhere(&mut self, slot: u16, registry: &mut Registry, now: Instant) {
        self.moved = true;
        let is_of_slot = |asked: &Asked| match asked {
            Asked::Names { command, answered: 0 } if command.kind == NameKind::ShardChannel => {
                command.names.first().and_then(|&id| registry.name(id)).is_some_and(|name| group(name) == slot)
            }
            _ => false,
        };
        // Otherwise it answers an SUNSUBSCRIBE of what the node has unsubscribed by itself, which was taken for the answer.
        if !self.asked.front().is_some_and(is_of_slot) {
            return;
        }
        let Some(Asked::Names { command, .. }) = self.asked.pop_front() else { return };
        for id in command.names {
            match command.verb {
                Verb::Subscribe => registry.postponed(id, now + ELSEWHERE),
                Verb::Unsubscribe => registry.confirmed(Verb::Unsubscribe, id, now),
            }
        }
    }

    fn unsubscribe_rule(&self, kind: NameKind, words: &str) -> String {
        let operation = match kind {
            NameKind::Channel => Operation::Subscribe,
            NameKind::ShardChannel => Operation::SubscribeToShards,
            NameKind::Pattern => Operation::SubscribeToPatterns,
        };
        rule(&self.settings, words, operation, &[])
    }

    /// A channel without the namespace.
    fn stripped(&self, batch: &[u8], channel: Span) -> Span {
        let prefix = self.settings.prefix.as_bytes();
        let has_prefix = batch[channel.clone()].starts_with(prefix);
        if has_prefix { channel.start + prefix.len()..channel.end } else { channel }
    }
}

/// A batch is far below 4 GiB: it holds less than a payload and a name at their limits, and one read.
fn short(span: &Span) -> Range<u32> {
    span.start as u32..span.end as u32
}

fn refusal(settings: &Settings, name: &Name, words: &str) -> SubscribeError {
    SubscribeError::Refused {
        channel: name.text.clone(),
        reason: words.to_owned(),
        rule: rule_for_names(settings, words, std::iter::once(name)),
    }
}

/// Of `MOVED slot address`.
fn moved_slot(words: &[u8]) -> Option<u16> {
    std::str::from_utf8(words).ok()?.strip_prefix("MOVED ")?.split(' ').next()?.parse().ok()
}

fn protocol(error: ProtocolError) -> GapCause {
    GapCause::Protocol(error.to_string())
}

fn unexpected(text: &[u8]) -> GapCause {
    GapCause::Protocol(format!("an answer to nothing that was asked: {}", cleaned(text)))
}

/// Refuses a message of a name that was never subscribed: its bytes were damaged, and it was a message of another name. A name that nobody
/// wants any more is still known until the server has confirmed the UNSUBSCRIBE, because messages may be on their way.
fn known(kind: NameKind, name: &[u8], registry: &Registry) -> Result<(), GapCause> {
    match registry.find(kind, name) {
        Some(_) => Ok(()),
        None => Err(GapCause::Protocol("a message of a channel that was not subscribed".to_owned())),
    }
}

#[cfg(test)]
mod tests;
