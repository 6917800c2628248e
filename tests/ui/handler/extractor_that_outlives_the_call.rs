use serde::{Deserialize, Serialize};
use tidings::{Context, Extract, ExtractError, Message, handler};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

struct Channel<'a>(&'a str);

impl<'a, M, S> Extract<'a, M, S> for Channel<'a> {
    fn extract(context: &Context<'a, S>) -> Result<Self, ExtractError> {
        Ok(Self(context.delivery().channel()))
    }
}

#[handler]
async fn placed(_order: OrderPlaced, _channel: Channel<'static>) {}

fn main() {}
