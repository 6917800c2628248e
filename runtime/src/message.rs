//! The trait that `#[derive(Message)]` implements.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    channel::{ChannelReader, ChannelWriter, Params, Selector, Template},
    codec::Format,
    error::AddressError,
};

/// A type whose values travel on a channel that is part of the type.
///
/// Derive it: the derive also generates the verbs (`publish`, `publish_to`), the typed address (`channel`) and the patterns
/// (`any`) as inherent functions, so that no trait needs to be in scope.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "write `#[derive(Message)]` and `#[channel(\"…\")]` on `{Self}`"
)]
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name on the wire, the type's name unless `#[message(name = "…")]` says otherwise.
    const NAME: &'static str;
    /// The version on the wire. A receiver refuses versions newer than its own and takes older ones.
    const VERSION: u32;
    /// The doc comment, for generated documents.
    const DESCRIPTION: &'static str;
    /// The channel.
    const TEMPLATE: Template;
    /// The format that the type chooses; `None` leaves it to the bus.
    const FORMAT: Option<Format>;

    /// The parameters of the channel.
    type Params: Params;
    /// The pattern that `any()` starts with.
    type Pattern: Selector<Self>;

    /// Checks the parameters in a channel that matched the template: those that are fields equal them, the others are values.
    #[doc(hidden)]
    fn verify(&self, channel: &mut ChannelReader<'_>) -> Result<(), AddressError>;
}

/// A message whose parameters are all fields: its value alone says where it goes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say where to publish: not every parameter of its channel is a field",
    label = "the channel is incomplete",
    note = "write `message.publish_to({Self}::channel(…), &bus)`"
)]
pub trait AddressedByFields: Message {
    #[doc(hidden)]
    fn write_channel(&self, channel: &mut ChannelWriter<'_>);
}
