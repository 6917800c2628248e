"""The other side of the interop test of queues: a program that knows of tidings what docs/queues.md says, and has only redis.

Usage: tasks.py PORT. It adds tasks, works off one queue as a consumer, prints `ready`, and runs until its standard input ends.
"""

import json
import sys

import redis

BASE = "shop:tidings:queues:{parcels:<size>}:"
LETTERS = "shop:tidings:queues:{letters}:"


def main(port):
    client = redis.Redis(host="127.0.0.1", port=port)
    client.xadd(BASE + "new:parcels:large", {"payload": json.dumps({"size": "large", "n": 1})})
    envelope = {"id": "python-2", "type": "Parcel", "version": 1, "data": {"size": "small", "n": 2}}
    client.xadd(BASE + "new:parcels:small", {"payload": json.dumps(envelope), "id": "python-2", "name": "Parcel", "version": 1})
    # It cannot be decoded, and is a dead letter.
    client.xadd(BASE + "new:parcels:small", {"payload": "neither", "id": "python-3"})
    # Nobody knows it, and it waits for somebody who does.
    client.xadd(BASE + "new:parcels:small", {"payload": "{}", "id": "python-4", "name": "Parcel", "version": 2})
    print("ready", flush=True)
    work(client)
    sys.stdin.read()


def work(client):
    """Takes what tidings enqueues, as one of the consumers, until it has had three."""
    stream, done = LETTERS + "new:letters", []
    client.xgroup_create(stream, "tidings", id="0", mkstream=True)
    while len(done) < 3:
        for _, entries in client.xreadgroup("tidings", "python", {stream: ">"}, count=1, block=1000):
            for entry, fields in entries:
                done.append(json.loads(fields[b"payload"])["data"]["n"])
                client.xack(stream, "tidings", entry)
                client.xdel(stream, entry)
    client.publish("shop:letters:done", json.dumps({"numbers": done}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
