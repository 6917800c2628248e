//! What the server's access rules refuse, and the rule that would allow it.
//!
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>

/// Whether the server's words are a refusal by its access rules.
pub(super) fn is_refusal(words: &str) -> bool {
    words.starts_with("NOPERM ")
}

/// The command that would allow what the server refused: the command as such, or the channel or pattern.
pub(super) fn missing_rule(user: &str, words: &str, command: &str, channel: &str) -> String {
    if words.contains("run the '") {
        format!("ACL SETUSER {user} +{command}")
    } else {
        format!("ACL SETUSER {user} &{channel}")
    }
}
