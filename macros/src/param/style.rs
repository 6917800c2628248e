//! How the names of variants become text, in serde's words.

/// How the names of variants become text.
#[derive(Clone, Copy)]
pub(super) enum Style {
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
    Lower,
    Upper,
    Pascal,
    Camel,
}

pub(super) const STYLES: [(&str, Style); 8] = [
    ("snake_case", Style::Snake),
    ("SCREAMING_SNAKE_CASE", Style::ScreamingSnake),
    ("kebab-case", Style::Kebab),
    ("SCREAMING-KEBAB-CASE", Style::ScreamingKebab),
    ("lowercase", Style::Lower),
    ("UPPERCASE", Style::Upper),
    ("PascalCase", Style::Pascal),
    ("camelCase", Style::Camel),
];

impl Style {
    pub(super) fn apply(self, name: &str) -> String {
        let words = words(name);
        match self {
            Self::Snake => words.join("_"),
            Self::ScreamingSnake => words.join("_").to_uppercase(),
            Self::Kebab => words.join("-"),
            Self::ScreamingKebab => words.join("-").to_uppercase(),
            Self::Lower => words.concat(),
            Self::Upper => words.concat().to_uppercase(),
            Self::Pascal => name.to_owned(),
            Self::Camel => {
                let mut characters = name.chars();
                let first = characters.next().map(|first| first.to_lowercase().to_string());
                first.unwrap_or_default() + characters.as_str()
            }
        }
    }
}

/// The words of a name in lower case: `HTTPGet2` has `http` and `get2`.
fn words(name: &str) -> Vec<String> {
    let characters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (index, character) in characters.iter().enumerate() {
        let after_lower = index > 0 && !characters[index - 1].is_uppercase();
        let before_lower = characters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if index > 0 && character.is_uppercase() && (after_lower || before_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(character.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_text_in_every_style() {
        for (name, style, text) in [
            ("High", Style::Snake, "high"),
            ("VeryHigh", Style::Snake, "very_high"),
            ("HTTPGet2", Style::Snake, "http_get2"),
            ("EuWest1", Style::Kebab, "eu-west1"),
            ("EuWest", Style::ScreamingSnake, "EU_WEST"),
            ("EuWest", Style::ScreamingKebab, "EU-WEST"),
            ("EuWest", Style::Lower, "euwest"),
            ("EuWest", Style::Upper, "EUWEST"),
            ("EuWest", Style::Pascal, "EuWest"),
            ("EuWest", Style::Camel, "euWest"),
        ] {
            assert_eq!(style.apply(name), text);
        }
    }
}
