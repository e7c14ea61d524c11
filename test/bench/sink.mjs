// A sink: answers every streaming batch with as many accepted entries as it holds, at once. It stands for a platform
// that is never the bottleneck. usage: node sink.mjs key.pem cert.pem port-file [count|latency|chaos] [h2]
//   count    counts messages without parsing them
//   latency  also takes the time since the value's "at" (milliseconds of the clock)
//   chaos    parses everything, fails now and then in ways of a platform in trouble, and remembers each key's
//            last "score"
// With h2 it speaks HTTP/2 to whoever can. GET /count tells messages, requests and connections, GET /latency percentiles in
// ms, GET /last the keys with their last scores. Its process id stands in port-file.pid.
import { createServer } from 'node:https';
import { createSecureServer } from 'node:http2';
import { readFileSync, writeFileSync } from 'node:fs';

const [, , key, cert, portFile, mode = 'count', protocol] = process.argv;
const count = { messages: 0, requests: 0, connections: 0, versions: {}, failed: 0, backwards: 0 };
const answers = new Map();
const mark = Buffer.from('"xdmEntity"');
const waits = [];
const last = new Map();

function answer(messages) {
  if (!answers.has(messages))
    answers.set(messages, Buffer.from(JSON.stringify({
      inletId: 'sink', batchId: 'sink', receivedTimeMs: 0,
      responses: Array.from({ length: messages }, (_, i) => ({ xactionId: `sink-${i}` })),
    })));
  return answers.get(messages);
}

// How often the mark is in the bytes, of which the first few are those before.
function marks(bytes) {
  let found = 0;
  for (let at = bytes.indexOf(mark); at >= 0; at = bytes.indexOf(mark, at + mark.length)) found++;
  return found;
}

function measure(text, from) {
  const now = Date.now();
  let end = from;
  for (const match of text.slice(from).matchAll(/"at": ?([0-9.]+)[,}]/g)) {
    waits.push(now - Number(match[1]));
    end = from + match.index + match[0].length;
  }
  return end;
}

function percentiles() {
  const sorted = Float64Array.from(waits).sort();
  const at = (p) => (sorted.length ? Math.round(sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))]) : null);
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), most: at(1) };
}

// What a platform in trouble does with a request: true when it is answered, or never will be.
function trouble(response, entries) {
  const dice = Math.random();
  if (dice < 0.02) response.writeHead(503).end();
  else if (dice < 0.03) response.writeHead(429, { 'retry-after': '1' }).end();
  else if (dice < 0.04) response.writeHead(500).end('{"title": "trouble"}');
  else if (dice < 0.05) (response.stream ? response.stream.close(2) : response.destroy());
  else if (dice < 0.06) response.writeHead(207, { 'content-type': 'application/json' }).end('{"responses": [{"xactionId"');
  else if (dice < 0.07) {
    const busy = entries.map((_, i) => (i % 3 ? { xactionId: `sink-${i}` } : { status: 503, message: 'busy' }));
    response.writeHead(207, { 'content-type': 'application/json' }).end(JSON.stringify({ responses: busy }));
    return entries.filter((_, i) => i % 3);
  } else return null;
  return [];
}

function chaos(text, response) {
  const body = JSON.parse(text);
  const entries = body.messages ?? [body];
  const taken = trouble(response, entries);
  if (taken) count.failed++;
  for (const { body: { xdmEntity: entity } } of taken ?? entries) {
    const record = Object.values(Object.values(entity).find((part) => typeof part === 'object' && !Array.isArray(part) && !part.CRMID))[0];
    const before = last.get(record.profileId);
    if (before !== undefined && before > record.score) count.backwards++;
    last.set(record.profileId, record.score);
    count.messages++;
  }
  if (!taken) {
    const single = !body.messages;
    response.writeHead(single ? 200 : 207, { 'content-type': 'application/json' });
    response.end(single ? '{"xactionId": "sink-0"}' : answer(entries.length));
  }
}

function told(request, response) {
  const tell = { '/count': () => count, '/latency': percentiles, '/last': () => null }[request.url];
  if (!tell) return false;
  if (request.url === '/last') response.end([...last].map(([k, v]) => `${k}\t${v}\n`).join(''));
  else response.end(JSON.stringify(tell()));
  return true;
}

function take(request, response) {
  if (told(request, response)) return;
  if (request.url.includes('/ims/token')) {
    request.resume();
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ access_token: 'sink', token_type: 'bearer', expires_in: 86399 }));
    return;
  }
  // The worker also looks after what failed late: nothing did.
  if (!request.url.startsWith('/collection/')) {
    request.resume();
    response.setHeader('content-type', 'application/json');
    response.end('{}');
    return;
  }
  count.requests++;
  count.versions[request.httpVersion] = (count.versions[request.httpVersion] ?? 0) + 1;
  let found = 0;
  let tail = Buffer.alloc(0);
  let whole = '';
  request.on('data', (chunk) => {
    if (mode !== 'count') {
      whole += chunk.toString('latin1');
      return;
    }
    // across the seam of two chunks there may be one more
    found += marks(chunk) + marks(Buffer.concat([tail, chunk.subarray(0, mark.length - 1)]));
    tail = Buffer.concat([tail, chunk.subarray(1 - mark.length)]).subarray(1 - mark.length);
  });
  request.on('end', () => {
    if (mode === 'chaos') {
      chaos(whole, response);
      return;
    }
    if (mode === 'latency') {
      measure(whole, 0);
      found = whole.split('"xdmEntity"').length - 1;
    }
    count.messages += found;
    const body = answer(found);
    response.writeHead(207, { 'content-type': 'application/json', 'content-length': body.length });
    response.end(body);
  });
}

const options = { key: readFileSync(key), cert: readFileSync(cert) };
const window = 4 * 1024 * 1024;
const server = protocol === 'h2'
  ? createSecureServer({ ...options, allowHTTP1: true, settings: { initialWindowSize: window } }, take)
  : createServer(options, take);
server.on('session', (session) => session.setLocalWindowSize(4 * window));
server.on('secureConnection', () => count.connections++);
server.listen(0, '127.0.0.1', () => {
  writeFileSync(`${portFile}.pid`, String(process.pid));
  writeFileSync(portFile, String(server.address().port));
});
