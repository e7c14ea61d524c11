"""Tokens, and who may pass the gateway."""
import base64
import json
import os
import time
import urllib.parse

from .core import Refusal, Reply, hex_id

SCOPES = {'openid', 'AdobeID', 'read_organizations', 'additional_info.projectedProductContext', 'session'}


def issue(world, request):
    """POST /ims/token/v3: client credentials, in the body only."""
    if request.query:
        raise Refusal(400, {'error': 'invalid_request', 'error_description': 'parameters belong in the body'})
    if (request.header('Content-Type') or '').split(';')[0] != 'application/x-www-form-urlencoded':
        raise Refusal(400, {'error': 'invalid_request', 'error_description': 'content type'})
    try:
        form = urllib.parse.parse_qs(request.body.decode(), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise Refusal(400, {'error': 'invalid_request', 'error_description': 'malformed form'})
    value = {name: values[0] for name, values in form.items()}
    if value.get('grant_type') != 'client_credentials':
        raise Refusal(400, {'error': 'unsupported_grant_type', 'error_description': 'unsupported grant_type'})
    secret = world.settings['clients'].get(value.get('client_id'))
    if secret is None:
        raise Refusal(400, {'error': 'invalid_client', 'error_description': 'invalid client_id parameter'})
    if value.get('client_secret') != secret:
        raise Refusal(401, {'error': 'invalid_client', 'error_description': 'invalid client_secret parameter'})
    scopes = {s.strip() for s in value.get('scope', '').split(',') if s.strip()}
    if not scopes or scopes - SCOPES:
        raise Refusal(400, {'error': 'invalid_scope', 'error_description': 'invalid scope'})
    life = request.faults.get('token_life', world.settings['token_life'])
    token = make_token(world, value['client_id'], life)
    return Reply(200, {'access_token': token, 'token_type': 'bearer', 'expires_in': int(life)})


def make_token(world, client, life):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b'=').decode()
    token = '%s.%s.%s' % (part({'alg': 'none', 'typ': 'JWT'}),
                          part({'client_id': client, 'type': 'access_token', 'id': hex_id(16)}), hex_id(64))
    with world.lock:
        world.store.put('', 'tokens', token, {'client': client, 'expires': time.time() + life})
        world.count('tokens issued')
    # For tests that look where a token turns up; its first two parts are much alike in all.
    for path in (os.path.join(world.directory, 'issued-tokens'), os.environ.get('PROFENRICH_SECRETS_USED')):
        if path:
            with open(path, 'a') as issued:
                print(token.split('.')[2], file=issued)
    return token


def expire_all(world):
    with world.lock:
        for token in list(world.store.all('', 'tokens')):
            world.store.delete('', 'tokens', token)


def revoke(world, request):
    """End the token that this request came with."""
    with world.lock:
        world.store.delete('', 'tokens', (request.header('Authorization') or '')[7:].strip())


def _token_state(world, request):
    """'missing', 'bad' or the client id of the bearer token."""
    header = request.header('Authorization')
    if not header or not header.startswith('Bearer ') or not header[7:].strip():
        return 'missing', None
    token = world.store.get('', 'tokens', header[7:].strip())
    if token is None or token['expires'] <= time.time():
        return 'bad', None
    return 'good', token['client']


def gateway(world, request):
    """The checks in front of every platform service."""
    if len(request.target) > 2000:
        raise Refusal(414, {'error_code': '414000', 'message': 'URL too long.'})
    state, client = _token_state(world, request)
    if state == 'missing':
        raise Refusal(403, {'error_code': '403010', 'message': 'Oauth token is missing.'})
    if state == 'bad':
        raise Refusal(401, {'error_code': '401013', 'message': 'Oauth token is not valid'})
    _keys(world, request, client)


def _keys(world, request, client):
    if not request.header('x-api-key'):
        raise Refusal(403, {'error_code': '403000', 'message': 'Api Key is required'})
    if request.header('x-api-key') != client:
        raise Refusal(403, {'error_code': '403003', 'message': 'Api Key is invalid'})
    if not request.header('x-gw-ims-org-id'):
        raise Refusal(400, {'error_code': '400003', 'message': 'Required header x-gw-ims-org-id is missing'})
    if request.header('x-gw-ims-org-id') != world.settings['org']:
        raise Refusal(403, {'error_code': '403025', 'message': 'Profile is not valid'})
    sandbox = request.header('x-sandbox-name')
    if not sandbox:
        raise Refusal(400, {'error_code': '400003', 'message': 'Required header x-sandbox-name is missing'})
    if sandbox not in world.settings['sandboxes']:
        raise Refusal(403, {'error_code': '403025', 'message': 'Sandbox is not available'})
    request.sandbox = sandbox
    request.client = client


def collection_gateway(world, request, authenticated):
    """The streaming host words its refusals in its own way."""
    state, client = _token_state(world, request)
    if authenticated and state != 'good':
        empty = state == 'missing'
        status = 401 if empty else 403
        raise Refusal(status, {
            'type': 'https://ns.adobe.com/adobecloud/problem/data-collection-service-authorization',
            'status': str(status), 'title': 'Authorization',
            'report': {'message': '[%s] Ims service token is %s' % (request.id, 'empty' if empty else 'expired or invalid')}})
    if client:
        _keys(world, request, client)
