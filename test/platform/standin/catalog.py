"""Catalog: data sets and batches. Lists are objects keyed by id."""
import re
import time

from . import events, jsonpatch, registry, snapshots
from .core import Refusal, Reply, hex_id, now_ms, ulid

BASE = '/data/foundation/catalog'
CONTENT_TYPE = re.compile(r'application/vnd\.adobe\.xed(-full)?(-notext)?\+json;\s*version=1(\.0)?\Z')
GOOD = ('success', 'active')


def refuse(status, text):
    raise Refusal(status, {'type': '/placeholder/type/uri', 'status': status, 'title': 'CatalogError', 'detail': text})


def enabled(dataset, tag='unifiedProfile'):
    values = (dataset.get('tags') or {}).get(tag) or []
    return any(v.replace(' ', '') == 'enabled:true' for v in values)


def upserts(dataset):
    return any(v.replace(' ', '') == 'isUpsert:true' for v in (dataset.get('tags') or {}).get('unifiedProfile') or [])


def find_dataset(world, sandbox, key):
    return (world.store.get(sandbox, 'dataSets', key) or snapshots.datasets(world, sandbox).get(key)
            or events.datasets(world, sandbox).get(key))


# -- data sets -----------------------------------------------------------------

def _check_dataset(world, sandbox, dataset):
    name, reference = dataset.get('name'), dataset.get('schemaRef')
    if type(name) is not str or not name:
        refuse(400, 'name is required')
    if type(reference) is not dict or type(reference.get('id')) is not str:
        refuse(400, 'schemaRef is required')
    if not CONTENT_TYPE.match(reference.get('contentType') or ''):
        refuse(400, 'schemaRef.contentType is invalid')
    schema = registry.find_schema(world, sandbox, reference['id'])
    if schema is None:
        refuse(400, 'no schema %s' % reference['id'])
    tags = dataset.get('tags', {})
    if type(tags) is not dict or any(type(v) is not list or any(type(s) is not str for s in v) for v in tags.values()):
        refuse(400, 'tags are arrays of strings')
    if enabled(dataset) and not registry.is_union(schema):
        refuse(400, 'the schema is not enabled for Profile')
    if enabled(dataset) and not enabled(dataset, 'unifiedIdentity'):
        refuse(400, 'unifiedIdentity must be enabled with unifiedProfile')


def create_dataset(world, request):
    body = request.json()
    if type(body) is not dict:
        refuse(400, 'an object is expected')
    with world.lock:
        _check_dataset(world, request.sandbox, body)
        if (request.header('Pragma') or '') == 'validate-only':
            return Reply(200, [])
        key = hex_id(24)
        made = dict(body, id=key, created=now_ms(), updated=now_ms(), imsOrg=world.settings['org'], state='DRAFT',
                    version='1.0.0', createdClient=request.client, sandboxId='standin-' + request.sandbox,
                    classification={'dataBehavior': 'record', 'managedBy': 'CUSTOMER'})
        made['tags'] = dict(body.get('tags') or {})
        table = re.sub(r'[^a-z0-9]+', '_', body['name'].lower())
        made['tags'].setdefault('adobe/pqs/table', [table])
        world.store.put(request.sandbox, 'dataSets', key, made)
    return Reply(201, ['@/dataSets/' + key])


def patch_dataset(world, request, key):
    kind = (request.header('Content-Type') or '').split(';')[0]
    with world.lock:
        before = world.store.get(request.sandbox, 'dataSets', key)
        if before is None:
            refuse(404, 'no data set %s' % key)
        if kind == 'application/json-patch+json':
            after = jsonpatch.apply(before, request.json())
        elif kind == 'application/json':
            body = request.json()
            if type(body) is not dict:
                refuse(400, 'application/json carries an object; a patch is application/json-patch+json')
            after = dict(before, **body)
        else:
            refuse(415, 'content type')
        if after.get('id') != key or after.get('schemaRef') != before['schemaRef']:
            refuse(400, 'id and schemaRef may not change')
        _check_dataset(world, request.sandbox, after)
        after['updated'] = now_ms()
        world.store.put(request.sandbox, 'dataSets', key, after)
    return Reply(200, ['@/dataSets/' + key])


def one_dataset(world, request, key):
    with world.lock:
        found = find_dataset(world, request.sandbox, key)
        if found is None:
            refuse(404, 'no data set %s' % key)
        return Reply(200, _project(request, {key: _without_id(found)}))


def delete_dataset(world, request, key):
    with world.lock:
        if world.store.get(request.sandbox, 'dataSets', key) is None:
            refuse(404, 'no data set %s' % key)
        world.store.delete(request.sandbox, 'dataSets', key)
    return Reply(200, ['@/dataSets/' + key])


def list_datasets(world, request):
    with world.lock:
        found = dict(world.store.all(request.sandbox, 'dataSets'))
        found.update(snapshots.datasets(world, request.sandbox))
        found.update(events.datasets(world, request.sandbox))
        return Reply(200, _select(request, found, {'name', 'state'}))


# -- lists ---------------------------------------------------------------------

def _without_id(document):
    return {k: v for k, v in document.items() if k != 'id'}


def _reach(document, path):
    for step in path.split('.'):
        document = document.get(step) if type(document) is dict else None
    return document


def _conditions(request, plain):
    """The filters as functions of a document."""
    checks = []
    for name in plain & set(request.query):
        value = request.query[name][0]
        wanted = value.lstrip('!')
        checks.append(lambda d, n=name, w=wanted, no=value.startswith('!'): (str(_reach(d, n)) in w.split(',')) != no)
    for text in request.query.get('property', []):
        match = re.match(r'([\w./@-]+)(==|!=|~|<|>)(.*)\Z', text)
        if match:
            checks.append(_property(*match.groups()))
        elif not re.match(r'[\w.]+\Z', text):
            refuse(400, 'cannot read property=%s' % text)
        else:
            checks.append(lambda d, n=text: _reach(d, n) is not None)
    for text in request.query.get('tags', []):
        name, _, value = text.partition(':')
        checks.append(lambda d, n=name, v=value: any(v == '*' or v == t for t in (d.get('tags') or {}).get(n) or []))
    for name, after in (('createdAfter', True), ('createdBefore', False)):
        if name in request.query:
            limit = request.number(name, 0)
            checks.append(lambda d, l=limit, a=after: (d['created'] > l) if a else (d['created'] < l))
    return checks


def _property(name, operator, value):
    if operator == '~':
        try:
            pattern = re.compile(value)
        except re.error:
            refuse(400, 'cannot read the pattern %s' % value)
        return lambda d: bool(pattern.search(str(_reach(d, name) or '')))
    if operator in '<>':
        number = float(value)
        return lambda d: (float(_reach(d, name) or 0) < number) if operator == '<' else (float(_reach(d, name) or 0) > number)
    return lambda d: (str(_reach(d, name)) == value) == (operator == '==')


def _select(request, found, plain):
    """Filter, order and page what a list call found."""
    checks = _conditions(request, plain)
    rows = [(key, _without_id(document)) for key, document in found.items() if all(c(document) for c in checks)]
    order = request.argument('orderBy')
    if order:
        direction, _, names = order.rpartition(':')
        for name in reversed(names.split(',')):
            rows.sort(key=lambda row: _reach(row[1], name) or 0, reverse=direction == 'desc')
    limit, start = request.number('limit', 20, 1, 100), request.number('start', 0)
    return _project(request, dict(rows[start:start + limit]))


def _project(request, found):
    names = request.argument('properties')
    if not names:
        return found
    wanted = names.split(',')
    return {key: {n.split('.')[0]: d[n.split('.')[0]] for n in wanted if n.split('.')[0] in d} for key, d in found.items()}


# -- batches -------------------------------------------------------------------

def new_batch(world, sandbox, dataset, **more):
    """A batch of a data set, stored; the caller holds the lock."""
    now = now_ms()
    key = ulid(now)
    made = {'id': key, 'status': 'loading', 'created': now, 'updated': now, 'started': now, 'imsOrg': world.settings['org'],
            'version': '1.0.0', 'tags': {}, 'errors': [], 'createdUser': 'standin', 'updatedUser': 'standin',
            'relatedObjects': [{'type': 'dataSet', 'id': dataset}], 'externalId': key}
    made.update(more)
    return world.store.put(sandbox, 'batches', key, made)


def batch_view(batch):
    """The batch as Catalog shows it now: its outcome appears after it has run through the states before."""
    shown = {k: v for k, v in batch.items() if not k.startswith('standin:')}
    begun, ready = batch.get('standin:completed'), batch.get('standin:ready')
    if begun is not None:
        done = 1.0 if ready <= begun else (time.time() * 1000 - begun) / (ready - begun)
        if done < 1.0:
            shown['status'] = ('loaded', 'queued', 'processing', 'staging')[int(done * 4)]
            shown.pop('completed', None)
            shown['errors'] = []
            shown.pop('metrics', None)
    return shown


def batch_dataset(batch):
    return next(r['id'] for r in batch['relatedObjects'] if r['type'] == 'dataSet')


def all_batches(world, sandbox):
    found = {key: batch_view(b) for key, b in world.store.all(sandbox, 'batches').items()}
    found.update(snapshots.batches(world, sandbox))
    found.update(events.batches(world, sandbox))
    return found


def list_batches(world, request):
    with world.lock:
        found = all_batches(world, request.sandbox)
        wanted = request.argument('dataSet')
        if wanted:
            found = {k: b for k, b in found.items() if batch_dataset(b) in wanted.split(',')}
        return Reply(200, _select(request, found, {'status', 'externalId'}))


def one_batch(world, request, key):
    with world.lock:
        found = all_batches(world, request.sandbox).get(key)
        if found is None:
            refuse(404, 'no batch %s' % key)
        return Reply(200, {key: _without_id(found)})


def last_batches(world, request):
    with world.lock:
        batches = sorted(all_batches(world, request.sandbox).items(), key=lambda row: (row[1]['created'], row[0]))
    shown = {}
    for key, batch in batches:
        dataset = batch_dataset(batch)
        if dataset not in (request.argument('dataSetId') or dataset).split(','):
            continue
        entry = shown.setdefault(dataset, {'imsOrg': world.settings['org'], 'created': batch['created']})
        entry.update(lastBatchId=key, lastBatchStatus=batch['status'], updated=batch['updated'])
        if batch['status'] in GOOD:
            entry['lastSuccessfulBatchId'] = key
        if batch['status'] in ('failed', 'failure'):
            entry['lastFailedBatchId'] = key
    return Reply(200, shown)


def query_connection(world, request):
    """How to connect to Query Service."""
    if not world.settings['query']:
        refuse(404, 'no Query Service here')
    return Reply(200, dict({'username': world.settings['org'], 'dbName': 'prod:all', 'version': 1}, **world.settings['query']))


def routes(router):
    router.add('GET', '/data/foundation/query/connection_parameters', query_connection)
    router.add('GET', BASE + '/dataSets', list_datasets)
    router.add('POST', BASE + '/dataSets', create_dataset)
    router.add('GET', BASE + '/dataSets/([^/]+)', one_dataset)
    router.add('PATCH', BASE + '/dataSets/([^/]+)', patch_dataset)
    router.add('DELETE', BASE + '/dataSets/([^/]+)', delete_dataset)
    router.add('GET', BASE + '/batches', list_batches)
    router.add('GET', BASE + '/batches/([^/]+)', one_batch)
    router.add('GET', BASE + '/lastBatches', last_batches)
