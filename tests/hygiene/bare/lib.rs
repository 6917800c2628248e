//! A program without any feature of tidings, and what it may ask for all the same: `words` compiles each with `--cfg asks_for="…"`.

#[cfg(asks_for = "codecs")]
mod codecs;
#[cfg(asks_for = "formats")]
mod formats;
#[cfg(asks_for = "layers")]
mod layers;
