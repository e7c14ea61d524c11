"""Batch ingestion: create, put files, complete; what became of it is Catalog's to tell."""
import json
import os
import shutil

from . import catalog, registry, xdm
from .core import Refusal, Reply, now_ms, parse_json

BASE = '/data/foundation/import'
MAX_FILE = 256 * 1024 * 1024
FORMATS = ('json', 'parquet', 'csv')


def refuse(status, text):
    raise Refusal(status, {'errorCode': str(status), 'errorMessage': text, 'status': status})


def folder(world, key, *below):
    return os.path.join(world.directory, 'batches', key, *below)


def create(world, request):
    body = request.json()
    if type(body) is not dict:
        refuse(400, 'an object is expected')
    form = body.get('inputFormat')
    if type(form) is not dict or form.get('format') not in FORMATS:
        refuse(400, 'inputFormat.format is one of %s' % ', '.join(FORMATS))
    percent = body.get('partialIngestionPercentage', 0)
    if type(percent) not in (int, float) or not 0 <= percent <= 100:
        refuse(400, 'partialIngestionPercentage is from 0 to 100')
    with world.lock:
        dataset = world.store.get(request.sandbox, 'dataSets', body.get('datasetId'))
        if dataset is None:
            refuse(400, 'no data set %s' % body.get('datasetId'))
        external = body.get('externalId')
        if external and world.settings['duplicate_external_id'] == 'refuse' and any(
                b['externalId'] == external for b in world.store.all(request.sandbox, 'batches').values()):
            refuse(400, 'externalId %s is already used' % external)
        more = {'inputFormat': form, 'standin:partial': percent,
                'standin:diagnostics': bool(body.get('enableErrorDiagnostics', dataset.get('enableErrorDiagnostics')))}
        if external:
            more['externalId'] = external
        made = catalog.new_batch(world, request.sandbox, dataset['id'], **more)
        os.makedirs(folder(world, made['id'], 'input'), exist_ok=True)
    return Reply(201, catalog.batch_view(made))


def _find(world, request, key, *states):
    found = world.store.get(request.sandbox, 'batches', key)
    if found is None:
        refuse(404, 'no batch %s' % key)
    if states and found['status'] not in states:
        refuse(400, 'the batch is %s' % catalog.batch_view(found)['status'])
    return found


def put_file(world, request, key, dataset, name):
    with world.lock:
        found = _find(world, request, key, 'loading')
    if catalog.batch_dataset(found) != dataset:
        refuse(400, 'the batch is of another data set')
    if request.header('Content-Type') != 'application/octet-stream':
        refuse(415, 'the content type is application/octet-stream')
    if len(request.body) > MAX_FILE:
        refuse(413, 'a file is at most 256 MB')
    if not name or name.startswith('.') or '/' in name:
        refuse(400, 'the file name is not allowed')
    path = folder(world, key, 'input', name)
    with open(path + '.part', 'wb') as file:
        file.write(request.body)
    os.replace(path + '.part', path)
    return Reply(200)


def act(world, request, key):
    action = request.argument('action')
    with world.lock:
        if action == 'COMPLETE':
            found = _find(world, request, key)
            if 'standin:completed' not in found:
                _find(world, request, key, 'loading')
                _ingest(world, request.sandbox, found)
        elif action in ('ABORT', 'FAIL'):
            found = _find(world, request, key, 'loading')
            found.update(status='aborted' if action == 'ABORT' else 'failed', completed=now_ms(), updated=now_ms())
            world.store.put(request.sandbox, 'batches', key, found)
        elif action == 'REVERT':
            found = _find(world, request, key, 'success')
            found.update(status='inactive', updated=now_ms())
            world.store.put(request.sandbox, 'batches', key, found)
        else:
            refuse(400, 'action is COMPLETE, ABORT, FAIL or REVERT')
    return Reply(200)


# -- ingestion -----------------------------------------------------------------

def _records(path, multi_line):
    """(line number, record or None, raw line) of a file; a line may hold an array of records."""
    with open(path, 'rb') as file:
        if multi_line:
            text = file.read()
            try:
                whole = parse_json(text)
            except ValueError:
                yield 1, None, text.decode(errors='replace')
                return
            for record in whole if type(whole) is list else [whole]:
                yield 1, record, None
            return
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                whole = parse_json(line)
            except ValueError:
                yield number, None, line.decode(errors='replace').rstrip('\n')
                continue
            for record in whole if type(whole) is list else [whole]:
                yield number, record, None


def _error(code, description, rows):
    return {'code': code, 'description': description, 'recordCount': rows, 'rows': []}


def _ingest(world, sandbox, found):
    """Read the files, keep what fits, and settle the outcome; Catalog shows it after batch_ms."""
    key, dataset_id = found['id'], catalog.batch_dataset(found)
    dataset = world.store.get(sandbox, 'dataSets', dataset_id)
    schema = registry.find_schema(world, sandbox, dataset['schemaRef']['id'])
    checker = registry.checker(world, sandbox, schema)
    names = sorted(n for n in os.listdir(folder(world, key, 'input')) if not n.endswith('.part'))
    good, bad = [], []
    for name in names:
        path = folder(world, key, 'input', name)
        for number, record, raw in _records(path, bool(found['inputFormat'].get('isMultiLineJson'))):
            try:
                if type(record) is not dict:
                    raise xdm.Violation('the row cannot be parsed', 'parse')
                (code, value), identities = checker.check(record)
                refuse_scripted(world, value)
            except xdm.Violation as violation:
                bad.append(_failed_row(record, raw, violation, name))
                continue
            entry = {'kind': 'record', 'sandbox': sandbox, 'batch': key, 'dataset': dataset_id, 'namespace': code,
                     'identity': value, 'entity': record}
            if len(identities) > 1:
                entry['ids'] = identities
            if catalog.upserts(dataset):
                entry['upsert'] = True
            if not catalog.enabled(dataset) or not registry.is_union(schema):
                entry['dropped'] = 'not enabled for Profile'
            good.append(entry)
    _settle(world, sandbox, found, names, good, bad)


def refuse_scripted(world, identity):
    """Raises for a record that the setting refuse_later names."""
    code = world.settings['refuse_later'].get(identity)
    if code:
        raise xdm.Violation('scripted refusal', 'scripted', code=code)


def _failed_row(record, raw, violation, name):
    row = dict(record) if type(record) is dict else {'_corrupt_record': raw if raw is not None else record}
    row['_errors'] = [{'code': violation.code or ('INGEST-1401-400' if type(record) is not dict else 'INGEST-1555-400'
                                                  if violation.keyword == 'required' else 'DCVS-1104-400'),
                       'message': '%s: %s' % (violation.pointer, violation.message)}]
    row['_validationErrors'] = [violation.report()]
    row['_filename'] = name
    return row


def _settle(world, sandbox, found, names, good, bad):
    total = len(good) + len(bad)
    errors = []
    if not names or not total:
        errors.append(_error('106', 'the batch has no data', 0))
    if found['inputFormat']['format'] != 'json':
        errors.append(_error('INGEST-1002-400', 'the stand-in reads JSON only', 0))
    failed = bool(errors) or (bad and len(bad) * 100.0 / total > found['standin:partial'])
    for code in sorted({r['_errors'][0]['code'] for r in bad}):
        rows = sum(1 for r in bad if r['_errors'][0]['code'] == code)
        errors.append(_error(code, bad[0]['_errors'][0]['message'], rows))
    if bad:
        errors.append(_error('INGEST-1212-400', 'Encountered %d errors, %d records were ingested'
                             % (len(bad), 0 if failed else len(good)), len(bad)))
    kept = [] if failed else good
    world.journal.append(kept)
    for entry in kept:
        world.profiles.apply(entry)
    world.count('records ingested', len(kept))
    now = now_ms()
    size = sum(os.path.getsize(folder(world, found['id'], 'input', n)) for n in names)
    found.update({
        'status': 'failed' if failed else 'success', 'errors': errors, 'completed': now + world.settings['batch_ms'],
        'updated': now, 'standin:completed': now, 'standin:ready': now + world.settings['batch_ms'],
        'metrics': {'inputRecordCount': total, 'outputRecordCount': len(kept), 'failedRecordCount': len(bad),
                    'inputFileCount': len(names), 'inputByteSize': size, 'startTime': now, 'endTime': now}})
    _write_failures(world, found, bad)
    world.store.put(sandbox, 'batches', found['id'], found)


def _write_failures(world, found, bad):
    """What Data Access serves under failed and meta."""
    if not bad:
        return
    lines = ''.join(json.dumps(row) + '\n' for row in bad)
    names = ['failed/validation_errors_0.json']
    if found.get('standin:diagnostics'):
        names += ['meta/row_errors/conversion_errors_0.json', 'meta/row_errors_sample.json']
    for name in names:
        path = folder(world, found['id'], name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write(lines)


def failed_stream(world, sandbox, dataset, failed):
    """Received messages that turned out not to fit: a failed batch of the data set. The caller holds the lock."""
    found = catalog.new_batch(world, sandbox, dataset, inputFormat={'format': 'json'})
    found['standin:diagnostics'] = True
    bad = [_failed_row(entity, None, violation, 'stream') for entity, violation in failed]
    now = now_ms()
    found.update({'status': 'failed', 'completed': now, 'standin:completed': now,
                  'standin:ready': now + world.settings['batch_ms'],
                  'errors': [_error(bad[0]['_errors'][0]['code'], bad[0]['_errors'][0]['message'], len(bad))],
                  'metrics': {'inputRecordCount': len(bad), 'outputRecordCount': 0, 'failedRecordCount': len(bad)}})
    os.makedirs(folder(world, found['id']), exist_ok=True)
    _write_failures(world, found, bad)
    world.store.put(sandbox, 'batches', found['id'], found)
    world.count('messages failed late', len(bad))


def forget_files(world):
    shutil.rmtree(os.path.join(world.directory, 'batches'), ignore_errors=True)


def routes(router):
    router.add('POST', BASE + '/batches', create)
    router.add('POST', BASE + '/batches/([^/]+)', act)
    router.add('PUT', BASE + '/batches/([^/]+)/datasets/([^/]+)/files/(.+)', put_file)
