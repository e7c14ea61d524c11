"""Where exports lie: DIR/exports as a bucket of something that speaks S3, and as a container of Azure Blob storage.

Each request is held to its signature: Signature Version 4 as Amazon describes it, and the service SAS of a container.
"""
import base64
import datetime
import hashlib
import hmac
import os
import time
import urllib.parse
from xml.sax.saxutils import escape

from . import export
from .core import Refusal, Reply

BUCKET, CONTAINER, ACCOUNT = 'lake', 'zone', 'account'
REGION, KEY, SECRET, SESSION = 'eu-central-1', 'EXPORTKEY', 'export/secret+key', 'session+token='
AZURE_KEY = b'azure account key'
SAS_VERSION = '2020-10-02'


def _refuse(status, code):
    raise Refusal(status, '<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>no &amp; no</Message></Error>' % code,
                  {'Content-Type': 'application/xml'})


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


# -- Signature Version 4 --------------------------------------------------------

def _canonical_query(request):
    pairs = [p.partition('=') for p in request.target.partition('?')[2].split('&') if p]
    return '&'.join('%s=%s' % (k, v) for k, _, v in sorted(pairs))


def _signature(request, date, scope, signed):
    headers = ''.join('%s:%s\n' % (n, ' '.join((request.header(n) or '').split())) for n in signed)
    canonical = '\n'.join([request.method, request.target.partition('?')[0], _canonical_query(request), headers,
                           ';'.join(signed), request.header('x-amz-content-sha256') or hashlib.sha256(b'').hexdigest()])
    to_sign = '\n'.join(['AWS4-HMAC-SHA256', date, '/'.join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    key = ('AWS4' + SECRET).encode()
    for part in scope:
        key = _hmac(key, part)
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def _check_s3(world, request):
    head = request.header('Authorization') or ''
    if not head.startswith('AWS4-HMAC-SHA256 '):
        _refuse(403, 'AccessDenied')
    parts = dict(p.strip().split('=', 1) for p in head.split(' ', 1)[1].split(','))
    key, *scope = parts['Credential'].split('/')
    signed = parts['SignedHeaders'].split(';')
    date = request.header('x-amz-date') or ''
    if key != KEY:
        _refuse(403, 'InvalidAccessKeyId')
    if scope[1:] != [REGION, 's3', 'aws4_request'] or scope[0] != date[:8]:
        _refuse(400, 'AuthorizationHeaderMalformed')
    at = datetime.datetime.strptime(date, '%Y%m%dT%H%M%SZ').replace(tzinfo=datetime.timezone.utc)
    if abs(time.time() - at.timestamp()) > 900:
        _refuse(403, 'RequestTimeTooSkewed')
    # everything of ours that is sent must be signed
    if not {'host', 'x-amz-date'} <= set(signed) or sorted(signed) != signed or \
            any(n.lower().startswith('x-amz-') and n.lower() not in signed for n in request.headers.keys()):
        _refuse(403, 'SignatureDoesNotMatch')
    if world.settings['store_session'] and request.header('x-amz-security-token') != SESSION:
        _refuse(403, 'InvalidToken')
    if not hmac.compare_digest(_signature(request, date, scope, signed), parts['Signature']):
        _refuse(403, 'SignatureDoesNotMatch')


# -- service SAS ----------------------------------------------------------------

def _sas_signature(fields):
    text = '\n'.join([fields.get('sp', ''), fields.get('st', ''), fields.get('se', ''), '/blob/%s/%s' % (ACCOUNT, CONTAINER),
                      '', '', fields.get('spr', ''), fields.get('sv', ''), fields.get('sr', ''), '', '', '', '', '', ''])
    return base64.b64encode(_hmac(AZURE_KEY, text)).decode()


def make_sas(world, request):
    """A token for the container that lasts some seconds, or has ended some seconds ago."""
    ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=float(request.argument('seconds', '3600')))
    fields = {'sp': 'rl', 'se': ends.strftime('%Y-%m-%dT%H:%M:%SZ'), 'spr': 'https', 'sv': SAS_VERSION, 'sr': 'c'}
    fields['sig'] = _sas_signature(fields)
    return Reply(200, urllib.parse.urlencode(fields))


def _check_azure(world, request):
    fields = {k: v[0] for k, v in request.query.items()}
    if 'sig' not in fields or not hmac.compare_digest(_sas_signature(fields), fields['sig']):
        _refuse(403, 'AuthenticationFailed')
    ends = datetime.datetime.strptime(fields['se'], '%Y-%m-%dT%H:%M:%SZ').replace(tzinfo=datetime.timezone.utc)
    if ends.timestamp() < time.time():
        _refuse(403, 'AuthenticationFailed')
    if not request.header('x-ms-version'):
        _refuse(400, 'MissingRequiredHeader')


# -- what is there --------------------------------------------------------------

def _keys(world):
    root = os.path.join(world.directory, 'exports')
    found = {}
    for path, _, names in os.walk(root):
        for name in names:
            full = os.path.join(path, name)
            found[os.path.relpath(full, root)] = full
    return found


def _listed(world, request, mark):
    """(files, folders, mark of the next page) under the prefix, one page of both."""
    prefix, delimiter = request.argument('prefix', ''), request.argument('delimiter')
    files, folders = [], set()
    for key in _keys(world):
        rest = key[len(prefix):]
        if not key.startswith(prefix):
            continue
        if delimiter and delimiter in rest:
            folders.add(prefix + rest.split(delimiter)[0] + delimiter)
        else:
            files.append(key)
    everything = sorted(files) + sorted(folders)
    start = int(mark.rpartition('=')[2]) if mark else 0
    page = world.settings['store_page']
    shown = everything[start:start + page]
    next_mark = 'mark+/ =%d' % (start + page) if start + page < len(everything) else ''
    return [k for k in shown if k not in folders], [k for k in shown if k in folders], next_mark


def _version(path):
    return hashlib.md5(('%d %d' % (os.path.getsize(path), os.stat(path).st_mtime_ns)).encode()).hexdigest()


def _object(world, request, key):
    path = _keys(world).get(key)
    if path is None:
        _refuse(404, 'NoSuchKey')
    return export._bytes(world, request, path)


def bucket(world, request, key):
    _check_s3(world, request)
    if key:
        return _object(world, request, key)
    if request.argument('list-type') != '2':
        _refuse(400, 'InvalidArgument')
    files, folders, mark = _listed(world, request, request.argument('continuation-token'))
    keys = _keys(world)
    body = ['<?xml version="1.0" encoding="UTF-8"?>', '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
            '<Name>%s</Name><KeyCount>%d</KeyCount><IsTruncated>%s</IsTruncated>' % (BUCKET, len(files) + len(folders), 'true' if mark else 'false')]
    if mark:
        body.append('<NextContinuationToken>%s</NextContinuationToken>' % escape(mark))
    for k in files:
        body.append('<Contents><Key>%s</Key><ETag>&quot;%s&quot;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>'
                    % (escape(k), _version(keys[k]), os.path.getsize(keys[k])))
    body += ['<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>' % escape(k) for k in folders]
    return Reply(200, ''.join(body) + '</ListBucketResult>', {'Content-Type': 'application/xml'})


def container(world, request, key):
    _check_azure(world, request)
    if key:
        return _object(world, request, key)
    if request.argument('restype') != 'container' or request.argument('comp') != 'list':
        _refuse(400, 'InvalidQueryParameterValue')
    files, folders, mark = _listed(world, request, request.argument('marker'))
    keys = _keys(world)
    body = ['\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="%s"><Blobs>' % CONTAINER]
    body += ['<Blob><Name>%s</Name><Properties><Etag>0x%s</Etag><Content-Length>%d</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>'
             % (escape(k), _version(keys[k]), os.path.getsize(keys[k])) for k in files]
    body += ['<BlobPrefix><Name>%s</Name></BlobPrefix>' % escape(k) for k in folders]
    body.append('</Blobs>' + ('<NextMarker>%s</NextMarker>' % escape(mark) if mark else '<NextMarker />') + '</EnumerationResults>')
    return Reply(200, ''.join(body), {'Content-Type': 'application/xml'})


def routes(router):
    router.add('GET', '/%s/(.*)' % BUCKET, bucket)
    router.add('GET', '/%s/(.+)' % CONTAINER, container)
    router.add('GET', '/%s' % CONTAINER, lambda world, request: container(world, request, ''))
    router.add('GET', '/__control/sas', make_sas)
