"""The daily profile snapshots: DIR/snapshots/<merge policy>/<YYYY-MM-DD>/**.parquet.

Each folder of a merge policy is a system data set `Profile-Snapshot-Export-<uuid>`, each folder of a day one
successful batch of it. Nothing is stored: the folders are read at every request, so a day can be put there,
changed or taken away at any time. A day whose files change becomes another batch.
"""
import datetime
import hashlib
import os
import re
import uuid

from .core import now_ms, ulid

UNION = 'https://ns.adobe.com/xdm/context/profile__union'
_DAY = re.compile(r'\d{4}-\d\d-\d\d\Z')


def _root(world):
    return os.path.join(world.directory, 'snapshots')


def _folders(path):
    try:
        return sorted(e.name for e in os.scandir(path) if e.is_dir() and not e.name.startswith('.'))
    except FileNotFoundError:
        return []


def _export_uuid(policy):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, 'snapshot/' + policy))


def dataset_id(policy):
    return hashlib.sha256(('dataset/' + policy).encode()).hexdigest()[:24]


def merge_policies(world):
    return _folders(_root(world))


def datasets(world, sandbox):
    """{id: data set}; only the first sandbox has snapshots."""
    found = {}
    if sandbox != world.settings['sandboxes'][0]:
        return found
    for policy in merge_policies(world):
        name = _export_uuid(policy)
        found[dataset_id(policy)] = {
            'id': dataset_id(policy), 'name': 'Profile-Snapshot-Export-' + name, 'imsOrg': world.settings['org'],
            'created': 1700000000000, 'updated': 1700000000000, 'version': '1.0.0', 'state': 'DRAFT',
            'schemaRef': {'id': UNION, 'contentType': 'application/vnd.adobe.xed+json;version=1'},
            'tags': {'unifiedProfile': ['mergePolicyId:' + policy],
                     'adobe/pqs/table': ['profile_snapshot_export_' + name.replace('-', '_')]},
            'classification': {'managedBy': 'SYSTEM', 'dataBehavior': 'record'},
            'extensions': {'adobe_lakeHouse': {'metrics': {}}}}
    return found


def _files(folder):
    """Files under a day, relative, sorted; hidden ones too, as in the lake."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            full = os.path.join(path, name)
            found.append((os.path.relpath(full, folder), os.path.getsize(full), os.stat(full).st_mtime_ns))
    return sorted(found)


def _created(day):
    at = datetime.datetime.strptime(day, '%Y-%m-%d').replace(hour=3, tzinfo=datetime.timezone.utc)
    return int(at.timestamp() * 1000)


def _days(world, sandbox):
    """(policy, day, folder, files, batch id) of each day with a file in it."""
    if sandbox != world.settings['sandboxes'][0]:
        return
    for policy in merge_policies(world):
        for day in _folders(os.path.join(_root(world), policy)):
            folder = os.path.join(_root(world), policy, day)
            files = _files(folder) if _DAY.match(day) else []
            if files:
                digest = hashlib.sha256(repr((policy, day, files)).encode()).digest()
                yield policy, day, folder, files, ulid(_created(day), int.from_bytes(digest[:10], 'big'))


def batches(world, sandbox):
    found = {}
    for policy, day, _, files, key in _days(world, sandbox):
        at = _created(day)
        found[key] = {
            'id': key, 'status': 'success', 'created': at, 'updated': at + 60000, 'started': at, 'completed': at + 60000,
            'imsOrg': world.settings['org'], 'version': '1.0.0', 'externalId': key, 'errors': [], 'tags': {},
            'relatedObjects': [{'type': 'dataSet', 'id': dataset_id(policy)}],
            'metrics': {'outputByteSize': sum(f[1] for f in files), 'outputFileCount': len(files),
                        'failedRecordCount': 0, 'startTime': at, 'endTime': at + 60000}}
    return found


def batch_files(world, sandbox, batch):
    """(folder, [(relative path, size)]) of a snapshot batch, or None."""
    for _, _, folder, files, key in _days(world, sandbox):
        if key == batch:
            return folder, [(name, size) for name, size, _ in files]
    return None


def policies_view(world):
    """GET /config/mergePolicies: one for each folder, or a default when there is none."""
    names = merge_policies(world) or ['default']
    return [{'id': name, 'name': name, 'imsOrgId': world.settings['org'], 'sandbox': {'sandboxName': 'prod'},
             'schema': {'name': '_xdm.context.profile'}, 'version': 1, 'isActiveOnEdge': False, 'default': i == 0,
             'identityGraph': {'type': 'pdg'}, 'attributeMerge': {'type': 'timestampOrdered'}, 'updateEpoch': now_ms() // 1000}
            for i, name in enumerate(names)]
