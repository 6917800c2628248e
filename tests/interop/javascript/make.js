// Writes what the JavaScript libraries cbor-x and cloudevents write, for the interop test, which itself needs no JavaScript.
//
// Usage: npm install && node make.js

const fs = require("fs");
const path = require("path");
const { Encoder, encode } = require("cbor-x");
const { CloudEvent } = require("cloudevents");

const data = { id: 7, customer: "Ada \u{1f980}", price: 9.0, paid: 1764079200123, note: null, extra: { tags: ["a", null], nothing: undefined } };
const time = new Date(1764079200123);

function write(name, bytes) {
  fs.writeFileSync(path.join(__dirname, name), bytes);
}

// Objects, dates as tag 1, and numbers beyond 32 bits as floating points.
write("cbor-x-envelope.cbor", encode({ timestamp: time, data, type: "Sample", id: "js-1", version: 1, headers: { trace: "1" } }));
write("cbor-x-alone.cbor", encode(data));
// Maps of any keys, in one piece.
const maps = new Encoder({ mapsAsObjects: false, useRecords: false, variableMapSize: true });
const sample = new Map(Object.entries({ ...data, extra: new Map(Object.entries(data.extra)) }));
write("cbor-x-map.cbor", maps.encode(
  new Map(Object.entries({ data: sample, id: "js-1", timestamp: time, type: "Sample", unknown: new Set([1]) })),
));
// A record of its own is an array behind a tag that only it knows.
write("cbor-x-record.cbor", new Encoder({ useRecords: true }).encode(data));
write("cbor-x-request.cbor", encode({
  type: "Square", reply_to: "tidings:replies:javascript", correlation_id: "js-2", time_left: 20000, id: "js-2", data: { n: 12 },
}));

const event = { id: "js-1", time: time.toISOString(), type: "Sample", source: "/javascript", trace: "1", count: 3, flag: true, data };
write("cloudevents-event.json", JSON.stringify(new CloudEvent(event)));
write("cloudevents-request.json", JSON.stringify(new CloudEvent({
  type: "Square", source: "/javascript", id: "js-2", replyto: "tidings:replies:javascript", correlationid: "js-2", timeleft: 20000, data: { n: 12 },
})));
// The test puts the correlation id of its request in the place of this one.
write("cloudevents-answer.json", JSON.stringify(new CloudEvent({
  type: "reply", source: "/javascript", id: "js-3", correlationid: "CORRELATION", data: { ok: 42 },
})));
