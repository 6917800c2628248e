//! The parts of a queue: its channels, one for each combination of its parameters' values.

use std::sync::Arc;

use crate::{
    channel::{
        shape::Shape,
        template::{Segment, Template},
    },
    message::facts::Turns,
};

/// The channels of a queue, the best first; `None` where a parameter can have any value, so that it has to be said which of them are served.
pub(crate) fn parts_of(template: &Template, turns: Turns) -> Option<Vec<Arc<str>>> {
    let mut channels = vec![String::new()];
    for segment in template.segments() {
        let texts = match segment {
            Segment::Literal { text, .. } => std::slice::from_ref(text),
            Segment::Parameter { shape: Shape::OneOf(texts), .. } => texts,
            Segment::Parameter { .. } | Segment::Rest { .. } => return None,
        };
        let longer = |channel: &String| {
            let separator = if channel.is_empty() { "" } else { ":" };
            texts.iter().map(|text| format!("{channel}{separator}{text}")).collect::<Vec<String>>()
        };
        channels = channels.iter().flat_map(longer).collect();
    }
    Some(best_first(channels.into_iter().map(Arc::from).collect(), template, turns))
}

/// Channels of a queue, each once and the best first; those that are equally good as they were given.
pub(crate) fn best_first(mut channels: Vec<Arc<str>>, template: &Template, turns: Turns) -> Vec<Arc<str>> {
    let mut seen = std::collections::HashSet::new();
    channels.retain(|channel| seen.insert(Arc::clone(channel)));
    channels.sort_by_key(|channel| rank(channel, template, turns));
    channels
}

/// How good a part is: the place of its value among those of the parameter that decides. Less is better; all are equal where nothing decides.
pub(crate) fn rank(channel: &str, template: &Template, turns: Turns) -> usize {
    let parameter = match turns {
        Turns::Equal => return 0,
        Turns::Strict(parameter) | Turns::Weighted(parameter, _) => parameter,
    };
    let place = template.segments().iter().zip(channel.split(':')).find_map(|(segment, text)| match segment {
        Segment::Parameter { name, shape: Shape::OneOf(texts) } if *name == parameter => {
            texts.iter().position(|value| *value == text)
        }
        _ => None,
    });
    // What is no channel of the queue comes last.
    place.unwrap_or(usize::MAX)
}
