#!/usr/bin/python3
"""The stand-in held to what it promises: refusals, services, faults, restarts. Prints TAP."""
import concurrent.futures
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
ORG = '0123456789ABCDEF01234567@AdobeOrg'
XED = 'application/vnd.adobe.xed+json; version=1'
FULL = 'application/vnd.adobe.xed-full+json;version=1'


class Platform:
    """One running stand-in and a client of it."""

    def __init__(self, directory):
        self.directory = directory
        self.process = None
        self.token = None
        self.connection = None

    def start(self, port=0, *more):
        for name in ('port', 'pid', 'control-port'):
            if os.path.exists(self.path(name)):
                os.unlink(self.path(name))
        self.process = subprocess.Popen(['/usr/bin/python3', os.path.join(HERE, 'server'), '--state', self.directory,
                                         '--with-parent', '--port', str(port), *more], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while not os.path.exists(self.path('port')):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError('the stand-in did not start')
            time.sleep(0.02)
        self.port = int(open(self.path('port')).read())
        self.connection = None

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(10)

    def context(self, ca='ca.pem'):
        return ssl.create_default_context(cafile=self.path(ca))

    def call(self, method, target, body=None, headers=None, fresh=False):
        """(status, parsed or raw body, headers) of one request; the connection is kept."""
        if fresh or self.connection is None:
            if self.connection:
                self.connection.close()
            self.connection = http.client.HTTPSConnection('localhost', self.port, timeout=20, context=self.context())
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        try:
            self.connection.request(method, target, body, headers or {})
            reply = self.connection.getresponse()
            data = reply.read()
        except Exception:
            self.connection.close()
            self.connection = None
            raise
        try:
            parsed = json.loads(data)
        except ValueError:
            parsed = data
        return reply.status, parsed, reply.headers

    def control(self, method, path, body=None):
        port = int(open(self.path('control-port')).read())
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
        connection.request(method, '/__control' + path, json.dumps(body) if body is not None else None)
        reply = connection.getresponse()
        data = reply.read()
        connection.close()
        if reply.status != 200:
            raise RuntimeError(data)
        try:
            return json.loads(data)
        except ValueError:
            return data.decode()

    def ask_token(self, secret='profenrich-secret', **more):
        form = dict(grant_type='client_credentials', client_id='profenrich-client', client_secret=secret,
                    scope='openid,AdobeID,read_organizations', **more)
        return self.call('POST', '/ims/token/v3', urllib.parse.urlencode(form),
                         {'Content-Type': 'application/x-www-form-urlencoded'})

    def headers(self, *without, **changed):
        if self.token is None:
            self.token = self.ask_token()[1]['access_token']
        made = {'Authorization': 'Bearer ' + self.token, 'x-api-key': 'profenrich-client', 'x-gw-ims-org-id': ORG,
                'x-sandbox-name': 'prod', 'Content-Type': 'application/json'}
        made.update({k.replace('_', '-'): v for k, v in changed.items()})
        return {k: v for k, v in made.items() if k not in without}

    def api(self, method, target, body=None, **changed):
        status, parsed, _ = self.call(method, target, body, self.headers(**changed))
        return status, parsed


REG = '/data/foundation/schemaregistry/tenant'
FLOW = '/data/foundation/flowservice'
CAT = '/data/foundation/catalog'


def field_group(title, properties, name='_acme'):
    return {'type': 'object', 'title': title, 'description': 'd',
            'meta:intendedToExtend': ['https://ns.adobe.com/xdm/context/profile'],
            'definitions': {'customFields': {'type': 'object', 'properties': {
                name: {'type': 'object', 'properties': properties}}}},
            'allOf': [{'$ref': '#/definitions/customFields'}]}


FIELDS = {
    'crmId': {'type': 'string'}, 'score': {'type': 'number'}, 'band': {'type': 'string', 'enum': ['low', 'high']},
    'rank': {'type': 'integer'}, 'big': {'type': 'integer', 'minimum': -2**53, 'maximum': 2**53},
    'vip': {'type': 'boolean'}, 'scoredAt': {'type': 'string', 'format': 'date-time'}, 'day': {'type': 'string', 'format': 'date'},
    'percent': {'type': 'object', 'meta:xdmType': 'map', 'additionalProperties': {'type': 'integer'}},
    'reasons': {'type': 'array', 'items': {'type': 'object', 'properties': {
        'feature': {'type': 'string'}, 'contribution': {'type': 'number'}}}}}


class Place:
    """A provisioned destination: field group, schema, data set, inlet, flow."""

    def __init__(self, p, title, primary_field=False, fields=FIELDS, enable=True):
        self.p = p
        group = self.must(201, p.api('POST', REG + '/fieldgroups', field_group(title + ' fields', fields)))
        schema = self.must(201, p.api('POST', REG + '/schemas', {
            'type': 'object', 'title': title, 'description': 'd',
            'allOf': [{'$ref': 'https://ns.adobe.com/xdm/context/profile'},
                      {'$ref': 'https://ns.adobe.com/xdm/context/identitymap'}, {'$ref': group['$id']}]}))
        self.group, self.schema = group, schema
        if primary_field:
            self.must(201, p.api('POST', REG + '/descriptors', {
                '@type': 'xdm:descriptorIdentity', 'xdm:sourceSchema': schema['$id'], 'xdm:sourceVersion': 1,
                'xdm:sourceProperty': '/_acme/crmId', 'xdm:namespace': 'CRMID', 'xdm:property': 'xdm:code',
                'xdm:isPrimary': True}))
        if enable:
            self.must(200, p.api('PATCH', REG + '/schemas/' + schema['meta:altId'],
                                 [{'op': 'add', 'path': '/meta:immutableTags', 'value': ['union']}]))
        self.reference = {'id': schema['$id'], 'contentType': FULL}
        tags = {'unifiedProfile': ['enabled:true'], 'unifiedIdentity': ['enabled:true']} if enable else {}
        made = self.must(201, p.api('POST', CAT + '/dataSets', {
            'name': title, 'schemaRef': {'id': schema['$id'], 'contentType': 'application/vnd.adobe.xed+json;version=1'},
            'tags': tags}))
        self.dataset = made[0].split('/')[-1]
        self.connection = self.must(201, p.api('POST', FLOW + '/connections', {
            'name': title, 'connectionSpec': {'id': 'bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb', 'version': '1.0'},
            'auth': {'specName': 'Streaming Connection', 'params': {
                'sourceId': 'x', 'dataType': 'xdm', 'name': 'x', 'authenticationRequired': True}}}))['id']
        item = self.must(200, p.api('GET', FLOW + '/connections/' + self.connection))['items'][0]
        self.inlet = item['auth']['params']['inletId']
        self.url = item['auth']['params']['inletUrl']
        source = self.must(201, p.api('POST', FLOW + '/sourceConnections', {
            'name': title, 'baseConnectionId': self.connection,
            'connectionSpec': {'id': 'bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb', 'version': '1.0'}}))['id']
        target = self.must(201, p.api('POST', FLOW + '/targetConnections', {
            'name': title, 'data': {'schema': {'id': schema['$id'], 'version': 'application/vnd.adobe.xed-full+json;version=1.0'}},
            'params': {'dataSetId': self.dataset},
            'connectionSpec': {'id': 'c604ff05-7f1a-43c0-8e18-33bf874cb11c', 'version': '1.0'}}))['id']
        self.flow = self.must(201, p.api('POST', FLOW + '/flows', {
            'name': title, 'flowSpec': {'id': 'd8a6f005-7eaf-4153-983e-e8574508b877', 'version': '1.0'},
            'sourceConnectionIds': [source], 'targetConnectionIds': [target]}))['id']

    @staticmethod
    def must(status, answer):
        if answer[0] != status:
            raise AssertionError('%s instead of %s: %s' % (answer[0], status, answer[1]))
        return answer[1]

    def message(self, key='C-1', entity=None, **attributes):
        if entity is None:
            entity = {'identityMap': {'CRMID': [{'id': key, 'primary': True}]}}
            if attributes:
                entity['_acme'] = attributes
        return {'header': {'schemaRef': self.reference, 'imsOrgId': ORG, 'datasetId': self.dataset, 'flowId': self.flow,
                           'source': {'name': 'selftest'}},
                'body': {'xdmMeta': {'schemaRef': self.reference}, 'xdmEntity': entity}}

    def send(self, message, sync=False, **changed):
        return self.p.api('POST', '/collection/' + self.inlet + ('?syncValidation=true' if sync else ''), message, **changed)

    def send_many(self, messages, **changed):
        return self.p.api('POST', '/collection/batch/' + self.inlet, {'messages': messages}, **changed)

    def read(self, key='C-1', namespace='CRMID', more=''):
        status, body = self.p.api('GET', '/data/core/ups/access/entities?schema.name=_xdm.context.profile&entityId=%s&entityIdNS=%s%s'
                                  % (urllib.parse.quote(key), namespace, more))
        return next(iter(body.values())) if status == 200 else None


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix='standin-')
        cls.p = Platform(cls.directory)
        cls.p.start()
        cls.place = Place(cls.p, 'scores')

    @classmethod
    def tearDownClass(cls):
        if cls.p.process.poll() is None:
            cls.p.kill(signal.SIGTERM)
        shutil.rmtree(cls.directory)

    def setUp(self):
        self.p.control('DELETE', '/faults')

    def fault(self, **rule):
        return self.p.control('POST', '/faults', rule)

    def accepted(self):
        return self.p.control('GET', '/journal/summary')['accepted']


class Gateway(Case):
    def test_token(self):
        status, body, _ = self.p.ask_token()
        self.assertEqual((status, body['token_type'], body['expires_in']), (200, 'bearer', 86399))

    def test_token_refusals(self):
        self.assertEqual(self.p.ask_token('wrong')[0], 401)
        self.assertEqual(self.p.call('POST', '/ims/token/v3?client_secret=x', b'', {})[0], 400)
        self.assertEqual(self.p.call('POST', '/ims/token/v3', '{}', {'Content-Type': 'application/json'})[0], 400)

    def test_missing_headers(self):
        for missing, status, code in (('Authorization', 403, '403010'), ('x-api-key', 403, '403000'),
                                      ('x-gw-ims-org-id', 400, '400003'), ('x-sandbox-name', 400, '400003')):
            got, body, _ = self.p.call('GET', CAT + '/dataSets', None, self.p.headers(missing))
            self.assertEqual((got, body['error_code']), (status, code), missing)

    def test_bad_values(self):
        self.assertEqual(self.p.api('GET', CAT + '/dataSets', Authorization='Bearer nonsense')[0], 401)
        self.assertEqual(self.p.api('GET', CAT + '/dataSets', x_gw_ims_org_id='other')[0], 403)
        self.assertEqual(self.p.api('GET', CAT + '/dataSets', x_sandbox_name='nowhere')[0], 403)
        self.assertEqual(self.p.api('GET', CAT + '/dataSets?name=' + 'x' * 2000)[0], 414)

    def test_token_life(self):
        self.p.control('POST', '/settings', {'token_life': 0.05})
        token = self.p.ask_token()[1]['access_token']
        time.sleep(0.1)
        self.assertEqual(self.p.api('GET', CAT + '/dataSets', Authorization='Bearer ' + token)[0], 401)
        self.p.control('POST', '/settings', {'token_life': 86399})

    def test_revoked_token(self):
        token = self.p.ask_token()[1]['access_token']
        self.assertEqual(self.p.api('GET', CAT + '/dataSets', Authorization='Bearer ' + token)[0], 200)
        self.assertIn(token, self.p.control('GET', '/tokens'))
        self.p.control('DELETE', '/tokens/' + token)
        self.assertEqual(self.p.api('GET', CAT + '/dataSets', Authorization='Bearer ' + token)[0], 401)

    def test_sandboxes_are_apart(self):
        self.assertEqual(self.p.api('GET', CAT + '/dataSets', x_sandbox_name='dev'), (200, {}))

    def test_wrong_authority(self):
        with self.assertRaises(ssl.SSLCertVerificationError):
            http.client.HTTPSConnection('localhost', self.p.port, context=self.p.context('wrong-ca.pem')).request('GET', '/')

    def test_certificates(self):
        for kind in ('untrusted', 'wrong_host', 'expired'):
            self.p.control('POST', '/certificate', {'kind': kind})
            with self.assertRaises(ssl.SSLCertVerificationError, msg=kind):
                self.p.call('GET', CAT + '/dataSets', fresh=True)
        self.p.control('POST', '/certificate', {'kind': 'good'})
        self.assertEqual(self.p.call('GET', CAT + '/dataSets', fresh=True)[0], 403)


class Registry(Case):
    def test_stats(self):
        status, body = self.p.api('GET', '/data/foundation/schemaregistry/stats')
        self.assertEqual((status, body['tenantId'], body['imsOrg']), (200, 'acme', ORG))

    def test_accept(self):
        target = REG + '/schemas/' + self.place.schema['meta:altId']
        self.assertEqual(self.p.api('GET', target)[0], 406)
        self.assertEqual(self.p.api('GET', target, Accept='application/vnd.adobe.xed+json')[0], 400)
        self.assertEqual(self.p.api('GET', REG + '/schemas', Accept=XED)[0], 400)
        self.assertEqual(self.p.api('GET', target, Accept=XED)[0], 200)
        encoded = REG + '/schemas/' + urllib.parse.quote(self.place.schema['$id'], safe='')
        status, body = self.p.api('GET', encoded, Accept=FULL)
        self.assertEqual((status, body['properties']['_acme']['properties']['score']['meta:xdmType']), (200, 'double'))

    def test_field_group_refusals(self):
        def refused(title, group):
            status, body = self.p.api('POST', REG + '/fieldgroups', group)
            self.assertEqual(status, 400, title)
            self.assertIn('report', body)
        refused('outside the tenant', field_group('a', {'x': {'type': 'string'}}, name='custom'))
        refused('map of doubles', field_group('b', {'m': {'type': 'object', 'additionalProperties': {'type': 'number'}}}))
        refused('underscore', field_group('c', {'_x': {'type': 'string'}}))
        refused('bad name', field_group('d', {'a b': {'type': 'string'}}))
        refused('no type', field_group('e', {'x': {}}))
        refused('duplicate title', field_group('scores fields', {'x': {'type': 'string'}}))
        refused('title of a schema', field_group('scores', {'x': {'type': 'string'}}))
        group = field_group('f', {'x': {'type': 'string'}})
        del group['meta:intendedToExtend']
        refused('no class', group)

    def test_schema_refusals(self):
        base = {'type': 'object', 'title': 's1', 'description': 'd', 'allOf': [{'$ref': 'https://ns.adobe.com/xdm/context/profile'}]}
        for change in ({'description': ''}, {'allOf': []}, {'title': 'scores'},
                       {'allOf': base['allOf'] + [{'$ref': 'https://ns.adobe.com/acme/mixins/none'}]},
                       {'meta:immutableTags': ['union']}):
            self.assertEqual(self.p.api('POST', REG + '/schemas', dict(base, **change))[0], 400, change)

    def test_find_by_title(self):
        status, body = self.p.api('GET', REG + '/fieldgroups?property=title==scores%20fields',
                                  Accept='application/vnd.adobe.xed-id+json')
        self.assertEqual([r['title'] for r in body['results']], ['scores fields'])
        self.assertEqual(self.p.api('GET', REG + '/schemas?property=title~%5Esco', Accept='application/vnd.adobe.xed+json')[1]
                         ['results'][0]['additionalInfo']['profileEnabled'], True)

    def test_paging(self):
        for i in range(5):
            self.assertEqual(self.p.api('POST', REG + '/fieldgroups', field_group('page %d' % i, {'x%d' % i: {'type': 'string'}}))[0], 201)
        seen, start = [], ''
        while True:
            body = self.p.api('GET', REG + '/fieldgroups?limit=2&property=title~%5Epage' + start,
                              Accept='application/vnd.adobe.xed-id+json')[1]
            seen += [r['title'] for r in body['results']]
            if 'next' not in body['_page']:
                break
            start = '&start=' + urllib.parse.quote(body['_page']['next'], safe='')
        self.assertEqual(seen, ['page %d' % i for i in range(5)])

    def test_evolution(self):
        place = Place(self.p, 'evolving')
        target = REG + '/fieldgroups/' + place.group['meta:altId']
        path = '/definitions/customFields/properties/_acme/properties/'
        add = [{'op': 'add', 'path': path + 'extra', 'value': {'type': 'string'}}]
        status, body = self.p.api('PATCH', target, add)
        self.assertEqual((status, body['version']), (200, '1.1'))
        self.assertEqual(self.p.api('PATCH', target, [{'op': 'remove', 'path': path + 'extra'}])[0], 400)
        self.assertEqual(self.p.api('PATCH', target, [{'op': 'replace', 'path': path + 'score/type', 'value': 'string'}])[0], 400)
        self.assertEqual(place.send(place.message(extra='new'))[0], 200)
        self.assertEqual(self.p.api('PATCH', REG + '/schemas/' + place.schema['meta:altId'],
                                    [{'op': 'remove', 'path': '/meta:immutableTags'}])[0], 400)

    def test_descriptors(self):
        base = {'@type': 'xdm:descriptorIdentity', 'xdm:sourceSchema': self.place.schema['$id'], 'xdm:sourceVersion': 1,
                'xdm:sourceProperty': '/_acme/crmId', 'xdm:namespace': 'CRMID', 'xdm:property': 'xdm:code'}
        for change in ({'xdm:sourceProperty': '_acme/crmId'}, {'xdm:sourceProperty': '/_acme/score'},
                       {'xdm:sourceProperty': '/_acme/none'}, {'xdm:namespace': 'NONE'}, {'@type': 'other'},
                       {'xdm:sourceSchema': 'none'}):
            self.assertEqual(self.p.api('POST', REG + '/descriptors', dict(base, **change))[0], 400, change)
        place = Place(self.p, 'with descriptor', primary_field=True)
        status, body = self.p.api('GET', REG + '/descriptors?property=xdm:sourceSchema==' + urllib.parse.quote(place.schema['$id'], safe=''),
                                  Accept='application/vnd.adobe.xdm+json')
        self.assertEqual(len(body['xdm:descriptorIdentity']), 1)
        shown = self.p.api('GET', REG + '/schemas/' + place.schema['meta:altId'], Accept=XED)[1]
        self.assertEqual(shown['additionalInfo']['hasPrimaryIdentity'], 'true')
        self.assertEqual(place.send(place.message(score=1))[0], 400, 'the primary identity field is required')
        self.assertEqual(place.send(place.message(entity={'_acme': {'crmId': 'C-9', 'score': 0.5}}))[0], 200)
        self.assertEqual(place.read('C-9')['entity']['_acme']['score'], 0.5)


class Identities(Case):
    def test_list_and_create(self):
        base = '/data/core/idnamespace/identities'
        self.assertIn('ECID', [n['code'] for n in self.p.api('GET', base)[1]])
        status, body = self.p.api('POST', base, {'name': 'x', 'code': 'CRMID', 'idType': 'CROSS_DEVICE'})
        self.assertEqual((status, body['report']['code']), (409, 'NAMESPACE_CODE_CONFLICT'))
        self.assertEqual(self.p.api('POST', base, {'name': 'x', 'code': 'X', 'idType': 'OTHER'})[0], 400)
        status, body = self.p.api('POST', base, {'name': 'Loyalty card', 'code': 'LOYALTY', 'idType': 'Cross_device'})
        self.assertEqual((status, body['idType'], body['custom']), (200, 'CROSS_DEVICE', True))
        self.assertEqual(self.p.api('GET', '%s/%d' % (base, body['id']))[1]['code'], 'LOYALTY')

    def test_identity_values(self):
        def sends(value, code='CRMID', **more):
            entity = {'identityMap': {code: [dict({'id': value, 'primary': True}, **more)]}}
            return self.place.send(self.place.message(entity=entity))[0]
        self.assertEqual(sends('1' * 38, 'ECID'), 200)
        for value, code in (('1' * 37, 'ECID'), ('', 'CRMID'), (' ', 'CRMID'), ('null', 'CRMID'), ('Anonymous', 'CRMID'),
                            ('x' * 1025, 'CRMID'), (7, 'CRMID'), ('x', 'NOSUCH')):
            self.assertEqual(sends(value, code), 400, value)
        self.assertEqual(sends('x', extra=1), 400)
        two = {'identityMap': {'CRMID': [{'id': 'a', 'primary': True}, {'id': 'b', 'primary': True}]}}
        self.assertEqual(self.place.send(self.place.message(entity=two))[0], 400)
        self.assertEqual(self.place.send(self.place.message(entity={'identityMap': {'CRMID': [{'id': 'a'}]}}))[0], 400)
        self.assertEqual(self.place.send(self.place.message(entity={'_acme': {'score': 1}}))[0], 400)


class Catalog(Case):
    def test_data_set_refusals(self):
        reference = {'id': self.place.schema['$id'], 'contentType': 'application/vnd.adobe.xed+json;version=1'}
        for body in ({'schemaRef': reference}, {'name': 'a'}, {'name': 'a', 'schemaRef': {'id': 'none'}},
                     {'name': 'a', 'schemaRef': reference, 'tags': {'unifiedProfile': 'enabled:true'}},
                     {'name': 'a', 'schemaRef': dict(reference, contentType='application/json')}):
            self.assertEqual(self.p.api('POST', CAT + '/dataSets', body)[0], 400, body)

    def test_list(self):
        for i in range(5):
            Place.must(201, self.p.api('POST', CAT + '/dataSets', {'name': 'list %d' % i, 'schemaRef': {
                'id': self.place.schema['$id'], 'contentType': 'application/vnd.adobe.xed+json;version=1'}}))
        status, body = self.p.api('GET', CAT + '/dataSets?property=name~%5Elist&properties=name&limit=3')
        self.assertEqual([d for d in body.values()], [{'name': 'list %d' % i} for i in range(3)])
        status, body = self.p.api('GET', CAT + '/dataSets?property=name~%5Elist&properties=name&limit=3&start=3')
        self.assertEqual(len(body), 2)
        self.assertEqual(len(self.p.api('GET', CAT + '/dataSets?name=list%201')[1]), 1)
        self.assertEqual(self.p.api('GET', CAT + '/dataSets?name=none'), (200, {}))
        self.assertEqual(self.p.api('GET', CAT + '/dataSets?limit=101')[0], 400)

    def test_enable_later(self):
        place = Place(self.p, 'later', enable=False)
        self.assertEqual(place.send(place.message(score=1))[0], 400, 'nothing is enabled')
        tags = [{'op': 'add', 'path': '/tags/unifiedProfile', 'value': ['enabled:true']},
                {'op': 'add', 'path': '/tags/unifiedIdentity', 'value': ['enabled:true']}]
        target = CAT + '/dataSets/' + place.dataset
        patch = 'application/json-patch+json'
        self.assertEqual(self.p.api('PATCH', target, tags, Content_Type=patch)[0], 400, 'the schema is not enabled')
        self.p.api('PATCH', REG + '/schemas/' + place.schema['meta:altId'],
                   [{'op': 'add', 'path': '/meta:immutableTags', 'value': ['union']}])
        self.assertEqual(place.send(place.message(score=1))[0], 400, 'the data set is not enabled')
        self.assertEqual(self.p.api('PATCH', target, tags)[0], 400, 'wrong content type')
        self.assertEqual(self.p.api('PATCH', target, tags, Content_Type=patch), (200, ['@/dataSets/' + place.dataset]))
        self.assertEqual(place.send(place.message(score=1))[0], 200)


class Streaming(Case):
    def test_single(self):
        status, body = self.place.send(self.place.message(score=0.83, band='high', rank=3, big=2**40, vip=True, day='2026-11-23',
                                                          scoredAt='2026-11-23T10:00:00Z', percent={'a': 3},
                                                          reasons=[{'feature': 'x', 'contribution': -0.1}]), sync=True)
        self.assertEqual((status, body.get('syncValidation')), (200, {'status': 'pass'}))
        self.assertEqual(self.place.read()['entity']['_acme']['score'], 0.83)

    def test_types(self):
        for attributes in ({'score': 'x'}, {'score': True}, {'rank': 1.5}, {'rank': 2**40}, {'big': 2**60}, {'vip': 1},
                           {'band': 'middle'}, {'scoredAt': '2026-11-23 10:00:00'}, {'scoredAt': '2026-11-23T10:00:00'},
                           {'day': '23.11.2026'}, {'percent': {'a': 0.5}}, {'reasons': {}}, {'reasons': [{'other': 1}]},
                           {'score': None}, {'percent': {'a': None}}, {'unknown': 1}, {'band': ''}, {'reasons': []}):
            status, body = self.place.send(self.place.message(**attributes), sync=False)
            self.assertEqual(status, 400, attributes)
        entity = {'identityMap': {'CRMID': [{'id': 'a', 'primary': True}]}, 'score': 3}
        self.assertEqual(self.place.send(self.place.message(entity=entity))[0], 400, 'outside the tenant')

    def test_nan(self):
        text = json.dumps(self.place.message(score=1)).replace('"score": 1', '"score": NaN')
        self.assertEqual(self.place.send(text)[0], 400)

    def test_sync_failure(self):
        status, body = self.place.send(self.place.message(score='x'), sync=True)
        self.assertEqual((status, body['report']['cause']['_streamingValidation'][0]['pointerToViolation']), (400, '#/_acme/score'))

    def test_headers(self):
        message = self.place.message(score=1)
        for missing in ('x-api-key', 'x-gw-ims-org-id', 'x-sandbox-name'):
            self.assertEqual(self.p.call('POST', '/collection/' + self.place.inlet, message, self.p.headers(missing))[0], 400 if missing != 'x-api-key' else 403)
        self.assertEqual(self.p.call('POST', '/collection/' + self.place.inlet, message, self.p.headers('Authorization'))[0], 401)
        self.assertEqual(self.place.send(message, Authorization='Bearer x')[0], 403)
        self.assertEqual(self.place.send(message, Content_Type='application/json; charset=utf-8')[0], 415)
        self.assertEqual(self.p.api('POST', '/collection/none', message)[0], 404)
        self.assertEqual(self.p.api('GET', '/collection/' + self.place.inlet)[0], 405)

    def test_header_parts(self):
        for change in ({'schemaRef': None}, {'imsOrgId': None}, {'imsOrgId': 'x'}, {'datasetId': 'x'}, {'flowId': None}, {'flowId': 'x'},
                       {'schemaRef': dict(self.place.reference, id='other')}):
            message = self.place.message(score=1)
            message['header'].update(change)
            self.assertEqual(self.place.send(message)[0], 400, change)
        message = self.place.message(score=1)
        message['body']['xdmMeta'] = {'schemaRef': {'id': 'other', 'contentType': FULL}}
        self.assertEqual(self.place.send(message)[0], 400)

    def test_size(self):
        big = [self.place.message('k%d' % i, score=0.1) for i in range(2500)]
        self.assertEqual(self.place.send_many(big)[0], 413)

    def test_many(self):
        before = self.accepted()
        status, body = self.place.send_many([self.place.message('m1', score=1), self.place.message('m2', score='x'), {},
                                             self.place.message('m3', score=2)])
        self.assertEqual((status, [r.get('status') for r in body['responses']]), (207, [None, 400, 400, None]))
        self.assertEqual(self.accepted() - before, 2)
        self.assertEqual(self.place.send_many([])[0], 400)
        self.assertEqual(self.p.api('POST', '/collection/batch/' + self.place.inlet, [])[0], 400)

    def test_late_validation(self):
        self.p.control('POST', '/settings', {'validation': 'late', 'batch_ms': 0})
        status, body = self.place.send_many([self.place.message('l1', score='x'), self.place.message('l2', score=1)])
        self.p.control('POST', '/settings', {'validation': 'immediate', 'batch_ms': 300})
        self.assertEqual((status, ['status' in r for r in body['responses']]), (207, [False, False]))
        self.assertIsNone(self.place.read('l1'))
        failed = self.p.api('GET', CAT + '/batches?status=failed&dataSet=' + self.place.dataset)[1]
        batch = next(iter(failed))
        listed = self.p.api('GET', '/data/foundation/export/batches/%s/failed' % batch)[1]['data']
        row = self.p.api('GET', '/data/foundation/export/batches/%s/failed?path=%s' % (batch, listed[0]['name']))[1]
        self.assertEqual(row['identityMap']['CRMID'][0]['id'], 'l1')
        self.assertTrue(row['_errors'])

    def test_refused_later(self):
        self.p.control('POST', '/settings', {'refuse_later': {'l3': 'INGEST-1500-503'}, 'batch_ms': 0})
        status, body = self.place.send_many([self.place.message('l3', score=1), self.place.message('l4', score=1)])
        self.p.control('POST', '/settings', {'refuse_later': {}, 'batch_ms': 300})
        self.assertEqual((status, ['status' in r for r in body['responses']]), (207, [False, False]))
        self.assertIsNone(self.place.read('l3'))
        self.assertEqual(self.place.read('l4')['entity']['_acme']['score'], 1)
        rows = [self.p.api('GET', '/data/foundation/export/batches/%s/failed?path=validation_errors_0.json' % batch)[1]
                for batch in self.p.api('GET', CAT + '/batches?status=failed&dataSet=' + self.place.dataset)[1]]
        self.assertIn(('l3', 'INGEST-1500-503'), [(r['identityMap']['CRMID'][0]['id'], r['_errors'][0]['code']) for r in rows])

    def test_fragment_is_replaced(self):
        self.place.send(self.place.message('r', score=1, band='low'))
        self.place.send(self.place.message('r', score=2))
        self.assertEqual(self.place.read('r')['entity']['_acme'], {'score': 2})
        self.place.send(self.place.message('r'))
        self.assertNotIn('_acme', self.place.read('r')['entity'])

    def test_merge_and_stitch(self):
        other = Place(self.p, 'other', fields={'plan': {'type': 'string'}})
        self.place.send(self.place.message('s', score=1))
        other.send(other.message(entity={'_acme': {'plan': 'gold'}, 'identityMap': {
            'CRMID': [{'id': 's', 'primary': True}], 'Email': [{'id': 's@x.example'}]}}))
        profile = self.place.read('s@x.example', 'email')
        self.assertEqual(profile['entity']['_acme'], {'score': 1, 'plan': 'gold'})
        self.assertEqual(profile['sources'], sorted([self.place.dataset, other.dataset]))
        self.assertEqual(self.place.read('s', more='&fields=_acme.plan')['entity'], {'_acme': {'plan': 'gold'}})
        self.assertIsNone(self.place.read('nobody'))

    def test_too_large_for_profile(self):
        self.assertEqual(self.place.send(self.place.message('large', crmId='x' * 110000))[0], 200)
        self.assertIsNone(self.place.read('large'))

    def test_not_ready(self):
        self.p.control('POST', '/settings', {'flow_ready_ms': 10000000})
        self.assertEqual(self.place.send(self.place.message('early', score=1))[0], 200)
        self.p.control('POST', '/settings', {'flow_ready_ms': 0})
        self.assertIsNone(self.place.read('early'))

    def test_speed(self):
        bodies = [json.dumps({'messages': [self.place.message('v%d' % (b * 500 + i), score=i / 500, rank=i, band='low')
                                           for i in range(500)]}) for b in range(20)]
        self.p.headers()
        begun = time.monotonic()
        for body in bodies:
            self.assertEqual(self.p.api('POST', '/collection/batch/' + self.place.inlet, body)[0], 207)
        seconds = time.monotonic() - begun
        print('# %.0f messages/s over one connection' % (10000 / seconds))
        self.assertLess(seconds, 20)


class Batches(Case):
    def make(self, **more):
        status, body = self.p.api('POST', '/data/foundation/import/batches', dict(
            {'datasetId': self.place.dataset, 'inputFormat': {'format': 'json'}, 'enableErrorDiagnostics': True}, **more))
        self.assertEqual((status, body.get('status')), (201, 'loading'))
        return body['id']

    def put(self, key, rows, name='a.json'):
        data = b''.join(json.dumps(r).encode() + b'\n' for r in rows)
        return self.p.api('PUT', '/data/foundation/import/batches/%s/datasets/%s/files/%s' % (key, self.place.dataset, name), data,
                          Content_Type='application/octet-stream')[0]

    def complete(self, key, action='COMPLETE'):
        return self.p.api('POST', '/data/foundation/import/batches/%s?action=%s' % (key, action))[0]

    def final(self, key):
        seen = []
        for _ in range(200):
            batch = self.p.api('GET', CAT + '/batches/' + key)[1][key]
            if batch['status'] not in seen:
                seen.append(batch['status'])
            if batch['status'] in ('success', 'failed'):
                return batch, seen
            time.sleep(0.01)
        raise AssertionError(seen)

    def row(self, key, **attributes):
        return {'_acme': attributes, 'identityMap': {'CRMID': [{'id': key, 'primary': True}]}}

    def test_success(self):
        key = self.make(externalId='run-1')
        self.assertEqual(self.put(key, [self.row('b1', score=1), self.row('b2', score=2)]), 200)
        self.assertEqual(self.put(key, [[self.row('b3', score=3)]], 'b.json'), 200)
        self.assertEqual(self.complete(key, 'complete'), 400)
        self.assertEqual([self.complete(key), self.complete(key)], [200, 200])
        batch, seen = self.final(key)
        self.assertEqual((seen[0], batch['status'], batch['metrics']['outputRecordCount']), ('loaded', 'success', 3))
        self.assertEqual(self.place.read('b3')['entity']['_acme']['score'], 3)
        self.assertIn(key, self.p.api('GET', CAT + '/batches?externalId=run-1')[1])
        self.assertEqual(self.p.api('POST', '/data/foundation/import/batches', {
            'datasetId': self.place.dataset, 'inputFormat': {'format': 'json'}, 'externalId': 'run-1'})[0], 400)

    def test_failure_and_partial(self):
        rows = [self.row('p%d' % i, score=i) for i in range(19)] + [self.row('bad', score='x')]
        key = self.make()
        self.put(key, rows)
        self.complete(key)
        self.assertEqual(self.final(key)[0]['status'], 'failed')
        self.assertIsNone(self.place.read('p1'))
        key = self.make(partialIngestionPercentage=5)
        self.put(key, rows)
        self.complete(key)
        batch = self.final(key)[0]
        self.assertEqual((batch['status'], batch['metrics']['failedRecordCount']), ('success', 1))
        self.assertTrue(batch['errors'])
        listed = self.p.api('GET', '/data/foundation/export/batches/%s/meta?path=row_errors' % key)[1]['data']
        self.assertTrue(listed)

    def test_scripted_refusal(self):
        self.p.control('POST', '/settings', {'refuse_later': {'p3': 'INGEST-1500-503'}})
        key = self.make(partialIngestionPercentage=50)
        self.put(key, [self.row('p%d' % i, score=i) for i in range(1, 5)])
        self.complete(key)
        batch = self.final(key)[0]
        self.p.control('POST', '/settings', {'refuse_later': {}})
        self.assertEqual((batch['status'], batch['metrics']['failedRecordCount'], batch['errors'][0]['code']),
                         ('success', 1, 'INGEST-1500-503'))
        row = self.p.api('GET', '/data/foundation/export/batches/%s/meta?path=row_errors/conversion_errors_0.json' % key)[1]
        self.assertEqual((row['identityMap']['CRMID'][0]['id'], row['_errors'][0]['code']), ('p3', 'INGEST-1500-503'))

    def test_other_batches(self):
        before = len(self.p.api('GET', CAT + '/batches?limit=100')[1])
        self.p.control('POST', '/other-batches', {'count': 3})
        self.assertEqual(len(self.p.api('GET', CAT + '/batches?limit=100')[1]), before + 3)

    def test_refusals(self):
        key = self.make()
        self.assertEqual(self.p.api('PUT', '/data/foundation/import/batches/%s/datasets/%s/files/a' % (key, self.place.dataset), b'x')[0], 415)
        self.assertEqual(self.complete(key, 'ABORT'), 200)
        self.assertEqual(self.put(key, []), 400)
        self.assertEqual(self.p.api('POST', '/data/foundation/import/batches', {'datasetId': 'x', 'inputFormat': {'format': 'json'}})[0], 400)


class Snapshots(Case):
    def test_day(self):
        folder = self.p.path('snapshots', 'default', '2026-11-23')
        os.makedirs(os.path.join(folder, 'deeper'))
        names = ['_SUCCESS'] + ['part-0000%d.c000.snappy.parquet' % i for i in range(6)]
        for name in names:
            with open(os.path.join(folder, name), 'wb') as file:
                file.write(b'' if name == '_SUCCESS' else name.encode() * 100)
        with open(os.path.join(folder, 'deeper', 'part-x.parquet'), 'wb') as file:
            file.write(b'deep')
        found = self.p.api('GET', CAT + '/dataSets?property=name~%5EProfile-Snapshot-Export&properties=name,tags')[1]
        self.assertEqual([d['tags']['unifiedProfile'] for d in found.values()], [['mergePolicyId:default']])
        dataset = next(iter(found))
        batches = self.p.api('GET', CAT + '/batches?dataSet=%s&status=success&orderBy=desc:created&limit=1' % dataset)[1]
        batch = next(iter(batches))
        self.assertEqual(time.strftime('%Y-%m-%d', time.gmtime(batches[batch]['created'] / 1000)), '2026-11-23')
        self.assertEqual(self.p.api('GET', CAT + '/lastBatches?dataSetId=' + dataset)[1][dataset]['lastSuccessfulBatchId'], batch)
        files, target = [], '/data/foundation/export/batches/%s/files?limit=1' % batch
        while target:
            page = self.p.api('GET', target)[1]
            self.assertIsInstance(page['data'][0]['size'], str)
            files += page['data']
            target = page['_links'].get('next', {}).get('href', '').partition(str(self.p.port))[2]
        self.assertEqual(len(files), 2)
        parts = {}
        waiting = [f['dataSetFileId'] for f in files]
        while waiting:
            for entry in self.p.api('GET', '/data/foundation/export/files/' + waiting.pop())[1]['data']:
                if 'dataSetFileId' in entry:
                    waiting.append(entry['dataSetFileId'])
                else:
                    parts[entry['name']] = entry
        self.assertEqual(sorted(parts), sorted(names + ['part-x.parquet']))
        href = parts['part-00003.c000.snappy.parquet']['_links']['self']['href']
        self.assertTrue(href.startswith('https://localhost:%d/' % self.p.port))
        target = href.partition(str(self.p.port))[2]
        whole = self.p.api('GET', target)[1]
        status, data, headers = self.p.call('GET', target, None, self.p.headers(Range='bytes=10-19'))
        self.assertEqual((status, data, headers['Content-Range']), (206, whole[10:20], 'bytes 10-19/%d' % len(whole)))
        status, data, headers = self.p.call('HEAD', target, None, self.p.headers())
        self.assertEqual((status, headers['Content-Length']), (200, str(len(whole))))
        self.p.control('POST', '/settings', {'max_range_bytes': 7})
        self.assertEqual(self.p.call('GET', target, None, self.p.headers(Range='bytes=0-'))[1], whole[:7])
        self.p.control('POST', '/settings', {'max_range_bytes': None})
        self.assertEqual(self.p.api('GET', '/data/core/ups/config/mergePolicies')[1]['children'][0]['id'], 'default')


class Faults(Case):
    def send(self, **more):
        return self.p.call('POST', '/collection/batch/' + self.place.inlet,
                           {'messages': [self.place.message('f%d' % i, score=i) for i in range(4)]}, self.p.headers(), **more)

    def test_status_and_retry_after(self):
        self.fault(path='/collection/', count=1, action={'status': 429, 'retry_after': 7})
        self.fault(path='/collection/', count=1, action={'status': 503, 'retry_after': 'date:+5'})
        status, _, headers = self.send()
        self.assertEqual((status, headers['Retry-After']), (429, '7'))
        status, _, headers = self.send()
        self.assertEqual((status, headers['Retry-After'][-3:]), (503, 'GMT'))
        self.assertEqual(self.send()[0], 207)

    def test_after_every_probability(self):
        self.fault(path='/collection/', after=1, every=2, action={'status': 500})
        self.assertEqual([self.send()[0] for _ in range(5)], [207, 500, 207, 500, 207])
        self.p.control('DELETE', '/faults')
        self.fault(path='/collection/', probability=0.5, seed=3, action={'status': 500})
        self.assertEqual({self.send()[0] for _ in range(12)}, {207, 500})

    def test_cuts(self):
        for cut, journaled in (('before_body', 0), ('after_body', 0), ('after_accept', 4), ('mid_reply', 4)):
            for reset in (False, True):
                before = self.accepted()
                self.fault(path='/collection/', count=1, action={'cut': cut, 'reset': reset})
                with self.assertRaises((http.client.HTTPException, OSError), msg=cut):
                    self.send(fresh=True)
                self.assertEqual(self.accepted() - before, journaled, cut)

    def test_connections(self):
        self.p.control('POST', '/connections', {'reset': 1})
        with self.assertRaises(OSError):
            self.send(fresh=True)
        self.assertEqual(self.send(fresh=True)[0], 207)

    def test_entries(self):
        self.fault(path='/batch/', count=1, action={'entries': {'statuses': {'1': 503, '2': 202}}})
        before = self.accepted()
        self.assertEqual([r.get('status') for r in self.send()[1]['responses']], [None, 503, 202, None])
        self.assertEqual(self.accepted() - before, 3)
        self.fault(path='/batch/', count=1, action={'entries': {'status': 400, 'identities': ['f3']}})
        self.assertEqual([r.get('status') for r in self.send()[1]['responses']], [None, None, None, 400])

    def test_miscount(self):
        before = self.accepted()
        self.fault(path='/batch/', count=1, action={'miscount': -1})
        self.assertEqual(len(self.send()[1]['responses']), 3)
        self.fault(path='/batch/', count=1, action={'miscount': 2})
        self.assertEqual(len(self.send()[1]['responses']), 6)
        self.assertEqual(self.accepted() - before, 8)

    def test_bodies(self):
        self.fault(path='/batch/', count=1, action={'garbage': True, 'process': True})
        status, body, _ = self.send()
        self.assertEqual((status, type(body)), (207, bytes))
        self.fault(path='/batch/', count=1, action={'body_bytes': 3000000})
        self.assertEqual(len(self.send()[1]), 3000000)
        self.fault(path='/batch/', count=1, action={'header_bytes': 200000})
        self.assertGreater(sum(len(v) for v in self.send()[2].values()), 190000)
        self.fault(path='/batch/', count=1, action={'redirect': 'https://elsewhere.example/'})
        status, _, headers = self.send(fresh=True)
        self.assertEqual((status, headers['Location']), (302, 'https://elsewhere.example/'))

    def test_delay(self):
        self.fault(path='/batch/', count=1, action={'delay_ms': 300})
        begun = time.monotonic()
        self.assertEqual(self.send()[0], 207)
        self.assertGreater(time.monotonic() - begun, 0.3)

    def test_expired_tokens(self):
        self.fault(path='/batch/', count=1, action={'expire_tokens': True})
        self.assertEqual(self.send()[0], 403)
        self.p.token = None
        self.assertEqual(self.send()[0], 207)

    def test_body_match(self):
        self.fault(body='"f2"', action={'status': 400})
        self.assertEqual(self.send()[0], 400)
        self.assertEqual(self.place.send(self.place.message('f1', score=1))[0], 200)

    def test_not_a_rule(self):
        with self.assertRaises(RuntimeError):
            self.fault(path='x', action={'explode': True})


class Restart(Case):
    def test_kill(self):
        self.place.send_many([self.place.message('k%d' % i, score=i) for i in range(50)])
        before = self.p.control('GET', '/journal/summary')
        self.p.kill()
        with open(self.p.path('journal.ndjson'), 'ab') as journal:
            journal.write(b'{"seq": 51, "cut sh')
        self.p.start(self.p.port)
        self.assertEqual(self.p.control('GET', '/journal/summary'), before)
        self.assertEqual(self.place.read('k7')['entity']['_acme'], {'score': 7}, 'the token lived through it too')
        self.assertEqual(self.place.send(self.place.message('k7', score=8))[0], 200)
        self.assertEqual(self.p.control('GET', '/journal/summary')['repeats'], {'1': 49, '2': 1})

    def test_kill_under_load(self):
        """What was answered is in the journal, once."""
        answered = []
        self.p.headers()

        def client(n):
            mine = Platform(self.directory)
            mine.port, mine.token = self.p.port, self.p.token
            for i in range(1000):
                key = 'load-%d-%d' % (n, i)
                try:
                    if mine.call('POST', '/collection/' + self.place.inlet, self.place.message(key, score=i), mine.headers())[0] == 200:
                        answered.append(key)
                except (OSError, http.client.HTTPException):
                    return
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(client, n) for n in range(4)]
            time.sleep(0.7)
            self.p.kill()
            for job in jobs:
                job.result()
        self.p.start(self.p.port)
        lines = self.p.control('GET', '/journal?format=tsv').splitlines()
        kept = [line.split('\t')[4] for line in lines]
        kept = [key for key in kept if key.startswith('load-')]
        self.assertGreater(len(answered), 10)
        self.assertEqual(len(kept), len(set(kept)))
        self.assertFalse(set(answered) - set(kept))
        self.assertLessEqual(len(kept) - len(answered), 4)

    def test_reset(self):
        self.p.control('POST', '/profiles', {'namespace': 'CRMID', 'identity': 'seeded', 'entity': {'person': {'gender': 'female'}}})
        self.assertEqual(self.place.read('seeded')['entity'], {'person': {'gender': 'female'}})
        self.p.control('POST', '/reset?keep=objects')
        self.assertIsNone(self.place.read('seeded'))
        self.assertEqual(self.accepted(), 0)


class Tap(unittest.TextTestResult):
    """Each test a line."""
    number = 0

    def line(self, good, test):
        Tap.number += 1
        print('%s %d - %s' % ('ok' if good else 'not ok', Tap.number, test.id().partition('.')[2]), flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line(True, test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.line(False, test)

    def addError(self, test, error):
        super().addError(test, error)
        self.line(False, test)


if __name__ == '__main__':
    names = sys.argv[1:]
    suite = (unittest.defaultTestLoader.loadTestsFromNames(names, sys.modules[__name__]) if names
             else unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    result = unittest.TextTestRunner(stream=sys.stderr, resultclass=Tap, verbosity=0).run(suite)
    print('1..%d' % Tap.number)
    sys.exit(not result.wasSuccessful())
