"""Data Access: batch -> data set files -> parts -> bytes. Every number about a file is a string."""
import os
import re
import urllib.parse

from . import batch, catalog, events, snapshots
from .core import Refusal, Reply

BASE = '/data/foundation/export'


def refuse(status, text):
    raise Refusal(status, {'code': str(status), 'message': text})


def _known(world, request, key):
    if key not in catalog.all_batches(world, request.sandbox):
        refuse(404, 'no batch %s' % key)


def _batch_files(world, sandbox, key):
    return snapshots.batch_files(world, sandbox, key) or events.batch_files(world, sandbox, key)


def _paged(request, rows):
    """100 at most, with the link to the next page while there is one."""
    limit, start = request.number('limit', 100, 1, 100), request.number('start', 0)
    shown = rows[start:start + limit]
    here = request.origin() + request.path
    links = {'page': {'href': here + '?start=%d&limit=%d{?limit,start}' % (start, limit), 'templated': True}}
    if start + limit < len(rows):
        links['next'] = {'href': '%s?start=%d&limit=%d' % (here, start + limit, limit)}
    return Reply(200, {'data': shown, '_page': {'limit': limit, 'count': len(shown)}, '_links': links})


def _groups(world, files):
    """The parts of a batch as data set files: [(name of the group, [(relative path, size)])].

    A subfolder is a group of its own, listed inside the one before it as a directory."""
    top = [f for f in files if os.sep not in f[0]]
    size = world.settings['parts_per_file']
    groups = [top[i:i + size] for i in range(0, len(top), size)] or [[]]
    folders = sorted({os.path.dirname(f[0]) for f in files if os.sep in f[0]})
    return groups, {name: [f for f in files if os.path.dirname(f[0]) == name] for name in folders}


def batch_files(world, request, key):
    with world.lock:
        _known(world, request, key)
        if events.expired(world, request.sandbox, key):
            refuse(404, 'no files of batch %s' % key)
        found = _batch_files(world, request.sandbox, key)
        view = catalog.all_batches(world, request.sandbox)[key]
    groups = _groups(world, found[1])[0] if found else []
    rows = [{'dataSetFileId': '%s-%d' % (key, i), 'dataSetViewId': '%s-view' % key, 'version': '1.0.0',
             'created': str(view['created']), 'updated': str(view['updated']), 'isValid': False, 'records': '0',
             'size': str(sum(f[1] for f in group)),
             '_links': {'self': {'href': '%s%s/files/%s-%d' % (request.origin(), BASE, key, i)}}}
            for i, group in enumerate(groups, 1)]
    return _paged(request, rows)


def _directory(world, request, file_id):
    """(folder on disk, parts, sub-directory ids) behind a dataSetFileId."""
    match = re.match(r'([0-9A-Z]{26})-(\d+)((?:\.\d+)?)\Z', file_id)
    found = match and _batch_files(world, request.sandbox, match.group(1))
    if not found:
        refuse(404, 'no file %s' % file_id)
    groups, folders = _groups(world, found[1])
    names = sorted(folders)
    if match.group(3):
        below = int(match.group(3)[1:])
        if not 1 <= below <= len(names):
            refuse(404, 'no file %s' % file_id)
        return found[0], folders[names[below - 1]], []
    number = int(match.group(2))
    if not 1 <= number <= len(groups):
        refuse(404, 'no file %s' % file_id)
    subs = ['%s.%d' % (file_id, i) for i in range(1, len(names) + 1)] if number == 1 else []
    return found[0], groups[number - 1], subs


def file(world, request, file_id):
    with world.lock:
        root, parts, subs = _directory(world, request, file_id)
    here = '%s%s/files/%s' % (request.origin(), BASE, file_id)
    name = request.argument('path')
    if name is not None:
        for relative, _ in parts:
            if os.path.basename(relative) == name:
                return _bytes(world, request, os.path.join(root, relative))
        refuse(404, 'no part %s' % name)
    rows = [{'name': os.path.basename(f[0]), 'length': str(f[1]),
             '_links': {'self': {'href': '%s?path=%s' % (here, urllib.parse.quote(os.path.basename(f[0]), safe=''))}}}
            for f in parts]
    rows += [{'dataSetFileId': s, '_links': {'self': {'href': '%s%s/files/%s' % (request.origin(), BASE, s)}}} for s in subs]
    return _paged(request, rows)


def _bytes(world, request, path):
    size = os.path.getsize(path)
    headers = {'Content-Type': 'application/octet-stream', 'Accept-Ranges': 'bytes'}
    if request.method == 'HEAD':
        return Reply(200, None, dict(headers, **{'Content-Length': str(size)}))
    asked = request.header('Range')
    with open(path, 'rb') as data:
        if not asked:
            return Reply(200, data.read(), headers)
        match = re.match(r'bytes=(\d+)-(\d*)\Z', asked)
        if not match or int(match.group(1)) >= size:
            raise Refusal(416, None, {'Content-Range': 'bytes */%d' % size})
        first = int(match.group(1))
        last = min(int(match.group(2) or size - 1), size - 1)
        most = world.settings['max_range_bytes']
        if most:
            last = min(last, first + most - 1)
        data.seek(first)
        headers['Content-Range'] = 'bytes %d-%d/%d' % (first, last, size)
        return Reply(206, data.read(last - first + 1), headers)


def _listed(world, request, key, area):
    """failed and meta: a list of names, a directory, or a file's bytes, by `path`."""
    with world.lock:
        _known(world, request, key)
    root = batch.folder(world, key, area)
    inside = request.argument('path') or ''
    path = os.path.normpath(os.path.join(root, inside))
    if path != root and not path.startswith(root + os.sep):
        refuse(404, 'no such path')
    if inside and os.path.isfile(path):
        return _bytes(world, request, path)
    if inside and not os.path.isdir(path):
        refuse(404, 'no such path')
    names = sorted(os.listdir(path)) if os.path.isdir(path) else []
    here = request.origin() + request.path
    return _paged(request, [
        {'name': n, 'length': str(os.path.getsize(os.path.join(path, n))),
         '_links': {'self': {'href': '%s?path=%s' % (here, urllib.parse.quote(os.path.join(inside, n), safe=''))}}}
        for n in names])


def failed(world, request, key):
    return _listed(world, request, key, 'failed')


def meta(world, request, key):
    return _listed(world, request, key, 'meta')


def preview(world, request, dataset):
    """The first 100 rows that were ingested into a data set."""
    with world.lock:
        if catalog.find_dataset(world, request.sandbox, dataset) is None:
            refuse(404, 'no data set %s' % dataset)
        rows = []
        for entry in world.journal.select(kind=None, dataset=dataset):
            rows.append(entry['entity'])
            if len(rows) == 100:
                break
    return Reply(200, {'data': rows})


def routes(router):
    router.add('GET', BASE + '/batches/([^/]+)/files', batch_files)
    router.add('GET', BASE + '/batches/([^/]+)/failed', failed)
    router.add('GET', BASE + '/batches/([^/]+)/meta', meta)
    router.add('GET', BASE + '/files/([^/]+)', file)
    router.add('HEAD', BASE + '/files/([^/]+)', file)
    router.add('GET', BASE + '/datasets/([^/]+)/preview', preview)
