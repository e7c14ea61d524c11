"""The append-only journal: one JSON line for each record that was accepted, and for each profile deleted.

A request's lines go out in one write before its reply does, so whoever saw the reply finds them after a
kill. Nothing is synced. A line cut short by a kill is dropped at the next start: its reply was never sent.
"""
import json
import os
import time


class Journal:
    def __init__(self, path):
        self.path = path
        self.seq = 0
        self.entries = []
        if os.path.exists(path):
            self._read()
        self.file = open(path, 'ab', buffering=0)

    def _read(self):
        whole = 0
        with open(self.path, 'rb') as lines:
            for line in lines:
                if not line.endswith(b'\n'):
                    break
                entry = json.loads(line)
                self.entries.append(entry)
                self.seq = max(self.seq, entry['seq'])
                whole += len(line)
        os.truncate(self.path, whole)

    def append(self, entries):
        """Number, write and keep the entries (dicts) of one request."""
        if not entries:
            return
        now = int(time.time() * 1000)
        for entry in entries:
            self.seq += 1
            entry['seq'] = self.seq
            entry['time'] = now
        data = memoryview(('\n'.join([json.dumps(e, separators=(',', ':')) for e in entries]) + '\n').encode())
        while data:
            data = data[self.file.write(data):]
        self.entries.extend(entries)

    def clear(self):
        self.entries = []
        self.seq = 0
        os.truncate(self.path, 0)

    def select(self, kind=('message',), dataset=None, inlet=None, since=0):
        for entry in self.entries:
            if (entry['seq'] > since and (kind is None or entry['kind'] in kind) and
                    (dataset is None or entry.get('dataset') == dataset) and
                    (inlet is None or entry.get('inlet') == inlet)):
                yield entry

    def summary(self, **which):
        """How often each identity of each data set was accepted."""
        seen = {}
        first = last = None
        total = 0
        for entry in self.select(**which):
            total += 1
            first = first or entry['time']
            last = entry['time']
            key = (entry['dataset'], entry['namespace'], entry['identity'])
            seen[key] = seen.get(key, 0) + 1
        repeats = {}
        for times in seen.values():
            repeats[times] = repeats.get(times, 0) + 1
        return {'accepted': total, 'identities': len(seen), 'repeats': {str(k): v for k, v in sorted(repeats.items())},
                'last_seq': self.seq, 'first_ms': first, 'last_ms': last}
