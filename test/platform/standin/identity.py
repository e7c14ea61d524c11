"""Identity namespaces."""
from .core import Refusal, Reply, now_ms

STANDARD = [
    ('CORE', 0, 'COOKIE'), ('ECID', 4, 'COOKIE'), ('Email', 6, 'EMAIL'), ('Phone', 7, 'PHONE'),
    ('Email_LC_SHA256', 11, 'EMAIL'), ('Phone_E.164', 15, 'PHONE'), ('IDFA', 20915, 'DEVICE'),
    ('GAID', 20914, 'DEVICE'), ('AdCloud', 411, 'COOKIE'),
]
TYPES = {'COOKIE', 'CROSS_DEVICE', 'DEVICE', 'EMAIL', 'MOBILE', 'NON_PEOPLE', 'PHONE'}


def namespaces(world, sandbox):
    """Every namespace of the sandbox, Adobe's own first, then those that the setting names, then those made here."""
    found = [{'updateTime': 1441122644000, 'code': code, 'status': 'ACTIVE', 'description': code, 'id': number,
              'createTime': 1441122644000, 'idType': kind, 'name': code, 'custom': False}
             for code, number, kind in STANDARD]
    found += [{'updateTime': 1600000000000, 'code': code, 'status': 'ACTIVE', 'description': code, 'id': 10600000 + i,
               'createTime': 1600000000000, 'idType': 'CROSS_DEVICE', 'name': code, 'custom': True}
              for i, code in enumerate(world.settings['namespaces'])]
    return found + list(world.store.all(sandbox, 'namespaces').values())


def codes(world, sandbox):
    return {n['code'].lower() for n in namespaces(world, sandbox)}


def listing(world, request):
    return Reply(200, namespaces(world, request.sandbox))


def one(world, request, number):
    for namespace in namespaces(world, request.sandbox):
        if str(namespace['id']) == number:
            return Reply(200, namespace)
    raise Refusal(404, _problem(404, 'NAMESPACE_NOT_FOUND', 'no namespace %s' % number))


def _problem(status, code, text):
    return {'type': 'http://ns.adobe.com/adobecloud/problem/namespacevalidation', 'title': 'Namespace', 'status': status,
            'report': {'code': code}, 'detail': text}


def create(world, request):
    body = request.json()
    if type(body) is not dict:
        raise Refusal(400, _problem(400, 'INVALID_REQUEST_PARAMS', 'an object is expected'))
    for name in ('name', 'code', 'idType'):
        if type(body.get(name)) is not str or not body[name].strip():
            raise Refusal(400, _problem(400, 'INVALID_REQUEST_PARAMS', '%s is missing' % name))
    kind = body['idType'].upper()
    if kind not in TYPES:
        raise Refusal(400, _problem(400, 'INVALID_REQUEST_PARAMS', 'idType is not valid'))
    if not body['code'].replace('_', '').replace('.', '').replace('-', '').isalnum():
        raise Refusal(400, _problem(400, 'INVALID_REQUEST_PARAMS', 'code is not valid'))
    with world.lock:
        if body['code'].lower() in codes(world, request.sandbox):
            raise Refusal(409, _problem(409, 'NAMESPACE_CODE_CONFLICT', 'code is taken'))
        number = 10000000 + len(world.store.all(request.sandbox, 'namespaces'))
        now = now_ms()
        made = {'updateTime': now, 'code': body['code'], 'status': 'ACTIVE', 'description': body.get('description', ''),
                'id': number, 'createTime': now, 'idType': kind, 'name': body['name'], 'custom': True}
        world.store.put(request.sandbox, 'namespaces', str(number), made)
        world.generation += 1
    return Reply(200, made)


def routes(router):
    base = '/data/core/idnamespace/identities'
    router.add('GET', base, listing)
    router.add('POST', base, create)
    router.add('GET', base + r'/([^/]+)', one)
