//! What can be subscribed to.

use std::fmt;

use crate::channel::text::{ChannelWriter, Shown};

/// What can be subscribed to: an [`Address`](crate::Address), or a pattern that `M::any()` makes. Never implement it by hand.
///
/// Only addresses and the patterns that `#[derive(Message)]` generates implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` says nothing about which channels of `{M}` to subscribe to",
    label = "neither an address nor a pattern of `{M}`",
    note = "a subscription begins with the message's type, here called `Order`: write `Order::channel(…)` for one channel, or `Order::any()` for all of them"
)]
pub trait Selector<M>: Send {
    #[doc(hidden)]
    fn write(&self, channel: &mut ChannelWriter<'_>);
}

#[diagnostic::do_not_recommend]
impl<M, T: Selector<M> + Sync + ?Sized> Selector<M> for &T {
    fn write(&self, channel: &mut ChannelWriter<'_>) {
        (**self).write(channel);
    }
}

/// Shows what a selector says. Called by generated code.
#[doc(hidden)]
pub fn show_selector<M>(selector: &impl Selector<M>, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut channel = String::new();
    write_selector(selector, &mut channel);
    write!(formatter, "Pattern({:?})", Shown(&channel))
}

/// Writes what a selector says, and tells whether it is a pattern.
pub(crate) fn write_selector<M>(selector: &impl Selector<M>, channel: &mut String) -> bool {
    let mut writer = ChannelWriter::new(channel);
    selector.write(&mut writer);
    writer.is_pattern()
}
