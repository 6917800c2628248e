use tidings::{Bus, ConnectError, Format};

async fn connect() -> Result<(Bus, Bus), ConnectError> {
    let one = Bus::builder("memory:").format(Format::Cbor).connect().await?;
    let other = Bus::builder("memory:").format(Format::MessagePack).connect().await?;
    Ok((one, other))
}
