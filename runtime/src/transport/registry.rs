//! The names that a connection is subscribed to, and who wants them.
