"""The other side of the interop test of requests: a program that knows of tidings what docs/wire.md says, and has only redis.

Usage: requests.py PORT. It prints `ready` once it listens and runs until its standard input ends. What it is to do comes on `control`, one thing
after the other, and what has come of it goes to `shop:done`.
"""

import json
import sys
import uuid

import redis

from responder import Responder

NAMESPACE = "shop"


def main(port):
    program = Program(port)
    print("ready", flush=True)
    program.run()


class Program:
    def __init__(self, port):
        connect = lambda user: redis.Redis(host="127.0.0.1", port=port, username=user, password="secret")
        self.requester, self.taker = connect("requester"), connect("responder")
        self.control = connect("harness-python").pubsub()
        self.control.subscribe("control")
        assert self.control.get_message(timeout=None)["type"] == "subscribe"
        self.told = connect("harness-python")

    def run(self):
        for message in self.control.listen():
            if message["type"] == "message":
                words = json.loads(message["data"])
                self.told.publish("shop:done", json.dumps({"result": getattr(self, words["do"])(**words["with"])}))

    def ask(self, count, version):
        """Asks as docs/wire.md says: its own channel for answers first, then a request after the other. The answers, by correlation id."""
        replies = f"{NAMESPACE}:tidings:replies:{uuid.uuid4().hex}"
        listener = self.requester.pubsub()
        listener.subscribe(replies)
        assert listener.get_message(timeout=None)["type"] == "subscribe"
        waiting = set()
        for n in range(count):
            request = {
                "id": uuid.uuid4().hex,
                "type": "Part",
                "version": version,
                "correlation_id": f"c{n}",
                "reply_to": replies,
                "time_left": 20000,
                "data": {"n": n},
            }
            waiting.add(request["correlation_id"])
            receivers = self.requester.publish(f"{NAMESPACE}:parts:{n}", json.dumps(request))
            assert receivers > 0, "nobody listens"
        answers = {}
        while waiting:
            message = listener.get_message(timeout=20)
            if message is None:
                break
            answer = json.loads(message["data"])
            # Whoever declines leaves it to others.
            if "declined" not in answer["data"]:
                answers.setdefault(answer["correlation_id"], []).append(answer["data"])
                waiting.discard(answer["correlation_id"])
        listener.close()
        return answers

    def nobody(self):
        """A request that does not say whom to answer."""
        return self.requester.publish(f"{NAMESPACE}:parts:1", json.dumps({"n": 1}))

    def serve(self):
        self.responder = Responder(self.taker, "python", [("parts:<>", "Part", 2)], self.part, NAMESPACE).start()

    def stop(self):
        self.responder.stop()

    def part(self, channel, payload):
        request = json.loads(payload)
        number = request["data"]["n"]
        assert channel == f"parts:{number}" and 0 < request["time_left"] <= 20000, request
        if number % 10 == 7:
            data = {"declined": "busy"}
        elif number % 10 == 3:
            data = {"error": "broken"}
        else:
            data = {"ok": "python"}
        answer = {"id": uuid.uuid4().hex, "type": "reply", "correlation_id": request["correlation_id"], "data": data}
        self.taker.publish(request["reply_to"], json.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]))
