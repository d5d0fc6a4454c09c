"""Reads a .pftrace by Perfetto's own protos and holds it against the Chrome JSON of the same trace.

Arguments: pairs of a .pftrace and a .json. Says what differs and ends with 1, or how much is the same.
"""

import json
import sys
from collections import Counter

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent


def nanoseconds(event, field):
    return round(event[field] * 1000)


def chrome(path):
    """Spans, flows and counters of a Chrome JSON: by device and lane."""
    with open(path) as file:
        events = json.load(file)["traceEvents"]
    named = {(e["pid"], e["tid"], e["name"]): e["args"].get("name") for e in events if e["ph"] == "M"}
    devices = {pid: name for (pid, _, what), name in named.items() if what == "process_name"}
    lanes = {(pid, tid): name for (pid, tid, what), name in named.items() if what == "thread_name"}
    spans, ends, counts = [], Counter(), []
    for e in events:
        if e["ph"] == "X":
            where = devices[e["pid"]], lanes[e["pid"], e["tid"]]
            start = nanoseconds(e, "ts")
            spans.append((*where, e["name"], e["cat"], start, start + nanoseconds(e, "dur"), tuple(sorted(e["args"].items()))))
        elif e["ph"] in "stf":
            ends["end" if e["ph"] == "f" else "on"] += 1
        elif e["ph"] == "C":
            counts.append((devices[e["pid"]], e["name"], nanoseconds(e, "ts"), *e["args"].values()))
    return sorted(spans), ends, sorted(counts)


def interned(packets):
    tables = {"event_names": {}, "event_categories": {}, "debug_annotation_names": {}}
    for packet in packets:
        for table, names in tables.items():
            names.update((entry.iid, entry.name) for entry in getattr(packet.interned_data, table))
    return tables.values()


def notes(event, names):
    value = lambda note: note.string_value if note.HasField("string_value") else note.uint_value
    return tuple(sorted((names[note.name_iid], value(note)) for note in event.debug_annotations))


def perfetto(path):
    """The same of a .pftrace; every slice must end before the next of its track begins."""
    trace = Trace()
    with open(path, "rb") as file:
        trace.ParseFromString(file.read())
    names, categories, note_names = interned(trace.packet)
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in trace.packet if p.HasField("track_descriptor")}
    where = lambda uuid: (tracks[tracks[uuid].parent_uuid].name, tracks[uuid].name)
    spans, ends, counts, begun = [], Counter(), [], {}
    for packet in (p for p in trace.packet if p.HasField("track_event")):
        event, at = packet.track_event, packet.timestamp
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in begun, f"{where(event.track_uuid)}: a slice inside another at {at}"
            begun[event.track_uuid] = event, at
            ends.update({"on": len(event.flow_ids), "end": len(event.terminating_flow_ids)})
        elif event.type == TrackEvent.TYPE_SLICE_END:
            begin, start = begun.pop(event.track_uuid)
            (category,) = begin.category_iids
            name = names[begin.name_iid], categories[category]
            spans.append((*where(event.track_uuid), *name, start, at, notes(begin, note_names)))
        elif event.type == TrackEvent.TYPE_COUNTER:
            assert tracks[event.track_uuid].HasField("counter")
            counts.append((*where(event.track_uuid), at, event.counter_value))
    assert not begun, "slices without an end"
    return sorted(spans), ends, sorted(counts)


def main():
    paths = sys.argv[1:]
    for binary, text in zip(paths[::2], paths[1::2]):
        for what, ours, theirs in zip(("spans", "flows", "counts"), perfetto(binary), chrome(text)):
            if ours != theirs:
                differ = [pair for pair in zip(ours, theirs) if pair[0] != pair[1]][:3]
                sys.exit(f"{binary}: {len(ours)} {what}, {text}: {len(theirs)}; first that differ: {differ}")
        spans, ends, counts = perfetto(binary)
        print(f"{binary}: {len(spans)} spans, {ends['end']} flows and {len(counts)} counts as in the Chrome JSON")


main()
