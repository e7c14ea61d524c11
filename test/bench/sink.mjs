// A sink: answers every streaming batch with as many accepted entries as it holds, at once,
// without parsing it. usage: node sink.mjs key.pem cert.pem port-file
// It stands for a platform that is never the bottleneck; GET /count tells the messages taken. Its process id
// stands in port-file.pid.
import { createServer } from 'node:https';
import { readFileSync, writeFileSync } from 'node:fs';

const [, , key, cert, portFile] = process.argv;
let messages = 0;
let requests = 0;
const answers = new Map();

function answer(count) {
  if (!answers.has(count))
    answers.set(count, Buffer.from(JSON.stringify({
      inletId: 'sink', batchId: 'sink', receivedTimeMs: 0,
      responses: Array.from({ length: count }, (_, i) => ({ xactionId: `sink-${i}` })),
    })));
  return answers.get(count);
}

const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
  if (request.url === '/count') {
    response.end(JSON.stringify({ messages, requests }));
    return;
  }
  if (request.url.includes('/ims/token')) {
    request.resume();
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ access_token: 'sink', token_type: 'bearer', expires_in: 86399 }));
    return;
  }
  let count = 0;
  let tail = '';
  request.on('data', (chunk) => {
    const text = tail + chunk.toString('latin1');
    for (let at = text.indexOf('"xdmEntity"'); at >= 0; at = text.indexOf('"xdmEntity"', at + 11)) count++;
    tail = text.slice(-10);
  });
  request.on('end', () => {
    messages += count;
    requests++;
    const body = answer(count);
    response.writeHead(207, { 'content-type': 'application/json', 'content-length': body.length });
    response.end(body);
  });
});
server.listen(0, '127.0.0.1', () => {
  writeFileSync(`${portFile}.pid`, String(process.pid));
  writeFileSync(portFile, String(server.address().port));
});
