"""Schema Registry: field groups, schemas, descriptors, enabling for Profile."""
import copy
import re

from . import identity, jsonpatch, xdm
from .core import Refusal, Reply, hex_id, now_ms

BASE = '/data/foundation/schemaregistry'
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]*\Z')
SINGLE = re.compile(r'application/vnd\.adobe\.(xed|xed-full|xed-notext|xed-full-notext|xed-full-desc)\+json;\s*version=(1|1\.\d+)\Z')
LISTS = ('application/vnd.adobe.xed-id+json', 'application/vnd.adobe.xed+json')
DESCRIPTOR_LISTS = ('application/vnd.adobe.xdm-id+json', 'application/vnd.adobe.xdm-link+json',
                    'application/vnd.adobe.xdm+json', 'application/vnd.adobe.xdm-v2+json')
OTHER_DESCRIPTORS = {'xdm:descriptorOneToOne', 'xdm:descriptorReferenceIdentity', 'xdm:descriptorRelationship',
                     'xdm:alternateDisplayInfo'}
TYPES = {'string', 'integer', 'number', 'boolean', 'array', 'object'}
IMMUTABLE = ('$id', 'meta:altId', 'version', 'imsOrg')


def refuse(status, code, title, detail=None):
    raise Refusal(status, {'type': 'http://ns.adobe.com/aep/errors/XDM-%s-%d' % (code, status), 'title': title,
                           'status': status, 'detail': detail or title,
                           'report': {'registryRequestId': hex_id(32), 'timestamp': now_ms(),
                                      'detailed-message': detail or title, 'sub-errors': []}})


def _accept(request, allowed):
    given = request.header('Accept') or ''
    if not (allowed.match(given) if hasattr(allowed, 'match') else given in allowed):
        refuse(406 if given in ('', '*/*') else 400, '1006', 'Accept header is invalid',
               'the Accept header %r is not one of this resource' % given)


# -- what a field may look like ------------------------------------------------

def _check_field(name, node, depth=0):
    if not NAME.match(name):
        refuse(400, '3005', 'Field name is invalid', 'the field name %s is not allowed' % name)
    _check_node(name, node, depth)


def _check_node(name, node, depth):
    if depth > 12:
        refuse(400, '3005', 'Schema is too deep', name)
    if type(node) is not dict or node.get('type') not in TYPES:
        refuse(400, '3005', 'Field type is invalid', 'the field %s has no valid type' % name)
    if node['type'] == 'array':
        if type(node.get('items')) is not dict:
            refuse(400, '3005', 'Array without items', 'the field %s needs items' % name)
        _check_node(name, node['items'], depth + 1)
    elif node['type'] == 'object' and 'additionalProperties' in node:
        member = node['additionalProperties']
        if type(member) is not dict or member.get('type') not in ('string', 'integer'):
            refuse(400, '3005', 'Map value type is invalid',
                   'the values of map %s must be string or integer' % name)
        if 'properties' in node:
            refuse(400, '3005', 'Map with properties', name)
    elif node['type'] == 'object':
        if type(node.get('properties')) is not dict or not node['properties']:
            refuse(400, '3005', 'Object without properties', 'the field %s needs properties' % name)
        for part, child in node['properties'].items():
            _check_field(part, child, depth + 1)


def _custom_properties(group):
    """The properties that a field group brings: those under its own definitions that its allOf names."""
    properties = dict(group.get('properties') or {})
    for member in group.get('allOf') or []:
        reference = member.get('$ref', '') if type(member) is dict else ''
        definition = (group.get('definitions') or {}).get(reference.removeprefix('#/definitions/'))
        if not reference.startswith('#/definitions/') or type(definition) is not dict:
            refuse(400, '3005', 'Reference is invalid', 'cannot resolve %s' % reference)
        properties.update(definition.get('properties') or {})
    return properties


def _check_group(world, group):
    for name in ('title', 'type', 'meta:intendedToExtend'):
        if not group.get(name):
            refuse(400, '3005', 'Field group is invalid', '%s is required' % name)
    if type(group['meta:intendedToExtend']) is not list or group['type'] != 'object':
        refuse(400, '3005', 'Field group is invalid', 'meta:intendedToExtend is an array and type is object')
    properties = _custom_properties(group)
    if not properties:
        refuse(400, '3005', 'Field group is empty', 'the field group defines no field')
    tenant = '_' + world.tenant
    for name, node in properties.items():
        if name != tenant:
            refuse(400, '3005', 'Custom field outside the tenant namespace',
                   'the field %s must be defined under %s' % (name, tenant))
        if type(node) is not dict or node.get('type') != 'object' or type(node.get('properties')) is not dict:
            refuse(400, '3005', 'Field type is invalid', '%s must be an object with properties' % tenant)
        for part, child in node['properties'].items():
            _check_field(part, child, 1)


def _check_evolution(before, after, path=''):
    """A field in use stays, with its type."""
    for name, node in before.items():
        now = after.get(name)
        here = '%s/%s' % (path, name)
        if now is None:
            refuse(400, '3005', 'Breaking change', 'the field %s may not be removed' % here)
        for trait in ('type', 'format', 'additionalProperties', 'items'):
            if trait != 'items' and node.get(trait) != now.get(trait):
                refuse(400, '3005', 'Breaking change', 'the field %s may not change its %s' % (here, trait))
        if node['type'] == 'object' and not xdm.is_map(node):
            _check_evolution(node['properties'], now['properties'], here)
        if node['type'] == 'array':
            _check_evolution({'items': node['items']}, {'items': now.get('items')}, here)


# -- resources -----------------------------------------------------------------

def _kind(word):
    return 'schemas' if word == 'schemas' else 'mixins'


def _find(world, sandbox, kind, key):
    """By altId or $id; refuses with 404."""
    for resource in world.store.all(sandbox, kind).values():
        if key in (resource['$id'], resource['meta:altId']):
            return resource
    return refuse(404, '1012', 'Resource not found', 'no resource %s' % key)


def find_schema(world, sandbox, schema_id):
    for resource in world.store.all(sandbox, 'schemas').values():
        if resource['$id'] == schema_id:
            return resource
    return None


def is_union(schema):
    return 'union' in (schema.get('meta:immutableTags') or [])


def _title_taken(world, sandbox, title, but=None):
    for kind in ('mixins', 'schemas'):
        for resource in world.store.all(sandbox, kind).values():
            if resource['title'] == title and resource['$id'] != but:
                return True
    return any(title == known[0] for known in xdm.GLOBAL.values())


def _stamp(world, request, kind, body):
    key = hex_id(48)
    made = copy.deepcopy(body)
    made.update({
        '$id': 'https://ns.adobe.com/%s/%s/%s' % (world.tenant, kind, key),
        'meta:altId': '_%s.%s.%s' % (world.tenant, kind, key),
        'meta:resourceType': kind, 'version': '1.0', 'imsOrg': world.settings['org'],
        'meta:containerId': 'tenant', 'meta:sandboxId': 'standin-' + request.sandbox, 'meta:sandboxType': 'production',
        'meta:tenantNamespace': '_' + world.tenant, 'meta:xdmType': 'object',
        'meta:registryMetadata': {'repo:createdDate': now_ms(), 'repo:lastModifiedDate': now_ms(),
                                  'xdm:createdClientId': request.client, 'xdm:createdUserId': 'standin',
                                  'eTag': hex_id(64), 'meta:globalLibVersion': '1.36.3'}})
    return made


def _check_schema(world, sandbox, schema):
    for name in ('title', 'description', 'type', 'allOf'):
        if not schema.get(name):
            refuse(400, '3005', 'Schema is invalid', '%s is required' % name)
    if type(schema['allOf']) is not list or 'properties' in schema:
        refuse(400, '3005', 'Schema is invalid', 'a schema is an allOf of a class and field groups')
    references = [m.get('$ref') if type(m) is dict else None for m in schema['allOf']]
    classes = [r for r in references if r in (xdm.CLASS_PROFILE, xdm.CLASS_EVENT)]
    if len(set(references)) != len(references) or len(classes) != 1:
        refuse(400, '3005', 'Schema is invalid', 'a schema needs exactly one class, and no reference twice')
    for reference in references:
        if reference in xdm.GLOBAL:
            continue
        group = next((g for g in world.store.all(sandbox, 'mixins').values() if g['$id'] == reference), None)
        if group is None:
            refuse(400, '3005', 'Reference is invalid', 'cannot resolve %s' % reference)
        if classes[0] not in group['meta:intendedToExtend']:
            refuse(400, '3005', 'Field group does not fit the class', group['title'])


def _merge_properties(into, more):
    for name, node in more.items():
        if name in into and node.get('type') == 'object' and 'properties' in node and 'properties' in into[name]:
            _merge_properties(into[name]['properties'], node['properties'])
        elif name in into and into[name] != node:
            refuse(400, '3005', 'Field defined twice', 'the field %s is defined by two field groups' % name)
        else:
            into[name] = copy.deepcopy(node)


def resolve(world, sandbox, schema):
    """All properties of a schema, its allOf followed."""
    properties = {}
    for member in schema['allOf']:
        reference = member['$ref']
        if reference in xdm.GLOBAL:
            _merge_properties(properties, xdm.GLOBAL[reference][1])
        else:
            _merge_properties(properties, _custom_properties(_find(world, sandbox, 'mixins', reference)))
    return properties


def identity_fields(world, sandbox, schema_id):
    """[(path steps, namespace code, primary)] by the schema's descriptors."""
    found = []
    for descriptor in world.store.all(sandbox, 'descriptors').values():
        if descriptor['@type'] == 'xdm:descriptorIdentity' and descriptor['xdm:sourceSchema'] == schema_id:
            found.append((descriptor['xdm:sourceProperty'][1:].split('/'), descriptor['standin:code'],
                          bool(descriptor.get('xdm:isPrimary'))))
    return found


def checker(world, sandbox, schema):
    """The compiled checker of a schema; made again after any change of a schema."""
    key = (sandbox, schema['$id'])
    known = world.checkers.get(key)
    if known is None or known[0] != world.generation:
        with world.lock:
            known = (world.generation, xdm.Checker(resolve(world, sandbox, schema),
                                                   identity_fields(world, sandbox, schema['$id']),
                                                   identity.codes(world, sandbox)))
            world.checkers[key] = known
    return known[1]


def _mark_types(properties):
    for node in properties.values():
        if node.get('standin:open'):
            del node['standin:open']
        kind = node.get('type')
        long = kind == 'integer' and (node.get('maximum', 0) > xdm.INT32 or node.get('minimum', 0) < -xdm.INT32)
        names = {'number': 'double', 'integer': 'long' if long else 'int', 'object': 'map' if xdm.is_map(node) else 'object'}
        node['meta:xdmType'] = node.get('format') or names.get(kind, kind)
        if kind == 'array':
            _mark_types({'items': node['items']})
        _mark_types(node.get('properties') or {})


def _present(world, request, kind, resource, full=False):
    """A resource as it is answered."""
    shown = copy.deepcopy(resource)
    shown['refs'] = [m['$ref'] for m in resource.get('allOf', []) if m['$ref'].startswith('http')]
    if kind == 'schemas':
        primary = [f for f in identity_fields(world, request.sandbox, resource['$id']) if f[2]]
        record = any(r == xdm.CLASS_PROFILE for r in shown['refs'])
        shown['meta:extends'] = shown['refs']
        shown['meta:class'] = xdm.CLASS_PROFILE if record else xdm.CLASS_EVENT
        shown['additionalInfo'] = {
            'numberOfIdentities': len(identity_fields(world, request.sandbox, resource['$id'])),
            'numberOfRelationShips': 0, 'classTitle': xdm.GLOBAL[shown['meta:class']][0],
            'behavior': 'Record' if record else 'Time-series', 'hasRelationShip': False, 'profileEnabled': is_union(resource)}
        if primary:
            shown['additionalInfo'].update({'hasPrimaryIdentity': 'true', 'primaryIdentityNamespace': primary[0][1]})
    if full:
        shown['properties'] = copy.deepcopy(resolve(world, request.sandbox, resource) if kind == 'schemas'
                                            else _custom_properties(resource))
        _mark_types(shown['properties'])
        shown.pop('allOf', None)
        shown.pop('definitions', None)
    elif 'definitions' in shown:
        for definition in shown['definitions'].values():
            _mark_types(definition.get('properties') or {})
    return shown


def create(world, request, word):
    kind, body = _kind(word), request.json()
    if type(body) is not dict:
        refuse(400, '3005', 'Body is not an object')
    with world.lock:
        if kind == 'mixins':
            _check_group(world, body)
        else:
            _check_schema(world, request.sandbox, body)
        if _title_taken(world, request.sandbox, body['title']):
            refuse(400, '3005', 'Title is not unique', 'the title %s is already used' % body['title'])
        made = _stamp(world, request, kind, body)
        if kind == 'schemas':
            resolve(world, request.sandbox, made)
            if is_union(made):
                refuse(400, '3005', 'Schema is not valid for Profile', 'a new schema has no primary identity yet')
        world.store.put(request.sandbox, kind, made['$id'], made)
        world.generation += 1
    return Reply(201, _present(world, request, kind, made))


def one(world, request, word, key):
    _accept(request, SINGLE)
    kind = _kind(word)
    with world.lock:
        resource = _find(world, request.sandbox, kind, key)
        return Reply(200, _present(world, request, kind, resource, 'xed-full' in request.header('Accept')))


def patch(world, request, word, key):
    if (request.header('Content-Type') or '').split(';')[0] != 'application/json':
        refuse(415, '3005', 'Content type is not application/json')
    kind = _kind(word)
    with world.lock:
        before = _find(world, request.sandbox, kind, key)
        after = jsonpatch.apply(before, request.json())
        for name in IMMUTABLE:
            if after.get(name) != before[name]:
                refuse(400, '3005', 'Read-only field', '%s may not change' % name)
        if kind == 'mixins':
            _check_group(world, after)
            _check_evolution(_custom_properties(before), _custom_properties(after))
        else:
            _check_schema_change(world, request, before, after)
        if after['title'] != before['title'] and _title_taken(world, request.sandbox, after['title'], before['$id']):
            refuse(400, '3005', 'Title is not unique', 'the title %s is already used' % after['title'])
        major, minor = before['version'].split('.')
        after['version'] = '%s.%d' % (major, int(minor) + 1)
        after['meta:registryMetadata'].update({'repo:lastModifiedDate': now_ms(), 'eTag': hex_id(64)})
        world.store.put(request.sandbox, kind, after['$id'], after)
        world.generation += 1
    return Reply(200, _present(world, request, kind, after))


def _check_schema_change(world, request, before, after):
    _check_schema(world, request.sandbox, after)
    if is_union(before) and not is_union(after):
        refuse(400, '3005', 'Breaking change', 'a schema stays enabled for Profile')
    tags = after.get('meta:immutableTags')
    if tags is not None and (type(tags) is not list or any(type(t) is not str for t in tags)):
        refuse(400, '3005', 'Schema is invalid', 'meta:immutableTags is an array of strings')
    if is_union(before):
        _check_evolution(resolve(world, request.sandbox, before), resolve(world, request.sandbox, after))
    resolve(world, request.sandbox, after)


def delete(world, request, word, key):
    kind = _kind(word)
    with world.lock:
        resource = _find(world, request.sandbox, kind, key)
        used = any(key in [m['$ref'] for m in s['allOf']] for key in [resource['$id']]
                   for s in world.store.all(request.sandbox, 'schemas').values())
        if used or (kind == 'schemas' and is_union(resource)):
            refuse(400, '3005', 'Resource is in use')
        world.store.delete(request.sandbox, kind, resource['$id'])
        world.generation += 1
    return Reply(204)


def _matches(request, resources):
    """property=name==value, name!=value, name~regex, each repeated or joined by commas; all must hold."""
    for text in request.query.get('property', []):
        found = re.match(r'([^=~!<>]+)(==|!=|~)(.*)\Z', text)
        if not found:
            refuse(400, '1009', 'Query is invalid', 'cannot read property=%s' % text)
        name, operator, value = found.groups()
        if operator == '~':
            resources = [r for r in resources if re.search(value, str(r.get(name, '')))]
        else:
            resources = [r for r in resources if (str(r.get(name, '')) == value) == (operator == '==')]
    return resources


def _page(request, resources, order, summary):
    """The registry's way to page: start takes the value that the page before gave as next."""
    resources = sorted(resources, key=lambda r: (str(r.get(order, '')), r.get('$id') or r.get('@id')))
    limit = request.number('limit', 300, 1, 500)
    start = request.argument('start')
    keys = ['%s/%s' % (r.get(order, ''), r.get('$id') or r.get('@id')) for r in resources]
    at = next((i for i, key in enumerate(keys) if start is None or key >= start), len(keys))
    following = keys[at + limit] if at + limit < len(keys) else None
    links = {'next': {'href': request.path + '?start=' + following}} if following else {}
    page = {'orderby': order, 'count': len(resources[at:at + limit])}
    if following:
        page['next'] = following
    return {'results': [summary(r) for r in resources[at:at + limit]], '_page': page, '_links': links}


def listing(world, request, word):
    _accept(request, LISTS)
    kind = _kind(word)
    brief = request.header('Accept') == LISTS[0]

    def summary(resource):
        if brief:
            return {k: resource[k] for k in ('$id', 'meta:altId', 'version', 'title')}
        return _present(world, request, kind, resource)
    with world.lock:
        resources = _matches(request, list(world.store.all(request.sandbox, kind).values()))
        return Reply(200, _page(request, resources, request.argument('orderby', 'title'), summary))


def stats(world, request):
    with world.lock:
        count = {k: len(world.store.all(request.sandbox, k)) for k in ('schemas', 'mixins')}
        union = any(is_union(s) for s in world.store.all(request.sandbox, 'schemas').values())
    return Reply(200, {'imsOrg': world.settings['org'], 'tenantId': world.tenant, 'recentlyCreatedResources': [],
                       'counts': dict(count, datatypes=0, classes=0, unions=int(union))})


# -- descriptors ---------------------------------------------------------------

def _namespace_code(world, sandbox, body):
    """The code of a descriptor's namespace, named by code or by number."""
    given = body.get('xdm:namespace')
    if body.get('xdm:property') not in ('xdm:code', 'xdm:id'):
        refuse(400, '3005', 'Descriptor is invalid', 'xdm:property is xdm:code or xdm:id')
    for namespace in identity.namespaces(world, sandbox):
        if given in (namespace['code'], namespace['id'], str(namespace['id'])):
            return namespace['code']
    return refuse(400, '3005', 'Descriptor is invalid', 'no identity namespace %s' % given)


def _identity_target(world, sandbox, body):
    schema = find_schema(world, sandbox, body.get('xdm:sourceSchema'))
    if schema is None:
        refuse(400, '3005', 'Descriptor is invalid', 'no schema %s' % body.get('xdm:sourceSchema'))
    path = body.get('xdm:sourceProperty')
    if type(path) is not str or not path.startswith('/') or path.endswith('/'):
        refuse(400, '3005', 'Descriptor is invalid', 'xdm:sourceProperty begins with / and does not end with it')
    node = {'type': 'object', 'properties': resolve(world, sandbox, schema)}
    for step in path[1:].split('/'):
        node = (node.get('properties') or {}).get(step) if node.get('type') == 'object' else None
        if node is None:
            refuse(400, '3005', 'Descriptor is invalid', 'the schema has no field %s' % path)
    if node.get('type') != 'string':
        refuse(400, '3005', 'Descriptor is invalid', 'an identity field must be a string')
    return schema


def create_descriptor(world, request):
    body = request.json()
    kind = body.get('@type') if type(body) is dict else None
    with world.lock:
        if kind != 'xdm:descriptorIdentity' and kind not in OTHER_DESCRIPTORS:
            refuse(400, '3005', 'Descriptor is invalid', 'unknown @type')
        made = dict(body)
        if kind == 'xdm:descriptorIdentity':
            if str(body.get('xdm:sourceVersion')) != '1':
                refuse(400, '3005', 'Descriptor is invalid', 'xdm:sourceVersion is 1')
            schema = _identity_target(world, request.sandbox, body)
            made['standin:code'] = _namespace_code(world, request.sandbox, body)
            fields = identity_fields(world, request.sandbox, schema['$id'])
            if any(f[0] == body['xdm:sourceProperty'][1:].split('/') for f in fields):
                refuse(400, '3005', 'Descriptor exists', 'the field already is an identity')
            if body.get('xdm:isPrimary') and any(f[2] for f in fields):
                refuse(400, '3005', 'Descriptor is invalid', 'the schema already has a primary identity')
        made.update({'@id': hex_id(48), 'imsOrg': world.settings['org'], 'version': '1', 'meta:containerId': 'tenant',
                     'meta:sandboxId': 'standin-' + request.sandbox, 'meta:sandboxType': 'production'})
        world.store.put(request.sandbox, 'descriptors', made['@id'], made)
        world.generation += 1
    return Reply(201, _shown(made))


def _shown(descriptor):
    return {k: v for k, v in descriptor.items() if not k.startswith('standin:')}


def list_descriptors(world, request):
    _accept(request, DESCRIPTOR_LISTS)
    with world.lock:
        found = _matches(request, list(world.store.all(request.sandbox, 'descriptors').values()))
        form = request.header('Accept')
        if 'xdm-v2' in form:
            return Reply(200, _page(request, found, request.argument('orderby', '@id'), _shown))
        grouped = {}
        for descriptor in found:
            shown = {'application/vnd.adobe.xdm-id+json': descriptor['@id'],
                     'application/vnd.adobe.xdm-link+json': '/tenant/descriptors/' + descriptor['@id']}
            grouped.setdefault(descriptor['@type'], []).append(shown.get(form) or _shown(descriptor))
        return Reply(200, grouped)


def one_descriptor(world, request, key):
    found = world.store.get(request.sandbox, 'descriptors', key)
    if found is None:
        refuse(404, '1012', 'Resource not found', 'no descriptor %s' % key)
    return Reply(200, _shown(found))


def delete_descriptor(world, request, key):
    with world.lock:
        found = world.store.get(request.sandbox, 'descriptors', key)
        if found is None:
            refuse(404, '1012', 'Resource not found', 'no descriptor %s' % key)
        schema = find_schema(world, request.sandbox, found.get('xdm:sourceSchema'))
        if found.get('xdm:isPrimary') and schema and is_union(schema):
            refuse(400, '3005', 'Breaking change', 'the primary identity of an enabled schema may not change')
        world.store.delete(request.sandbox, 'descriptors', key)
        world.generation += 1
    return Reply(204)


def routes(router):
    router.add('GET', BASE + '/stats', stats)
    router.add('GET', BASE + '/tenant/descriptors', list_descriptors)
    router.add('POST', BASE + '/tenant/descriptors', create_descriptor)
    router.add('GET', BASE + '/tenant/descriptors/([^/]+)', one_descriptor)
    router.add('DELETE', BASE + '/tenant/descriptors/([^/]+)', delete_descriptor)
    router.add('GET', BASE + '/tenant/(schemas|fieldgroups|mixins)', listing)
    router.add('POST', BASE + '/tenant/(schemas|fieldgroups|mixins)', create)
    router.add('GET', BASE + '/tenant/(schemas|fieldgroups|mixins)/([^/]+)', one)
    router.add('PATCH', BASE + '/tenant/(schemas|fieldgroups|mixins)/([^/]+)', patch)
    router.add('DELETE', BASE + '/tenant/(schemas|fieldgroups|mixins)/([^/]+)', delete)
