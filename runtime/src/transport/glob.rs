//! Redis's glob rules.
