"""The other side of the interop test of the formats: a program that knows nothing of tidings, only redis, cbor2, msgpack and the SDK of CloudEvents,
and how requests are taken.

Usage: formats.py PORT. It prints `ready` once it listens and runs until its standard input ends.
"""

import datetime
import json
import sys
import threading

import cbor2
import msgpack
import redis
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from responder import Responder

TIME = datetime.datetime(2025, 11, 25, 12, 0, 0, 123000, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))

SAMPLE = {"id": 7, "customer": "Ada \U0001f980", "price": 9, "paid": 1764079200123, "note": None, "extra": {"tags": ["a", None]}}

FORMATS = ["json", "cbor", "messagepack", "cloudevents"]


def write(form, name, data, **metadata):
    """A message in the standard envelope, with sorted names where the library can, or as an event."""
    if form == "cloudevents":
        own = {"correlation_id": "correlationid", "reply_to": "replyto", "time_left": "timeleft"}
        attributes = {own.get(name, name): value for name, value in metadata.items()}
        attributes.update(id="python-1", source="/python", specversion="1.0", type=name, time=TIME)
        attributes.update(trace="1", count=3, flag=True)
        return JSONFormat().write(CloudEvent(attributes=attributes, data=data))
    envelope = {"id": "python-1", "type": name, "data": data, "headers": {"trace": "1"}, **metadata}
    if form == "cbor":
        return cbor2.dumps({**envelope, "timestamp": TIME}, canonical=True)
    if form == "messagepack":
        return msgpack.packb({key: envelope[key] for key in sorted(envelope)} | {"timestamp": TIME}, datetime=True)
    return json.dumps({**envelope, "timestamp": TIME.isoformat()}, sort_keys=True).encode()


def read(form, payload):
    """The data of a message, and its metadata by the names of the standard envelope."""
    if form == "cloudevents":
        event = JSONFormat().read(CloudEvent, payload)
        return event.get_data(), {
            "id": event.get_id(),
            "type": event.get_type(),
            "correlation_id": event.get_extension("correlationid"),
            "reply_to": event.get_extension("replyto"),
            "time_left": event.get_extension("timeleft"),
        }
    readers = {"cbor": cbor2.loads, "messagepack": msgpack.unpackb, "json": json.loads}
    envelope = readers[form](payload)
    return envelope.pop("data"), envelope


def main(port):
    client = redis.Redis(host="127.0.0.1", port=port)
    listener = client.pubsub()
    channels = ["formats:send"] + [f"formats:{form}:{what}" for form in FORMATS for what in ("rust", "ask")]
    replies = [f"tidings:replies:python-{form}" for form in FORMATS]
    listener.subscribe(*channels, *replies)
    confirmed = 0
    while confirmed < len(channels) + len(replies):
        confirmed += listener.get_message(timeout=None)["type"] == "subscribe"
    threading.Thread(target=listen, args=(client, listener), daemon=True).start()
    doubles = [("formats:<>:double", "Double", 1)]
    Responder(client, "python", doubles, lambda channel, payload: double(client, channel, payload)).start()
    print("ready", flush=True)
    sys.stdin.read()


def listen(client, listener):
    for message in listener.listen():
        if message["type"] == "message":
            handle(client, message["channel"].decode(), message["data"])


def handle(client, channel, payload):
    if channel == "formats:send":
        for form in FORMATS:
            client.publish(f"formats:{form}:python", write(form, "Sample", SAMPLE))
    elif channel.startswith("tidings:replies:python-"):
        # Answers are the standard envelope as JSON, whoever asks.
        answer = json.loads(payload)
        tell(client, channel.removeprefix("tidings:replies:python-"), answer["data"], answer["correlation_id"])
    else:
        _, form, what = channel.split(":")
        if what == "ask":
            asked = {"correlation_id": "python-2", "reply_to": "tidings:replies:python-" + form, "time_left": 20000}
            client.publish(f"formats:{form}:square", write(form, "Square", {"n": 12}, **asked))
        else:
            data, metadata = read(form, payload)
            tell(client, form, data, metadata["type"])


def double(client, channel, payload):
    _, form, _ = channel.split(":")
    data, metadata = read(form, payload)
    assert 0 < metadata["time_left"] <= 20000, metadata
    answered = "json" if form in ("cbor", "messagepack") else form
    answer = write(answered, "reply", {"ok": data["n"] * 2}, correlation_id=metadata["correlation_id"])
    client.publish(metadata["reply_to"], answer)


def tell(client, form, value, note):
    client.publish("formats:seen", json.dumps({"form": form, "value": value, "note": note}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
