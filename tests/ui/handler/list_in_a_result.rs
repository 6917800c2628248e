use serde::{Deserialize, Serialize};
use tidings::{Enqueue, Message, Publish, handler, router};

#[derive(Message, Serialize, Deserialize)]
#[channel("orders:<id>")]
struct OrderPlaced {
    id: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[channel("invoices:<order>")]
struct InvoiceSent {
    order: u64,
}

#[derive(Message, Serialize, Deserialize)]
#[queue("mails")]
struct SendMail {
    order: u64,
}

#[handler]
async fn placed(_order: OrderPlaced) -> Publish<Vec<InvoiceSent>> {
    todo!()
}

struct Shop;

#[router]
impl Shop {
    #[handler]
    async fn placed(&self, _order: OrderPlaced) -> Result<(Publish<InvoiceSent>, Enqueue<Option<SendMail>>), String> {
        Err("not yet".into())
    }
}

fn main() {}
