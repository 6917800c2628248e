//! How an instance is found and reached: its inbox, the questions that it answers, and what it says of itself.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use memchr::memchr;

use crate::{
    bus::{
        handle::Bus,
        instances::{ANNOUNCEMENTS, Description, INBOX, QUESTIONS, Question, State, Takes},
    },
    error::SubscribeError,
    route::entry::Route,
    serve::service::HAND_OVER,
    transport::{
        contract::{Attachment, Parcel, Reach},
        frame::Frame,
        inbox::{Inbox, WhenFull},
        status::NameKind,
    },
};

/// An instance as others see it.
pub(crate) struct Presence {
    pub(super) inbox: Arc<Inbox>,
    /// Absent where the service takes no requests.
    pub(super) attachment: Option<Attachment>,
    description: Description,
}

/// What has come to an instance.
pub(super) enum Heard {
    /// A request, taken out of what its inbox got.
    Request(Frame),
    /// Somebody asks who is there.
    Question(Frame),
    /// Somebody has looked whether it is there, or has sent what nobody understands.
    Nothing,
}

impl Presence {
    /// Subscribes to the inbox of the instance, and to the questions for what its routes take; returns once the server has confirmed that. A
    /// service without requests has neither.
    pub(crate) async fn start(bus: &Bus, routes: &[Route], group: String) -> Result<Self, SubscribeError> {
        let requests = Takes::all(routes);
        let random = RandomState::new();
        let own = format!("{INBOX}{:016x}{:016x}", random.hash_one(0), random.hash_one(1));
        let mut names = vec![(own.clone(), NameKind::ShardChannel)];
        for Takes { template, .. } in &requests {
            let name = (format!("{QUESTIONS}{template}"), NameKind::ShardChannel);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let inbox = Arc::new(Inbox::new(HAND_OVER, WhenFull::Wait));
        let attachment = if requests.is_empty() { None } else { Some(bus.attach(Arc::clone(&inbox), names).await?) };
        let inbox_name = bus.channel(|channel| channel.literal(&own));
        let description = Description { inbox: inbox_name, group, state: State::Serving, requests, question: None };
        Ok(Self { inbox, attachment, description })
    }

    /// What all who ask for instances are told, if there is anything to ask of this one.
    pub(super) fn announcement(&self, state: State, bus: &Bus) -> Option<Parcel> {
        if self.description.requests.is_empty() {
            return None;
        }
        let channel = bus.channel(|channel| channel.literal(ANNOUNCEMENTS));
        parcel(channel, &Description { state, ..self.description.clone() })
    }

    /// The answer to a question.
    pub(super) fn described(&self, question: &Frame, state: State, bus: &Bus) -> Option<Parcel> {
        let Question { reply_to, question } = serde_json::from_slice(question.payload()).ok()?;
        if !bus.may_answer(&reply_to) {
            return None;
        }
        parcel(reply_to, &Description { state, question: Some(question), ..self.description.clone() })
    }
}

impl Heard {
    /// What a frame is. A request begins with its channel, which has the namespace.
    pub(super) fn of(frame: Frame, bus: &Bus) -> Self {
        if frame.channel().starts_with(QUESTIONS.as_bytes()) {
            return Self::Question(frame);
        }
        let Some(end) = memchr(b'\n', frame.payload()) else { return Self::Nothing };
        let namespace = bus.config().namespace.as_ref().map_or(0, |namespace| namespace.len() + 1);
        frame.taken_apart(namespace, end).map_or(Self::Nothing, Self::Request)
    }
}

fn parcel(channel: String, description: &Description) -> Option<Parcel> {
    let payload = serde_json::to_vec(description).ok()?;
    Some(Parcel { template: "instances", reach: Reach::Channel, channel, payload, expiry: None })
}
