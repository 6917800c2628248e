//! How to sign in.

use std::fmt;

/// A user and password, or neither. `Debug` shows only who.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl Login {
    /// The user of access rules.
    pub(super) fn user(&self) -> &str {
        self.username.as_deref().unwrap_or("default")
    }

    /// The words of a greeting that signs in, under a name that CLIENT LIST shows.
    ///
    /// <https://redis.io/docs/latest/commands/hello/>
    pub(super) fn greeting<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let mut words = vec!["HELLO", "3"];
        if let Some(password) = &self.password {
            words.extend(["AUTH", self.user(), password]);
        }
        words.extend(["SETNAME", name]);
        words
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Login").field("user", &self.user()).finish_non_exhaustive()
    }
}
