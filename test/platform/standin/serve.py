"""The HTTP side: listening, TLS, reading requests, misbehaving as scripted, replying."""
import argparse
import contextlib
import http.server
import json
import os
import signal
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time

from . import (batch, catalog, certificates, control, export, flow, identity, ims, profiles, registry, stores, streaming)
from .core import Refusal, Reply, Request, Router, World, now_ms
from .faults import Faults, retry_after

MAX_BODY = 300 * 1024 * 1024
KEPT_REQUESTS = 2000


def make_router():
    router = Router()
    router.add('POST', '/ims/token/v3', ims.issue)
    for service in (registry, identity, catalog, flow, streaming, batch, export, profiles, stores, control):
        service.routes(router)
    return router


class Recorder:
    """Requests as they were made, to be held against the published descriptions: NDJSON in a file of our own.

    The first of each route, and then now and then one; of a long list of messages the first few."""
    FIRST, EVERY, MESSAGES = 300, 20, 3

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.file = open(os.path.join(directory, '%d-%d.ndjson' % (os.getpid(), now_ms())), 'a')
        self.seen = {}

    def take(self, request, route, headers):
        count = self.seen[(request.method, route)] = self.seen.get((request.method, route), 0) + 1
        if count > self.FIRST and count % self.EVERY:
            return
        body = request.body.decode('utf-8', 'replace') if len(request.body) < MAX_BODY else ''
        if len(body) > 20000 and '/collection/batch/' in request.path:
            whole = json.loads(body)
            whole['messages'] = whole['messages'][:self.MESSAGES]
            body = json.dumps(whole)
        elif 'json' not in (request.header('Content-Type') or ''):
            body = body[:100]
        shown = {k: 'Bearer x' if k.lower() == 'authorization' else v for k, v in headers.items()}
        target = request.path + request.target[len(request.target.partition('?')[0]):]
        self.file.write(json.dumps({'method': request.method, 'target': target, 'headers': shown,
                                    'body': body if request.path != '/ims/token/v3' else ''}) + '\n')
        self.file.flush()


class Cut(Exception):
    """The connection ends here."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server_version = 'standin'
    sys_version = ''
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = 120

    def do(self):
        world = self.server.world
        self.status = 0
        begun = time.monotonic()
        request = Request(self.command, self.path, self.headers, secure=self.server.tls)
        if request.path.startswith(control.BASE):
            request.faults = {}
        else:
            request.faults = world.faults.pick(request, early=True)
        try:
            if request.faults:
                self.cut(request.faults)
            request.body = self.read_body()
            if not request.path.startswith(control.BASE):
                request.faults = world.faults.pick(request, early=False)
            self.act(request)
        except Cut:
            self.close_connection = True
        finally:
            self.note(request, time.monotonic() - begun)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do

    def read_body(self):
        if self.headers.get('Transfer-Encoding', '').lower() == 'chunked':
            return self.read_chunks()
        length = self.headers.get('Content-Length', '0')
        if not length.isdigit() or int(length) > MAX_BODY:
            raise Cut
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Cut
        return body

    def read_chunks(self):
        parts = []
        while True:
            try:
                size = int(self.rfile.readline(100).split(b';')[0], 16)
            except ValueError:
                raise Cut
            if size == 0:
                while self.rfile.readline(1000).strip():
                    pass
                return b''.join(parts)
            parts.append(self.rfile.read(size))
            self.rfile.readline(10)

    def act(self, request):
        """Answer, with the scripted fault on the way."""
        fault = request.faults
        if fault.get('delay_ms'):
            time.sleep(fault['delay_ms'] / 1000)
        if fault.get('expire_tokens'):
            ims.expire_all(self.server.world)
        if fault.get('cut') == 'after_body':
            self.cut(fault)
        scripted = any(name in fault for name in ('status', 'redirect', 'garbage', 'body_bytes', 'header_bytes'))
        reply = None
        if not scripted or fault.get('process'):
            reply = self.dispatch(request)
        if fault.get('cut') == 'after_accept':
            self.cut(fault)
        if scripted:
            reply = self.scripted(fault, reply)
        if fault.get('reply_delay_ms'):
            time.sleep(fault['reply_delay_ms'] / 1000)
        self.send(request, reply, fault)

    def dispatch(self, request):
        world = self.server.world
        try:
            function, arguments, name = self.server.router.find(request.method, request.path)
            self.route = name or 'unknown'
            is_control = request.path.startswith(control.BASE)
            if is_control and self.client_address[0] not in ('127.0.0.1', '::1'):
                raise Refusal(403)
            if self.server.control_only and not is_control:
                raise Refusal(404)
            if request.header('Content-Encoding') and not is_control:
                raise Refusal(415, {'error_code': '415000', 'message': 'Content-Encoding is not supported'})
            if request.faults.get('revoke_token'):
                ims.revoke(world, request)
            if request.path.startswith('/data/'):
                ims.gateway(world, request)
            if name is None:
                raise Refusal(404, {'error_code': '404000', 'message': 'no such path'})
            if function is None:
                raise Refusal(405, {'error_code': '405000', 'message': 'method not allowed'})
            return function(world, request, *arguments)
        except Refusal as refusal:
            return refusal.reply
        except Exception as problem:
            import traceback
            traceback.print_exc()
            return Reply(500, {'error': 'the stand-in itself failed: %r' % problem})

    def scripted(self, fault, processed):
        """The reply that the script asks for, instead of the real one."""
        reply = Reply(fault.get('status') or (processed.status if processed else 200))
        reply.headers = dict(fault.get('headers') or {})
        if 'redirect' in fault:
            reply.status = fault.get('status', 302)
            reply.headers['Location'] = fault['redirect']
        if 'retry_after' in fault:
            reply.headers['Retry-After'] = retry_after(fault['retry_after'])
        if 'body' in fault:
            reply.body = fault['body']
        elif 'garbage' in fault:
            reply.body = fault['garbage'] if type(fault['garbage']) is str else '{"responses": [{"xact\x01'
            reply.headers['Content-Type'] = 'application/json'
        elif 'status' in fault and fault['status'] >= 400:
            reply.body = {'type': 'about:blank', 'title': 'scripted', 'status': fault['status']}
        elif processed and not fault.get('redirect') and 'body_bytes' not in fault:
            reply.body = processed.body
            reply.headers.update(processed.headers)
        return reply

    def send(self, request, reply, fault):
        self.status = reply.status
        body, kind = reply.payload()
        headers = dict(reply.headers)
        length = fault.get('body_bytes') or int(headers.pop('Content-Length', len(body)))
        self.send_response(reply.status)
        if kind:
            headers.setdefault('Content-Type', kind)
        headers['x-request-id'] = request.id
        if 'header_bytes' in fault:
            self.huge_headers(fault['header_bytes'])
        if reply.status != 204:
            headers['Content-Length'] = str(length)
        if fault.get('keep_alive') is False:
            headers['Connection'] = 'close'
            self.close_connection = True
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if request.method == 'HEAD':
            return
        if fault.get('cut') == 'mid_reply':
            self.wfile.write(body[:len(body) // 2])
            self.cut(fault)
        if fault.get('body_bytes'):
            self.flood(fault['body_bytes'])
        elif fault.get('trickle'):
            self.trickle(body, fault['trickle'])
        else:
            self.wfile.write(body)

    def huge_headers(self, size):
        line = 'x' * 8000
        for i in range(0, size, 8000):
            self.send_header('X-Filler-%d' % i, line)

    def flood(self, size):
        block = b' ' * 65536
        while size > 0:
            self.wfile.write(block[:size])
            size -= len(block)

    def trickle(self, body, per_second):
        for at in range(len(body)):
            self.wfile.write(body[at:at + 1])
            self.wfile.flush()
            time.sleep(1.0 / per_second)

    def cut(self, fault):
        """End the connection, with a reset if the script says so."""
        self.wfile.flush()
        try:
            if fault.get('reset'):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            else:
                # past TLS: the client sees the end of the stream without a close_notify
                socket.socket.shutdown(self.connection, socket.SHUT_RDWR)
            os.close(socket.socket.detach(self.connection))
        except OSError:
            pass
        raise Cut

    def note(self, request, seconds):
        """Counters, and the latest requests without their bearer tokens."""
        world = self.server.world
        if request.path.startswith(control.BASE):
            return
        route = self.server.router.find(request.method, request.path)[2] or request.path
        headers = {k: v for k, v in self.headers.items() if k.lower() != 'authorization'}
        headers['authorization'] = 'present' if self.headers.get('Authorization') else 'absent'
        with world.lock:
            world.count('requests')
            world.count('%s %s %s' % (request.method, route, self.status or 'cut'))
            world.requests.append({'ms': now_ms(), 'method': request.method, 'target': request.target, 'bytes': len(request.body),
                                   'status': self.status, 'seconds': round(seconds, 6), 'headers': headers, 'id': request.id,
                                   'connection': self.client_address[1]})
            del world.requests[:-KEPT_REQUESTS]
            # not those that were cut before their body was read
            if world.recorder and not request.path.startswith(('/lake/', '/zone')) and (request.body or self.headers.get('Content-Length', '0') == '0'):
                world.recorder.take(request, route, self.headers)

    def log_message(self, form, *arguments):
        pass


class Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256
    block_on_close = False

    def __init__(self, world, port, tls, control_only=False, activate=True):
        self.world = world
        self.router = make_router()
        self.tls = tls
        self.control_only = control_only
        self.context = None
        self.fate = None
        self.listening = activate
        super().__init__(('127.0.0.1', port), Handler, bind_and_activate=False)
        self.server_bind()
        if activate:
            self.server_activate()

    def server_bind(self):
        # HTTPServer's own looks the address up in DNS
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def become(self, kind):
        """For an extra port: 'closed', 'silent', 'plain', 'babble', 'tls10', or a kind of certificate."""
        if kind == 'closed' and self.listening:
            raise Refusal(400, {'error': 'a port that listens cannot be closed again'})
        self.fate = kind if kind in ('silent', 'plain', 'babble') else None
        if kind not in PORT_KINDS:
            self.context = context(self.world.directory, 'good' if kind == 'tls10' else kind)
        if kind == 'tls10':
            self.context = old_context(self.world.directory)
        if kind != 'closed' and not self.listening:
            self.listening = True
            self.server_activate()
            threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, connection, address):
        """In the connection's own thread: a client that stalls in its handshake stalls nobody else."""
        if not self.control_only:
            self.world.count('connections')
        fate = self.fate or (None if self.control_only else self.world.faults.connection())
        if fate == 'plain':
            connection.sendall(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')
            connection.close()
            return
        if fate == 'silent':
            time.sleep(60)
            return
        if fate == 'reset':
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            connection.close()
            return
        if fate == 'hang':
            time.sleep(60)
            return
        if self.tls:
            connection.settimeout(30)
            try:
                connection = self.context.wrap_socket(connection, server_side=True)
            except (OSError, ValueError):
                self.world.count('handshakes failed')
                return
        if fate == 'babble':
            connection.recv(65536)
            connection.sendall(b'\x00\x01 what? ' * 500)
            connection.close()
            return
        try:
            super().finish_request(connection, address)
        finally:
            try:
                connection.close()
            except OSError:
                pass

    def handle_error(self, connection, address):
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            super().handle_error(connection, address)


# What an extra port does to a connection, instead of serving it.
PORT_KINDS = {'closed', 'silent', 'plain', 'babble', 'tls10'}


def old_context(directory):
    """One that speaks nothing newer than TLS 1.1."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers('ALL:@SECLEVEL=0')
    made.minimum_version = ssl.TLSVersion.TLSv1
    made.maximum_version = ssl.TLSVersion.TLSv1_1
    made.load_cert_chain(*certificates.make(directory, 'good'))
    return made


def context(directory, kind):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(*certificates.make(directory, kind))
    return made


def write_file(directory, name, text):
    path = os.path.join(directory, name)
    with open(path + '.part', 'w') as file:
        file.write(text)
    os.replace(path + '.part', path)


def end_with_parent():
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main(arguments):
    parser = argparse.ArgumentParser(prog='server', description='A stand-in Experience Platform on the loopback address.')
    parser.add_argument('--state', required=True, metavar='DIR', help='where everything is kept, and port and pid written')
    parser.add_argument('--port', type=int, default=0, help='0: any free one')
    parser.add_argument('--with-parent', action='store_true', help='end when the process that started it ends')
    parser.add_argument('--plain', action='store_true', help='HTTP without TLS')
    parser.add_argument('--record', metavar='DIR', help='where to write requests for test/contract')
    options = parser.parse_args(arguments)
    directory = os.path.realpath(options.state)
    os.makedirs(os.path.join(directory, 'snapshots'), exist_ok=True)
    os.makedirs(os.path.join(directory, 'events'), exist_ok=True)
    os.makedirs(os.path.join(directory, 'exports'), exist_ok=True)
    world = World(directory)
    world.faults = Faults()
    world.recorder = Recorder(options.record) if options.record else None
    world.profiles = profiles.Profiles(world.journal)
    listener = Listener(world, options.port, tls=not options.plain)
    controls = Listener(world, 0, tls=False, control_only=True)
    if listener.tls:
        certificates.ensure_authorities(directory)
        listener.context = context(directory, 'good')

    def present(kind):
        listener.context = context(directory, kind)

    def extra_port(kind, port=None):
        """Another port, or an extra one becoming another kind; its number."""
        extra = extras.get(port)
        if port is not None and extra is None:
            raise Refusal(404, {'error': 'no such extra port'})
        if kind not in PORT_KINDS and kind not in certificates.KINDS:
            raise Refusal(400, {'error': 'unknown kind of port'})
        if extra is None:
            extra = Listener(world, 0, tls=True, activate=False)
            extras[extra.server_port] = extra
            extra.context = context(directory, 'good')
        extra.become(kind)
        return extra.server_port

    def stop(*_):
        threading.Thread(target=lambda: (time.sleep(0.05), listener.shutdown())).start()
    extras = {}
    world.present = present
    world.extra_port = extra_port
    world.stop = stop
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=controls.serve_forever, daemon=True).start()
    if options.with_parent:
        threading.Thread(target=end_with_parent, daemon=True).start()
    write_file(directory, 'pid', '%d\n' % os.getpid())
    write_file(directory, 'control-port', '%d\n' % controls.server_port)
    # last: who waits for it finds everything else in place
    write_file(directory, 'port', '%d\n' % listener.server_port)
    print(json.dumps({'port': listener.server_port, 'control': controls.server_port, 'pid': os.getpid()}), flush=True)
    listener.serve_forever(poll_interval=0.1)
    for name in ('port', 'pid', 'control-port'):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, name))
    sys.stdout.flush()
    os._exit(0)
