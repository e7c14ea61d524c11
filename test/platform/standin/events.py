"""Event data sets: DIR/events/<data set>/<number>/**, each folder of a number one batch of the data set.

Nothing is stored, as with the snapshots. A file `.replaced` in a batch's folder makes the batch inactive, as a
replay does; a file `.expired` takes its files away while Catalog goes on to list it.
"""
import hashlib
import os
import re

from .core import ulid
from .snapshots import _files, _folders

SCHEMA = 'https://ns.adobe.com/xdm/context/experienceevent'
_NUMBER = re.compile(r'\d{1,6}\Z')
_FIRST = 1795000000000


def _root(world):
    return os.path.join(world.directory, 'events')


def dataset_id(name):
    return hashlib.sha256(('events/' + name).encode()).hexdigest()[:24]


def datasets(world, sandbox):
    """{id: data set}; only the first sandbox has events."""
    if sandbox != world.settings['sandboxes'][0]:
        return {}
    return {dataset_id(name): {
        'id': dataset_id(name), 'name': name, 'imsOrg': world.settings['org'], 'created': 1700000000000,
        'updated': 1700000000000, 'version': '1.0.0', 'state': 'DRAFT',
        'schemaRef': {'id': SCHEMA, 'contentType': 'application/vnd.adobe.xed+json;version=1'},
        'tags': {'adobe/pqs/table': [re.sub(r'\W+', '_', name.lower())]},
        'extensions': {'adobe_lakeHouse': {'metrics': {}}}} for name in _folders(_root(world))}


def _batches(world, sandbox):
    """(data set's name, folder, files, flags, created, batch id)"""
    if sandbox != world.settings['sandboxes'][0]:
        return
    for name in _folders(_root(world)):
        for number in _folders(os.path.join(_root(world), name)):
            if not _NUMBER.match(number):
                continue
            folder = os.path.join(_root(world), name, number)
            files = _files(folder)
            flags = {f[0] for f in files if f[0] in ('.replaced', '.expired')}
            at = _FIRST + int(number) * 60000
            digest = hashlib.sha256(repr((name, number)).encode()).digest()
            yield name, folder, [f for f in files if f[0] not in flags], flags, at, ulid(at, int.from_bytes(digest[:10], 'big'))


def batches(world, sandbox):
    return {key: {
        'id': key, 'status': 'inactive' if '.replaced' in flags else 'success', 'created': at, 'updated': at + 1000,
        'started': at, 'completed': at + 1000, 'imsOrg': world.settings['org'], 'version': '1.0.0', 'externalId': key,
        'errors': [], 'tags': {}, 'relatedObjects': [{'type': 'dataSet', 'id': dataset_id(name)}],
        'metrics': {'outputByteSize': sum(f[1] for f in files), 'outputFileCount': len(files), 'failedRecordCount': 0,
                    'startTime': at, 'endTime': at + 1000}}
        for name, _, files, flags, at, key in _batches(world, sandbox)}


def batch_files(world, sandbox, batch):
    """(folder, [(relative path, size)]) of a batch of events, or None."""
    for _, folder, files, flags, _, key in _batches(world, sandbox):
        if key == batch and not flags:
            return folder, [(name, size) for name, size, _ in files]
    return None


def expired(world, sandbox, batch):
    return any(key == batch and flags for _, _, _, flags, _, key in _batches(world, sandbox))
