#!/usr/bin/python3
"""Holds recorded requests to the platform's published API descriptions: check.py REQUESTS OPENAPI CONTRACT

REQUESTS is a directory of NDJSON files (the stand-in's --record), OPENAPI one of OpenAPI files as published, CONTRACT
one with patch-specs.py, which corrects their known errors in a copy. Prints TAP, one line for each operation used:
path, parameters and body of every request are what the description says, or the line is "not ok" and tells why.
"""
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse

import jsonschema
import yaml

# where each description's paths begin
BASES = {
    'streaming-ingestion': '', 'batch-ingestion': '/data/foundation/import', 'catalog': '/data/foundation/catalog',
    'schema-registry': '/data/foundation/schemaregistry', 'flow-service': '/data/foundation/flowservice',
    'identity-service': '/data/core', 'data-access': '/data/foundation/export', 'profile': '/data/core',
    'query-service': '/data/foundation/query',
}
# Not described at all.
UNDESCRIBED = {'/ims/token/v3': 'the identity service has no published description',
               '/': 'check_connection() only wants an answer of the streaming host'}
# What a description leaves out although the platform's own documentation has it: (description, query parameter).
UNDESCRIBED_PARAMETERS = set()
# Bodies of each shape are checked, and of each operation the first so many whatever their shape.
CHECKED_EACH = 200


def load(openapi, contract):
    with tempfile.TemporaryDirectory() as patched:
        subprocess.run([sys.executable, os.path.join(contract, 'patch-specs.py'), openapi, patched],
                       check=True, stdout=subprocess.DEVNULL)
        documents = {}
        for name in BASES:
            path = os.path.join(patched, name + '.yaml')
            with open(path if os.path.exists(path) else os.path.join(openapi, name + '.yaml')) as file:
                documents[name] = nullable(yaml.load(file, Loader=yaml.CSafeLoader))
    # The types of namespaces are in upper case everywhere but in what one request is said to hold.
    documents['identity-service'] = upper_case_too(documents['identity-service'])
    return documents


def upper_case_too(node):
    if isinstance(node, list):
        return [upper_case_too(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: upper_case_too(value) for key, value in node.items()}
    if isinstance(node.get('enum'), list):
        node['enum'] = sorted({text for value in node['enum'] for text in (value, str(value).upper())})
    return node


def nullable(node):
    """OpenAPI's nullable in terms of JSON Schema."""
    if isinstance(node, list):
        return [nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: nullable(value) for key, value in node.items()}
    if node.get('nullable') is True and isinstance(node.get('type'), str):
        node['type'] = [node['type'], 'null']
    return node


class Resolver(jsonschema.RefResolver):
    """References within one document, which has properties that are called $id."""

    def resolve(self, ref):
        return ref, self.resolve_fragment(self.referrer, ref[1:])


class Operation:
    def __init__(self, spec, document, path, method, item, description):
        self.spec = spec
        self.document = document
        self.path = path
        self.method = method
        self.resolver = Resolver('', document)
        base = document.get('basePath') or BASES[spec]
        self.pattern = re.compile(re.escape(base) + re.sub(r'\\\{[^/]*?\\\}', '[^/]+', re.escape(path)).replace('[^/]+', '([^/]+)') + r'/?\Z')
        self.variables = path.count('{')
        given = {}
        for parameter in (item.get('parameters') or []) + (description.get('parameters') or []):
            parameter = self.whole(parameter)
            given[(parameter['in'], parameter['name'].lower() if parameter['in'] == 'header' else parameter['name'])] = parameter
        self.parameters = given
        self.body = self.whole(description['requestBody']) if 'requestBody' in description else None
        # the older way to say it
        for parameter in given.values():
            if parameter['in'] == 'body':
                kinds = description.get('consumes') or document.get('consumes') or ['application/json']
                self.body = {'required': parameter.get('required'), 'content': {kind: {'schema': parameter['schema']} for kind in kinds}}
        self.requests = 0
        self.sample = None
        self.shapes = set()
        self.problems = {}

    def whole(self, node):
        while isinstance(node, dict) and '$ref' in node:
            node = self.resolver.resolve(node['$ref'])[1]
        return node

    def schema_problems(self, value, schema, where):
        validator = jsonschema.Draft4Validator(schema, resolver=self.resolver)
        for error in validator.iter_errors(value):
            yield '%s%s: %s' % (where, ''.join('/%s' % part for part in error.absolute_path), error.message[:200])

    def parameter_problems(self, query, headers):
        for (place, name), parameter in self.parameters.items():
            values = {'query': query, 'header': headers}.get(place)
            if values is None:
                continue
            if name not in values:
                # a default fills what is missing, as Accept of a request that names none
                if parameter.get('required') and 'default' not in (parameter.get('schema') or {}):
                    yield 'the required %s parameter %s is missing' % (place, name)
                continue
            schema = self.whole(parameter.get('schema') or {key: parameter[key] for key in ('type', 'enum') if key in parameter})
            yield from self.schema_problems(typed(values[name], schema), schema, '%s parameter %s' % (place, name))
        for name in query:
            if ('query', name) not in self.parameters and (self.spec, name) not in UNDESCRIBED_PARAMETERS:
                yield 'query parameter %s is not described' % name

    def body_problems(self, request, headers):
        body = request.get('body')
        if self.body is None:
            return
        if not body:
            if self.body.get('required'):
                yield 'the body is missing'
            return
        kind = headers.get('content-type', '')
        content = self.body.get('content') or {}
        described = content.get(kind) or content.get('*/*')
        if described is None:
            yield 'content type %s is not one of %s' % (kind or '(none)', ', '.join(content))
            return
        if 'json' not in kind:
            return
        value = json.loads(body)
        shape = hashlib.sha1(repr(shape_of(value)).encode()).digest()
        if shape in self.shapes and self.requests > CHECKED_EACH:
            return
        self.shapes.add(shape)
        yield from self.schema_problems(value, self.whole(described.get('schema') or {}), 'body')

    def check(self, request, query):
        self.requests += 1
        self.sample = self.sample or request
        headers = {name.lower(): value for name, value in request['headers'].items()}
        for problem in list(self.parameter_problems(query, headers)) + list(self.body_problems(request, headers)):
            self.problems.setdefault(re.sub(r"'[^']{40,}'", "'...'", problem), request)


def typed(text, schema):
    """A parameter's text as the type that its schema names."""
    try:
        if schema.get('type') in ('integer', 'number'):
            return json.loads(text)
        if schema.get('type') == 'boolean':
            return {'true': True, 'false': False}.get(text, text)
    except ValueError:
        pass
    return [text] if schema.get('type') == 'array' else text


def shape_of(value):
    if isinstance(value, dict):
        return {key: shape_of(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return sorted({repr(shape_of(item)) for item in value})
    return type(value).__name__


def operations(documents):
    for spec, document in documents.items():
        for path, item in document['paths'].items():
            for method in ('get', 'post', 'put', 'patch', 'delete', 'head'):
                if method in item:
                    yield Operation(spec, document, path, method.upper(), item, item[method])


# What the checker must refuse, made from requests that it has passed: (operation, what is wrong, change).
def without_header(name):
    return lambda request: request['headers'].pop(next(h for h in request['headers'] if h.lower() == name))


def in_body(change):
    def changed(request):
        body = json.loads(request['body'])
        change(body)
        request['body'] = json.dumps(body)
    return changed


SPOILT = (
    (('POST', '/collection/batch/{CONNECTION_ID}'), 'no messages', in_body(lambda b: b.pop('messages'))),
    (('POST', '/collection/batch/{CONNECTION_ID}'), 'no flowId', in_body(lambda b: b['messages'][0]['header'].pop('flowId'))),
    (('POST', '/collection/batch/{CONNECTION_ID}'), 'no xdmEntity', in_body(lambda b: b['messages'][0]['body'].pop('xdmEntity'))),
    (('POST', '/collection/batch/{CONNECTION_ID}'), 'a charset', lambda r: r['headers'].update({'Content-Type': 'application/json; charset=utf-8'})),
    (('POST', '/dataSets'), 'no schemaRef', in_body(lambda b: b.pop('schemaRef'))),
    (('POST', '/dataSets'), 'no sandbox', without_header('x-sandbox-name')),
    (('POST', '/tenant/schemas'), 'no allOf', in_body(lambda b: b.pop('allOf'))),
    (('POST', '/tenant/descriptors'), 'no API key', without_header('x-api-key')),
    (('POST', '/flows'), 'no organisation', without_header('x-gw-ims-org-id')),
)


def spoil(operation, sample, change):
    """Is a request that was changed for the worse refused?"""
    request = json.loads(json.dumps(sample))
    request['headers'] = {('Content-Type' if h.lower() == 'content-type' else h): v for h, v in request['headers'].items()}
    change(request)
    operation.shapes.clear()
    headers = {name.lower(): value for name, value in request['headers'].items()}
    query = dict(urllib.parse.parse_qsl(request['target'].partition('?')[2], keep_blank_values=True))
    return bool(list(operation.parameter_problems(query, headers)) + list(operation.body_problems(request, headers)))


def main(requests, openapi, contract):
    known = sorted(operations(load(openapi, contract)), key=lambda o: o.variables)
    unknown = {}
    for file in sorted(glob.glob(os.path.join(requests, '*'))):
        with open(file) as lines:
            for line in lines:
                request = json.loads(line)
                path, _, query = request['target'].partition('?')
                query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
                for operation in known:
                    if operation.method == request['method'] and operation.pattern.match(path):
                        operation.check(request, query)
                        break
                else:
                    if path not in UNDESCRIBED:
                        unknown.setdefault((request['method'], path), request)
    number = 0
    for operation in known:
        if operation.requests == 0:
            continue
        number += 1
        print('%s %d - %s: %s %s, %d requests of %d shapes' % ('not ok' if operation.problems else 'ok', number, operation.spec,
              operation.method, operation.path, operation.requests, len(operation.shapes)))
        for problem, request in list(operation.problems.items())[:5]:
            print('# %s\n#   %s' % (problem, request['target']))
    number += 1
    print('%s %d - every path is described' % ('not ok' if unknown else 'ok', number))
    for method, path in list(unknown)[:20]:
        print('# %s %s' % (method, path))
    for (method, path), what, change in SPOILT:
        for operation in known:
            if (operation.method, operation.path) == (method, path) and operation.sample:
                number += 1
                print('%s %d - %s %s: %s is noticed' % ('ok' if spoil(operation, operation.sample, change) else 'not ok', number, method, path, what))
    print('1..%d' % number)
    return 0


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
