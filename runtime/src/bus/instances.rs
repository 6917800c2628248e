//! What instances of services and those who ask them say to each other: names, and JSON texts that other programs can write and read too.
//!
//! ```text
//! requester ── Question ──▶ the question channel of a template, a shard channel
//! requester ◀─ Description ─ each instance that takes requests of the template
//! requester ◀─ Description ─ each instance that starts or stops, on one channel for all
//! requester ── request ───▶ the inbox of one instance, a shard channel: "channel\n" and the payload
//! ```
//!
//! A shard channel is matched by no pattern, so the count of its receivers says exactly whether anybody is there.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    channel::template::{Segment, Template},
    message::facts::{Facts, Kind},
    route::routes::Routes,
};

/// How inboxes begin, behind the namespace.
pub(crate) const INBOX: &str = "tidings:inbox:";
/// How the channels begin on which it is asked who takes the requests of a template.
pub(crate) const QUESTIONS: &str = "tidings:questions:";
/// Where all services are asked who they are.
pub(crate) const SERVICES: &str = "tidings:services";
/// Where instances say that they start or stop.
pub(crate) const ANNOUNCEMENTS: &str = "tidings:instances";

/// Asks all instances that take requests of a template who they are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Where the descriptions go, with the namespace.
    pub(crate) reply_to: String,
    /// Comes back in the description.
    pub(crate) question: String,
}

/// An instance that takes requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Its inbox, with the namespace.
    pub(crate) inbox: String,
    pub(crate) group: String,
    pub(crate) state: State,
    pub(crate) requests: Vec<Takes>,
    /// The question that is answered, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) question: Option<String>,
    /// How many services share the connection by which the question came, where that is more than one: the server has counted them once, and all
    /// of them answer.
    #[serde(default = "alone", skip_serializing_if = "is_alone")]
    pub(crate) shared_by: u32,
}

fn alone() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_alone(shared_by: &u32) -> bool {
    *shared_by == 1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Serving,
    /// It finishes what it has, and takes nothing new.
    Stopping,
}

/// Requests that an instance takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Takes {
    /// As [`key`] writes it.
    pub(crate) template: String,
    /// The wire name.
    pub(crate) message: String,
    /// The newest that it knows.
    pub(crate) version: u32,
}

impl Takes {
    fn of(facts: &Facts) -> Self {
        let (message, version) = (facts.name().to_owned(), facts.version());
        Self { template: key(facts.template()).into_owned(), message, version }
    }

    /// All requests of a router.
    pub(crate) fn all(routes: &Routes) -> Vec<Self> {
        let requests = routes.iter().map(|route| route.facts()).filter(|facts| facts.kind() == Kind::Request);
        requests.map(Self::of).collect()
    }
}

/// A template as it is asked for: what parameters are called makes no difference to a channel.
pub(crate) fn key(template: Template) -> Cow<'static, str> {
    if template.segments().iter().all(|segment| matches!(segment, Segment::Literal { .. })) {
        return Cow::Borrowed(template.text());
    }
    let mut key = String::with_capacity(template.text().len());
    for (index, segment) in template.segments().iter().enumerate() {
        if index > 0 {
            key.push(':');
        }
        match segment {
            Segment::Literal { text, .. } => key.push_str(text),
            Segment::Parameter { .. } => key.push_str("<>"),
            Segment::Rest { .. } => key.push_str("<..>"),
        }
    }
    Cow::Owned(key)
}

#[cfg(test)]
mod tests {
    use crate::channel::shape::Shape;

    use super::*;

    #[test]
    fn a_template_is_asked_for_whatever_its_parameters_are_called() {
        let of = |text, segments| key(Template::new(text, segments));
        const QUOTES: [Segment; 2] = [Segment::literal("quotes"), Segment::parameter("sku", Shape::Text)];
        const LINES: [Segment; 2] = [Segment::literal("lines"), Segment::rest("path", Shape::Text)];
        assert_eq!(of("quotes:<sku>", &QUOTES), "quotes:<>");
        assert_eq!(of("lines:<path..>", &LINES), "lines:<..>");
    }
}
