//! What a decoder's error may say: the kind of the error, what was expected and where. What it quotes of the payload is left out, since errors come
//! into logs.

use serde_json::error::Category;

/// Of a text whose kind is not known: the words of a type that checks itself, which may quote what it was given.
const OWN_CHECK: &str = "a value that its type refuses";

/// The longest list of what was expected.
const EXPECTED_MAX: usize = 300;

/// The kinds of values that serde names, before what it quotes of them.
const KINDS: [&str; 19] = [
    "boolean",
    "integer",
    "floating point",
    "character",
    "string",
    "byte array",
    "unit value",
    "Option value",
    "newtype struct",
    "sequence",
    "map",
    "enum",
    "unit variant",
    "newtype variant",
    "tuple variant",
    "struct variant",
    "null",
    "number",
    "unit",
];

/// The words of an error of serde_json, with line and column.
pub(super) fn of_json(error: &serde_json::Error) -> String {
    of_json_behind("", error)
}

/// The same of a text that stands behind another, with its place in the whole.
pub(super) fn of_json_behind(before: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = |line: usize, column: usize| format!(" at line {line} column {column}");
    let (message, place) = match text.strip_suffix(&place(error.line(), error.column())) {
        None => (text.as_str(), String::new()),
        Some(message) => {
            let on_its_line = before.rsplit('\n').next().map_or(0, str::len);
            let lines = before.bytes().filter(|byte| *byte == b'\n').count();
            let column = if error.line() == 1 { on_its_line + error.column() } else { error.column() };
            (message, place(lines + error.line(), column))
        }
    };
    // Others are of the format itself: texts that are always the same.
    let message = if error.classify() == Category::Data { of_message(message) } else { message.to_owned() };
    message + &place
}

/// The words of a message that serde's traits made, in whatever format, without a position.
///
/// They are told by how serde begins them. What was expected stands at the end, behind what is quoted, which may hold anything, so it is looked for
/// from there.
pub(super) fn of_message(message: &str) -> String {
    for kind in ["invalid type", "invalid value"] {
        if let Some(rest) = message.strip_prefix(kind).and_then(|rest| rest.strip_prefix(": ")) {
            let found = KINDS.iter().find(|kind| is_word(rest, kind));
            return match (found, expected(rest, ", expected ")) {
                (Some(found), Some(expected)) => format!("{kind}: {found}, expected {expected}"),
                (None, Some(expected)) => format!("{kind}, expected {expected}"),
                (_, None) => kind.to_owned(),
            };
        }
    }
    if let Some(rest) = message.strip_prefix("invalid length ") {
        return match expected(rest, ", expected ") {
            Some(expected) => format!("invalid length, expected {expected}"),
            None => "invalid length".to_owned(),
        };
    }
    for (unknown, none) in [("variant", "variants"), ("field", "fields")] {
        if let Some(rest) = message.strip_prefix("unknown ").and_then(|rest| rest.strip_prefix(unknown)) {
            return match expected(rest, "`, expected ") {
                _ if rest.ends_with(&format!("`, there are no {none}")) => {
                    format!("unknown {unknown}, there are no {none}")
                }
                Some(expected) => format!("unknown {unknown}, expected {expected}"),
                None => format!("unknown {unknown}"),
            };
        }
    }
    let names_the_schema = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|kind| message.strip_prefix(kind)?.strip_suffix('`'))
        .or_else(|| message.strip_prefix("data did not match any variant of untagged enum "));
    match names_the_schema {
        Some(name) if is_name(name) => message.to_owned(),
        _ => OWN_CHECK.to_owned(),
    }
}

/// Whether a text begins with a word, and not with a longer one.
fn is_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
}

/// What was expected, behind the last of such marks.
fn expected<'t>(text: &'t str, mark: &str) -> Option<&'t str> {
    let (_, expected) = text.rsplit_once(mark)?;
    (expected.len() <= EXPECTED_MAX && !expected.chars().any(char::is_control)).then_some(expected)
}

/// Whether a text can be the name of a field or a type.
fn is_name(text: &str) -> bool {
    text.len() <= EXPECTED_MAX && !text.is_empty() && !text.contains('`') && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt};

    use serde::{Deserialize, Deserializer, de};

    use super::*;

    const SECRET: &str = "hunter2";

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only errors are looked at")]
    struct Account {
        id: u64,
        kind: Option<Kind>,
        code: Option<Code>,
        pair: Option<(u8, u8)>,
        either: Option<Either>,
        never: Option<Never>,
        map: Option<BTreeMap<u8, u8>>,
        tagged: Option<Tagged>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Savings,
        Current,
    }

    #[derive(Debug, Deserialize)]
    enum Never {}

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only errors are looked at")]
    enum Either {
        Number(u8),
        Pair(u8, u8),
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "is")]
    #[expect(dead_code, reason = "only errors are looked at")]
    enum Tagged {
        A { n: u8 },
        B,
    }

    /// Checks itself, and quotes what it was given in many ways.
    #[derive(Debug)]
    struct Code;

    impl<'de> Deserialize<'de> for Code {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let (way, text) = <(u8, String)>::deserialize(deserializer)?;
            Err(match way {
                0 => de::Error::custom(format!("{text} is no code")),
                1 => de::Error::custom(&text),
                2 => de::Error::custom(format!("invalid type {text}")),
                3 => de::Error::custom(format!("missing field {text}")),
                4 => de::Error::invalid_value(de::Unexpected::Str(&text), &"a code"),
                5 => de::Error::invalid_type(de::Unexpected::Other(&text), &"a code"),
                6 => de::Error::unknown_variant(&text, &["a", "b"]),
                7 => de::Error::unknown_field(&text, &[]),
                8 => de::Error::custom(format!("unknown variant `{text}")),
                9 => de::Error::custom(format!("invalid length {text}")),
                _ => de::Error::custom(fmt::Error),
            })
        }
    }

    fn words(json: &str) -> String {
        let error = serde_json::from_str::<Account>(json).unwrap_err();
        let words = of_json(&error);
        assert!(!words.contains(SECRET) && !words.contains("4711"), "{json}: {words}");
        words
    }

    #[test]
    fn serde_says_what_and_where_and_nothing_of_the_payload() {
        for (json, expected) in [
            (r#"{"id":"hunter2"}"#, "invalid type: string, expected u64"),
            (r#"{"id":-4711}"#, "invalid value: integer, expected u64"),
            (r#"{"id":4711.5}"#, "invalid type: floating point, expected u64"),
            (r#"{"id":["hunter2"]}"#, "invalid type: sequence, expected u64"),
            (r#"{"id":null}"#, "invalid type: null, expected u64"),
            (r#"{"id":"a, expected hunter2"}"#, "invalid type: string, expected u64"),
            (r#"{"id":"a at line 4711 column 4711"}"#, "invalid type: string, expected u64"),
            (r#"{"kind":"current"}"#, "missing field `id`"),
            (r#"{"id":1,"id":2}"#, "duplicate field `id`"),
            (r#"{"id":1,"kind":"hunter2"}"#, "unknown variant, expected `savings` or `current`"),
            (r#"{"id":1,"kind":"a`, expected hunter2"}"#, "unknown variant, expected `savings` or `current`"),
            (r#"{"id":1,"never":"hunter2"}"#, "unknown variant, there are no variants"),
            (r#"{"id":1,"pair":[1]}"#, "invalid length, expected a tuple of size 2"),
            (r#"{"id":1,"either":"hunter2"}"#, "data did not match any variant of untagged enum Either"),
            (r#"{"id":1,"tagged":{"is":"hunter2"}}"#, "unknown variant, expected `A` or `B`"),
            (r#"{"id":1,"tagged":{"is":"A","n":"hunter2"}}"#, "invalid type: string, expected u8"),
            (r#"["hunter2"]"#, "invalid type: string, expected u64"),
            (r#""hunter2""#, "invalid type: string, expected struct Account"),
        ] {
            let words = words(json);
            assert_eq!(words.split_once(" at line 1 column ").unwrap().0, expected, "{json}");
        }
        assert_eq!(words(r#"{"id":"hunter2"}"#), "invalid type: string, expected u64 at line 1 column 15");
        assert!(words(r#"{"hunter2":1}"#).starts_with("unknown field, expected one of `id`, `kind`"));
        words(r#"{"id":1,"map":{"hunter2":1}}"#);
        for broken in [
            r#"{"id":hunter2"#,
            r#"{"id":1,hunter2}"#,
            r#"{"id":"hunter2"#,
            r#"{"id":1}hunter2"#,
            r#"{"id":4711e4711}"#,
        ] {
            assert!(words(broken).contains("line 1"));
        }
    }

    #[test]
    fn only_what_can_be_a_name_is_taken_for_one() {
        let long = "x".repeat(EXPECTED_MAX + 1);
        for name in ["a`b", "", "a\nb", &long] {
            assert_eq!(of_message(&format!("missing field `{name}`")), OWN_CHECK, "{name:?}");
            assert_eq!(of_message(&format!("data did not match any variant of untagged enum {name}")), OWN_CHECK);
        }
        for expected in ["a\nb", &long] {
            let message = format!("invalid type: map, expected {expected}");
            assert_eq!(of_message(&message), "invalid type", "{expected:?}");
        }
        let longest = &long[1..];
        assert_eq!(of_message(&format!("missing field `{longest}`")), format!("missing field `{longest}`"));
        let message = format!("invalid type: map, expected {longest}");
        assert_eq!(of_message(&message), message);
    }

    #[test]
    fn a_type_that_checks_itself_is_not_quoted() {
        for way in 0..=10 {
            for text in [
                SECRET,
                "hunter2`",
                "invalid value: hunter2",
                "missing field hunter2",
                "hunter2, expected",
                "`hunter2`\n, there are no",
            ] {
                let json = serde_json::json!({"id": 1, "code": [way, text]}).to_string();
                let words = words(&json);
                assert!(words.ends_with(&format!(" column {}", json.len() - 1)) || words.contains("line 1"), "{words}");
            }
        }
        let own = words(r#"{"id":1,"code":[0,"hunter2"]}"#);
        assert!(own.starts_with(OWN_CHECK), "{own}");
        let value = words(r#"{"id":1,"code":[4,"hunter2"]}"#);
        assert!(value.starts_with("invalid value: string, expected a code at"), "{value}");
    }
}
