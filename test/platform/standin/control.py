"""The control endpoint: settings, faults, journal, counters. Loopback only, no authorisation."""
import json
import os

from . import batch, catalog, ims
from .core import Refusal, Reply, parse_json

BASE = '/__control'


def status(world, request):
    with world.lock:
        return Reply(200, {'settings': world.settings, 'counters': world.counters, 'journal': world.journal.seq,
                           'profiles': len(world.profiles.fragments), 'pid': os.getpid()})


def settings(world, request):
    with world.lock:
        world.set(request.json())
        return Reply(200, world.settings)


def add_faults(world, request):
    return Reply(200, world.faults.add(request.json()))


def list_faults(world, request):
    return Reply(200, world.faults.view())


def clear_faults(world, request):
    world.faults.remove()
    return Reply(200, [])


def remove_fault(world, request, rule):
    world.faults.remove(rule)
    return Reply(200, [])


def connections(world, request):
    world.faults.connections = request.json()
    return Reply(200, world.faults.connections)


def expire_tokens(world, request):
    ims.expire_all(world)
    return Reply(200, {})


def list_tokens(world, request):
    with world.lock:
        return Reply(200, dict(world.store.all('', 'tokens')))


def revoke_token(world, request, token):
    with world.lock:
        world.store.delete('', 'tokens', token)
    return Reply(200, {})


def _which(request):
    kind = request.argument('kind', 'message')
    return {'kind': None if kind == 'all' else kind.split(','), 'dataset': request.argument('dataset'),
            'inlet': request.argument('inlet'), 'since': request.number('since', 0)}


def journal(world, request):
    """The accepted messages: NDJSON, or format=tsv for COPY: seq, ms, dataset, namespace, identity, request, entity."""
    with world.lock:
        entries = list(world.journal.select(**_which(request)))
    if request.argument('format') != 'tsv':
        return Reply(200, ''.join(json.dumps(e) + '\n' for e in entries), {'Content-Type': 'application/x-ndjson'})
    lines = []
    for e in entries:
        fields = (e['seq'], e['time'], e['dataset'], e['namespace'], e['identity'], e.get('request', ''),
                  json.dumps(e['entity']))
        lines.append('\t'.join(str(f).replace('\\', '\\\\').replace('\t', '\\t').replace('\n', '\\n').replace('\r', '\\r')
                               for f in fields) + '\n')
    return Reply(200, ''.join(lines), {'Content-Type': 'text/tab-separated-values'})


def journal_summary(world, request):
    with world.lock:
        return Reply(200, world.journal.summary(**_which(request)))


def counters(world, request):
    with world.lock:
        return Reply(200, dict(world.counters))


def clear_counters(world, request):
    with world.lock:
        world.counters.clear()
        world.requests.clear()
    return Reply(200, {})


def requests(world, request):
    """The latest requests, oldest first, without bearer tokens."""
    with world.lock:
        return Reply(200, list(world.requests))


def seed(world, request):
    """Profiles that were there before: NDJSON of {"namespace", "identity", "entity"[, "dataset"]}."""
    entries = []
    for line in request.body.splitlines():
        row = parse_json(line)
        entry = {'kind': 'seed', 'sandbox': row.get('sandbox', 'prod'), 'dataset': row.get('dataset', 'standin-crm'),
                 'namespace': row['namespace'], 'identity': row['identity'], 'entity': row['entity']}
        ids = [(code, item['id']) for code, items in (row['entity'].get('identityMap') or {}).items() for item in items]
        if len(ids) > 1:
            entry['ids'] = ids
        entries.append(entry)
    with world.lock:
        world.journal.append(entries)
        for entry in entries:
            world.profiles.apply(entry)
    return Reply(200, {'profiles': len(entries)})


def other_batches(world, request):
    """{"count": n}: so many batches of somebody else's data set have landed just now."""
    body = request.json()
    with world.lock:
        for _ in range(body['count']):
            catalog.new_batch(world, body.get('sandbox', 'prod'), 'standin-other', status='success')
    return Reply(200, body)


def profile_list(world, request):
    """Every fragment: {namespace, identity, dataset, seq}."""
    with world.lock:
        return Reply(200, [{'sandbox': k[0], 'namespace': k[1], 'identity': k[2], 'datasets': {d: e['seq'] for d, e in f.items()}}
                           for k, f in world.profiles.fragments.items()])


def profile(world, request):
    """The merged entity of ?namespace=&identity=[&sandbox=]."""
    with world.lock:
        _, fragments, merged = world.profiles.entity(request.argument('sandbox', 'prod'), request.argument('namespace', ''),
                                                     request.argument('identity', ''))
    if not fragments:
        raise Refusal(404, {'error': 'no such profile'})
    return Reply(200, merged)


def objects(world, request, sandbox, kind):
    """The stored objects of a kind: schemas, mixins, descriptors, dataSets, flows, ..."""
    with world.lock:
        return Reply(200, dict(world.store.all(sandbox, kind)))


def reset(world, request):
    """Back to an empty platform; ?keep=objects forgets journal, counters and faults only."""
    with world.lock:
        if request.argument('keep') != 'objects':
            world.store.clear(keep=('settings',))
            batch.forget_files(world)
            world.generation += 1
        world.journal.clear()
        world.profiles.rebuild()
        world.counters.clear()
        world.requests.clear()
        world.faults.remove()
    return Reply(200, {})


def certificate(world, request):
    """Present another certificate to new connections: good, untrusted, wrong_host or expired."""
    kind = request.json().get('kind')
    try:
        world.present(kind)
    except KeyError:
        raise Refusal(400, {'error': 'unknown kind of certificate'})
    return Reply(200, {'kind': kind})


def make_port(world, request):
    return Reply(200, {'port': world.extra_port(request.json().get('kind', 'good'))})


def change_port(world, request, port):
    return Reply(200, {'port': world.extra_port(request.json().get('kind', 'good'), int(port))})


def shut_down(world, request):
    world.stop()
    return Reply(200, {})


def routes(router):
    for method, path, function in (
            ('GET', '', status), ('POST', '/settings', settings),
            ('GET', '/faults', list_faults), ('POST', '/faults', add_faults), ('DELETE', '/faults', clear_faults),
            ('DELETE', '/faults/([^/]+)', remove_fault), ('POST', '/connections', connections),
            ('POST', '/expire-tokens', expire_tokens),
            ('GET', '/tokens', list_tokens), ('DELETE', '/tokens/([^/]+)', revoke_token), ('GET', '/journal', journal),
            ('GET', '/journal/summary', journal_summary), ('GET', '/counters', counters),
            ('DELETE', '/counters', clear_counters), ('GET', '/requests', requests), ('POST', '/profiles', seed),
            ('POST', '/other-batches', other_batches), ('GET', '/profiles', profile_list), ('GET', '/profile', profile), ('GET', '/objects/([^/]+)/([^/]+)', objects), ('POST', '/reset', reset),
            ('POST', '/ports', make_port), ('POST', '/ports/([0-9]+)', change_port),
            ('POST', '/certificate', certificate), ('POST', '/shut-down', shut_down)):
        router.add(method, BASE + path, function)
