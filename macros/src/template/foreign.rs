//! How other systems write what a template says, such as `orders/{id}`, `orders/:id` or `orders.$id`: none of it is taken literally, as it is
//! surely a mistake.

/// A parameter as another system writes it.
struct Placeholder<'a> {
    /// So many bytes of the text.
    len: usize,
    name: &'a str,
    /// Whether it stands for all that follows.
    rest: bool,
}

/// The first parameter that is written as in another system, and the text with `<name>` in the place of each; what separates the segments is left.
pub(super) fn translated(text: &str) -> Option<(&str, String)> {
    let mut first = None;
    let (mut ours, mut depth, mut before, mut at) = (String::new(), 0_usize, None, 0);
    while let Some(character) = text[at..].chars().next() {
        let found = if depth == 0 { placeholder(&text[at..], before) } else { None };
        if let Some(Placeholder { len, name, rest }) = found {
            first.get_or_insert(&text[at..at + len]);
            let name = name.replace('-', "_");
            let rest = if rest && at + len == text.len() { ".." } else { "" };
            ours.push_str(&format!("<{name}{rest}>"));
            (before, at) = (Some('>'), at + len);
            continue;
        }
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        ours.push(character);
        (before, at) = (Some(character), at + character.len_utf8());
    }
    Some((first?, ours))
}

fn placeholder(text: &str, before: Option<char>) -> Option<Placeholder<'_>> {
    enclosed(text).or_else(|| marked(text, before))
}

/// `{id}`, `{id: Uuid}`, `{*path}`, `{path...}`, `${id}`, `{{id}}`, `[id]`, `[...path]`, `%{id}`.
fn enclosed(text: &str) -> Option<Placeholder<'_>> {
    const BRACKETS: [(&str, &str); 7] =
        [("{{", "}}"), ("${", "}"), ("#{", "}"), ("%{", "}"), ("{", "}"), ("[[", "]]"), ("[", "]")];
    BRACKETS.iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(open)?;
        let (inner, _) = inner.split_once(close)?;
        let (name, rest) = named(inner)?;
        Some(Placeholder { len: open.len() + inner.len() + close.len(), name, rest })
    })
}

/// `:id` behind `/`, and `$id`, `%id`, `*path` where a segment or a level begins.
fn marked(text: &str, before: Option<char>) -> Option<Placeholder<'_>> {
    let mark = text.chars().next()?;
    let begins = before.is_none_or(|before| matches!(before, ':' | '/' | '.'));
    let is_one = match mark {
        ':' => before == Some('/'),
        '$' | '%' | '*' => begins,
        _ => false,
    };
    let behind = &text[mark.len_utf8()..];
    let len = behind.find(|character: char| !is_of_name(character)).unwrap_or(behind.len());
    let (name, behind) = behind.split_at(len);
    // `$SYS` is a name of its own, and `%d` no parameter's.
    let is_word = mark == ':' || name.starts_with(|first: char| first.is_lowercase() || first == '_');
    if !is_one || !is_word || !is_plain(name) || (mark == '%' && name.len() < 2) {
        return None;
    }
    let modifiers = behind.find(|character: char| !matches!(character, '?' | '*' | '+' | '%')).unwrap_or(behind.len());
    if !behind[modifiers..].is_empty() && !behind[modifiers..].starts_with([':', '/', '.', '-']) {
        return None;
    }
    let rest = mark == '*' || behind[..modifiers].contains(['*', '+']);
    Some(Placeholder { len: mark.len_utf8() + name.len() + modifiers, name, rest })
}

/// The name in brackets, and whether they say that it takes all that follows.
fn named(inner: &str) -> Option<(&str, bool)> {
    let (name, kind) = inner.split_once(':').unwrap_or((inner, ""));
    let name = name.trim();
    let bare = name.trim_start_matches(['*', '.']).trim_end_matches(['*', '.', '?', '+']);
    let rest =
        name.starts_with(['*', '.']) || name.ends_with(['*', '.', '+']) || matches!(kind.trim(), "path" | ".*" | ".+");
    is_plain(bare).then_some((bare, rest))
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_alphabetic() || first == '_') && name.chars().all(is_of_name)
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

/// The segment with `:` around each parameter, in the place of what separates it in other systems: `orders/<id>` becomes `orders:<id>`.
pub(super) fn separated(part: &str) -> String {
    let mut segments: Vec<String> = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (index, character) in part.char_indices() {
        match character {
            '<' if depth == 0 => {
                segments.push(without_separators(&part[start..index]));
                (depth, start) = (1, index);
            }
            '<' => depth += 1,
            '>' if depth == 1 => {
                segments.push(part[start..=index].to_owned());
                (depth, start) = (0, index + 1);
            }
            '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    segments.push(without_separators(&part[start..]));
    segments.retain(|segment| !segment.is_empty());
    segments.join(":")
}

/// The text beside a parameter, without what joins the two. Where that separates levels in other systems, it does so within the text as well.
fn without_separators(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join("-");
    let levels = ['/', '.', '|'].into_iter().find(|level| text.starts_with(*level) || text.ends_with(*level));
    let text = text.trim_matches(['/', '.', '|', '-', '_', '#', '@', '=', ',', ';']);
    levels.map_or_else(|| text.to_owned(), |level| text.replace(level, ":"))
}

/// What to write for a segment that stands for something in other systems, and here for itself.
pub(super) fn wildcard(part: &str) -> Option<&'static str> {
    let levels = || part.split(['/', '.']);
    if part == ">" || part.ends_with(".>") || part.ends_with("/>") || levels().any(|level| level == "#") {
        return Some("`<rest..>` for all remaining segments");
    }
    levels().any(|level| level == "+").then_some("a parameter such as `<name>`")
}

/// What to write where the first word is a type's: `<int:id>` as in other systems.
pub(super) fn type_first(first: &str, second: &str) -> Option<String> {
    let ty = match first {
        "int" | "integer" | "number" | "long" => "i64",
        "str" | "string" | "slug" | "text" | "path" => "String",
        "uuid" => "Uuid",
        "String" | "Uuid" | "bool" | "char" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16"
        | "i32" | "i64" | "i128" | "isize" => first,
        _ => return None,
    };
    may_be_a_field(second).then(|| format!("<{second}>` for a field, or `<{second}: {ty}>"))
}

/// Whether the word is rather a field's name than a type.
pub(super) fn may_be_a_field(word: &str) -> bool {
    let is_type = matches!(word, "bool" | "char" | "usize" | "isize")
        || word.strip_prefix(['u', 'i']).is_some_and(|bits| bits.parse::<u8>().is_ok());
    is_plain(word) && word.starts_with(|letter: char| letter.is_lowercase()) && !is_type
}
