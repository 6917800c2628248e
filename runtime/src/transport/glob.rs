//! Redis's own rules for patterns, so that the memory transport matches what Redis matches.

/// Whether the text matches the pattern: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, and `\` before a special character.
///
/// As in [PSUBSCRIBE](https://redis.io/docs/latest/commands/psubscribe/), `*` crosses every separator. The time is at most the
/// product of both lengths, for any pattern.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        // Redis looks at no pattern then, not even at `*`.
        return pattern.is_empty();
    }
    let (mut at, mut from) = (0, 0);
    // Where to go on after a mismatch: behind the last star, one byte further in the text.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, from));
            at += 1;
            continue;
        }
        let step = match (text.get(from), at < pattern.len()) {
            (None, true) => None,
            (None, false) => return true,
            (Some(_), false) => None,
            (Some(&byte), true) => match_one(&pattern[at..], byte),
        };
        match (step, star) {
            (Some(width), _) => {
                at += width;
                from += 1;
            }
            (None, Some((behind, taken))) if taken < text.len() => {
                star = Some((behind, taken + 1));
                (at, from) = (behind, taken + 1);
            }
            (None, _) => return false,
        }
    }
}

/// The width of the pattern's first element if it matches the byte.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (matched, width) = match_class(class, byte);
            matched.then_some(width + 1)
        }
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Whether a class matches, and how wide it is behind its `[`. A class that is not closed ends with the pattern.
fn match_class(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut matched = false;
    loop {
        match class[at..] {
            [] => return (matched != negated, at),
            [b']', ..] => return (matched != negated, at + 1),
            [b'\\', escaped, ..] => {
                matched |= escaped == byte;
                at += 2;
            }
            [first, b'-', last, ..] => {
                matched |= (first.min(last)..=first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                matched |= literal == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_cross_separators() {
        for (pattern, text, expected) in [
            ("order:*:created", "order:1:eu:created", true),
            ("order:*", "order:", true),
            ("order:*", "order:17", true),
            ("*:created", "order:17:created", true),
            ("*", "", false),
            ("a*", "a", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn classes_and_escapes() {
        for (pattern, text, expected) in [
            ("u:[ab]", "u:a", true),
            ("u:[ab]", "u:[ab]", false),
            ("u:\\[ab\\]", "u:[ab]", true),
            ("[^a]", "b", true),
            ("[^a]", "a", false),
            ("[z-a]", "m", true),
            ("[\\]x]", "]", true),
            ("[\\]x]", "x", true),
            ("[\\]x]", "\\", false),
            ("[a\\-c]", "-", true),
            ("[a\\-c]", "b", false),
            ("[a\\b]c", "ac", true),
            ("[a", "a", true),
            ("h?llo", "hello", true),
            ("\\*", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "*a".repeat(200);
        assert!(!matches(pattern.as_bytes(), "a".repeat(199).as_bytes()));
        assert!(!matches(pattern.as_bytes(), ("b".repeat(4_000)).as_bytes()));
    }
}
