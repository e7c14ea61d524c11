"""The Profile store: fragments by (data set, identity), each replaced as a whole; merged when read.

It is built from the journal, so it is the same after a restart.
"""
import base64
import datetime
import hashlib

from . import snapshots
from .core import Refusal, Reply

BASE = '/data/core/ups'
ENTRY_KINDS = ('message', 'record', 'seed')


class Profiles:
    def __init__(self, journal):
        self.journal = journal
        self.rebuild()

    def rebuild(self):
        self.fragments = {}  # (sandbox, namespace, id) -> {data set: entry}
        self.links = {}      # (sandbox, namespace, id) -> set of the same
        for entry in self.journal.entries:
            self.apply(entry)

    def apply(self, entry):
        """One journal entry; those of other kinds change nothing."""
        if entry['kind'] == 'delete':
            for key in self.cluster(_key(entry['sandbox'], entry['namespace'], entry['identity'])):
                self.fragments.pop(key, None)
            return
        if entry['kind'] not in ENTRY_KINDS or entry.get('dropped'):
            return
        key = _key(entry['sandbox'], entry['namespace'], entry['identity'])
        fragments = self.fragments.setdefault(key, {})
        if entry.get('upsert') and entry['dataset'] in fragments:
            before = fragments.pop(entry['dataset'])
            entry = dict(entry, entity=_merged(before['entity'], entry['entity']))
        # the newest written comes last: that is the order in which they merge
        fragments.pop(entry['dataset'], None)
        fragments[entry['dataset']] = entry
        for code, value in entry.get('ids') or ():
            other = _key(entry['sandbox'], code, value)
            if other != key:
                self.links.setdefault(key, set()).add(other)
                self.links.setdefault(other, set()).add(key)

    def cluster(self, key):
        """All identities linked with this one, itself included."""
        seen, waiting = {key}, [key]
        while waiting:
            for other in self.links.get(waiting.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return seen

    def entity(self, sandbox, namespace, value):
        """(cluster, fragments oldest first, merged entity); no fragments: no such profile."""
        cluster = self.cluster(_key(sandbox, namespace, value))
        fragments = sorted((f for key in cluster for f in self.fragments.get(key, {}).values()), key=lambda f: f['seq'])
        merged = {}
        for fragment in fragments:
            merged = _merged(merged, fragment['entity'])
        return cluster, fragments, merged


def _key(sandbox, namespace, value):
    return sandbox, namespace.lower(), value


def _merged(below, above):
    """Objects merge member by member, all else is replaced; identityMap joins its lists."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if type(value) is dict and type(old) is dict:
            merged[name] = _join_identities(old, value) if name == 'identityMap' else _merged(old, value)
        else:
            merged[name] = value
    return merged


def _join_identities(old, new):
    joined = {code: list(items) for code, items in old.items()}
    for code, items in new.items():
        known = joined.setdefault(code, [])
        known.extend(i for i in items if i['id'] not in [k['id'] for k in known])
    return joined


def _only(entity, fields):
    """The named paths of an entity."""
    shown = {}
    for field in fields.split(','):
        value, steps = entity, field.split('.')
        for step in steps:
            value = value.get(step) if type(value) is dict else None
        if value is not None:
            into = shown
            for step in steps[:-1]:
                into = into.setdefault(step, {})
            into[steps[-1]] = value
    return shown


def _asked(request):
    if request.argument('schema.name') != '_xdm.context.profile':
        raise Refusal(400, {'status': 400, 'title': 'Bad request', 'detail': 'schema.name is required', 'type': 'about:blank'})
    value, namespace = request.argument('entityId'), request.argument('entityIdNS')
    if not value or not namespace:
        raise Refusal(400, {'status': 400, 'title': 'Bad request', 'detail': 'entityId and entityIdNS are required',
                            'type': 'about:blank'})
    return namespace, value


def read(world, request):
    namespace, value = _asked(request)
    names = [p['id'] for p in snapshots.policies_view(world)]
    policy = request.argument('mergePolicyId') or names[0]
    if policy not in names:
        raise Refusal(404, {'status': 404, 'title': 'Merge policy not found', 'type': 'about:blank'})
    with world.lock:
        cluster, fragments, merged = world.profiles.entity(request.sandbox, namespace, value)
    if not fragments:
        raise Refusal(404, {'status': 404, 'title': 'Profile not found', 'type': 'about:blank',
                            'detail': 'no profile of that identity'})
    if request.argument('fields'):
        merged = _only(merged, request.argument('fields'))
    digest = hashlib.sha256(repr(sorted(cluster)).encode()).digest()
    opaque = base64.urlsafe_b64encode(digest).decode()[:38]
    return Reply(200, {opaque: {
        'entityId': opaque, 'mergePolicy': {'id': policy}, 'sources': sorted({f['dataset'] for f in fragments}),
        'tags': [], 'identityGraph': [opaque], 'entity': merged,
        'lastModifiedAt': _iso(max(f['time'] for f in fragments))}})


def _iso(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')


def delete(world, request):
    namespace, value = _asked(request)
    with world.lock:
        entry = {'kind': 'delete', 'sandbox': request.sandbox, 'namespace': namespace, 'identity': value}
        world.journal.append([entry])
        world.profiles.apply(entry)
    return Reply(202)


def merge_policies(world, request):
    policies = snapshots.policies_view(world)
    wanted = request.argument('schema.name')
    if wanted:
        policies = [p for p in policies if p['schema']['name'] == wanted]
    return Reply(200, {'_page': {'count': len(policies)}, 'children': policies})


def routes(router):
    router.add('GET', BASE + '/access/entities', read)
    router.add('DELETE', BASE + '/access/entities', delete)
    router.add('GET', BASE + '/config/mergePolicies', merge_policies)
