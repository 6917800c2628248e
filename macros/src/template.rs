//! The grammar of channel templates, such as `chat:room:<room: String>` or `logs:<path..>`.
//!
//! A template is text, so its mistakes have no place of their own in the source: each message quotes the segment.

use syn::{Ident, ext::IdentExt as _, parse::Parser as _};

use crate::diag;

mod foreign;

/// Long enough for every name that a server can route quickly; the bus refuses longer channels anyway.
pub(crate) const MAX_BYTES: usize = 512;
/// Deep enough for any hierarchy; keeps the proofs of a router quick.
pub(crate) const MAX_SEGMENTS: usize = 32;

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    Parameter(Parameter),
}

/// `<name>`, `<name: Type>`, `<name..>` or `<name..: Type>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    /// The type as it is written in the template.
    pub(crate) type_text: Option<String>,
    /// Whether it takes all remaining segments.
    pub(crate) rest: bool,
}

/// Splits a template, and says everything that is wrong with it. What is wrong is left out of the segments.
pub(crate) fn parse(text: &str) -> (Vec<Segment>, Vec<String>) {
    let mut problems = Vec::new();
    if text.trim().is_empty() {
        problems.push("the channel is empty: write its segments, such as `orders:<id>`".to_owned());
        return (Vec::new(), problems);
    }
    if let Some((word, ours)) = ours(text) {
        problems.push(format!("a parameter is written `<name>`, and not as in `{word}`: write `{ours}`"));
        return (Vec::new(), problems);
    }
    let parts = split(text);
    if text.len() > MAX_BYTES || parts.len() > MAX_SEGMENTS {
        problems.push(format!(
            "the channel has {} bytes and {} segments, but at most {MAX_BYTES} bytes and {MAX_SEGMENTS} segments are allowed: \
             shorten it",
            text.len(),
            parts.len(),
        ));
        return (Vec::new(), problems);
    }
    let mut segments = Vec::new();
    let last = parts.len() - 1;
    for (index, part) in parts.iter().enumerate() {
        match segment(part, (index, last), parts.get(index + 1)) {
            Ok(segment) => segments.push(segment),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(duplicates(&segments));
    (segments, problems)
}

/// The parameters that a template seems to have, whatever is wrong with it.
pub(crate) fn guessed_parameters(text: &str) -> Vec<Parameter> {
    let mut text = ours(text).map_or_else(|| text.to_owned(), |(_, ours)| ours);
    if text.matches('<').count() > text.matches('>').count() {
        text.push('>');
    }
    let (segments, _) = parse(&text);
    parameters(&segments).cloned().collect()
}

/// The first parameter that is written as in another system, and the template in our own words.
fn ours(text: &str) -> Option<(&str, String)> {
    let (word, replaced) = foreign::translated(text)?;
    let parts = split(&replaced).into_iter().map(|part| match part.contains('<') {
        true => foreign::separated(part),
        false => part.trim_matches('/').to_owned(),
    });
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    Some((word, parts.join(":")))
}

/// Splits at each `:` that is outside of `<…>`.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (index, character) in text.char_indices() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn segment(part: &str, (index, last): (usize, usize), next: Option<&&str>) -> Result<Segment, String> {
    if part.is_empty() {
        return Err(empty(index, last, next));
    }
    if !part.contains('<') {
        return literal(part);
    }
    let Some(inner) = part.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).filter(|_| closes_last(part))
    else {
        return Err(misplaced(part));
    };
    parameter(part, inner, index == last).map(Segment::Parameter)
}

/// In other systems `:id` is a parameter.
fn empty(index: usize, last: usize, next: Option<&&str>) -> String {
    let parameter = |advice: &str| match next {
        Some(next) if is_name(next) => format!("{advice}, or `<{next}>` if that is a parameter"),
        _ => advice.to_owned(),
    };
    if index == 0 {
        parameter("the channel starts with `:`: remove it, or write a segment in front of it")
    } else if index == last {
        "the channel ends with `:`: remove it, or write a segment behind it".to_owned()
    } else {
        parameter(&format!(
            "segment {} of the channel is empty: remove one `:` of `::`, or write a segment between them",
            index + 1
        ))
    }
}

/// Whether the `<` at the start is closed by the last character, and not before.
fn closes_last(part: &str) -> bool {
    let mut depth = 0_usize;
    for (index, character) in part.char_indices() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index + 1 == part.len();
        }
    }
    false
}

fn misplaced(part: &str) -> String {
    let opened = part.matches('<').count();
    let closed = part.matches('>').count();
    if opened > closed {
        return format!("the parameter in `{part}` is not closed: write `>` behind it");
    }
    format!("a parameter takes a whole segment, but `{part}` has more: write `{}`", foreign::separated(part))
}

fn literal(part: &str) -> Result<Segment, String> {
    if let Some(advice) = foreign::wildcard(part) {
        return Err(format!("`{part}` stands for itself and for nothing else: write {advice}"));
    }
    if part.contains('>') {
        return Err(format!("`>` in the segment `{part}` closes nothing: write `<` in front of the parameter's name"));
    }
    let Some(bad) = part.chars().find(|character| !is_literal(*character)) else {
        return Ok(Segment::Literal(part.to_owned()));
    };
    let what = match bad {
        '*' | '?' | '[' | ']' | '\\' => "opens a pattern in Redis",
        '{' | '}' => "chooses the slot in a Redis cluster",
        '%' => "marks encoded characters",
        _ if bad.is_whitespace() => "is white space",
        _ => "is a control character",
    };
    let advice = match bad {
        '*' => "write a parameter such as `<name>`, or `<rest..>` for all remaining segments",
        '{' | '}' => "write a parameter with `<name>`",
        '%' => "write a parameter such as `<name>` where a value is to stand, or remove it",
        _ => "remove it, or write `-` or `_`",
    };
    Err(format!("`{}` in the segment `{}` {what}: {advice}", bad.escape_debug(), part.escape_debug()))
}

/// Whether a character may stand in a literal segment: then no encoding of a value can ever look like it.
pub(crate) fn is_literal(character: char) -> bool {
    !matches!(character, ':' | '*' | '?' | '[' | ']' | '\\' | '{' | '}' | '%' | '<' | '>')
        && !character.is_whitespace()
        && !character.is_control()
}

fn parameter(part: &str, inner: &str, is_last: bool) -> Result<Parameter, String> {
    let (name, type_text) = match inner.split_once(':') {
        Some((name, type_text)) => (name.trim(), Some(type_text.trim())),
        None => (inner.trim(), None),
    };
    let (name, rest) = match name.strip_suffix("..") {
        Some(name) => (name.trim_end(), true),
        None => (name, false),
    };
    let name = name.strip_prefix("r#").unwrap_or(name);
    if name.is_empty() {
        let advice = type_text.filter(|word| foreign::may_be_a_field(word)).unwrap_or("name");
        return Err(format!(
            "the parameter `{part}` has no name: write `<{advice}>`, or `<{advice}: String>` if it is no field"
        ));
    }
    if !is_name(name) {
        return Err(ill_named(part, name));
    }
    if let Some(advice) = type_text.and_then(|second| foreign::type_first(name, second)) {
        return Err(format!("the name of a parameter stands before its type: write `{advice}` instead of `{part}`"));
    }
    if type_text == Some("") {
        return Err(format!(
            "the parameter `{part}` has no type behind its `:`: write `<{name}: String>`, or `<{name}>` for a field"
        ));
    }
    if rest && !is_last {
        return Err(format!(
            "`{part}` takes all remaining segments, but more follow: move it to the end, or write `<{name}>`"
        ));
    }
    Ok(Parameter { name: name.to_owned(), type_text: type_text.map(str::to_owned), rest })
}

/// Whether a field or an argument can have this name, perhaps as a raw identifier.
fn is_name(name: &str) -> bool {
    let is_identifier = Ident::parse_any.parse_str(name).is_ok_and(|ident| ident == name);
    is_identifier && !matches!(name, "_" | "self" | "Self" | "super" | "crate")
}

fn ill_named(part: &str, name: &str) -> String {
    let bare = name.trim_matches(|character: char| !character.is_alphanumeric() && character != '_');
    if is_name(bare) && name.trim_matches(['.', '*', '+']) == bare {
        return format!(
            "`{name}` in `{part}` cannot be the name of a parameter: write `<{bare}..>` for all remaining segments"
        );
    }
    let mut fixed: String =
        bare.chars().map(|character| if character.is_alphanumeric() { character } else { '_' }).collect();
    if fixed.starts_with(|first: char| first.is_ascii_digit()) {
        fixed.insert(0, '_');
    }
    let fixed = fixed.to_lowercase();
    if !is_name(&fixed) || fixed.chars().all(|character| character == '_') {
        return format!("`{name}` in `{part}` cannot be the name of a parameter: write a field's name, such as `<id>`");
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!(
            "`{name}` in `{part}` cannot be the name of a parameter: name the field, such as `id`, and write `<id>`"
        );
    }
    format!("`{name}` in `{part}` cannot be the name of a parameter: write `<{fixed}>`")
}

fn duplicates(segments: &[Segment]) -> Vec<String> {
    let names: Vec<&str> = parameters(segments).map(|parameter| parameter.name.as_str()).collect();
    let mut repeated: Vec<&str> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) && !repeated.contains(name) {
            repeated.push(name);
        }
    }
    if repeated.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "the parameter {} stands in the channel twice: give the second one a name of its own",
        diag::list(repeated)
    )]
}

/// The parameters, in order.
pub(crate) fn parameters(segments: &[Segment]) -> impl Iterator<Item = &Parameter> {
    segments.iter().filter_map(|segment| match segment {
        Segment::Parameter(parameter) => Some(parameter),
        Segment::Literal(_) => None,
    })
}

/// The template without the types of its parameters: `chat:room:<room>`.
pub(crate) fn text(segments: &[Segment]) -> String {
    let parts: Vec<String> = segments
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::Parameter(Parameter { name, rest: true, .. }) => format!("<{name}..>"),
            Segment::Parameter(Parameter { name, .. }) => format!("<{name}>"),
        })
        .collect();
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.to_owned())
    }

    fn parameter(name: &str, type_text: Option<&str>, rest: bool) -> Segment {
        Segment::Parameter(Parameter { name: name.to_owned(), type_text: type_text.map(str::to_owned), rest })
    }

    #[test]
    fn splits_literals_fields_types_and_rests() {
        for (template, segments, plain) in [
            ("orders", vec![literal("orders")], "orders"),
            ("orders:<id>", vec![literal("orders"), parameter("id", None, false)], "orders:<id>"),
            (
                "chat:room:<room: String>",
                vec![literal("chat"), literal("room"), parameter("room", Some("String"), false)],
                "chat:room:<room>",
            ),
            (
                "<a: my::Id<u8>>:x:<rest..: Vec<my::Id>>",
                vec![
                    parameter("a", Some("my::Id<u8>"), false),
                    literal("x"),
                    parameter("rest", Some("Vec<my::Id>"), true),
                ],
                "<a>:x:<rest..>",
            ),
            ("a:<größe>", vec![literal("a"), parameter("größe", None, false)], "a:<größe>"),
            ("logs:<path..>", vec![literal("logs"), parameter("path", None, true)], "logs:<path..>"),
            (
                "grün.x-1_@/#1:<type>",
                vec![literal("grün.x-1_@/#1"), parameter("type", None, false)],
                "grün.x-1_@/#1:<type>",
            ),
        ] {
            assert_eq!(parse(template), (segments.clone(), Vec::new()), "{template}");
            assert_eq!(text(&segments), plain);
        }
    }

    #[test]
    fn every_mistake_is_named_with_what_to_write() {
        for (template, words) in [
            ("", "is empty: write"),
            (" ", "is empty: write"),
            (":a", "starts with `:`"),
            ("a:", "ends with `:`"),
            ("a::b", "segment 2 of the channel is empty"),
            ("a:<>", "has no name: write `<name>`"),
            ("a:<: u64>", "has no name: write `<name>`"),
            ("a:<:id>", "has no name: write `<id>`"),
            (":id", "or `<id>` if that is a parameter"),
            ("a::id", "or `<id>` if that is a parameter"),
            ("a:<$id>", "write `<id>`"),
            ("a:<id?>", "write `<id>`"),
            ("a:<...rest>", "write `<rest..>`"),
            ("a:<rest...>", "write `<rest..>`"),
            ("a:<rest*>", "write `<rest..>`"),
            ("a:<int:id>", "write `<id>` for a field, or `<id: i64>`"),
            ("a:<String: name>", "write `<name>` for a field, or `<name: String>`"),
            ("a:<id", "is not closed: write `>`"),
            ("a:<id: Vec<u8>", "is not closed: write `>`"),
            ("a:id>", "closes nothing"),
            ("a:<id>:<id>", "`id` stands in the channel twice"),
            ("a:<order-id>", "write `<order_id>`"),
            ("a:<order id>", "write `<order_id>`"),
            ("a:<1st>", "write `<_1st>`"),
            ("a:<0>", "name the field"),
            ("a:<größe-max>", "write `<größe_max>`"),
            ("a:<self>", "write a field's name"),
            ("a:<rest..>:b", "move it to the end, or write `<rest>`"),
            ("a:*", "opens a pattern in Redis"),
            ("a:b c", "is white space"),
            ("a:b\u{7}c", "is a control character"),
            ("a:{b", "chooses the slot"),
            ("a:{}", "chooses the slot"),
            ("a:50%", "marks encoded characters"),
            ("a:order-<id>", "write `order:<id>`"),
            ("a:order<id>", "write `order:<id>`"),
            ("orders/<id>", "write `orders:<id>`"),
            ("orders.<id>", "write `orders:<id>`"),
            ("shop/orders/<id>", "write `shop:orders:<id>`"),
            ("new-orders-<id>", "write `new-orders:<id>`"),
            ("orders_<id>", "write `orders:<id>`"),
            ("orders: <id>", "write `<id>`"),
            ("new orders/<id> ", "write `new-orders:<id>`"),
            ("orders/<id>/lines/<line>", "write `orders:<id>:lines:<line>`"),
            ("<id>-<part: u8>.x", "write `<id>:<part: u8>:x`"),
            ("-<id>", "write `<id>`"),
            ("a:<x><y>", "write `<x>:<y>`"),
            ("a:<id:>", "has no type"),
        ] {
            let (_, problems) = parse(template);
            assert_eq!(problems.len(), 1, "{template}: {problems:?}");
            assert!(problems[0].contains(words), "{template}: {problems:?}");
        }
    }

    #[test]
    fn parameters_of_other_systems_are_named_with_the_whole_template() {
        for (template, ours) in [
            ("orders/:id", "orders:<id>"),
            ("/orders/:id", "orders:<id>"),
            ("orders/:id/lines/:line", "orders:<id>:lines:<line>"),
            ("orders/:id?", "orders:<id>"),
            ("files/:path*", "files:<path..>"),
            ("orders:{id}", "orders:<id>"),
            ("orders:{id: Uuid}", "orders:<id>"),
            ("orders/{id}/lines", "orders:<id>:lines"),
            ("orders:{{id}}", "orders:<id>"),
            ("orders:${id}", "orders:<id>"),
            ("orders:#{order_id}", "orders:<order_id>"),
            ("orders:{order-id}", "orders:<order_id>"),
            ("orders.{id}", "orders:<id>"),
            ("order-{id}", "order:<id>"),
            ("files/{*path}", "files:<path..>"),
            ("files:{path...}", "files:<path..>"),
            ("files:{path:path}", "files:<path..>"),
            ("files:{path..}:size", "files:<path>:size"),
            ("orders:[id]", "orders:<id>"),
            ("files:[...path]", "files:<path..>"),
            ("orders:$id", "orders:<id>"),
            ("orders.$id.lines", "orders:<id>:lines"),
            ("orders:%id", "orders:<id>"),
            ("orders:%id%", "orders:<id>"),
            ("files/*path", "files:<path..>"),
            ("a:{b}:<c: my::C<u8>>", "a:<b>:<c: my::C<u8>>"),
        ] {
            let (segments, problems) = parse(template);
            assert_eq!((segments.len(), problems.len()), (0, 1), "{template}: {problems:?}");
            assert!(problems[0].ends_with(&format!(": write `{ours}`")), "{template}: {problems:?}");
            assert_eq!(parse(ours).1, Vec::<String>::new(), "the advice is a template: {ours}");
        }
    }

    #[test]
    fn wildcards_of_other_systems_are_no_literals() {
        for (template, advice) in [
            ("orders:+", "a parameter such as `<name>`"),
            ("orders/+/lines", "a parameter such as `<name>`"),
            ("orders:#", "`<rest..>` for all remaining segments"),
            ("orders/#", "`<rest..>` for all remaining segments"),
            ("orders.>", "`<rest..>` for all remaining segments"),
            ("orders:>", "`<rest..>` for all remaining segments"),
        ] {
            let (_, problems) = parse(template);
            assert_eq!(problems.len(), 1, "{template}: {problems:?}");
            assert!(problems[0].ends_with(advice), "{template}: {problems:?}");
        }
    }

    #[test]
    fn what_may_be_meant_literally_is() {
        for template in
            ["$SYS:load", "us$:rate", "a/b", "/a/b", "a:@all", "a:#general", "c++:x", "a:50$", "__keyspace@0__:x"]
        {
            assert_eq!(parse(template).1, Vec::<String>::new(), "{template}");
        }
    }

    #[test]
    fn the_parameters_are_guessed_whatever_is_wrong() {
        for (template, names) in [
            ("orders/:id", vec!["id"]),
            ("a:<id>:b c", vec!["id"]),
            ("a:<id", vec!["id"]),
            ("a:{b}:<c: u8>", vec!["b", "c"]),
            ("", vec![]),
        ] {
            let guessed: Vec<String> =
                guessed_parameters(template).into_iter().map(|parameter| parameter.name).collect();
            assert_eq!(guessed, names, "{template}");
        }
    }

    #[test]
    fn several_mistakes_are_all_named() {
        assert_eq!(parse("a::<>:b c:<id").1.len(), 4);
    }

    #[test]
    fn length_is_limited() {
        assert!(parse(&"a".repeat(MAX_BYTES)).1.is_empty());
        assert_eq!(parse(&"a".repeat(MAX_BYTES + 1)).1.len(), 1);
        assert!(parse(&vec!["a"; MAX_SEGMENTS].join(":")).1.is_empty());
        assert_eq!(parse(&vec!["a"; MAX_SEGMENTS + 1].join(":")).1.len(), 1);
    }
}
