"""The part of RFC 6902 that the platform's services take: add, replace, remove, test."""
import copy

from .core import Refusal


def _refuse(text):
    raise Refusal(400, {'type': 'about:blank', 'title': 'Invalid JSON Patch', 'status': 400, 'detail': text})


def apply(document, operations):
    """A changed copy; refuses what is not a patch or does not apply."""
    if type(operations) is not list or not operations:
        _refuse('an array of operations is expected')
    document = copy.deepcopy(document)
    for operation in operations:
        if type(operation) is not dict or type(operation.get('path')) is not str or 'op' not in operation:
            _refuse('an operation needs op and path')
        if operation['op'] in ('add', 'replace', 'test') and 'value' not in operation:
            _refuse('%s needs a value' % operation['op'])
        if not operation['path'].startswith('/'):
            _refuse('a path begins with /')
        steps = [s.replace('~1', '/').replace('~0', '~') for s in operation['path'][1:].split('/')]
        parent = document
        for step in steps[:-1]:
            parent = _step(parent, step, operation['path'])
        _change(parent, steps[-1], operation)
    return document


def _step(parent, step, path):
    if type(parent) is dict and step in parent:
        return parent[step]
    if type(parent) is list and step.isdigit() and int(step) < len(parent):
        return parent[int(step)]
    return _refuse('no such path: %s' % path)


def _change(parent, step, operation):
    kind, path = operation['op'], operation['path']
    if kind not in ('add', 'replace', 'remove', 'test'):
        _refuse('unknown op')
    if type(parent) is list and kind == 'add':
        if step != '-' and not (step.isdigit() and int(step) <= len(parent)):
            _refuse('no such path: %s' % path)
        parent.insert(len(parent) if step == '-' else int(step), operation['value'])
        return
    if type(parent) is dict and kind == 'add':
        parent[step] = operation['value']
        return
    present = _step(parent, step, path)
    key = int(step) if type(parent) is list else step
    if kind == 'replace':
        parent[key] = operation['value']
    elif kind == 'remove':
        del parent[key]
    elif present != operation['value']:
        _refuse('test failed: %s' % path)
