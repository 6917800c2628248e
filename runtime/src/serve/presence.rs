//! How an instance is found and reached: its inbox, the questions that it answers, and what it says of itself.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Instant,
};

use memchr::memchr;

use crate::{
    bus::{
        handle::Bus,
        instances::{ANNOUNCEMENTS, Description, INBOX, QUESTIONS, Question, SERVICES, State, Takes},
        replies::reach_of_answers,
        sending::Draft,
        served::Served,
    },
    codec::{
        answers::{ANSWER, Answers, SHARED_BY},
        contract::Exchange,
        headers::Headers,
    },
    error::SubscribeError,
    route::routes::Routes,
    serve::{service::HAND_OVER, services::InstanceReport, stats::Counters},
    time::{now, unix_millis},
    transport::{
        contract::{Attachment, Name, Parcel, ReceiptComes},
        frame::Frame,
        inbox::{Inbox, WhenFull},
        status::NameKind,
    },
};

/// An instance as others see it.
pub(crate) struct Presence {
    pub(super) inbox: Arc<Inbox>,
    /// Absent where the server refuses it to a service that takes no requests, and is only not found.
    pub(super) attachment: Option<Attachment>,
    description: Description,
    /// Who shares the questions on the connection.
    served: Served,
    /// By the clock of the instance.
    started_millis: u64,
    started: Instant,
}

/// What has come to an instance.
pub(super) enum Heard {
    /// A request, taken out of what its inbox got.
    Request(Frame),
    /// Somebody asks who takes the requests of a template.
    WhoTakes(Frame),
    /// Somebody asks which services there are.
    WhoIsThere(Frame),
    /// Somebody has looked whether it is there.
    Nothing,
    /// What nobody understands: no channel of this namespace stands before it.
    Unreadable,
}

impl Presence {
    /// Subscribes to the inbox of the instance and to the questions that it answers; returns once the server has confirmed that. A service without
    /// requests is asked only who it is, and serves also where it is not allowed to hear that.
    pub(crate) async fn start(bus: &Bus, routes: &Routes, group: String) -> Result<Self, SubscribeError> {
        let requests = Takes::all(routes);
        let random = RandomState::new();
        let own = format!("{INBOX}{:016x}{:016x}", random.hash_one(0), random.hash_one(1));
        let mut names = vec![(SERVICES.to_owned(), NameKind::ShardChannel)];
        if !requests.is_empty() {
            names.push((own.clone(), NameKind::ShardChannel));
        }
        for Takes { template, .. } in &requests {
            let name = (format!("{QUESTIONS}{template}"), NameKind::ShardChannel);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let inbox = Arc::new(Inbox::new(HAND_OVER, WhenFull::Wait).unlisted());
        let asked = names.iter().map(|(text, kind)| Name { text: text.clone(), kind: *kind }).collect();
        let attachment = match bus.attach(Arc::clone(&inbox), names).await {
            Ok(attachment) => Some(attachment),
            Err(error) if requests.is_empty() => {
                tracing::warn!(%error, "`services` will not find a service");
                None
            }
            Err(error) => return Err(error),
        };
        let inbox_name = bus.channel(|channel| channel.literal(&own));
        let description =
            Description { inbox: inbox_name, group, state: State::Serving, requests, question: None, shared_by: 1 };
        let (started_millis, started) = (unix_millis(), now());
        Ok(Self { inbox, attachment, description, served: bus.served(asked), started_millis, started })
    }

    /// What all who ask for instances are told, if there is anything to ask of this one.
    pub(super) fn announcement(&self, state: State, bus: &Bus) -> Option<Parcel> {
        if self.description.requests.is_empty() {
            return None;
        }
        let channel = bus.channel(|channel| channel.literal(ANNOUNCEMENTS));
        parcel(channel, &Description { state, ..self.description.clone() })
    }

    /// The answer to who takes the requests of a template.
    pub(super) fn described(&self, question: &Frame, state: State, bus: &Bus) -> Option<Parcel> {
        let Question { reply_to, question: id } = serde_json::from_slice(question.payload()).ok()?;
        if !bus.may_answer(&reply_to) {
            return None;
        }
        let shared_by = self.shared_by(question);
        parcel(reply_to, &Description { state, question: Some(id), shared_by, ..self.description.clone() })
    }

    /// The answer to which services there are.
    pub(super) fn reported(&self, question: &Frame, counters: &Counters, bus: &Bus) -> Option<Parcel> {
        let Question { reply_to, question: id } = serde_json::from_slice(question.payload()).ok()?;
        if !bus.may_answer(&reply_to) {
            return None;
        }
        let now = now();
        let (program, version) = bus.config().program.clone().unzip();
        let up = now.saturating_duration_since(self.started);
        let report = InstanceReport {
            instance: self.description.inbox.rsplit(':').next().unwrap_or_default().to_owned(),
            group: self.description.group.clone(),
            program,
            version,
            started_millis: self.started_millis,
            up_millis: u64::try_from(up.as_millis()).unwrap_or(u64::MAX),
            handlers: counters.reports(now),
        };
        let mut headers = Headers::default();
        headers.set(SHARED_BY, self.shared_by(question).to_string());
        let draft = Draft {
            channel: reply_to,
            template: "replies",
            name: ANSWER.name,
            version: ANSWER.version,
            headers: &headers,
            exchange: Some(Exchange::new(&id)),
            hops: 0,
            id: None,
            deadline: None,
            payload_limit: None,
        };
        let reach = reach_of_answers(&draft.channel);
        bus.encode::<Answers, _>(draft, &report).ok().map(|parcel| Parcel { reach, ..parcel })
    }

    /// How many services have got a question that the server has counted once.
    fn shared_by(&self, question: &Frame) -> u32 {
        let shared = self.served.sharing(question.channel());
        u32::try_from(shared).unwrap_or(u32::MAX)
    }
}

impl Heard {
    /// What a frame is. A request begins with its channel, which has the namespace.
    pub(super) fn of(frame: Frame, bus: &Bus) -> Self {
        if frame.channel().starts_with(INBOX.as_bytes()) {
            if frame.payload().is_empty() {
                return Self::Nothing;
            }
            let Some(end) = memchr(b'\n', frame.payload()) else { return Self::Unreadable };
            let Some(local) = bus.local(&frame.payload()[..end]) else { return Self::Unreadable };
            let namespace = end - local.len();
            return frame.taken_apart(namespace, end).map_or(Self::Unreadable, Self::Request);
        }
        if frame.channel() == SERVICES.as_bytes() { Self::WhoIsThere(frame) } else { Self::WhoTakes(frame) }
    }
}

fn parcel(channel: String, description: &Description) -> Option<Parcel> {
    let payload = serde_json::to_vec(description).ok()?;
    let reach = reach_of_answers(&channel);
    Some(Parcel { template: "instances", reach, channel, payload, expiry: None, receipt: ReceiptComes::Anytime })
}
