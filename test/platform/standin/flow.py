"""Flow Service: from a connection to an inlet and a flow."""
import uuid

from . import catalog, registry
from .core import Refusal, Reply, hex_id, now_ms

BASE = '/data/foundation/flowservice'
HTTP_SPEC = 'bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb'
TARGET_SPEC = 'c604ff05-7f1a-43c0-8e18-33bf874cb11c'
XDM_FLOW = 'd8a6f005-7eaf-4153-983e-e8574508b877'
KINDS = 'connections|sourceConnections|targetConnections|flows'


def refuse(status, text):
    raise Refusal(status, {'errorCode': 'CONNECTOR-1001-%d' % status, 'statusCode': status, 'message': text,
                           'requestId': str(uuid.uuid4())})


def _need(body, *names):
    for name in names:
        if not body.get(name):
            refuse(400, '%s is required' % name)


def _spec(body, wanted):
    spec = body.get('connectionSpec')
    if type(spec) is not dict or spec.get('id') != wanted:
        refuse(400, 'connectionSpec.id is not the one of a streaming connection')


def _check_connection(world, sandbox, body):
    _need(body, 'name', 'connectionSpec', 'auth')
    _spec(body, HTTP_SPEC)
    params = body['auth'].get('params') if type(body['auth']) is dict else None
    if type(params) is not dict or body['auth'].get('specName') != 'Streaming Connection':
        refuse(400, 'auth needs specName and params')
    _need(params, 'sourceId', 'dataType', 'name')
    if params['dataType'] not in ('xdm', 'raw'):
        refuse(400, 'auth.params.dataType is xdm or raw')
    if type(params.get('authenticationRequired', False)) is not bool:
        refuse(400, 'auth.params.authenticationRequired is a boolean')


def _check_source(world, sandbox, body):
    _need(body, 'name', 'baseConnectionId', 'connectionSpec')
    _spec(body, HTTP_SPEC)
    if world.store.get(sandbox, 'connections', body['baseConnectionId']) is None:
        refuse(400, 'no base connection %s' % body['baseConnectionId'])


def _check_target(world, sandbox, body):
    _need(body, 'name', 'connectionSpec', 'data', 'params')
    _spec(body, TARGET_SPEC)
    schema = body['data'].get('schema') or {}
    dataset = world.store.get(sandbox, 'dataSets', (body['params'] or {}).get('dataSetId'))
    if dataset is None:
        refuse(400, 'no data set %s' % (body['params'] or {}).get('dataSetId'))
    if registry.find_schema(world, sandbox, schema.get('id')) is None:
        refuse(400, 'no schema %s' % schema.get('id'))
    if schema['id'] != dataset['schemaRef']['id']:
        refuse(400, 'the schema is not the one of the data set')
    if not (schema.get('version') or '').startswith('application/vnd.adobe.xed'):
        refuse(400, 'data.schema.version is invalid')


def _check_flow(world, sandbox, body):
    _need(body, 'name', 'flowSpec', 'sourceConnectionIds', 'targetConnectionIds')
    if type(body['flowSpec']) is not dict or body['flowSpec'].get('id') != XDM_FLOW:
        refuse(400, 'flowSpec.id is not the one of XDM streaming')
    for kind in ('sourceConnection', 'targetConnection'):
        ids = body[kind + 'Ids']
        if type(ids) is not list or len(ids) != 1:
            refuse(400, '%sIds is an array of one' % kind)
        if world.store.get(sandbox, kind + 's', ids[0]) is None:
            refuse(400, 'no %s %s' % (kind, ids[0]))


_CHECKS = {'connections': _check_connection, 'sourceConnections': _check_source, 'targetConnections': _check_target,
           'flows': _check_flow}


def create(world, request, kind):
    body = request.json()
    if type(body) is not dict:
        refuse(400, 'an object is expected')
    with world.lock:
        _CHECKS[kind](world, request.sandbox, body)
        key = str(uuid.uuid4())
        made = dict(body, id=key, etag='"%s"' % hex_id(32), createdAt=now_ms(), updatedAt=now_ms(), createdBy='standin',
                    createdClient=request.client, imsOrgId=world.settings['org'], state='enabled', version=hex_id(8),
                    sandboxName=request.sandbox)
        if kind == 'connections':
            inlet = hex_id(64)
            made['auth']['params']['inletId'] = inlet
            world.store.put('', 'inlets', inlet, {'connection': key, 'sandbox': request.sandbox})
        if kind == 'flows':
            made['inheritedAttributes'] = _inherited(world, request.sandbox, body)
        world.store.put(request.sandbox, kind, key, made)
    return Reply(201, {'id': key, 'etag': made['etag']})


def _inherited(world, sandbox, body):
    source = world.store.get(sandbox, 'sourceConnections', body['sourceConnectionIds'][0])
    target = world.store.get(sandbox, 'targetConnections', body['targetConnectionIds'][0])
    return {'sourceConnections': [{'id': source['id'], 'baseConnection': {'id': source['baseConnectionId']}}],
            'targetConnections': [{'id': target['id']}]}


def _shown(request, kind, item):
    if kind != 'connections':
        return item
    params = dict(item['auth']['params'])
    params['inletUrl'] = '%s/collection/%s' % (request.origin(), params['inletId'])
    return dict(item, auth=dict(item['auth'], params=params))


def listing(world, request, kind):
    with world.lock:
        items = [_shown(request, kind, i) for i in world.store.all(request.sandbox, kind).values()]
    for text in request.query.get('property', []):
        name, operator, value = text.partition('==')
        if not operator:
            refuse(400, 'cannot read property=%s' % text)
        items = [i for i in items if _has(i, name.split('.'), value)]
    order = request.argument('orderby')
    if order:
        items.sort(key=lambda i: str(i.get(order.lstrip('-'), '')), reverse=order.startswith('-'))
    limit = request.number('limit', 20, 1, 100)
    token = request.argument('continuationToken')
    start = int(token) if token and token.isdigit() else 0
    links = {}
    page = {'count': len(items[start:start + limit])}
    if start + limit < len(items):
        page['continuationToken'] = str(start + limit)
        links = {'next': {'href': '%s?limit=%d&continuationToken=%d' % (request.path, limit, start + limit)}}
    return Reply(200, {'items': items[start:start + limit], '_page': page, '_links': links})


def _has(item, steps, value):
    for step in steps:
        item = item.get(step) if type(item) is dict else None
    return value in item if type(item) is list else str(item) == value


def one(world, request, kind, key):
    with world.lock:
        found = world.store.get(request.sandbox, kind, key)
        if found is None:
            refuse(404, 'no %s %s' % (kind, key))
        return Reply(200, {'items': [_shown(request, kind, found)]})


def delete(world, request, kind, key):
    with world.lock:
        found = world.store.get(request.sandbox, kind, key)
        if found is None:
            refuse(404, 'no %s %s' % (kind, key))
        if request.header('If-Match') != found['etag']:
            refuse(412 if request.header('If-Match') else 428, 'If-Match is not the etag')
        if kind == 'connections':
            world.store.delete('', 'inlets', found['auth']['params']['inletId'])
        world.store.delete(request.sandbox, kind, key)
    return Reply(204)


def inlet_connection(world, inlet):
    """(sandbox, connection) of an inlet, or None."""
    known = world.store.get('', 'inlets', inlet)
    return known and (known['sandbox'], world.store.get(known['sandbox'], 'connections', known['connection']))


def flow_route(world, sandbox, flow_id):
    """(flow, base connection id, data set) of a flow, or None."""
    flow = world.store.get(sandbox, 'flows', flow_id)
    source = flow and world.store.get(sandbox, 'sourceConnections', flow['sourceConnectionIds'][0])
    target = flow and world.store.get(sandbox, 'targetConnections', flow['targetConnectionIds'][0])
    if not source or not target:
        return None
    return flow, source['baseConnectionId'], catalog.find_dataset(world, sandbox, target['params']['dataSetId'])


def routes(router):
    router.add('GET', BASE + '/(%s)' % KINDS, listing)
    router.add('POST', BASE + '/(%s)' % KINDS, create)
    router.add('GET', BASE + '/(%s)/([^/]+)' % KINDS, one)
    router.add('DELETE', BASE + '/(%s)/([^/]+)' % KINDS, delete)
