use tidings::Message;

#[derive(Message)]
#[channel("orders")]
union Number {
    whole: u64,
    real: f64,
}

fn main() {}
