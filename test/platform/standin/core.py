"""What the services share: request, reply, refusal, and the world they act on."""
import json
import os
import re
import sqlite3
import threading
import time
import urllib.parse
import uuid

from .journal import Journal

DEFAULTS = {
    'tenant': 'acme',
    'org': '0123456789ABCDEF01234567@AdobeOrg',
    'clients': {'profenrich-client': 'profenrich-secret'},
    'sandboxes': ['prod', 'dev'],
    # what the organisation made itself before we came: codes of identity namespaces
    'namespaces': ['CRMID'],
    # tokens issued from now on live so many seconds
    'token_life': 86399,
    # 'immediate': a bad record is refused in the reply; 'late': it is received, and turns up in a failed batch
    'validation': 'immediate',
    # a failed 207 entry says 'status' or 'statusCode'
    'failed_entry_key': 'status',
    # records that arrive sooner than this after their flow was made are received and lost
    'flow_ready_ms': 0,
    # a batch takes so long from COMPLETE to its final status
    'batch_ms': 300,
    'duplicate_external_id': 'refuse',
    # identity -> error code: records that are received, and then refused with that code
    'refuse_later': {},
    'sync_validation': True,
    'sync_validation_per_minute': 60,
    'max_request_bytes': 1048576,
    # a ranged download sends at most so many bytes at a time; null: as many as asked
    'max_range_bytes': None,
    # entries of an exports folder on one page of a listing; whether S3 wants a session token
    'store_page': 1000,
    'store_session': False,
    # where Query Service is said to be: a real server's
    'query': None,
    # parts of a snapshot in one dataset file
    'parts_per_file': 4,
}


class Refusal(Exception):
    """Unwinds to a reply that is not a success."""

    def __init__(self, status, body=None, headers=None):
        super().__init__(status)
        self.reply = Reply(status, body, headers)


class Reply:
    __slots__ = ('status', 'body', 'headers')

    def __init__(self, status, body=None, headers=None):
        self.status = status
        self.body = body
        self.headers = headers or {}

    def payload(self):
        """The body as bytes and its content type."""
        kind = self.headers.get('Content-Type')
        if self.body is None:
            return b'', kind
        if isinstance(self.body, bytes):
            return self.body, kind or 'application/octet-stream'
        if isinstance(self.body, str):
            return self.body.encode(), kind or 'text/plain'
        return json.dumps(self.body, separators=(',', ':')).encode(), kind or 'application/json'


class Request:
    __slots__ = ('method', 'target', 'path', 'query', 'headers', 'body', 'secure', 'id', 'sandbox', 'client', 'faults')

    def __init__(self, method, target, headers, body=b'', secure=True):
        path, _, query = target.partition('?')
        self.method = method
        self.target = target
        # whoever is to be told from others by rules asks below a path of his own
        self.path = re.sub(r'^/via/[^/]+', '', path)
        self.query = urllib.parse.parse_qs(query, keep_blank_values=True)
        self.headers = headers
        self.body = body
        self.secure = secure
        self.id = headers.get('x-request-id') or str(uuid.uuid4())
        self.sandbox = None
        self.client = None
        self.faults = {}

    def header(self, name):
        value = self.headers.get(name)
        return value.strip() if value is not None else None

    def argument(self, name, default=None):
        values = self.query.get(name)
        return values[0] if values else default

    def number(self, name, default, low=0, high=None):
        text = self.argument(name)
        if text is None:
            return default
        if not text.isdigit() or int(text) < low or (high is not None and int(text) > high):
            raise Refusal(400, {'title': 'Bad request', 'status': 400,
                                'detail': '%s must be a number from %s to %s' % (name, low, high)})
        return int(text)

    def origin(self):
        return '%s://%s' % ('https' if self.secure else 'http', self.header('Host') or 'localhost')

    def json(self):
        try:
            return parse_json(self.body)
        except ValueError as problem:
            raise Refusal(400, {'type': 'about:blank', 'title': 'Bad request', 'status': 400,
                                'detail': 'the body is not JSON: %s' % problem})


def _no_constant(name):
    raise ValueError('%s is not JSON' % name)


def parse_json(text):
    """JSON without Python's own NaN and Infinity."""
    return json.loads(text, parse_constant=_no_constant)


def now_ms():
    return int(time.time() * 1000)


def hex_id(length):
    return os.urandom(length // 2).hex()


_CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'


def ulid(ms=None, low=None):
    """A batch id: 48 bits of time and 80 of chance (or of a given number), 26 characters."""
    number = ((now_ms() if ms is None else ms) << 80) | (int.from_bytes(os.urandom(10), 'big') if low is None else low)
    return ''.join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


class Store:
    """Objects by sandbox, kind and id: in memory to read, in SQLite to survive a kill.

    Nothing is synced: what was written survives the process, not the machine."""

    def __init__(self, path):
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.execute('PRAGMA journal_mode = WAL')
        self.db.execute('PRAGMA synchronous = OFF')
        self.db.execute('CREATE TABLE IF NOT EXISTS object (n INTEGER PRIMARY KEY, sandbox TEXT, kind TEXT, id TEXT,'
                        ' doc TEXT, UNIQUE (sandbox, kind, id))')
        self.kinds = {}
        for sandbox, kind, key, doc in self.db.execute('SELECT sandbox, kind, id, doc FROM object ORDER BY n'):
            self.kinds.setdefault((sandbox, kind), {})[key] = json.loads(doc)

    def all(self, sandbox, kind):
        return self.kinds.setdefault((sandbox, kind), {})

    def get(self, sandbox, kind, key):
        return self.all(sandbox, kind).get(key)

    def put(self, sandbox, kind, key, doc):
        self.all(sandbox, kind)[key] = doc
        self.db.execute('INSERT INTO object (sandbox, kind, id, doc) VALUES (?, ?, ?, ?)'
                        ' ON CONFLICT (sandbox, kind, id) DO UPDATE SET doc = excluded.doc',
                        (sandbox, kind, key, json.dumps(doc)))
        return doc

    def delete(self, sandbox, kind, key):
        self.all(sandbox, kind).pop(key, None)
        self.db.execute('DELETE FROM object WHERE sandbox = ? AND kind = ? AND id = ?', (sandbox, kind, key))

    def clear(self, keep=()):
        marks = ', '.join('?' * len(keep))
        self.db.execute('DELETE FROM object WHERE kind NOT IN (%s)' % marks, tuple(keep))
        for key in list(self.kinds):
            if key[1] not in keep:
                del self.kinds[key]


class World:
    """All state. `lock` is held by whoever changes it; never while a socket is read or written."""

    def __init__(self, directory):
        self.directory = directory
        self.lock = threading.RLock()
        self.store = Store(os.path.join(directory, 'objects.db'))
        self.settings = dict(DEFAULTS)
        self.settings.update(self.store.get('', 'settings', 'settings') or {})
        self.journal = Journal(os.path.join(directory, 'journal.ndjson'))
        self.counters = {}
        self.requests = []
        # raised by every change of a schema, so that compiled checkers are made again
        self.generation = 0
        self.checkers = {}
        self.profiles = None
        self.faults = None

    def set(self, changes):
        unknown = [name for name in changes if name not in DEFAULTS]
        if unknown:
            raise Refusal(400, {'error': 'unknown setting %s' % unknown[0], 'settings': sorted(DEFAULTS)})
        self.settings.update(changes)
        self.store.put('', 'settings', 'settings', self.settings)
        self.generation += 1

    def count(self, name, n=1):
        with self.lock:
            self.counters[name] = self.counters.get(name, 0) + n

    @property
    def tenant(self):
        return self.settings['tenant']


class Router:
    """Method and path to function; the groups of the path arrive percent-decoded."""

    def __init__(self):
        self.routes = []

    def add(self, method, pattern, function):
        self.routes.append((method, re.compile(pattern + r'\Z'), pattern, function))

    def find(self, method, path):
        """(function, arguments, route name); the function is None for a wrong method, the name too for no such path."""
        known = None
        for wanted, compiled, pattern, function in self.routes:
            match = compiled.match(path)
            if match:
                known = self._name(pattern, match)
                if wanted == method:
                    return function, [urllib.parse.unquote(g) for g in match.groups()], known
        return None, [], known

    @staticmethod
    def _name(pattern, match):
        """The route as counters show it: /dataSets/*, but /tenant/schemas and /tenant/fieldgroups apart."""
        words = iter(match.groups())
        return re.sub(r'\(([^)]*)\)', lambda group: next(words) if '|' in group.group(1) else next(words) and '*', pattern)
