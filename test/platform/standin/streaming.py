"""The collection host: one message, or a batch of messages that is always answered 207."""
import json
import random
import threading
import uuid

from . import batch, catalog, flow, ims, registry, xdm
from .core import Refusal, Reply, hex_id, now_ms

PROBLEM = 'https://ns.adobe.com/adobecloud/problem/data-collection-service/inlet'


def _problem(status, title, message, **more):
    return {'type': PROBLEM, 'status': status, 'title': title, 'report': dict({'message': message}, **more)}


class MessageRefusal(Exception):
    def __init__(self, status, message, validation=None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.validation = validation


class Arrivals:
    """The messages of one request on their way into the journal."""

    def __init__(self, world, request, inlet, sandbox, connection):
        self.world = world
        self.request = request
        self.inlet = inlet
        self.sandbox = sandbox
        self.connection = connection
        self.headers_seen = {}
        self.accepted = []
        self.late = {}  # data set -> [(entity, violation)]

    def take(self, message):
        """Accept one message, or raise MessageRefusal."""
        if type(message) is not dict:
            raise MessageRefusal(400, 'The message is not an object')
        header, body = message.get('header'), message.get('body')
        if type(header) is not dict:
            raise MessageRefusal(400, "The 'header' field is mandatory and it cannot be null or empty.")
        if type(body) is not dict:
            raise MessageRefusal(400, "The 'body' field is mandatory and it cannot be null or empty.")
        checker, dataset, lost = self._header(header)
        entity = body.get('xdmEntity')
        if type(entity) is not dict or not entity:
            raise MessageRefusal(400, 'Payload body is missing xdmEntity')
        if (body.get('xdmMeta') or {}).get('schemaRef') != header['schemaRef']:
            raise MessageRefusal(400, 'Message has unknown xdm format: xdmMeta and header name different schemas')
        try:
            (code, value), identities = checker.check(entity)
        except xdm.Violation as violation:
            if self.world.settings['validation'] == 'late':
                self.late.setdefault(dataset, []).append((entity, violation))
                return
            raise MessageRefusal(400, 'Invalid XDM Message Format: %s: %s' % (violation.pointer, violation.message), violation)
        try:
            batch.refuse_scripted(self.world, value)
        except xdm.Violation as violation:
            self.late.setdefault(dataset, []).append((entity, violation))
            return
        if lost:
            self.world.count('messages lost before the flow was ready')
            return
        entry = {'kind': 'message', 'sandbox': self.sandbox, 'inlet': self.inlet, 'dataset': dataset,
                 'namespace': code, 'identity': value, 'request': self.request.id, 'entity': entity}
        if len(identities) > 1:
            entry['ids'] = identities
        if len(self.request.body) > xdm.MAX_RECORD and len(json.dumps(entity)) > xdm.MAX_RECORD:
            # received like any other, and never seen in Profile
            entry['dropped'] = 'larger than 100 KB'
        self.accepted.append(entry)

    def _header(self, header):
        """(checker, data set, lost) of a message header; headers of one request are mostly the same."""
        reference = header.get('schemaRef')
        if type(reference) is not dict:
            raise MessageRefusal(400, 'Message has unknown xdm format: schemaRef is missing')
        key = (reference.get('id'), reference.get('contentType'), header.get('imsOrgId'), header.get('datasetId'),
               header.get('flowId'))
        known = self.headers_seen.get(key)
        if known is None:
            with self.world.lock:
                known = self.headers_seen[key] = self._look_up(*key)
        return known

    def _look_up(self, schema_id, content_type, org, dataset_id, flow_id):
        world = self.world
        if org != world.settings['org']:
            raise MessageRefusal(400, 'absent or wrong ims org in the header')
        dataset = catalog.find_dataset(world, self.sandbox, dataset_id)
        if dataset is None:
            raise MessageRefusal(400, 'datasetId is missing or names no data set')
        if not catalog.CONTENT_TYPE.match(content_type or ''):
            raise MessageRefusal(400, 'Message has unknown xdm format: contentType')
        if schema_id != dataset['schemaRef']['id']:
            raise MessageRefusal(400, 'Message has unknown xdm format: schemaRef is not the one of the data set')
        route = flow.flow_route(world, self.sandbox, flow_id) if type(flow_id) is str else None
        if route is None:
            raise MessageRefusal(400, 'flowId is missing or names no flow')
        if route[1] != self.connection['id'] or route[2] is None or route[2]['id'] != dataset_id:
            raise MessageRefusal(400, 'the flow does not lead from this inlet to this data set')
        schema = registry.find_schema(world, self.sandbox, schema_id)
        if not registry.is_union(schema):
            raise MessageRefusal(400, 'the schema is not enabled for Profile')
        if not catalog.enabled(dataset):
            raise MessageRefusal(400, 'the data set is not enabled for Profile')
        lost = now_ms() - route[0]['createdAt'] < world.settings['flow_ready_ms']
        return registry.checker(world, self.sandbox, schema), dataset_id, lost

    def keep(self):
        """Journal what was accepted; after this it is part of the profiles, whatever becomes of the reply."""
        with self.world.lock:
            self.world.journal.append(self.accepted)
            for entry in self.accepted:
                self.world.profiles.apply(entry)
            self.world.count('messages accepted', len(self.accepted))
            for dataset, failed in self.late.items():
                batch.failed_stream(self.world, self.sandbox, dataset, failed)


def _open(world, request, inlet):
    known = flow.inlet_connection(world, inlet)
    if known is None or known[1] is None:
        raise Refusal(404, _problem(404, 'Inlet', '[%s] Inlet is not found' % inlet))
    sandbox, connection = known
    ims.collection_gateway(world, request, connection['auth']['params'].get('authenticationRequired', False))
    for name in ('x-api-key', 'x-gw-ims-org-id', 'x-sandbox-name'):
        if not request.header(name):
            raise Refusal(400, _problem(400, 'Header', 'Required header %s is missing' % name))
    if request.header('x-sandbox-name') != sandbox:
        raise Refusal(400, _problem(400, 'Sandbox', 'the inlet is of another sandbox'))
    if request.header('Content-Type') != 'application/json':
        raise Refusal(415, _problem(415, 'Content type', 'the content type is exactly application/json'))
    if len(request.body) > world.settings['max_request_bytes']:
        raise Refusal(413, _problem(413, 'Payload Too Large', 'the request is larger than 1 MB'))
    try:
        body = request.json()
    except Refusal:
        raise Refusal(400, _problem(400, 'Invalid JSON', 'the body is not JSON'))
    return Arrivals(world, request, inlet, sandbox, connection), body


_sync_calls = {}
_sync_lock = threading.Lock()


def _check_sync(world, request, inlet):
    """Is sync validation asked for? It is rationed, and not in every region."""
    if request.argument('syncValidation') != 'true':
        return False
    if not world.settings['sync_validation']:
        raise Refusal(501, _problem(501, 'Not Implemented', 'sync validation is not available in this region'))
    with _sync_lock:
        recent = [t for t in _sync_calls.get(inlet, []) if t > now_ms() - 60000]
        if len(recent) >= world.settings['sync_validation_per_minute']:
            raise Refusal(429, _problem(429, 'Too many requests', 'sync validation is limited'), {'Retry-After': '10'})
        _sync_calls[inlet] = recent + [now_ms()]
    return True


def single(world, request, inlet):
    arrivals, message = _open(world, request, inlet)
    sync = _check_sync(world, request, inlet)
    try:
        arrivals.take(message)
    except MessageRefusal as refusal:
        world.count('messages refused')
        more = {}
        if sync and refusal.validation:
            more = {'cause': {'_streamingValidation': [refusal.validation.report()]}}
        title = 'Invalid XDM Message Format' if refusal.validation else 'Invalid message'
        raise Refusal(refusal.status, _problem(refusal.status, title, refusal.message, **more))
    if sync and arrivals.late:
        violation = next(iter(arrivals.late.values()))[0][1]
        raise Refusal(400, _problem(400, 'Invalid XDM Message Format', violation.message,
                                    cause={'_streamingValidation': [violation.report()]}))
    arrivals.keep()
    reply = {'inletId': inlet, 'xactionId': '%d:%s:0' % (now_ms(), hex_id(4)), 'receivedTimeMs': now_ms()}
    if sync:
        reply['syncValidation'] = {'status': 'pass'}
    return Reply(200, reply)


def many(world, request, inlet):
    arrivals, body = _open(world, request, inlet)
    messages = body.get('messages') if type(body) is dict else None
    if type(messages) is not list or not messages:
        raise Refusal(400, _problem(400, 'Invalid message', "The 'messages' field is mandatory"))
    scripted = _scripted(request.faults.get('entries'))
    transaction = str(uuid.uuid4())
    key = (request.faults.get('entries') or {}).get('key') or world.settings['failed_entry_key']
    responses = []
    for i, message in enumerate(messages):
        entry = {'xactionId': '%s-%d' % (transaction, i)}
        try:
            status = scripted(i, message)
            if status and status >= 300:
                raise MessageRefusal(status, 'scripted refusal')
            arrivals.take(message)
            if status:
                entry[key] = status
        except MessageRefusal as refusal:
            entry[key] = refusal.status
            entry['message'] = refusal.message
        responses.append(entry)
    arrivals.keep()
    world.count('messages refused', sum(1 for r in responses if 'message' in r))
    if (request.faults.get('entries') or {}).get('reversed'):
        responses.reverse()
    miscount = request.faults.get('miscount', 0)
    if miscount < 0:
        del responses[miscount:]
    responses.extend({'xactionId': '%s-%d' % (transaction, len(responses) + i)} for i in range(max(miscount, 0)))
    return Reply(207, {'inletId': inlet, 'batchId': '%d:%s:%d' % (now_ms(), hex_id(4), len(messages)),
                       'receivedTimeMs': now_ms(), 'responses': responses})


def _scripted(script):
    """entries: {"statuses": {"0": 400}} | {"status": 503, "every": 3 | "probability": 0.1 | "identities": [..]}."""
    if not script:
        return lambda i, message: None
    statuses = script.get('statuses') or {}
    status, every = script.get('status'), script.get('every')
    identities = ['"%s"' % name for name in script.get('identities') or ()]
    chance = random.Random(script.get('seed', 0))

    def decide(i, message):
        if str(i) in statuses:
            return statuses[str(i)]
        if every:
            return status if i % every == 0 else None
        if 'probability' in script:
            return status if chance.random() < script['probability'] else None
        if identities:
            text = json.dumps(message)
            return status if any(name in text for name in identities) else None
        return None
    return decide


def routes(router):
    router.add('POST', '/collection/batch/([^/]+)', many)
    router.add('POST', '/collection/([^/]+)', single)
