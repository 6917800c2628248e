"""The other side of the interop test: a program that knows nothing of tidings, only redis-toolkit, and how requests are taken.

Usage: peer.py PORT. It prints `ready` once it listens and runs until its standard input ends.
"""

import sys
import time

from redis_toolkit import RedisConnectionConfig, RedisOptions, RedisToolkit
from redis_toolkit.utils.serializers import deserialize_value

from responder import Responder

VALUES = {
    "order": {"id": 7, "customer": "Ada \U0001f980", "items": ["a", "b"], "price": 9.5, "raw": b"\x00\xff", "note": None},
    "list": [1, 2, 300],
    "text": 'a "quoted"\n\u00e9',
    "integer": -12,
    "real": 0.25,
    "flag": True,
    "nothing": None,
    "raw": b"\x00\xff\x07",
}

LISTENS = ["interop:rust:" + name for name in VALUES] + ["interop:envelope", "interop:send"]


def main(port):
    config = RedisConnectionConfig(host="127.0.0.1", port=port)
    options = RedisOptions(is_logger_info=False, log_level="ERROR")
    toolkit = RedisToolkit(
        config=config,
        options=options,
        channels=LISTENS,
        message_handler=lambda channel, value: handle(toolkit, channel, value),
    )
    while any(subscribers == 0 for _, subscribers in toolkit.client.pubsub_numsub(*LISTENS)):
        time.sleep(0.01)
    doubles = [("interop:double", "Double", 1)]
    Responder(toolkit.client, "python", doubles, lambda channel, payload: answer(toolkit, deserialize_value(payload))).start()
    print("ready", flush=True)
    sys.stdin.read()


def handle(toolkit, channel, value):
    if channel == "interop:send":
        for name, example in VALUES.items():
            toolkit.publisher("interop:python:" + name, example)
    else:
        toolkit.publisher("interop:seen", {"channel": channel, "type": type(value).__name__, "value": value})


def answer(toolkit, request):
    """Requests arrive in the standard envelope, and so do their answers leave."""
    number = request["data"]["n"]
    data = {"ok": number * 2} if number < 1000 else {"error": "too large"}
    envelope = {"id": "python-1", "type": "reply", "correlation_id": request["correlation_id"], "data": data}
    toolkit.publisher(request["reply_to"], envelope)


if __name__ == "__main__":
    main(int(sys.argv[1]))
