"""What a program without tidings does to take requests, as docs/wire.md has it step by step: with the plain client of Redis, and nothing else."""

import json
import threading
import uuid


class Responder:
    """An instance. `takes` are its requests, as (template, message, version); `answer` gets the channel and the payload of each."""

    def __init__(self, client, group, takes, answer, namespace=""):
        self.client, self.group, self.answer = client, group, answer
        self.prefix = namespace + ":" if namespace else ""
        self.inbox = self.prefix + "tidings:inbox:" + uuid.uuid4().hex
        self.requests = [{"template": template, "message": message, "version": version} for template, message, version in takes]

    def start(self):
        """Listens first, and says so when the server has confirmed it."""
        self.listener = self.client.pubsub()
        questions = [self.prefix + "tidings:questions:" + takes["template"] for takes in self.requests]
        self.listener.ssubscribe(self.inbox, *questions)
        confirmed = 0
        while confirmed < 1 + len(questions):
            confirmed += self.listener.get_message(timeout=None)["type"] == "ssubscribe"
        threading.Thread(target=self.listen, daemon=True).start()
        self.describe(self.prefix + "tidings:instances", "serving")
        return self

    def stop(self):
        """Takes nothing new: requesters go to others."""
        self.describe(self.prefix + "tidings:instances", "stopping")

    def describe(self, channel, state, **more):
        description = {"inbox": self.inbox, "group": self.group, "state": state, "requests": self.requests, **more}
        self.client.publish(channel, json.dumps(description))

    def listen(self):
        for message in self.listener.listen():
            if message["type"] != "smessage":
                continue
            if message["channel"].decode() != self.inbox:
                question = json.loads(message["data"])
                self.describe(question["reply_to"], "serving", question=question["question"])
            elif b"\n" in message["data"]:
                # Otherwise somebody looks whether the inbox is there.
                channel, payload = message["data"].split(b"\n", 1)
                self.answer(channel.decode().removeprefix(self.prefix), payload)
